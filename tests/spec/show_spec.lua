local show = require "waddle.show"
local text = require "waddle.text"

-- Results as probes make them: undeclared fields raise.
local function strict(fields)
  return setmetatable(fields, { __index = function(_, key)
    error("no field " .. tostring(key))
  end })
end

local function http()
  return strict { test_type = "http", success = true, protocol_detail = "http/2", status = 200, target = "https://example.com/", target_host = "example.com",
    target_ip = "192.0.2.1", latency_ms = 124.02, body_bytes = 12600, timings = { dns_ms = 12.3, connect_ms = 20.1, tls_ms = 31.02, request_ms = 0.1,
    ttfb_ms = 50.2, transfer_ms = 10.3, total_ms = 124.02 }, redirects = { { url = "http://example.com/", status = 301, timings = { total_ms = 33 } } },
    tls = { version = "TLSv1.3", cipher = "AES", verify = "ok", chain = { { subject = "CN=example.com", days_left = 61, not_after = "2026-01-31T00:00:00Z",
    sans = { "example.com" }, key = "EC 256" }, { subject = "C=US, CN=R3", days_left = -3.4 } } } }
end

describe("show.line", function()
  it("says what each kind of probe is asked for", function()
    local cases = {
      { http(), "✓ https://example.com/: 124ms  200 http/2, 192.0.2.1, 12.3 KiB" },
      { strict { test_type = "tcp", success = true, target = "h:25", target_ip = "192.0.2.1", latency_ms = 1.5 }, "✓ h:25: 1.50ms  192.0.2.1" },
      { strict { test_type = "tcp", success = true, target = "192.0.2.1:25", target_host = "192.0.2.1", target_ip = "192.0.2.1", latency_ms = 1.5 },
        "✓ 192.0.2.1:25: 1.50ms" },
      { strict { test_type = "tls", success = true, target = "h:443", latency_ms = 30, tls = { version = "TLSv1.3", cipher = "AES", verify = "ok",
        chain = { { days_left = 61 } } } }, "✓ h:443: 30.0ms  TLSv1.3, AES, certificate ok for 61 days" },
      { strict { test_type = "tcp", protocol_detail = "ssh", success = true, target = "ssh://h", target_ip = "::1", latency_ms = 3, banner = "SSH-2.0-x\27" },
        "✓ ssh://h: 3.00ms  ::1, SSH-2.0-x\\x1b" },
      { strict { test_type = "dns", success = true, target = "dns://n", latency_ms = 9, rcode = "NOERROR", answers = { { data = "192.0.2.1" } } },
        "✓ dns://n: 9.00ms  NOERROR, 192.0.2.1" },
      { strict { test_type = "icmp", success = true, target = "::1", latency_ms = 0.05, packets_sent = 4, packets_received = 3, jitter_ms = 0.5 },
        "✓ ::1: 0.050ms  3 of 4 replies, jitter 0.500ms" },
      { strict { test_type = "tcp", success = false, target = "h:25", error = "connection_refused" }, "✗ h:25: connection_refused" },
      { strict { test_type = "tcp", success = false, target = "h:25", error = "connection_refused", error_detail = "Connection refused" },
        "✗ h:25: connection_refused" },
      { strict { test_type = "tcp", success = false, target = "h:25", error = "timeout", error_detail = "a\nb" }, "✗ h:25: timeout: a\\nb" },
      { strict { test_type = "own", success = true, target = "login" }, "✓ login: ok" },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[2], show.line(case[1]))
    end
  end)

  it("colours when told, with the same words", function()
    local coloured = show.line(http(), { colour = true })
    assert.truthy(coloured:find("\27[32m✓", 1, true))
    assert.equal(show.line(http()), (coloured:gsub("\27%[%d+m", "")))
  end)
end)

