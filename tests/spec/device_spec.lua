local device = require "waddle.device"
local sha256 = require "waddle.sha256"

describe("sha256", function()
  it("agrees with the examples of FIPS 180-4", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", sha256 "")
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sha256 "abc")
    assert.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      sha256 "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
    assert.equal("41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3", sha256(("a"):rep(1000)))
  end)
end)

describe("device.detect", function()
  local sys = {
    hostname = function() return "probe-1" end,
    uname = function() return { sysname = "Linux", release = "6.1.0-25-amd64" } end,
  }
  local function detect(settings, files)
    return device.detect(settings, sys, function(path) return files[path] end)
  end

  it("takes what is set", function()
    assert.same({ serial = "S1", hostname = "H1", os = "Linux", os_version = "6.1.0-25-amd64" },
      detect({ serial = "S1", hostname = "H1" }, { ["/etc/machine-id"] = "abc\n" }))
  end)

  it("takes the machine's id where it is not set, an empty one being none", function()
    assert.equal("abc", detect({}, { ["/etc/machine-id"] = "abc\n" }).serial)
    assert.equal("def", detect({ serial = "" }, { ["/etc/machine-id"] = "\n", ["/var/lib/dbus/machine-id"] = "def" }).serial)
    assert.equal("def", detect({}, { ["/etc/machine-id"] = "uninitialized\n", ["/var/lib/dbus/machine-id"] = "def" }).serial)
  end)

  it("takes the hostname's SHA-256 where there is none", function()
    assert.equal(sha256("probe-1"):sub(1, 32), detect({}, {}).serial)
    assert.equal("probe-1", detect({ hostname = "" }, {}).hostname)
    assert.equal(sha256("probe-1"):sub(1, 32), detect({ hostname = "other" }, {}).serial)
  end)
end)
