-- The simulated internet (tests/sim) for benchmarks: hosts that answer after 5 ms, and the capture's round trips of what was sent to them. Needs a network
-- of our own. Specs have support/sim.lua, which compares more.

local truth = require "tests.support.truth"

local simulated = {}

-- Short enough that fping prints hundredths of a millisecond.
local HOSTS = "10.77.0.0/16 delay=5ms"
local FIRST_NET, PER_NET = 16, 250
local NO_TUN = 3 -- the simulator's exit code

--- host(i) -> the address of the i-th host, from 1 to 59,750.
function simulated.host(i)
  return ("10.77.%d.%d"):format(FIRST_NET + (i - 1) // PER_NET, (i - 1) % PER_NET + 1)
end

-- What the capture has: {[host] = packets}, and how many were sent a second.
local function captured(path)
  local hosts, first, last, count = truth.capture(path), math.huge, 0, 0
  for _, packets in pairs(hosts) do
    for _, packet in ipairs(packets) do
      first, last, count = math.min(first, packet.tx[1]), math.max(last, packet.tx[1]), count + 1
    end
  end
  return hosts, (count - 1) / math.max(last - first, 1) * 1e9
end

--- run(program, folder, fn) -> what fn() returned, packets, rate: of all it sent, packets[host] as support/truth.lua has them, and how many a second.
--- `program` is waddle-sim, `folder` one for its files. nil, why where there is no TUN device. Raises when the simulator fails or its capture has holes,
--- and what fn raises.
function simulated.run(program, folder, fn)
  local config, capture, errors = folder .. "/sim.config", folder .. "/sim.capture", folder .. "/sim.errors"
  local file = assert(io.open(config, "w"))
  file:write(HOSTS, "\n")
  file:close()
  local sim = assert(io.popen(("exec setpriv --pdeathsig KILL -- '%s' '%s' - '%s' 2>'%s'"):format(program, config, capture, errors)))
  local pid = (sim:read("l") or ""):match("^ready (%d+)")
  local done, value
  if pid then
    done, value = pcall(fn)
    os.execute("kill " .. pid)
  end
  local ended, _, code = sim:close()
  if not ended then
    local text <close> = assert(io.open(errors))
    local why = text:read("a")
    if code ~= NO_TUN then
      error(why, 0)
    end
    return nil, why
  end
  assert(done, value)
  return value, captured(capture)
end

return simulated
