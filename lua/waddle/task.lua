-- Tasks for scripts: the waits of the core, and all, race, map, timeout and channels made of them.
-- Children end with their parent; a failure that nobody joined fails the parent when it ends.

local core = require "waddle.core.task"

local task = {
  --- spawn(fn, ...) -> task: runs fn(...) beside the caller. t:join() waits for what it returns and
  -- raises what it raised; t:cancel() ends it and closes what it waits on at once.
  spawn = core.spawn,
  --- sleep(duration): seconds, or text like "250ms".
  sleep = core.sleep,
  --- now() -> seconds on the monotonic clock.
  now = core.now,
  --- current() -> the calling task.
  current = core.current,
}

local function expect_functions(fns, what)
  if type(fns) ~= "table" then
    error(("%s: expected a list of functions, got %s"):format(what, type(fns)), 3)
  end
  for i, fn in ipairs(fns) do
    if type(fn) ~= "function" then
      error(("%s: entry %d: expected a function, got %s"):format(what, i, type(fn)), 3)
    end
  end
end

local function on_close(fn)
  return setmetatable({}, {__close = fn})
end

local function cancel_each(tasks)
  for _, t in pairs(tasks) do
    t:cancel()
  end
end

local LIST = {__name = "json.array"}

-- Runs start(1) .. start(n), `limit` at a time; the first values in order. The first one that raises
-- cancels the rest.
local function gather(n, limit, start)
  local me, out, running, ended, launched = core.current(), {n = n}, {}, {}, 0
  if n == 0 then
    setmetatable(out, LIST) -- json writes it as a list
  end
  local guard <close> = on_close(function() cancel_each(running) end) -- luacheck: ignore 211
  local function launch()
    launched = launched + 1
    local i = launched
    running[i] = core.spawn(function()
      local note <close> = on_close(function() -- luacheck: ignore 211
        ended[#ended + 1] = i
        core.wake(me)
      end)
      return start(i)
    end)
  end
  while launched < math.min(limit, n) do
    launch()
  end
  local taken = 0
  while taken < n do
    while #ended == 0 do
      core.park()
    end
    local batch = ended
    ended = {}
    for _, i in ipairs(batch) do
      out[i] = running[i]:join()
      running[i] = nil
      taken = taken + 1
      if launched < n then
        launch()
      end
    end
  end
  return out
end

--- all{fn, ...} -> {n=, [i]=first value of the i-th}: runs them side by side; the first one that
-- raises cancels the rest and raises here.
function task.all(fns)
  core.check("task.all")
  expect_functions(fns, "task.all")
  return gather(#fns, #fns, function(i) return fns[i]() end)
end

--- map(list, fn(item, i) [, {concurrency=16}]) -> {n=, [i]=first value}: as all, at most
-- `concurrency` at a time.
function task.map(list, fn, opts)
  core.check("task.map")
  if type(list) ~= "table" or type(fn) ~= "function" then
    error(("task.map: expected a list and a function, got %s and %s"):format(type(list), type(fn)), 2)
  end
  for key in pairs(opts or {}) do
    if key ~= "concurrency" then
      error(("task.map: unknown field '%s'; did you mean 'concurrency'?"):format(tostring(key)), 2)
    end
  end
  local limit = opts and opts.concurrency or 16
  if math.type(limit) ~= "integer" or limit < 1 then
    error(("task.map: field 'concurrency': expected an integer from 1, got %s"):format(tostring(limit)), 2)
  end
  return gather(#list, limit, function(i) return fn(list[i], i) end)
end

--- race{fn, ...} -> index, values...: of the one that ends first; the others are cancelled. Raises
-- what it raised.
function task.race(fns)
  core.check("task.race")
  expect_functions(fns, "task.race")
  if #fns == 0 then
    error("task.race: expected at least one function", 2)
  end
  local running = {}
  local guard <close> = on_close(function() cancel_each(running) end) -- luacheck: ignore 211
  for i, fn in ipairs(fns) do
    running[i] = core.spawn(fn)
  end
  local first = core.wait(running)
  return first, running[first]:join()
end

--- timeout(duration, fn, ...) -> true, values... | false, "timeout": ends fn when the time is up.
function task.timeout(duration, fn, ...)
  core.check("task.timeout")
  if type(fn) ~= "function" then
    error(("task.timeout: expected a function, got %s"):format(type(fn)), 2)
  end
  local running = core.spawn(fn, ...)
  local guard <close> = on_close(function() running:cancel() end) -- luacheck: ignore 211
  if core.wait({running}, duration) then
    return true, running:join()
  end
  return false, "timeout"
end

local channel = {}
channel.__index = channel

-- Wakes the first of the waiting tasks that still waits.
local function wake_first(waiting)
  while #waiting > 0 do
    if core.wake(table.remove(waiting, 1)) then
      return
    end
  end
end

local function forget(list, value)
  for i, v in ipairs(list) do
    if v == value then
      table.remove(list, i)
      return
    end
  end
end

--- channel([n]) -> a queue between tasks that holds n values (0: each send waits for its receive).
-- c:send(v [, timeout]) -> true | false, "timeout" | false, "closed"
-- c:receive([timeout]) -> v | nil, "timeout" | nil, "closed"
-- c:close(): receivers get what is left, then nil. `for v in c:each() do` until it is closed.
function task.channel(n)
  if n ~= nil and (math.type(n) ~= "integer" or n < 0) then
    error(("task.channel: expected an integer from 0, got %s"):format(tostring(n)), 2)
  end
  return setmetatable({room = n or 0, first = 1, last = 0, items = {}, receivers = {}, closed = false}, channel)
end

local function deadline_of(timeout)
  return timeout and core.now() + require("waddle.duration").parse(timeout)
end

-- Parks until woken; false when the deadline has passed.
local function park_until(deadline)
  if not deadline then
    return core.park()
  end
  local left = deadline - core.now()
  return left > 0 and core.park(left)
end

function channel:send(value, timeout)
  core.check("channel.send")
  if self.closed then
    return false, "closed"
  end
  local deadline = deadline_of(timeout)
  self.last = self.last + 1
  local place, item = self.last, {value = value, sender = core.current()}
  self.items[place] = item
  wake_first(self.receivers)
  local guard <close> = on_close(function() item.gone = not item.taken and place >= self.first + self.room end) -- luacheck: ignore 211
  while not item.taken and place >= self.first + self.room do
    if self.closed then
      return false, "closed"
    elseif not park_until(deadline) and not item.taken and place >= self.first + self.room then
      return false, "timeout"
    end
  end
  return true
end

-- Takes the first value whose sender has not given up.
local function take(self)
  while self.first <= self.last do
    local item = self.items[self.first]
    self.items[self.first] = nil
    self.first = self.first + 1
    item.taken = true
    core.wake(item.sender)
    local moved_up = self.items[self.first + self.room - 1]
    if moved_up then
      core.wake(moved_up.sender)
    end
    if not item.gone then
      return item
    end
  end
end

function channel:receive(timeout)
  core.check("channel.receive")
  local deadline, me = deadline_of(timeout), core.current()
  while true do
    local item = take(self)
    if item then
      return item.value
    elseif self.closed then
      return nil, "closed"
    end
    self.receivers[#self.receivers + 1] = me
    local guard <close> = on_close(function() forget(self.receivers, me) end) -- luacheck: ignore 211
    if not park_until(deadline) and self.first > self.last then
      return nil, "timeout"
    end
  end
end

function channel:close()
  self.closed = true
  for place = self.first, self.last do
    core.wake(self.items[place].sender)
  end
  while #self.receivers > 0 do
    wake_first(self.receivers)
  end
end

function channel:each()
  return function()
    return (self:receive())
  end
end

return task
