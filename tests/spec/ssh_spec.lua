-- ssh.connect: a real server, every kind of banner and none.

local spec = require "tests.support.spec"
local ssh = require "waddle.ssh"

local function connect(name, opts)
  return ssh.connect((spec.peer(name)), opts)
end

local function fails(error_name, result)
  assert.equal(error_name, result.error)
  assert.is_false(result.success)
  assert.is_nil(result.latency_ms)
  assert.is_nil(result.banner)
  assert.is_nil(result.timings.banner_ms)
  assert.is_number(result.timings.connect_ms)
  return result
end

describe("ssh.connect", function()
  it("reads the banner of a real server", function()
    local result = connect("ssh")
    assert.is_true(result.success)
    assert.equal("ssh", result.test_type)
    assert.equal("ssh", result.protocol_detail)
    assert.matches("^SSH%-2%.0%-dropbear", result.banner)
    assert.matches("^dropbear", result.software)
    assert.equal("2.0", result.protocol)
  end)

  it("takes the banner apart", function()
    local result = connect("ssh_good")
    assert.equal("SSH-2.0-OpenPeer_9.9 Debian-1", result.banner)
    assert.equal("OpenPeer_9.9", result.software)
    assert.equal("Debian-1", result.comments)
    assert.equal("1.99", connect("ssh_199").protocol)
    assert.is_nil(connect("ssh_199").comments)
  end)

  it("has the wait for the banner apart from the connection", function()
    local result = connect("ssh_slow")
    assert.is_true(result.timings.banner_ms >= 190)
    assert.is_true(result.latency_ms < 190)
    assert.equal(result.timings.connect_ms, result.latency_ms)
    assert.equal("kernel", result.quality.timestamp_source)
    assert.is_true(result.timings.connect_wall_ms >= result.timings.connect_ms)
  end)

  it("takes lines before the banner, drips, and a bare line feed", function()
    assert.equal("SSH-2.0-AfterLines_1", connect("ssh_lines_first").banner)
    assert.equal("SSH-2.0-Dripping_Peer", connect("ssh_drip").banner)
    assert.equal("SSH-2.0-BareLineFeed", connect("ssh_lf").banner)
  end)

  it("fails as protocol at any other banner, and says what came", function()
    assert.matches("SSH%-1%.5", fails("protocol", connect("ssh_one")).error_detail)
    assert.matches("220 peer.test", fails("protocol", connect("ssh_wrong")).error_detail)
    fails("protocol", connect("ssh_endless_lines"))
    fails("protocol", connect("tcp_endless"))
    fails("protocol", connect("tcp_fin"))
    fails("protocol", connect("tcp_half_close"))
  end)

  it("waits for the banner no longer than banner_timeout", function()
    local result = fails("timeout", connect("tcp_silent", {banner_timeout = 0.05}))
    assert.is_string(result.error_detail)
    fails("timeout", connect("tcp_silent", {timeout = 0.05}))
  end)

  it("tells a reset from a close", function()
    fails("connection_reset", connect("tcp_reset"))
  end)

  it("is connection_refused where nobody listens", function()
    local result = ssh.connect("127.0.0.1:1")
    assert.equal("connection_refused", result.error)
    assert.is_nil(result.timings.connect_ms)
  end)
end)
