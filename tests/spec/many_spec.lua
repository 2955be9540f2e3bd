-- Thousands of probes at once in one process: each result is right, and where descriptors run out it is `local` for each that had none, never a
-- wrong number. The probes are in a process of its own, with a limit of its own; the servers are here.

local program = require "tests.support.program"
local reflect = require "waddle.reflect"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"

local TALLY = [[
  local probes, port = math.tointeger(arg[1]), arg[2]
  local function tally(call)
    local found, jobs = {success = 0, wrong = 0}, {}
    for i = 1, probes do
      jobs[i] = i
    end
    for _, result in ipairs(task.map(jobs, call, {concurrency = probes})) do
      local name = result.success and "success" or result.error
      found[name] = (found[name] or 0) + 1
      local right
      if result.success then
        right = result.latency_ms > 0 and (result.test_type ~= "http" or result.body_bytes == 4) and (result.test_type ~= "dns" or result.rcode == "NXDOMAIN")
      else
        right = not result.latency_ms and #result.error_detail > 0
      end
      found.wrong = found.wrong + (right and 0 or 1)
    end
    for name, count in pairs(found) do
      io.write(name, " ", count, "\n")
    end
  end
]]

local PROBES = {
  tcp = 'tally(function() return tcp.connect("127.0.0.1:" .. port, {timeout = 60}) end)',
  http = 'tally(function() return http.request("http://127.0.0.1:" .. port .. "/", {timeout = 60}) end)',
  dns = [[tally(function(i)
    return dns.query(i .. ".waddle.test", {server = "127.0.0.1:" .. port, timeout = 20, tries = 10, expect = {rcode = "NXDOMAIN"}})
  end)]],
}

local STARTERS = {
  tcp = function() return serve.tcp {connections = 20000, handler = function(conn) conn:read(1) end} end,
  http = function() return serve.http {connections = 2000, handler = function() return "here" end} end,
  dns = function()
    local other = reflect.start {ports = {dns = 0}}
    return other and {port = other.dns, close = function() other:close() end}
  end,
}

-- How `probes` probes at once in a process with at most `limit` descriptors ended: {success=, wrong= (a result that says what it must not), NAME of error=}.
local function outcome(kind, probes, limit)
  local server = assert(STARTERS[kind]())
  local status, out, err = program.run({"-e", TALLY .. PROBES[kind], tostring(probes), tostring(server.port)}, ("ulimit -n %d && "):format(limit), 100)
  server:close()
  assert.equal(0, status, err)
  local found = {}
  for name, count in out:gmatch("(%S+) (%d+)\n") do
    found[name] = tonumber(count)
  end
  return found
end

-- Skips where the machine allows fewer descriptors than `limit`.
local function room_for(limit)
  local _, most = program.sh("ulimit -Hn")
  if (tonumber(most) or math.huge) < limit then
    spec.skip(("at most %d descriptors are allowed here, %d are needed"):format(tonumber(most), limit))
  end
  return limit
end

local MANY = {tcp = 10000, http = 1000, dns = 1000}

describe("at once, with room for all,", function()
  for kind, probes in pairs(MANY) do
    it(("%d probes of %s succeed"):format(probes, kind), function()
      assert.same({success = probes, wrong = 0}, outcome(kind, probes, room_for(probes + 1000)))
    end)
  end
end)

describe("at once, with 200 descriptors,", function()
  it("1000 probes of dns succeed: they share sockets", function()
    assert.same({success = 1000, wrong = 0}, outcome("dns", 1000, 200))
  end)

  for _, kind in ipairs {"tcp", "http"} do
    local probes = MANY[kind]
    it(("of %d probes of %s those without a descriptor have a local fault, and no other"):format(probes, kind), function()
      local found = outcome(kind, probes, 200)
      assert.equal(0, found.wrong)
      assert.is_true(found.success > 0)
      assert.is_true(found["local"] > 0)
      assert.equal(probes, found.success + found["local"])
    end)
  end
end)
