-- What a result goes through: the target's transform, the global ones in order, on_change, every sink side by side.
-- What must hold: nothing a script's function does, wait or raise or leave tasks behind, holds up another sink or the
-- schedule, or ends the program. Each sink gets its results in their order.

local fifo = require "waddle.fifo"
local redact = require "waddle.redact"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local pipeline = {}
local methods = {}
methods.__index = methods

local MOST_AT_ONCE = 32 -- results for a sink that takes several: enough to share the price of a disk
local REVIVE_S = 1 -- between two looks for sinks whose task has ended
local MOST_WAITING = 10000 -- results before one sink; what comes then is dropped and counted, or waits (be_patient)

local function on_close(fn)
  return setmetatable({}, {__close = fn})
end

-- A failed must stays what it is: it is no error of the script.
local function message_of(err)
  if type(err) == "table" and rawget(err, "must") then
    return err
  end
  sys.log("debug", redact.text(debug.traceback(tostring(err), 2)))
  return redact.text(tostring(err))
end

local function call(fn, ...)
  local values = table.pack(xpcall(fn, message_of, ...))
  if not values[1] then
    error(values[2], 0)
  end
  return table.unpack(values, 2, values.n)
end

local function report(what, err)
  sys.log("error", what .. ": " .. tostring(err))
end

--- guarded(fn, ...) -> true, values... | false, message with file:line (or what a failed must raised): runs a script's function in a task of its own, so that
-- what it spawned and did not join ends with it, and its failures stay here.
function pipeline.guarded(fn, ...)
  return pcall(function(...)
    return task.spawn(call, fn, ...):join()
  end, ...)
end

--- new{transforms={fn...}, sinks={fn(result, row) or {put_all=fn(results)}...}, on_change={fn(result, before)...}, counts={failed=, dropped=,
-- transform_errors=, sink_errors=, sink_dropped=}}: its sinks work in tasks under the calling one. The lists may grow.
function pipeline.new(opts)
  return setmetatable({transforms = opts.transforms, sinks = opts.sinks, on_change = opts.on_change, counts = opts.counts,
    home = task.current(), feeds = {}, before = {}, pending = 0, patient = false}, methods)
end

local function less(self, n)
  self.pending = self.pending - (n or 1)
  if self.pending == 0 and self.waiter then
    task.wake(self.waiter)
  end
end

