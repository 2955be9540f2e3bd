local contract = require "waddle.contract"
local dns = require "waddle.dns"
local json = require "waddle.json"
local rules = require "waddle.manager_rules"
local tcp = require "waddle.tcp"

-- Results of real probes that fail at once: nothing listens on port 1 of the loopback.
describe("the result of a probe", function()
  it("has its lists marked, so that an empty one is written as a list", function()
    local result = dns.query("example.test", { server = "127.0.0.1:1", timeout = "2s" })
    assert.equal("connection_refused", result.error)
    assert.is_true(json.is_array(result.samples))
    for i = #result.samples, 1, -1 do
      result.samples[i] = nil
    end
    assert.matches('"samples":[]', json.encode(result), 1, true)
  end)

  it("is a body the manager stores", function()
    local device = { serial = "s", hostname = "h", os = "Linux", os_version = "6" }
    for _, result in ipairs { dns.query("example.test", { server = "127.0.0.1:1" }), tcp.connect("127.0.0.1:1") } do
      local row = assert(contract.build(result, device))
      local status, reason, stored = rules.check(row.body)
      assert.equal(201, status, reason)
      assert.equal(json.null, stored.latency_ms)
      assert.equal("connection_refused", stored.error)
    end
  end)

  it("is judged by what is expected of it", function()
    local result = tcp.connect("127.0.0.1:1", { expect = { error = "connection_refused" } })
    assert.is_true(result.success)
    assert.is_nil(result.error)
    result = tcp.connect("127.0.0.1:1", { expect = { latency_ms = "< 300" } })
    assert.is_false(result.success)
    assert.equal("connection_refused", result.error)
  end)
end)
