local contract = require "waddle.contract"
local json = require "waddle.json"
local rules = require "waddle.manager_rules"

local device = { serial = "0123456789abcdef", hostname = "probe-1", os = "Linux", os_version = "6.1.0" }

-- Results as probes make them: to read an undeclared field raises.
local function strict(fields)
  return setmetatable(fields, { __index = function(_, key)
    error("no field " .. tostring(key))
  end })
end

local function with(fields, more)
  for key, value in pairs(more or {}) do
    fields[key] = value
  end
  return strict(fields)
end

local samples = { { status = "ok", rtt_ms = 10.5, ttl = 57, from = "192.0.2.1" }, { status = "lost" }, { status = "ok", rtt_ms = 11.5 },
  { status = "late", rtt_ms = 5001 } }

local make = {
  http = function(more)
    return with({ test_type = "http", protocol_detail = "http/2", target = "https://***@example.com/a", target_host = "example.com", target_ip = "192.0.2.1",
      target_port = 443, success = true, latency_ms = 124.02, started_at = "2026-01-31T12:00:00.123456Z", status = 200, url_effective = "https://www.example.com/b?token=s3cret",
      body_bytes = 12600, throughput_mbps = 9.79, headers = { ["content-type"] = "text/html", ["set-cookie"] = "sid=s3cret" }, redirects = { { url =
      "https://u:s3cret@example.com/a", status = 301, timings = { total_ms = 20 } } }, timings = { dns_ms = 12.3, connect_ms = 20.1, tls_ms = 31.02,
      request_ms = 0.1, ttfb_ms = 50.2, transfer_ms = 10.3, total_ms = 124.02 }, body = "<html>s3cret</html>", labels = { room = "a" } }, more)
  end,
  tcp = function(more)
    return with({ test_type = "tcp", protocol_detail = "raw_tcp", target = "h.test:25", target_host = "h.test", target_ip = "2001:db8::1", target_port = 25,
      success = true, latency_ms = 1.5, started_at = "2026-01-31T12:00:00Z", timings = { dns_ms = 5, connect_ms = 1.5, total_ms = 6.5 } }, more)
  end,
  tls = function(more)
    return with({ test_type = "tls", target = "tls://h.test", target_host = "h.test", target_ip = "192.0.2.1", target_port = 443, success = true, latency_ms = 30,
      started_at = "2026-01-31T12:00:00Z", timings = { connect_ms = 10, tls_ms = 20 }, tls = { version = "TLSv1.3", cipher = "TLS_AES_256_GCM_SHA384",
      bits = 256, verify = "ok", chain = { { subject = "CN=h.test", key = "EC 256", days_left = 61 } } } }, more)
  end,
  ssh = function(more)
    return with({ test_type = "ssh", target = "ssh://h.test", target_host = "h.test", target_ip = "192.0.2.1", target_port = 22, success = true, latency_ms = 3,
      started_at = "2026-01-31T12:00:00Z", banner = "SSH-2.0-OpenSSH_9.2", timings = { connect_ms = 3, banner_ms = 12 } }, more)
  end,
  udp = function(more)
    return with({ test_type = "udp", protocol_detail = "raw_udp", target = "h.test", target_host = "h.test", target_ip = "192.0.2.1", target_port = 2000,
      success = true, latency_ms = 11, started_at = "2026-01-31T12:00:00Z", jitter_ms = 1, packet_loss_percent = 50, packets_sent = 4, packets_received = 2,
      rtt_min_ms = 10.5, rtt_avg_ms = 11, rtt_max_ms = 11.5, samples = samples }, more)
  end,
  dns = function(more)
    return with({ test_type = "dns", target = "dns://example.com@192.0.2.53", target_host = "example.com", target_ip = "192.0.2.53", target_port = 53,
      success = true, latency_ms = 9.5, started_at = "2026-01-31T12:00:00Z", name = "example.com", server = "192.0.2.53:53", rcode = "NOERROR",
      answers = { { name = "example.com.", type = "A", ttl = 300, data = "192.0.2.1" } } }, more)
  end,
  icmp = function(more)
    return with({ test_type = "icmp", protocol_detail = "ping", target = "8.8.8.8", target_host = "8.8.8.8", target_ip = "8.8.8.8", success = true,
      latency_ms = 11, started_at = "2026-01-31T12:00:00Z", jitter_ms = 1, packet_loss_percent = 50, packets_sent = 4, packets_received = 2, rtt_min_ms = 10.5,
      rtt_avg_ms = 11, rtt_max_ms = 11.5, samples = samples }, more)
  end,
}

