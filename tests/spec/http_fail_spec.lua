-- Every way in which a request can fail: its name, and phases that add up to the moment of the failure.

local http = require "waddle.http"
local spec = require "tests.support.spec"

local ORDER = {"dns_ms", "fallback_ms", "connect_ms", "proxy_ms", "tls_ms", "quic_ms", "request_ms", "ttfb_ms", "transfer_ms"}

-- peer, path, error, the phases that were reached, options
local cases = {
  {"tcp_closed", "/", "connection_refused", {"connect_ms"}, plain = true},
  {"tcp_full", "/", "timeout", {"connect_ms"}, plain = true},
  {"tcp_silent", "/", "timeout", {"connect_ms", "ttfb_ms"}, plain = true},
  {"tcp_fin", "/", "protocol", {"connect_ms", "ttfb_ms"}, plain = true},
  {"tcp_garbage", "/", "protocol", {"connect_ms", "ttfb_ms"}, plain = true},
  {"http", "/fin", "protocol", {"connect_ms", "ttfb_ms"}},
  {"http", "/reset", "connection_reset", {"connect_ms", "ttfb_ms"}},
  {"http", "/silent", "timeout", {"connect_ms", "ttfb_ms"}},
  {"http", "/garbage", "protocol", {"connect_ms", "ttfb_ms"}},
  {"http", "/half-head", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/short", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/reset-body", "connection_reset", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/stall", "timeout", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/chunked-bad", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/chunked-short", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/two-lengths", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/huge-header", "protocol", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/status/503", "http_status", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/loop", "redirects", {"connect_ms", "ttfb_ms", "transfer_ms"}},
  {"http", "/reset-upload", "connection_reset", {"connect_ms", "request_ms"}, opts = {method = "POST", body = ("x"):rep(20 * 1024 * 1024)}},
  {"tcp_silent", "/", "timeout", {"connect_ms", "tls_ms"}},
  {"tcp_garbage", "/", "tls_handshake", {"connect_ms", "tls_ms"}},
  {"tls_alert", "/", "tls_handshake", {"connect_ms", "tls_ms"}},
  {"tls_alert_name", "/", "tls_handshake", {"connect_ms", "tls_ms"}},
  {"tls_fin", "/", "protocol", {"connect_ms", "tls_ms"}},
  {"tls_half_fin", "/", "protocol", {"connect_ms", "tls_ms"}},
  {"tls_reset", "/", "connection_reset", {"connect_ms", "tls_ms"}},
  {"tls_half_reset", "/", "connection_reset", {"connect_ms", "tls_ms"}},
  {"tls_stall", "/", "timeout", {"connect_ms", "tls_ms"}},
  {"tls_plain_http", "/", "tls_handshake", {"connect_ms", "tls_ms"}},
  {"tls_old", "/", "tls_handshake", {"connect_ms", "tls_ms"}},
  {"tls_expired", "/", "tls_expired", {"connect_ms", "tls_ms"}, chain = 1},
  {"tls_future", "/", "tls_expired", {"connect_ms", "tls_ms"}, chain = 1},
  {"tls_wrong_name", "/", "tls_name_mismatch", {"connect_ms", "tls_ms"}, chain = 1},
  {"tls_self_signed", "/", "tls_untrusted", {"connect_ms", "tls_ms"}, chain = 1},
  {"tls_untrusted", "/", "tls_untrusted", {"connect_ms", "tls_ms"}, chain = 1},
  {"tls_lonely", "/", "tls_untrusted", {"connect_ms", "tls_ms"}, chain = 1},
  {"udp_closed", "/", "connection_refused", {"quic_ms"}, opts = {version = "3"}},
  {"udp_silent", "/", "quic_blocked", {"quic_ms"}, opts = {version = "3"}},
}

local function assert_phases(wanted, timings)
  local sum, got = 0, {}
  for _, name in ipairs(ORDER) do
    if timings[name] then
      sum = sum + timings[name]
      got[name] = true
    end
  end
  assert.is_true(math.abs(sum - timings.total_ms) < 1e-6)
  for _, name in ipairs(wanted) do
    assert.is_true(got[name], name .. " is missing")
    got[name] = nil
  end
  got.request_ms = nil -- next to nothing without a body, and not always told
  assert.is_nil(next(got))
end

setup(function()
  http.get("http://127.0.0.1:1/") -- the transfer engine opens a descriptor of its own at first use
end)

describe("a request that fails", function()
  for _, case in ipairs(cases) do
    local peer, path, err, phases = table.unpack(case)
    it(("at %s%s is %s, and its phases are right"):format(peer, path, err), function()
      if case.opts and case.opts.version == "3" then
        spec.need_http3()
      end
      local url = peer == "http" and spec.url(peer, path) or "https://" .. spec.peer(peer) .. path
      if case.plain then
        url = url:gsub("^https", "http")
      end
      local opts = {timeout = 0.4, tls = {ca = spec.value("ca")}}
      for key, value in pairs(case.opts or {}) do
        opts[key] = value
      end
      local r = http.request(url, opts)
      assert.are.equal(err, r.error, r.error_detail)
      assert.is_false(r.success)
      assert.is_nil(r.latency_ms)
      assert.is_string(r.error_detail)
      assert_phases(phases, r.timings)
      if err == "timeout" or err == "quic_blocked" then
        assert.is_true(r.timings.total_ms >= 395 and r.timings.total_ms < 1400)
      end
      if case.chain then
        assert.are.equal(err, r.tls.verify)
        assert.are.equal(case.chain, #r.tls.chain)
        assert.is_number(r.tls.chain[1].days_left)
      end
    end)
  end

  it("by a name that does not exist stops at the look-up", function()
    local r = http.get("http://nowhere.zone.test/", {resolver = {server = spec.peer("unbound")}})
    assert.are.equal("dns_nxdomain", r.error)
    assert_phases({"dns_ms"}, r.timings)
  end)

  it("by a name server that is silent is dns_timeout", function()
    local r = http.get("http://any.zone.test/", {timeout = 0.3, resolver = {server = spec.peer("udp_silent")}})
    assert.are.equal("dns_timeout", r.error)
    assert_phases({"dns_ms"}, r.timings)
  end)

  it("keeps to connect_timeout before the timeout", function()
    local r = http.get((spec.url("tls_stall")), {timeout = 20, connect_timeout = 0.2})
    assert.are.equal("timeout", r.error)
    assert.is_true(r.timings.total_ms < 1200)
  end)

  it("after a redirect keeps the hops before", function()
    local r = http.get(spec.url("http", "/to/302?/fin"))
    assert.are.equal("protocol", r.error)
    assert.are.equal(1, #r.redirects)
    assert.are.equal(302, r.redirects[1].status)
  end)

  it("for a server name that a QUIC server refuses ends at once", function()
    spec.need_http3()
    local started = require("waddle.task").now()
    local r = http.get(spec.url("caddy_h3", "/", "localhost"), {version = "3", timeout = 5, tls = {ca = spec.value("ca"), server_name = "unknown.test"}})
    assert.are.equal("tls_handshake", r.error)
    assert.is_true(require("waddle.task").now() - started < 2)
  end)

  it("because a router prohibits QUIC is not blamed on the server", function()
    local r = http.get("https://" .. spec.value("prohibited") .. "/", {version = "3", timeout = 2})
    assert.are.equal("host_unreachable", r.error, r.error_detail)
    r = http.get("https://[" .. spec.value("prohibited_v6") .. "]/", {version = "3", timeout = 2})
    assert.are.equal("admin_prohibited", r.error, r.error_detail)
    r = http.get("https://[" .. spec.value("unreachable_v6") .. "]/", {timeout = 2})
    assert.are.equal("network_unreachable", r.error, r.error_detail)
  end)

  it("with verify = false it succeeds, and the verdict is there all the same", function()
    local r = http.get(spec.url("tls_self_signed"), {tls = {verify = false}})
    assert.is_true(r.success)
    assert.are.equal("tls_untrusted", r.tls.verify)
  end)
end)

describe("a proxy", function()
  it("that refuses the connection is to blame, and not the target", function()
    local r = http.get("http://target.test/", {proxy = "http://" .. spec.peer("tcp_closed")})
    assert.are.equal("proxy", r.error)
    assert.is_nil(r.target_ip)
    assert_phases({"connect_ms"}, r.timings)
  end)

  it("that opens no tunnel is to blame", function()
    local r = http.get("https://target.test/", {proxy = "http://" .. spec.peer("http")})
    assert.are.equal("proxy", r.error)
    assert_phases({"connect_ms", "proxy_ms"}, r.timings)
  end)

  it("is asked for the target by name, which is not looked up here", function()
    local r = http.get("http://nowhere.invalid/headers", {proxy = "http://" .. spec.peer("http"), keep_body = 4096})
    assert.are.equal(spec.peer("http"), r.proxy)
    assert.is_not.equal("dns_nxdomain", r.error)
  end)
end)
