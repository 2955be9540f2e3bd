local dns = require "waddle.dns"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"

local function ask(name, options)
  options = options or {}
  options.server = options.server or spec.peer("unbound")
  return dns.query(name, options)
end

local function fault(name, options)
  options = options or {}
  options.server = spec.peer("dns_" .. name)
  return dns.query("x.test", options)
end

-- The values of one field of all records, sorted.
local function all(records, field)
  local values = {}
  for i, record in ipairs(records) do
    values[i] = record[field]
  end
  table.sort(values)
  return values
end

describe("dns.query", function()
  it("gives records, flags, times and who answered", function()
    local server, host, port = spec.peer("unbound")
    local r = ask("two.zone.test")
    assert.is_true(r.success)
    assert.is_nil(r.error)
    assert.same({"dns", "dns", "two.zone.test", "two.zone.test", host, port, server},
      {r.test_type, r.protocol_detail, r.target, r.target_host, r.target_ip, r.target_port, r.server})
    assert.same({"127.0.0.1", "127.0.0.2"}, all(r.answers, "address"))
    assert.equal("NOERROR", r.rcode)
    assert.equal("udp", r.transport)
    assert.is_false(r.truncated)
    assert.is_true(r.flags.rd and r.flags.ra)
    assert.equal(300, r.answers[1].ttl)
    assert.equal(1, r.tries)
    assert.equal(r.latency_ms, r.timings.query_ms)
    assert.is_true(r.latency_ms > 0 and r.latency_ms <= r.timings.total_ms)
    assert.is_nil(r.timings.dns_ms)
    assert.is_nil(r.timings.connect_ms)
  end)

  it("asks for every type by name", function()
    local expected = {
      {"both.zone.test", "AAAA", "address", "::1"},
      {"alias.zone.test", "CNAME", "target", "a.zone.test"},
      {"zone.test", "MX", "target", "mail.zone.test"},
      {"zone.test", "NS", "target", "ns1.zone.test"},
      {"text.zone.test", "TXT", "text", "twostrings"},
      {"zone.test", "SOA", "serial", 7},
      {"_sip._tcp.zone.test", "SRV", "port", 5060},
      {"127.0.0.1", "PTR", "target", "peer.zone.test"},
      {"zone.test", "CAA", "text", "ca.test"},
    }
    for _, e in ipairs(expected) do
      local r = ask(e[1], {type = e[2]:lower()})
      assert.is_true(r.success, e[2] .. ": " .. tostring(r.error_detail))
      assert.equal(e[2], r.type)
      assert.equal(e[4], all(r.answers, e[3])[1], e[2])
    end
    assert.same({"A", "AAAA"}, all(fault("good", {type = "ANY"}).answers, "type"))
  end)

  it("counts a name that does not exist, or has no such record, as a failure", function()
    local r = ask("nope.zone.test")
    assert.is_false(r.success)
    assert.equal("dns_nxdomain", r.error)
    assert.equal("NXDOMAIN", r.rcode)
    assert.is_nil(r.latency_ms)
    assert.equal("SOA", r.authority[1].type)
    r = ask("a.zone.test", {type = "AAAA"})
    assert.equal("dns_nodata", r.error)
    assert.equal("NOERROR", r.rcode)
    assert.equal("dns_refused", ask("x.refused.test").error)
    assert.equal("dns_servfail", fault("servfail").error)
    r = fault("notimp")
    assert.equal("protocol", r.error)
    assert.equal("NOTIMP", r.rcode)
  end)

  it("takes NXDOMAIN for a success where it is expected, and only there", function()
    local r = ask("nope.zone.test", {expect = {rcode = "NXDOMAIN"}})
    assert.is_true(r.success)
    assert.is_true(r.latency_ms > 0)
    assert.equal("assertion", ask("a.zone.test", {expect = {rcode = "NXDOMAIN"}}).error)
    assert.equal("timeout", fault("silent", {timeout = 0.05, expect = {rcode = "NXDOMAIN"}}).error)
  end)

  it("speaks TCP where asked to, with the connection apart", function()
    local r = ask("a.zone.test", {transport = "tcp"})
    assert.is_true(r.success)
    assert.equal("tcp", r.transport)
    assert.is_true(r.timings.connect_ms > 0 and r.timings.connect_ms < r.latency_ms)
    local mark = spec.mark()
    assert.is_true(fault("good", {transport = "tcp"}).success)
    assert.equal(1, spec.count(spec.log("dns_good", mark), "query", " t$"))
  end)

  it("asks again over TCP when the answer is truncated, and shows it", function()
    local r = ask("big.zone.test", {type = "TXT"})
    assert.is_true(r.success)
    assert.is_true(r.truncated)
    assert.equal("tcp", r.transport)
    assert.equal(20, #r.answers)
    assert.equal(2, r.tries)
    assert.same({"truncated", "ok"}, {r.samples[1].status, r.samples[2].status})
    assert.equal(r.samples[2].rtt_ms, r.latency_ms)
    r = fault("tc_tcp_fin")
    assert.equal("protocol", r.error)
    assert.matches("closed the connection", r.error_detail)
    assert.is_true(r.truncated)
    assert.equal("timeout", fault("tc_tcp_silent", {timeout = 0.1}).error)
  end)

  it("uses the EDNS size and the DO bit it is told", function()
    assert.is_true(ask("big.zone.test", {type = "TXT", edns = 4096}).edns.size > 0)
    assert.is_nil(rawget(ask("a.zone.test", {edns = 0}), "edns"))
    assert.is_true(ask("a.zone.test", {dnssec = true}).edns.dnssec)
    assert.is_false(ask("a.zone.test").edns.dnssec)
    assert.is_false(ask("a.zone.test", {recurse = false}).flags.rd)
  end)

  it("asks again when nothing comes, and times the query that was answered", function()
    local r = fault("drop_first", {timeout = 0.7})
    assert.is_true(r.success)
    assert.equal(2, r.tries)
    assert.equal("unanswered", r.samples[1].status)
    assert.is_true(r.samples[2].sent_ms >= 99)
    assert.equal(r.samples[2].rtt_ms, r.latency_ms)
    assert.is_true(r.timings.total_ms >= r.latency_ms + 99)
  end)

  it("takes a late answer for the query it answers", function()
    local r = fault("late_300", {timeout = 0.9})
    assert.is_true(r.success)
    assert.is_true(r.latency_ms >= 299)
    assert.equal("ok", r.samples[1].status)
    assert.is_true(r.tries > 1)
  end)

  it("gives up after its timeout, whatever tries says", function()
    local mark = spec.mark()
    local r = fault("silent", {timeout = 0.15, tries = 4})
    assert.equal("timeout", r.error)
    assert.equal(4, r.tries)
    assert.is_nil(r.latency_ms)
    assert.is_true(r.timings.total_ms >= 149 and r.timings.total_ms < 400)
    assert.equal(4, spec.count(spec.log("dns_silent", mark), "query"))
    assert.equal(1, fault("silent", {timeout = 0.05, tries = 1}).tries)
  end)

  it("ignores and counts what is no answer to its question", function()
    for _, name in ipairs {"wrong_id", "wrong_question", "not_response"} do
      local r = fault(name, {timeout = 0.05, tries = 1})
      assert.equal("timeout", r.error, name)
      assert.equal(1, r.ignored, name)
    end
    assert.equal("protocol", fault("short").error)
    assert.is_true(fault("duplicate").success)
  end)

  it("ignores and counts what comes from elsewhere", function()
    local elsewhere = serve.udp {address = "127.0.0.1", handler = function() end}
    local server = serve.udp {address = "127.0.0.1", handler = function(question, from, port)
      elsewhere:send(question:sub(1, 2) .. "\x81\x83" .. question:sub(5), from, port)
    end}
    finally(function()
      elsewhere:close()
      server:close()
    end)
    local r = dns.query("x.test", {server = "127.0.0.1:" .. server.port, timeout = 0.2, tries = 1, edns = 0})
    assert.equal("timeout", r.error)
    assert.equal(1, r.ignored)
  end)

  it("says at once that a port is closed", function()
    local r = ask("x.test", {server = "127.0.0.1:1"})
    assert.equal("connection_refused", r.error)
    assert.is_true(r.timings.total_ms < 500)
    r = ask("x.test", {server = "127.0.0.1:1", transport = "tcp"})
    assert.equal("connection_refused", r.error)
  end)

  it("names what a router says", function()
    assert.equal("host_unreachable", ask("x.test", {server = spec.value("unreachable")}).error)
    assert.equal("admin_prohibited", ask("x.test", {server = spec.value("prohibited")}).error)
    assert.equal("network_unreachable", ask("x.test", {server = "[" .. spec.value("unreachable_v6") .. "]", transport = "tcp"}).error)
  end)

  it("looks up a server's name, timed apart", function()
    local port = select(3, spec.peer("unbound"))
    local r = ask("a.zone.test", {server = "localhost:" .. port, family = 4})
    assert.is_true(r.success, r.error_detail)
    assert.equal("127.0.0.1", r.target_ip)
    assert.is_true(r.timings.dns_ms > 0)
    r = ask("a.zone.test", {server = "nope.zone.test", resolver = {server = spec.peer("unbound")}})
    assert.equal("dns_nxdomain", r.error)
    assert.matches("server 'nope.zone.test'", r.error_detail)
    assert.equal(0, r.tries)
  end)

  it("speaks IPv6 to servers", function()
    local server = spec.peer("dns_good", "::1")
    for _, transport in ipairs {"udp", "tcp"} do
      local r = dns.query("x.test", {server = server, transport = transport})
      assert.is_true(r.success, r.error_detail)
      assert.equal("::1", r.target_ip)
    end
  end)

  it("sends every query from a port of its own with an id of its own", function()
    local list = {}
    for i = 1, 50 do
      list[i] = i
    end
    local results = task.map(list, function()
      return fault("good")
    end, {concurrency = 50})
    for i = 1, 50 do
      assert.is_true(results[i].success)
      assert.equal(0, results[i].ignored)
    end
  end)

  it("raises for what cannot be asked", function()
    assert.error_matches(function() dns.query("a..b") end, "dns.query: 'a%.%.b'")
    assert.error_matches(function() dns.query("a.test", {type = "FOO"}) end, "'FOO' is not a record type")
    assert.error_matches(function() dns.query("a.test", {server = "a:b:c"}) end, "field 'server'")
    assert.error_matches(function() dns.query("a.test", {edns = 100}) end, "field 'edns'")
    assert.error_matches(function() dns.query("a.test", {edns = 0, dnssec = true}) end, "field 'dnssec'")
    assert.error_matches(function() dns.query {type = "A"} end, "name")
  end)
end)