-- Builds a body and lets the manager judge it; returns the row as stored.
local function store(result, other_device)
  local row, message = contract.build(result, other_device or device)
  assert.is_nil(message)
  local status, reason, stored = rules.check(row.body)
  assert.equal(201, status, reason)
  return stored, row
end

describe("the manager's rules", function()
  local function refused(change)
    local body = json.decode((contract.build(make.tcp(), device)).body)
    body.raw_results.deep = nil
    change(body)
    local status, reason = rules.check(json.encode(body))
    assert.is_true(status == 400 or status == 500, reason)
  end

  it("refuse what the manager refuses", function()
    refused(function(b) b.target_ip = nil end)
    refused(function(b) b.device_os = json.null end)
    refused(function(b) b.test_type = "dns" end)
    refused(function(b) b.target_host = ("x"):rep(256) end)
    refused(function(b) b.device_os_version = ("x"):rep(101) end)
    refused(function(b) b.protocol_detail = ("x"):rep(51) end)
    refused(function(b) b.target_ip = ("x"):rep(46) end)
    refused(function(b) b.latency_ms = 1e6 end)
    refused(function(b) b.jitter_ms = 1e7 end)
    refused(function(b) b.throughput_mbps = 1e8 end)
    refused(function(b) b.packet_loss_percent = 1000 end)
    refused(function(b)
      local t = b.raw_results
      for _ = 1, 32 do
        t.deep = {}
        t = t.deep
      end
    end)
    refused(function(b) b.raw_results.big = ("x"):rep(16000000) end)
    refused(function(b) b.raw_results.text = "\xed\xa0\x80" end)
    assert.equal(400, (rules.check '{"latency_ms":NaN}'))
    assert.equal(400, (rules.check "<html>"))
    assert.equal(400, (rules.check [[{"device_serial":"\ud800"}]]))
  end)
end)

