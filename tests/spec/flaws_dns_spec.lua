-- Flaws of the reference client that dns.query must not have; the numbers are those of the contract.

local dns = require "waddle.dns"
local spec = require "tests.support.spec"
local target = require "waddle.target"

describe("flaw 3: dns://", function()
  it("asks the server that the target names, over the wire", function()
    local server, _, port = spec.peer("dns_good")
    local t = assert(target.parse("dns://only-there.test@" .. server .. "?type=AAAA"))
    local mark = spec.mark()
    assert.equal("dns.query", t.probe)
    local r = dns.query(table.unpack(t.args))
    assert.is_true(r.success)
    assert.equal("::1", r.answers[1].address)
    assert.equal(server, r.server)
    assert.equal(port, r.target_port)
    assert.equal(1, spec.count(spec.log("dns_good", mark), "query", "^only%-there%.test%. 28 u"))
  end)

  it("does not fall back to the system's resolver when that server is dead", function()
    local r = dns.query("localhost", {server = "127.0.0.1:1"})
    assert.is_false(r.success)
    assert.equal("connection_refused", r.error)
  end)

  it("calls NXDOMAIN a failure", function()
    local r = dns.query("nope.zone.test", {server = spec.peer("unbound")})
    assert.is_false(r.success)
    assert.equal("dns_nxdomain", r.error)
    assert.is_nil(r.latency_ms)
  end)
end)
