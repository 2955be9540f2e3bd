-- The runner under the virtual clock: an hour of a schedule takes a moment. The code runs in a process of its own and prints what the spec judges.

local process = require "tests.support.process"

local virtual = {}

-- What the code finds: `r = start{concurrency=, transforms=...}` is a runner with a sink that notes results in `seen`, add(r, spec, every)
-- adds a target, at(r) is the time since the first step, `finish(r, seconds)` runs it for that long, say() prints. fake(fn) puts fn(target's first
-- argument, options) in the place of every probe, so that nothing is sent.
local PRELUDE = [[
local runner, parse = require "waddle.runner", require("waddle.target").parse
local core_task = require "waddle.core.task"
sys.virtual_clock()
t0 = task.now()
seen = {}
function at() return task.now() - t0 end
function start(opts)
  opts = opts or {}
  opts.sinks = opts.sinks or {function(result, row) seen[#seen + 1] = {at = at(), result = result, row = row} end}
  return runner.new(opts)
end
function add(r, spec, every) return assert(r:add(assert(parse(spec)), every)) end
function finish(r, seconds)
  local t = task.spawn(function() r:forever() end)
  task.sleep(seconds)
  r:stop()
  t:join()
  r:drain()
end
function fake(fn) runner.probe = function() return fn end end
function say(format, ...) print(format:format(...)) end
]]

--- output(code) -> what it printed; it must end with 0.
function virtual.output(code)
  local status, out, err = process.run({"-e", PRELUDE .. code})
  assert(status == 0, err)
  return out
end

--- numbers(text) -> the list of all numbers in it.
function virtual.numbers(text)
  local list = {}
  for n in text:gmatch("[-%d.e+]+") do
    list[#list + 1] = tonumber(n)
  end
  return list
end

return virtual