describe("contract.build", function()
  for kind, new in pairs(make) do
    it("makes a body the manager stores of " .. kind, function()
      local stored, row = store(new())
      assert.equal("0123456789abcdef", stored.device_serial)
      assert.equal("probe-1", stored.device_hostname)
      assert.equal(row.id, stored.raw_results.idempotency_key)
      assert.is_true(stored.success)
      assert.is_true(stored.raw_results.success)
      assert.matches("^2026%-01%-31T12:00:00[%d.]*%+00:00$", stored.timestamp)
    end)

    it("makes a body the manager stores of a failed " .. kind, function()
      local failed = strict { test_type = kind, target = new().target, target_host = new().target_host, success = false, error = "timeout",
        error_detail = "no answer in 5 s", started_at = "2026-01-31T12:00:00Z", timings = { dns_ms = 1 } }
      local stored = store(failed)
      assert.equal("", stored.target_ip)
      assert.is_false(stored.success)
      assert.equal("timeout", stored.error)
      assert.equal("no answer in 5 s", stored.raw_results.error_detail)
    end)

    it("flaw 7: a failed " .. kind .. " has latency null and a reason, never 0 or a constant", function()
      local stored, row = store(new { success = false, error = "timeout", latency_ms = 5000 })
      assert.equal(json.null, stored.latency_ms)
      assert.matches('"latency_ms":null', row.body)
      assert.is_nil(stored.raw_results.latency_ms)
      assert.equal("timeout", stored.error)
    end)
  end

  it("uploads tls and ssh as tcp, dns as udp", function()
    local types = {}
    for kind, new in pairs(make) do
      local stored = store(new())
      types[kind] = stored.test_type .. "/" .. stored.protocol_detail
    end
    assert.same({ http = "http/http/2", tcp = "tcp/raw_tcp", tls = "tcp/tcp_tls", ssh = "tcp/ssh", udp = "udp/raw_udp", dns = "udp/dns",
      icmp = "icmp/ping" }, types)
  end)

  it("flaw 6: http has the address, connect without DNS, the rate of the transfer, and its phases", function()
    local stored = store(make.http())
    assert.equal("192.0.2.1", stored.target_ip)
    assert.equal(12.3, stored.time_namelookup)
    assert.equal(20.1, stored.time_connect)
    assert.equal(10.3, stored.time_transfer)
    assert.equal(9.79, stored.throughput_mbps)
    assert.equal(200, stored.http_code)
    assert.equal(12600, stored.content_length)
    assert.equal(124.02, stored.latency_ms)
    assert.equal(1, stored.raw_results.redirect_count)
    assert.equal("https://www.example.com/b?token=***", stored.raw_results.url_effective)
    assert.equal(50.2, stored.raw_results.timing_breakdown.ttfb_ms)
    assert.equal("text/html", stored.raw_results.headers["content-type"])
  end)

  it("names the host of the final URL, alone", function()
    assert.equal("www.example.com", store(make.http()).target_host)
    assert.equal("::1", store(make.http { url_effective = "https://u:p@[::1]:8443/" }).target_host)
    assert.equal("example.com", store(make.tcp { target_host = false, target = "tcp://example.com:25" }).target_host)
  end)

  it("has the reference's fields for tcp, tls and ssh", function()
    local tcp = store(make.tcp())
    assert.equal(25, tcp.target_port)
    assert.equal(1.5, tcp.connection_time_ms)
    assert.is_true(tcp.raw_results.connection_established)
    assert.equal(1.5, tcp.raw_results.connect_time_ms)
    local tls = store(make.tls()).raw_results
    assert.equal("TLSv1.3", tls.tls_version)
    assert.same({ "TLS_AES_256_GCM_SHA384", "TLSv1.3", 256 }, tls.cipher)
    assert.equal("EC 256", tls.tls.chain[1].key)
    assert.equal("SSH-2.0-OpenSSH_9.2", store(make.ssh()).raw_results.ssh_banner)
    assert.is_false(store(make.tcp { success = false, error = "connection_refused", timings = { dns_ms = 1 } }).raw_results.connection_established)
  end)

  it("has the reference's fields for udp, icmp and dns", function()
    for _, kind in ipairs { "udp", "icmp" } do
      local stored = store(make[kind]())
      assert.equal(1, stored.jitter_ms)
      assert.equal(50, stored.packet_loss_percent)
      assert.equal(4, stored.packets_sent)
      assert.equal(2, stored.packets_received)
      assert.same({ 10.5, 11.5 }, stored.raw_results.rtts)
      assert.equal(10.5, stored.raw_results.min_rtt)
      assert.equal(11.5, stored.raw_results.max_rtt)
      assert.equal(11, stored.raw_results.avg_rtt)
      assert.equal("lost", stored.raw_results.samples[2].status)
    end
    local dns = store(make.dns())
    assert.equal("example.com", dns.raw_results.query_host)
    assert.equal("192.0.2.53:53", dns.raw_results.dns_server)
    assert.equal(9.5, dns.raw_results.query_time_ms)
    assert.is_nil(dns.packets_sent)
  end)

  it("writes lists as lists when they are empty", function()
    local _, row = store(make.icmp { success = false, error = "timeout", samples = json.array() })
    assert.matches('"rtts":[]', row.body, 1, true)
    assert.matches('"samples":[]', row.body, 1, true)
  end)

  it("flaw 8: has no credential anywhere", function()
    local _, row = store(make.http { error_detail = "https://u:s3cret@h/ said no", cookies = { "sid=s3cret" }, note = { "http://x:s3cret@y/" } })
    assert.is_nil(row.body:find("s3cret", 1, true), row.body)
    assert.matches("token=***", row.body, 1, true)
  end)

  it("does not store bodies", function()
    assert.is_nil(store(make.http()).raw_results.body)
  end)

  it("gives every result a key of its own, and keeps the one it has", function()
    local seen = {}
    for _ = 1, 100 do
      local _, row = store(make.tcp())
      assert.matches("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", row.id)
      assert.is_nil(seen[row.id])
      seen[row.id] = true
    end
    local stored, row = store(make.tcp { id = "my-id" })
    assert.equal("my-id", row.id)
    assert.equal("my-id", stored.raw_results.idempotency_key)
  end)
end)

