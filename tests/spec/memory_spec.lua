-- A packet allocates nothing, neither when it is sent nor when it is answered: counted in a waddle of its own (support/preload/count_memory.c).

local process = require "tests.support.process"
local spec = require "tests.support.spec"

-- Runs the script; how many packets it sent, and what was allocated from the first of them to the last reply.
local function count(script)
  if process.sanitizer() then
    spec.skip("a sanitizer allocates in its own way")
  end
  local file = process.file("count", "")
  local code, out, err = process.run({"-e", script}, {LD_PRELOAD = process.preload "count-memory", WADDLE_COUNT = file})
  assert(code == 0, out .. err)
  local packets, allocations = assert(io.open(file)):read("n", "n")
  return packets, allocations
end

-- A list that names a target so often, as Lua.
local function repeated(target, times)
  return ("(function() local list = {} for i = 1, %d do list[i] = %q end return list end)()"):format(times, target)
end

describe("a sweep", function()
  after_each(process.clean)

  local N = 1000
  local GRADES = {"stamps = 'lean'", "stamps = 'exact'", "stamps = 'exact', rate = 5000", "count = 2, interval = 0.01", "retries = 1, timeout = 0.05, linger = 0.1"}
  for name, peer in pairs {["icmp.sweep"] = false, ["udp.sweep"] = "udp_echo"} do
    for _, options in ipairs(GRADES) do
      it(("by %s {%s} allocates nothing a packet"):format(name, options), function()
        local target = peer and spec.peer(peer) or "127.0.0.1"
        for _, n in ipairs {N, 2 * N} do
          local packets, allocations = count(("local r = %s(%s, {%s}) assert(r.received > 0)"):format(name, repeated(target, n), options))
          assert.is_true(packets >= n)
          assert.equal(0, allocations, ("for %d packets"):format(packets))
        end
      end)
    end
  end

  it("that begins anew allocates, and that is counted", function()
    local _, allocations = count("for _ = 1, 2 do assert(icmp.sweep('127.0.0.0/24').received > 0) end")
    assert.is_true(allocations > 0)
  end)
end)
