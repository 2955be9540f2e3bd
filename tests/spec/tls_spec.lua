-- tls.connect against real servers: what was agreed on, every verdict with the certificates beside it, every way a handshake fails.

local spec = require "tests.support.spec"
local tls = require "waddle.tls"

local function connect(name, opts)
  opts = opts or {}
  opts.ca = opts.ca or spec.value("ca")
  return tls.connect((spec.peer(name, "localhost")), opts)
end

local function fails(error_name, result)
  assert.equal(error_name, result.error)
  assert.is_false(result.success)
  assert.is_nil(result.latency_ms)
  assert.is_string(result.error_detail)
  return result
end

describe("tls.connect", function()
  it("tells what was agreed on", function()
    local result = connect("nginx_tls", {alpn = {"h2", "http/1.1"}})
    assert.is_nil(result.error_detail)
    assert.is_true(result.success)
    assert.equal("tls", result.test_type)
    assert.equal("tcp_tls", result.protocol_detail)
    assert.equal("TLSv1.3", result.tls.version)
    assert.matches("^TLS_", result.tls.cipher)
    assert.is_true(result.tls.bits >= 128)
    assert.equal("h2", result.tls.alpn)
    assert.equal("ok", result.tls.verify)
  end)

  it("has a latency of connect and handshake", function()
    local result = connect("nginx_tls")
    assert.near(result.timings.connect_ms + result.timings.tls_ms, result.latency_ms, 1e-6)
    assert.is_true(result.timings.tls_ms > result.timings.connect_ms) -- cryptography against one packet on the loopback
    assert.equal("user", result.quality.timestamp_source)
    assert.is_nil(result.quality.uncertainty_ms)
    assert.is_true(result.timings.connect_wall_ms >= result.timings.connect_ms)
    assert.is_number(result.tcp.rtt_ms)
  end)

  it("has the facts of the certificate", function()
    local leaf = connect("tls_rsa").tls.chain[1]
    assert.matches("CN=", leaf.subject)
    assert.is_string(leaf.issuer)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", leaf.not_after)
    assert.is_true(leaf.not_before < leaf.not_after)
    assert.is_true(leaf.days_left > 0)
    assert.equal(64, #leaf.sha256)
    assert.equal("RSA 2048", leaf.key)
    local names = {}
    for _, name in ipairs(leaf.sans) do
      names[name] = true
    end
    assert.is_true(names.localhost and names["127.0.0.1"] and names["::1"])
  end)

  it("has the chain as presented", function()
    assert.equal(2, #connect("tls_chain").tls.chain)
    assert.equal("ok", connect("tls_chain").tls.verify)
  end)

  it("agrees on no protocol where none was offered", function()
    assert.is_nil(connect("nginx_tls").tls.alpn)
    assert.equal("http/1.1", connect("nginx_h1", {alpn = "http/1.1"}).tls.alpn)
  end)

  it("names an address by itself, without SNI", function()
    local result = tls.connect((spec.peer("nginx_tls")), {ca = spec.value("ca")})
    assert.is_true(result.success)
    assert.is_true(tls.connect((spec.peer("nginx_tls", "::1")), {ca = spec.value("ca")}).success)
  end)

  it("asks for the name given and checks against it", function()
    local target = spec.peer("nginx_tls")
    assert.is_true(tls.connect(target, {ca = spec.value("ca"), server_name = "x.wild.test"}).success)
    fails("tls_name_mismatch", tls.connect(target, {ca = spec.value("ca"), server_name = "elsewhere.test"}))
  end)

  it("keeps to the versions asked for", function()
    assert.equal("TLSv1.2", connect("nginx_tls", {max_version = "TLSv1.2"}).tls.version)
    assert.equal("TLSv1.2", connect("tls12").tls.version)
    fails("tls_handshake", connect("tls12", {min_version = "TLSv1.3"}))
  end)

  it("sees old TLS when asked to, and not otherwise", function()
    local result = connect("tls_old", {min_version = "TLSv1"})
    assert.is_nil(result.error_detail)
    assert.equal("TLSv1.1", result.tls.version)
    assert.equal("TLSv1", connect("tls_old", {min_version = "TLSv1", max_version = "TLSv1"}).tls.version)
    fails("tls_handshake", connect("tls_old"))
  end)

  it("shows a client certificate", function()
    local tcp = require "waddle.tcp"
    local target, ca = spec.peer("mtls", "localhost"), spec.value("ca")
    local dialogue = {{send = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"}, {expect = "\r\n"}}
    local client = {ca = ca, cert = spec.value("client_cert"), key = spec.value("client_key")}
    assert.matches("^HTTP/1.1 200", tcp.connect(target, {tls = client, dialogue = dialogue}).dialogue[2].received)
    assert.matches("^HTTP/1.1 400", tcp.connect(target, {tls = {ca = ca}, dialogue = dialogue}).dialogue[2].received)
    assert.is_true(tls.connect(target, client).success)
  end)
end)

describe("a certificate that does not hold", function()
  local verdicts = {
    tls_expired = "tls_expired", tls_future = "tls_expired", tls_wrong_name = "tls_name_mismatch", tls_self_signed = "tls_untrusted",
    tls_untrusted = "tls_untrusted", tls_lonely = "tls_untrusted",
  }
  for name, verdict in pairs(verdicts) do
    it(("fails as %s, with its facts (%s)"):format(verdict, name), function()
      local result = fails(verdict, connect(name))
      assert.equal(verdict, result.tls.verify)
      assert.is_string(result.tls.version)
      assert.equal(64, #result.tls.chain[1].sha256)
      assert.is_number(result.tls.chain[1].days_left)
      assert.is_number(result.timings.tls_ms)
    end)

    it(("is a success with verify=false, with the same verdict (%s)"):format(name), function()
      local result = connect(name, {verify = false})
      assert.is_true(result.success)
      assert.equal(verdict, result.tls.verify)
      assert.is_number(result.latency_ms)
    end)
  end

  it("may be expected, and then has its latency", function()
    local result = connect("tls_expired", {expect = {["tls.verify"] = "tls_expired"}})
    assert.is_true(result.success)
    assert.is_number(result.latency_ms)
  end)

  it("is over for long, as its days say", function()
    assert.is_true(connect("tls_expired").tls.chain[1].days_left < -1000)
  end)
end)

describe("a handshake that fails", function()
  it("is tls_handshake at an alert, in its words", function()
    assert.matches("handshake failure", fails("tls_handshake", connect("tls_alert")).error_detail)
    assert.matches("unrecognized name", fails("tls_handshake", connect("tls_alert_name")).error_detail)
  end)

  it("is tls_handshake where no TLS is spoken", function()
    for _, name in ipairs {"tls_plain_http", "tcp_garbage", "ssh_good"} do
      local result = fails("tls_handshake", connect(name))
      assert.is_nil(result.tls)
      assert.is_number(result.timings.connect_ms)
      assert.is_nil(result.timings.tls_ms)
    end
  end)

  it("is protocol where the peer closes, connection_reset where it resets", function()
    fails("protocol", connect("tls_fin"))
    fails("protocol", connect("tls_half_fin"))
    fails("protocol", connect("tcp_fin"))
    fails("connection_reset", connect("tls_reset"))
    fails("connection_reset", connect("tls_half_reset"))
    for _ = 1, 20 do -- the RST may overtake our first look
      fails("connection_reset", connect("tcp_reset"))
    end
  end)

  it("is a timeout where the peer stalls, the connection's time kept", function()
    local result = fails("timeout", connect("tls_stall", {timeout = 0.1}))
    assert.is_number(result.timings.connect_ms)
    assert.is_nil(result.timings.tls_ms)
    assert.matches("handshake", result.error_detail)
    fails("timeout", connect("tcp_silent", {timeout = 0.1}))
  end)

  it("is connection_refused where nobody listens", function()
    assert.is_nil(fails("connection_refused", tls.connect("127.0.0.1:1")).timings.tls_ms)
  end)
end)

describe("files that cannot be used", function()
  it("are a local fault that names them", function()
    local result = fails("local", connect("nginx_tls", {ca = "/nowhere/ca.pem"}))
    assert.matches("/nowhere/ca.pem", result.error_detail, 1, true)
    assert.is_nil(result.tls.verify)
    assert.equal("TLSv1.3", result.tls.version)
    result = fails("local", connect("nginx_tls", {cert = "/nowhere/client.pem"}))
    assert.matches("/nowhere/client.pem", result.error_detail, 1, true)
  end)
end)

describe("tls.connect's options", function()
  it("are checked before anything is sent", function()
    local function raises(pattern, ...)
      local ok, message = pcall(tls.connect, ...)
      assert.is_false(ok)
      assert.matches(pattern, message)
    end
    raises("'key': needs 'cert'", "h:1", {key = "x"})
    raises("newer than max_version", "h:1", {min_version = "TLSv1.3", max_version = "TLSv1.2"})
    raises("min_version.*TLSv1.1", "h:1", {min_version = "SSLv3"})
    raises("field 'target'", {})
  end)
end)