describe("contract.build bounds what the manager would refuse for ever", function()
  it("numbers out of range, negative or not finite become null and stay in raw_results", function()
    for _, value in ipairs { 1e6, 1e300, math.huge, -1, 0 / 0 } do
      local stored = store(make.icmp { latency_ms = value, jitter_ms = value })
      assert.equal(json.null, stored.latency_ms)
      assert.is_nil(stored.jitter_ms)
    end
    assert.equal(1e6, store(make.icmp { latency_ms = 1e6 }).raw_results.latency_ms)
    assert.is_nil(store(make.http { throughput_mbps = 1e8 }).throughput_mbps)
    assert.is_nil(store(make.udp { packet_loss_percent = 1000 }).packet_loss_percent)
    assert.equal(999999.9, store(make.icmp { latency_ms = 999999.9 }).latency_ms)
  end)

  it("texts that are too long, counted in characters", function()
    local long = { serial = ("é"):rep(300), hostname = ("x"):rep(300), os = ("日"):rep(150), os_version = ("x"):rep(300) }
    local stored = store(make.tcp { target_host = ("h"):rep(300), protocol_detail = ("p"):rep(60) }, long)
    assert.equal(255, utf8.len(stored.device_serial))
    assert.equal(100, utf8.len(stored.device_os))
    assert.equal(50, #stored.protocol_detail)
  end)

  it("an address that would be cut is left out, a zone before that", function()
    assert.equal("", store(make.tcp { target_ip = ("1"):rep(60) }).target_ip)
    assert.equal("fe80::1", store(make.tcp { target_ip = "fe80::1%" .. ("e"):rep(60) }).target_ip)
  end)

  it("a device that does not know itself", function()
    local stored = store(make.tcp(), {})
    assert.equal("unknown", stored.device_serial)
    assert.equal("unknown", store(make.tcp(), { serial = "" }).device_serial)
  end)

  it("invalid UTF-8, surrogates and NUL bytes", function()
    local stored = store(make.ssh { banner = "SSH-2.0-\xff\xed\xa0\x80\0x", ["bad\xffkey"] = 1 })
    assert.equal("SSH-2.0-\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}x", stored.raw_results.ssh_banner)
    assert.equal(1, stored.raw_results["bad\u{fffd}key"])
  end)

  it("nesting without end and tables that contain themselves", function()
    local deep = {}
    local at = deep
    for _ = 1, 100 do
      at.inner = {}
      at = at.inner
    end
    local loop = { name = "loop" }
    loop.loop = loop
    local stored = store(make.tcp { deep = deep, loop = loop, fn = print, keyed = { [true] = 1, [print] = 2, x = 3 } })
    assert.same({ name = "loop" }, stored.raw_results.loop)
    assert.same({ x = 3 }, stored.raw_results.keyed)
    assert.is_nil(stored.raw_results.fn)
  end)

  it("more than the manager stores: the largest parts go and are named", function()
    local stored = store(make.tcp { notes = ("x"):rep(9000000), more = ("y"):rep(8000000), small = "z" })
    assert.same({ "notes" }, stored.raw_results.omitted)
    assert.equal("z", stored.raw_results.small)
    assert.equal(8000000, #stored.raw_results.more)
  end)

  it("keeps integers whole", function()
    local _, row = store(make.tcp { serial_number = 123456789012345678 })
    assert.matches('"serial_number":123456789012345678', row.body, 1, true)
  end)

  it("says what it can never upload", function()
    local row, message = contract.build(strict { test_type = "login", target = "x" }, device)
    assert.is_nil(row)
    assert.equal("invalid: test_type 'login', the manager stores http, tcp, udp, icmp and speedtest", message)
    row, message = contract.build({}, device)
    assert.is_nil(row)
    assert.matches("^invalid: test_type is missing", message)
    row, message = contract.build({ test_type = "tcp" }, device)
    assert.is_nil(row)
    assert.matches("^invalid: neither target_host nor target", message)
  end)

  it("bears every field of the wrong type", function()
    for kind, new in pairs(make) do
      for _, wrong in ipairs { true, "text", 5, {} } do
        local result = new()
        for name in pairs(result) do
          if name ~= "test_type" and name ~= "target_host" and name ~= "success" then
            rawset(result, name, wrong)
          end
        end
        local row = contract.build(result, device)
        if row then
          local status, reason = rules.check(row.body)
          assert.equal(201, status, kind .. ": " .. reason)
        end
      end
    end
  end)
end)
