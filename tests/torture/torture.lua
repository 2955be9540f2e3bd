-- What the tortures share: whether this is the short form, chance that can be had again, and a word on what happened.
-- Must hold: the seed is told before anything goes wrong, so that `WADDLE_SEED=N ./dev torture NAME` does it again.

local process = require "tests.support.process"
local sys = require "waddle.core.sys"

local torture = {}

--- Whether this is the form for every change; the long one is for an afternoon.
torture.short = os.getenv "WADDLE_TORTURE" ~= "long"

--- pick(short, long) -> one of them.
function torture.pick(short, long)
  if torture.short then
    return short
  end
  return long
end

--- limits([short_s], long_s) -> for before_each, for after_each: how long a process may take, process.limit_s in the short form by default; what
-- process.file made goes afterwards.
function torture.limits(short_s, long_s)
  local before = process.limit_s
  return function() process.limit_s = torture.pick(short_s or before, long_s) end, function()
    process.limit_s = before
    process.clean()
  end
end

--- chance(name) -> random(from, to), a stream of whole numbers of its own; the seed is printed.
function torture.chance(name)
  local seed = math.tointeger(tonumber(os.getenv "WADDLE_SEED")) or string.unpack("I4", sys.random(4))
  print(("\n%s: WADDLE_SEED=%d"):format(name, seed))
  math.randomseed(seed)
  return math.random
end

--- say(format, ...): a line on what was done, for people.
function torture.say(format, ...)
  print(format:format(...))
  io.stdout:flush()
end

--- resident(pid) -> MiB in memory of a process; 0 where it has ended.
function torture.resident(pid)
  local file = io.open(("/proc/%s/status"):format(pid))
  local status = file and file:read "a" or ""
  if file then
    file:close()
  end
  return (tonumber(status:match "VmRSS:%s+(%d+)") or 0) / 1024
end

return torture