describe("show.waterfall", function()
  it("puts the phases one after another on one axis and never past the width", function()
    local shown = show.waterfall(http().timings, { width = 80 })
    local lines, last = {}, -1
    for line in shown:gmatch("[^\n]+") do
      lines[#lines + 1] = line
      assert.is_true(text.width(line) <= 80)
      local start = line:find("[█▏▎▍▌▋▊▉]") and text.width(line:match("^(.-)\xe2\x96"))
      if start then
        assert.is_true(start >= last, line)
        last = start
      end
    end
    assert.equal(7, #lines)
    assert.matches("^  dns +12.30ms", lines[1])
    assert.matches("^  total +124.02ms$", lines[7])
  end)

  it("shows no phase that did not run", function()
    local shown = show.waterfall { dns_ms = 1, connect_ms = 2, total_ms = 3 }
    assert.is_nil(shown:find("tls", 1, true))
    assert.equal("", show.waterfall {})
    assert.equal("", show.waterfall { total_ms = 3 })
  end)

  it("never writes a phase that was measured as nothing", function()
    local shown = show.waterfall { connect_ms = 0.033, ttfb_ms = 3000.5, total_ms = 3000.533 }
    assert.matches("connect +0.033ms", shown)
    assert.matches("ttfb +3.00s", shown)
    assert.matches("connect +0.003ms", show.waterfall { connect_ms = 0.003, ttfb_ms = 300, total_ms = 300.003 })
  end)

  it("bears phases of no length", function()
    assert.matches("total +0.000ms", show.waterfall { dns_ms = 0, connect_ms = 0, total_ms = 0 })
  end)
end)

describe("show.reply and show.packets", function()
  it("tell each fate of a packet", function()
    assert.equal("seq 1     10.0ms  ttl 57  from 192.0.2.1", show.reply({ status = "ok", rtt_ms = 10, ttl = 57, from = "192.0.2.1" }, 1))
    assert.equal("seq 2   lost", show.reply({ status = "lost" }, 2))
    assert.equal("seq 3   late, after 5.01s", show.reply({ status = "late", rtt_ms = 5010 }, 3))
    assert.equal("seq 4   host_unreachable from 10.0.0.1", show.reply({ status = "error", error = "host_unreachable", from = "10.0.0.1" }, 4))
  end)

  it("sum up", function()
    local shown = show.packets { packets_sent = 3, packets_received = 2, packet_loss_percent = 33.333, rtt_min_ms = 1, rtt_avg_ms = 2, rtt_max_ms = 3,
      late = 0, duplicates = 1, samples = { { status = "ok", rtt_ms = 1 }, { status = "lost" }, { status = "ok", rtt_ms = 3 } } }
    assert.equal("  packets      3 sent, 2 received, 33.3% loss\n  duplicates   1\n  min/avg/max  1.00ms / 2.00ms / 3.00ms\n  replies      ▃×█\n", shown)
  end)
end)

describe("show.chain", function()
  it("shows each certificate under the one it signed", function()
    assert.equal("  ✓ certificate trusted\n  example.com  61 days left (2026-01-31)  EC 256\n    names: example.com\n  └ R3  expired 3 days ago\n",
      show.chain(http().tls))
  end)

  it("names the verdict", function()
    assert.equal("  ✗ certificate tls_untrusted\n", show.chain { verify = "tls_untrusted" })
  end)
end)

describe("show.result", function()
  it("shows a failure of every kind without raising", function()
    for _, kind in ipairs { "http", "tcp", "tls", "ssh", "udp", "dns", "icmp", "own" } do
      assert.equal("✗ t: timeout\n", show.result(strict { test_type = kind, success = false, error = "timeout", target = "t", timings = { dns_ms = 1 } }))
    end
  end)

  it("shows redirects, phases and certificates of http", function()
    local shown = show.result(http())
    assert.truthy(shown:find("  301 http://example.com/  33.0ms\n", 1, true))
    assert.truthy(shown:find("ttfb", 1, true))
    assert.truthy(shown:find("certificate trusted", 1, true))
  end)
end)

describe("show.summary", function()
  it("groups by type in the order http, tcp, udp, icmp", function()
    local shown = show.summary {
      strict { test_type = "icmp", success = true, target_host = "8.8.8.8", latency_ms = 12.344 },
      strict { test_type = "dns", success = false, target_host = "n", error = "dns_nxdomain" },
      strict { test_type = "ssh", success = true, target_host = "h", target = "ssh://h", latency_ms = 3 },
      strict { test_type = "tls", success = true, target_host = "h", target = "tls://h", latency_ms = 4 },
      http(),
      strict { test_type = "login", success = true, target = "intranet" },
    }
    assert.equal("HTTP\n  ✓ example.com: 124.02ms\nTCP\n  ✓ ssh://h: 3.00ms\n  ✓ tls://h: 4.00ms\nUDP\n  ✗ n: dns_nxdomain\nICMP\n  ✓ 8.8.8.8: 12.34ms\n"
      .. "LOGIN\n  ✓ intranet: ok\n5 passed, 1 failed\n", shown)
  end)

  it("marks a run that did not take place as neither passed nor failed, and tells targets on one host apart", function()
    assert.equal("TCP\n  ✓ h:1: 3.00ms\n  – web: skipped: blackout\n1 passed, 0 failed, 1 skipped\n", show.summary {
      strict { test_type = "tcp", success = true, target_host = "h", target = "h:1", latency_ms = 3 },
      strict { test_type = "tcp", success = false, target_host = "h", target = "h:2", target_name = "web", error = "skipped", error_detail = "blackout" },
    })
  end)

  it("flaw 20: marks are UTF-8 bytes whatever the locale", function()
    local before = os.setlocale()
    os.setlocale("C")
    assert.truthy(show.summary({ http() }):find("\xe2\x9c\x93 example.com: 124.02ms", 1, true))
    os.setlocale(before)
  end)
end)
