-- The option reader and the result writer, met through a probe: every misuse raises a message that
-- names the function, the field, what was expected and what came.

local core = require "waddle.core"
local tcp = require "waddle.tcp"

local function message_of(...)
  local ok, err = pcall(core.check, ...)
  assert.is_false(ok)
  return err
end

local cases = {
  {"an unknown field, with the nearest", {"tcp.connect", "h:1", {timout = 3}}, "tcp.connect: unknown field 'timout'; did you mean 'timeout'?"},
  {"an unknown field with nothing near", {"tcp.connect", "h:1", {zzzzqq = 3}}, "tcp.connect: unknown field 'zzzzqq'; help \"tcp.connect\" lists them"},
  {"a word for an integer", {"icmp.ping", "h", {count = "ten"}}, "icmp.ping: field 'count': expected an integer from 1 to 65535, got \"ten\""},
  {"a number in text for an integer", {"icmp.ping", "h", {count = "10"}}, "got \"10\""},
  {"a fraction for an integer", {"icmp.ping", "h", {count = 1.5}}, "got 1.5"},
  {"an integer out of range", {"icmp.ping", "h", {count = 0}}, "expected an integer from 1 to 65535, got 0"},
  {"a duration that is none", {"tcp.connect", "h:1", {timeout = "3 parsecs"}}, "field 'timeout': expected a duration"},
  {"a negative duration", {"tcp.connect", "h:1", {timeout = -1}}, "got -1"},
  {"a duration that is not finite", {"tcp.connect", "h:1", {timeout = math.huge}}, "field 'timeout'"},
  {"a word that is not of an enumeration", {"tcp.connect", "h:1", {family = "7"}}, "expected one of: any, 4, 6, got \"7\""},
  {"a table for a text", {"tcp.connect", {}, {}}, "field 'target': expected a string of 1 to 300 bytes, got a table"},
  {"a text for a table", {"tcp.connect", "h:1", {tls = "yes"}}, "field 'tls': expected a table, got a string"},
  {"a secret for the table that it belongs into", {"http.request", "http://h/", {auth = "hunter2"}}, "field 'auth': expected a table, got a string"},
  {"a field inside a nested table", {"tcp.connect", "h:1", {tls = {verfy = true}}}, "unknown field 'tls.verfy'; did you mean 'verify'?"},
  {"a field inside a list", {"tcp.connect", "h:1", {dialogue = {{send = "a"}, {expct = "b"}}}}, "'dialogue[2].expct'; did you mean 'expect'?"},
  {"a missing target", {"tcp.connect"}, "field 'target': expected a string of 1 to 300 bytes, got nothing"},
  {"an address that is none", {"tcp.connect", "h:1", {address = "example"}}, "field 'address': expected an IP address, got \"example\""},
  {"NUL bytes in a text", {"tcp.connect", "h\0:1"}, "NUL"},
  {"options that are no table", {"tcp.connect", "h:1", 5}, "expected a table of options, got 5"},
  {"a key that is no name", {"tcp.connect", "h:1", {[7] = true}}, "unexpected key 7"},
}

describe("misuse of options is told:", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      assert.matches(case[3], message_of(table.unpack(case[2], 1, 3)), 1, true)
    end)
  end

  it("with the place of the caller", function()
    local ok, err = pcall(function() tcp.connect("h:1", {timout = 1}) end)
    assert.is_false(ok)
    assert.matches("tests/spec/options_spec.lua:%d+: tcp.connect:", err)
  end)

  it("and leaves nothing behind, a thousand times", function()
    collectgarbage()
    collectgarbage()
    local registry = core.stats().registry
    for _ = 1, 1000 do
      for _, case in ipairs(cases) do
        pcall(core.check, table.unpack(case[2], 1, 3))
      end
    end
    collectgarbage()
    collectgarbage()
    assert.equal(registry, core.stats().registry)
  end)
end)

describe("options", function()
  it("may name the target first, as [1], or as a field", function()
    core.check("tcp.connect", "h:1")
    core.check("tcp.connect", {"h:1"})
    core.check("tcp.connect", {target = "h:1"})
    core.check("tcp.connect", "h:1", {timeout = "1m30s"})
  end)

  it("take durations as seconds and as text", function()
    for _, span in ipairs {0.5, 3, "3", "250ms", "1.5s", "2m", "1h30m"} do
      core.check("tcp.connect", "h:1", {timeout = span})
    end
  end)
end)

describe("a result", function()
  local result

  setup(function()
    result = tcp.connect("127.0.0.1:1", {labels = {site = "a"}, timeout = 2})
  end)

  it("raises for a field it does not declare, with the nearest", function()
    assert.error_matches(function() return result.latencyms end, "no field 'latencyms'; did you mean 'latency_ms'?", 1, true)
  end)

  it("is nil where a declared field is absent", function()
    assert.is_nil(result.latency_ms)
    assert.is_nil(result.timings.connect_ms)
  end)

  it("takes fields of one's own", function()
    result.mine = 7
    assert.equal(7, result.mine)
  end)

  it("carries the labels", function()
    assert.same({site = "a"}, result.labels)
  end)

  it("always has the shared fields", function()
    assert.same({"tcp", "raw_tcp", "127.0.0.1:1", "127.0.0.1", "127.0.0.1", 1, false, "connection_refused"},
      {result.test_type, result.protocol_detail, result.target, result.target_host, result.target_ip, result.target_port,
        result.success, result.error})
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$", result.started_at)
    assert.is_number(result.quality.loop_lag_ms)
  end)
end)

describe("descriptions", function()
  it("have help for every option and result field of every probe", function()
    local function each(fields, path)
      for _, field in ipairs(fields) do
        assert.is_string(field.help, path .. field.name .. " has no help")
        if field.fields then
          each(field.fields, path .. field.name .. ".")
        end
      end
    end
    for _, name in ipairs(core.probes()) do
      local d = core.describe(name)
      assert.is_string(d.help)
      each(d.options, name .. " ")
      each(d.result, name .. " ")
    end
  end)
end)
