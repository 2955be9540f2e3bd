local address = require "waddle.address"

describe("address", function()
  it("knows an IPv6 address from anything else", function()
    for _, text in ipairs { "::", "::1", "1::", "2001:db8::1", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1",
      "fe80::1%eth0", "2001:DB8::A", "1:2:3:4:5:6:7::" } do
      assert.is_true(address.is_ipv6(text), text)
    end
    for _, text in ipairs { "", ":", ":::", "1", "1:2", "1::2::3", "12345::", "g::1", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:", ":1::2",
      "192.0.2.1", "::192.0.2.256", "192.0.2.1::", "1:2:3:4:5:6:7:192.0.2.1", "::1%" } do
      assert.is_false(address.is_ipv6(text), text)
    end
  end)

  it("knows an IPv4 address from anything else", function()
    assert.is_true(address.is_ipv4("192.0.2.1"))
    assert.is_true(address.is_ipv4("0.0.0.0"))
    for _, text in ipairs { "256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.a", "" } do
      assert.is_false(address.is_ipv4(text), text)
    end
  end)

  it("reads host and port in every form", function()
    local function read(text)
      return { address.host_port(text, 80) }
    end
    assert.same({ "h", 80 }, read "h")
    assert.same({ "h", 443 }, read "h:443")
    assert.same({ "::1", 80 }, read "::1")
    assert.same({ "::1", 80 }, read "[::1]")
    assert.same({ "::1", 443 }, read "[::1]:443")
    assert.same({ "fe80::1%eth0", 22 }, read "[fe80::1%eth0]:22")
    assert.same({ "192.0.2.1", 53 }, read "192.0.2.1:53")
    assert.same({ "a_b.example.", 80 }, read "a_b.example.")
  end)

  it("refuses with a reason", function()
    for text, reason in pairs {
      [""] = "the host is empty", [":80"] = "the host is empty", ["h:"] = "port", ["h:0"] = "port", ["h:65536"] = "port", ["h:8o"] = "port",
      ["h:80:90"] = "neither host:port nor an IPv6 address", ["[::1"] = "bracket", ["[h]:80"] = "not an IPv6 address", ["a..b"] = "empty part",
      ["-a"] = "'%-'", ["a b"] = "blank", ["1.2.3.400"] = "neither a host name nor an IPv4 address", ["m\u{fc}nchen.de"] = "xn%-%-",
      [("a"):rep(64)] = "63", [("a."):rep(130) .. "b"] = "253",
    } do
      local host, message = address.host_port(text, 80)
      assert.is_nil(host, text)
      assert.matches(reason, message)
    end
  end)

  it("writes what it reads", function()
    assert.equal("[::1]:443", address.join("::1", 443))
    assert.equal("h:1", address.join("h", 1))
    assert.equal("[::1]", address.join("::1"))
  end)
end)