-- nil drops the result, a table replaces it, several split it; a transform that raises, or gives what is no result, leaves it
-- as it is.
local function transformed(self, fn, results)
  local out = {}
  for _, result in ipairs(results) do
    local values = table.pack(pipeline.guarded(fn, result))
    local wrong = not values[1] and tostring(values[2])
    for i = 2, values[1] and values.n or 1 do
      if values[i] and type(values[i]) ~= "table" then
        wrong = ("the transform gave %s in place of a result"):format(type(values[i]))
      end
    end
    if wrong then
      self.counts.transform_errors = self.counts.transform_errors + 1
      result.transform_error = wrong
      report("transform", wrong)
      values = {true, result, n = 2}
    end
    local kept = #out
    for i = 2, values.n do
      out[#out + 1] = values[i] or nil
    end
    self.counts.dropped = self.counts.dropped + (kept == #out and 1 or 0)
  end
  return out
end

--- took_place(result) -> whether it is of a run that came to its end: skipped and cancelled ones are no measurements.
function pipeline.took_place(result)
  return result.error ~= "skipped" and result.error ~= "cancelled"
end

-- A target changes once a run, by the first of the results that the transforms made of it.
local function note_change(self, row, result)
  if #self.on_change == 0 then
    return
  end
  local before = self.before[row.place]
  self.before[row.place] = {success = result.success, error = result.error, started_at = result.started_at}
  if not before or before.success == result.success then
    return
  end
  for _, fn in ipairs(self.on_change) do
    local ok, err = pipeline.guarded(fn, result, before)
    if not ok then
      report("on_change", err)
    end
  end
end

local function wake_waiting(feed)
  local waiting = feed.waiting
  feed.waiting = {}
  for _, waiter in ipairs(waiting) do
    task.wake(waiter)
  end
end

-- The sink has had `feed.giving` results, or failed with them.
local function gave(self, feed, err)
  local n = feed.giving
  feed.giving = 0
  if err then
    self.counts.sink_errors = self.counts.sink_errors + 1
    report("sink", err)
  end
  less(self, n)
end

-- Hands over the next result, or as many as there are to a sink that takes several.
local function give(self, feed)
  local several = type(feed.sink) == "table"
  local items, results = {}, {}
  repeat
    local n = #items + 1
    items[n] = feed.items:pop()
    results[n] = items[n].result
  until not several or #feed.items == 0 or n == MOST_AT_ONCE
  feed.giving = #items
  if #feed.waiting > 0 then
    wake_waiting(feed)
  end
  local ok, err
  if several then
    ok, err = xpcall(feed.sink.put_all, message_of, results)
  else
    ok, err = xpcall(feed.sink, message_of, items[1].result, items[1].row)
  end
  gave(self, feed, not ok and err)
end

-- Works off what there is for a sink, and what comes, until the sink leaves tasks behind, which end with the one it runs in.
local function work(self, feed)
  while true do
    while #feed.items > 0 do
      give(self, feed)
    end
    feed.full = false
    if feed.last or not task.alone() then
      return
    end
    feed.idle = task.current()
    task.park()
    feed.idle = nil
  end
end

-- A task that lives while there is something to work off, with one in it that a sink may spoil.
local function start_work(self, feed)
  feed.working = task.spawn_under(self.home, function()
    while #feed.items > 0 do
      local ok, err = pipeline.guarded(work, self, feed)
      feed.idle = nil
      if feed.giving > 0 then -- the sink's own task ended in the middle of it
        gave(self, feed, err)
      elseif not ok then
        report("sink", err)
      end
    end
    feed.working = nil
  end)
end

-- Whether a sink gets one more result; where there is time, waits until there is room for it.
local function has_room(self, feed)
  while not self.discarded and #feed.items >= MOST_WAITING do
    if not self.patient then
      self.counts.sink_dropped = self.counts.sink_dropped + 1
      if not feed.full then
        report("sink", ("%d results wait for it, newer ones are dropped"):format(MOST_WAITING))
      end
      feed.full = true
      return false
    end
    feed.waiting[#feed.waiting + 1] = task.current()
    task.park()
  end
  return not self.discarded
end

-- A feed's task that has failed had no memory to go on: another one takes its place, and what it was giving counts as given.
local function revive(self, feed)
  if feed.working and feed.working:status() == "failed" then
    feed.working, feed.idle = nil, nil
    less(self, feed.giving)
    feed.giving = 0
  end
end

local function push(self, sink, result, row)
  local feed = self.feeds[sink]
  if not feed then
    feed = {sink = sink, items = fifo.new(), waiting = {}, giving = 0}
    self.feeds[sink] = feed
  end
  if not has_room(self, feed) then
    return
  end
  feed.items:push({result = result, row = row})
  self.pending = self.pending + 1
  revive(self, feed)
  if feed.idle then
    task.wake(feed.idle)
  elseif not feed.working then
    start_work(self, feed)
  end
end

local function deliver(self, row, result)
  if not result.success and pipeline.took_place(result) then
    self.counts.failed = self.counts.failed + 1
  end
  for _, sink in ipairs(self.sinks) do
    push(self, sink, result, row)
  end
end

-- Whether nothing may have to wait on a result's way to the sinks.
local function is_straight(self, row)
  return not (self.patient or #self.transforms > 0 or #self.on_change > 0 or row.target.settings.transform)
end

--- be_patient(yes): whether emit waits where a sink has fallen far behind, in place of dropping results. For a single round, where
-- there is no schedule to keep.
function methods:be_patient(yes)
  self.patient = yes
end

--- forget(place): what the target with that number was like is no matter any more.
function methods:forget(place)
  self.before[place] = nil
end

--- replace{transforms=, sinks=, on_change=}: for what is emitted from now on. A sink that is not among them gets what waits for it, and then nothing.
function methods:replace(lists)
  local stays = {}
  self.transforms, self.sinks, self.on_change = lists.transforms, lists.sinks, lists.on_change
  for _, sink in ipairs(self.sinks) do
    stays[sink] = true
  end
  for sink, feed in pairs(self.feeds) do
    if not stays[sink] then
      self.feeds[sink], feed.last = nil, true
      if feed.idle then
        task.wake(feed.idle)
      end
    end
  end
end

--- emit(row, result): yields while transforms and on_change do; for sinks only when it is to be patient. `row` is {target=, place=
-- its number}.
function methods:emit(row, result)
  if is_straight(self, row) then
    return deliver(self, row, result)
  end
  self.pending = self.pending + 1
  local done <close> = on_close(function() less(self) end) -- luacheck: ignore 211
  local results = {result}
  if row.target.settings.transform then
    results = transformed(self, row.target.settings.transform, results)
  end
  for _, fn in ipairs(self.transforms) do
    results = transformed(self, fn, results)
  end
  if results[1] and pipeline.took_place(results[1]) then
    note_change(self, row, results[1])
  end
  for _, one in ipairs(results) do
    deliver(self, row, one)
  end
end

--- emit_beside(row, result): as emit, for who must not wait.
function methods:emit_beside(row, result)
  if is_straight(self, row) then
    return deliver(self, row, result)
  end
  self.pending = self.pending + 1
  task.spawn_under(self.home, function()
    local done <close> = on_close(function() less(self) end) -- luacheck: ignore 211
    self:emit(row, result)
  end)
end

--- drain([seconds]) -> whether everything emitted has gone through all sinks; without a limit it waits until it has.
function methods:drain(seconds)
  local deadline = seconds and task.now() + seconds
  self.waiter = task.current()
  while self.pending > 0 and not (deadline and task.now() >= deadline) do
    task.park(deadline and math.min(REVIVE_S, math.max(0, deadline - task.now())) or REVIVE_S)
    for _, feed in pairs(self.feeds) do
      revive(self, feed)
      if #feed.items > 0 and not feed.working then
        start_work(self, feed)
      end
    end
  end
  self.waiter = nil
  return self.pending == 0
end

--- discard() -> how many results had not gone through all sinks; no sink gets them any more, nor what still comes.
function methods:discard()
  local left = self.pending
  self.discarded = true
  for _, feed in pairs(self.feeds) do
    feed.items = fifo.new()
    wake_waiting(feed)
  end
  return left
end

return pipeline
