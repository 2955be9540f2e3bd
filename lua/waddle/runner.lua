-- Runs targets: when they are due, how many at once, and what their results go through. A target is a
-- row; a task exists only while its probe runs.
-- Pipeline of a result: the target's transform, the global ones in order, on_change, every sink.

local core = require "waddle.core"
local heap = require "waddle.heap"
local schedule = require "waddle.schedule"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local runner = {}
local methods = {}
methods.__index = methods

local MOST_AT_ONCE = 256
local LONGEST_WAIT = 30 -- seconds the scheduler sleeps at most: a cron's wall clock may be set meanwhile

--- The probe function behind a name such as "tcp.connect".
function runner.probe(name)
  local module, fn = name:match("^(%w+)%.(%w+)$")
  return require("waddle." .. module)[fn]
end

--- Raises as the probe of a parsed target (waddle.target) would for bad options; sends nothing.
function runner.check(target)
  if type(target.probe) == "string" then
    core.check(target.probe, table.unpack(target.args))
  end
end

--- new{concurrency=256, transforms={fn...}, sinks={fn(result, row)...}, on_change={fn(result, before)...}}
-- The lists may grow until the runner starts.
function runner.new(opts)
  return setmetatable({
    limit = opts.concurrency or MOST_AT_ONCE,
    transforms = opts.transforms or {},
    sinks = opts.sinks or {},
    on_change = opts.on_change or {},
    rows = {}, heap = heap.new(), queue = {first = 1, last = 0}, running = 0,
    counts = {runs = 0, skipped = 0, failed = 0, dropped = 0, transform_errors = 0},
  }, methods)
end

--- add(target [, every]): a target as waddle.target parses it; `every` is what its settings lack.
-- Gives the row, or nil and a message.
function methods:add(target, every)
  local settings = target.settings
  local row = {target = target, name = target.name}
  local wanted = settings.every or every
  if wanted then
    local spec, message = schedule.read(wanted, {start = task.now(), identity = target.name, jitter = settings.jitter})
    if not spec then
      return nil, message
    end
    row.spec = spec
  end
  row.overlap = settings.overlap or "skip"
  row.blackouts = {}
  local windows = settings.blackout
  for _, window in ipairs(type(windows) == "table" and #windows > 0 and windows or {windows}) do
    local read, message = window, nil
    if type(window) ~= "table" then
      read, message = schedule.blackout(window)
    end
    if not read then
      return nil, message
    end
    row.blackouts[#row.blackouts + 1] = read
  end
  row.place = #self.rows + 1
  self.rows[row.place] = row
  return row
end

-- What a target's own probe function left out, and which target it was: `target_name`, for a dns result has
-- a `name` already.
local function describe(result, target)
  result.target, result.target_name = target.target, target.name
  if rawget(result, "labels") == nil then
    result.labels = target.args[#target.args].labels
  end
  return result
end

-- One line for the log, where the traceback follows for those who want it.
local function tell(what, err)
  local message, trace = tostring(err):match("^(.-)\nstack traceback:\n(.*)$")
  sys.log("error", what .. ": " .. (message or tostring(err)))
  for line in (trace or ""):gmatch("[^\n]+") do
    sys.log("debug", (line:gsub("^\t", "  ")))
  end
end

-- A result for a run that did not take place or whose script failed.
local function without_probe(target, err, detail)
  return {
    test_type = target.scheme, target = target.target, target_name = target.name, target_host = target.host or target.name,
    target_port = target.port, success = false, error = err, error_detail = detail, started_at = sys.timestamp(), timings = {}, quality = {},
    labels = target.args[#target.args].labels,
  }
end

-- The options of the probe with the time it was planned for.
local function arguments(target, planned)
  local args, place = table.move(target.args, 1, #target.args, 1, {}), #target.args
  local opts = {planned = planned}
  for key, value in pairs(args[place]) do
    opts[key] = value
  end
  args[place] = opts
  return args
end

local function call(target, planned)
  if type(target.probe) == "function" then
    local ok, result = xpcall(target.probe, debug.traceback, target)
    if ok and type(result) == "table" then
      return describe(result, target)
    end
    return without_probe(target, "script", ok and "the probe function gave no result table" or tostring(result))
  end
  local ok, result = xpcall(runner.probe(target.probe), debug.traceback, table.unpack(arguments(target, planned)))
  return ok and describe(result, target) or without_probe(target, "script", tostring(result))
end

-- nil drops the result, a table replaces it, several split it; a transform that raises leaves it as it is.
local function transformed(self, fn, results)
  local out = {}
  for _, result in ipairs(results) do
    local values = table.pack(xpcall(fn, debug.traceback, result))
    if not values[1] then
      self.counts.transform_errors = self.counts.transform_errors + 1
      result.transform_error = tostring(values[2]):match("^[^\n]*")
      tell("transform", values[2])
      values = {true, result, n = 2}
    end
    local kept = 0
    for i = 2, values.n do
      if type(values[i]) == "table" then
        out[#out + 1] = values[i]
        kept = kept + 1
      end
    end
    self.counts.dropped = self.counts.dropped + (kept == 0 and 1 or 0)
  end
  return out
end

-- A sink or an on_change that raises is told of, and keeps nothing from the others.
local function hand(what, fn, ...)
  local ok, err = xpcall(fn, debug.traceback, ...)
  if not ok then
    tell(what, err)
  end
end

local function deliver(self, row, result)
  local before = row.before
  if result.error ~= "skipped" then
    row.before = {success = result.success, error = result.error, started_at = result.started_at}
  end
  if before and before.success ~= result.success and result.error ~= "skipped" then
    for _, fn in ipairs(self.on_change) do
      hand("on_change", fn, result, before)
    end
  end
  for _, sink in ipairs(self.sinks) do
    hand("sink", sink, result, row)
  end
end

function methods:emit(row, result)
  local results = {result}
  if row.target.settings.transform then
    results = transformed(self, row.target.settings.transform, results)
  end
  for _, fn in ipairs(self.transforms) do
    results = transformed(self, fn, results)
  end
  for _, one in ipairs(results) do
    deliver(self, row, one)
  end
end

local function skip(self, row, reason)
  self.counts.skipped = self.counts.skipped + 1
  self:emit(row, without_probe(row.target, "skipped", reason))
end

local start

-- Called when a run has ended, however: what waited for its place or its turn comes now.
local function ended(self, row)
  row.task = nil
  self.running = self.running - 1
  if row.queued_for then
    local planned = row.queued_for
    row.queued_for = nil
    start(self, row, planned)
  end
  local queue = self.queue
  while self.running < self.limit and queue.first <= queue.last do
    local entry = queue[queue.first]
    queue[queue.first] = nil
    queue.first = queue.first + 1
    entry.row.in_queue = nil
    start(self, entry.row, entry.planned)
  end
  task.wake(self.owner)
end

function start(self, row, planned)
  if self.running >= self.limit then
    local queue = self.queue
    queue.last = queue.last + 1
    queue[queue.last] = {row = row, planned = planned}
    row.in_queue = true
    return
  end
  self.running = self.running + 1
  self.counts.runs = self.counts.runs + 1
  row.task = task.spawn_under(self.owner, function()
    local mark <close> = setmetatable({}, {__close = function() ended(self, row) end}) -- luacheck: ignore 211
    local result = call(row.target, planned)
    self.counts.failed = self.counts.failed + (result.success and 0 or 1)
    self:emit(row, result)
  end)
end

local function due(self, row, planned)
  if schedule.blacked_out(row.blackouts, sys.time()) then
    return skip(self, row, "blackout")
  end
  local what = schedule.decide(row.overlap, row.task or row.in_queue, row.queued_for)
  if what == "start" then
    start(self, row, planned)
  elseif what == "wait" then
    row.queued_for = planned
  elseif what == "replace" and row.task then
    row.queued_for = planned
    row.task:cancel()
    self:emit(row, without_probe(row.target, "cancelled", "overlap: the next run takes its place"))
  else
    skip(self, row, "overlap: the run before is still going on")
  end
end

-- Cron expressions count on the wall clock, periods on the monotonic one.
local function arm(self, row)
  if row.spec.kind == "cron" then
    local wall = sys.time()
    local at = schedule.next_due(row.spec, math.max(wall, row.wall_due or 0))
    row.wall_due = at
    row.due = at and task.now() + (at - wall)
  else
    row.due = schedule.next_due(row.spec, row.due or task.now() - 1e-9)
  end
  if row.due then
    self.heap:push(row)
  end
end

local function missed(self, row, now)
  local n = row.spec.kind == "every" and schedule.count_due(row.spec, row.due, now) or 0
  if n > 0 then
    skip(self, row, ("late: %d due times had passed before waddle got to them"):format(n))
    row.due = now
  end
end

--- once(): runs every target once, side by side up to the limit, and returns when all have ended.
function methods:once()
  self.owner = task.current()
  for _, row in ipairs(self.rows) do
    start(self, row, nil)
  end
  while self.running > 0 do
    task.park()
  end
end

--- forever(): runs the targets that have a schedule when they are due, the others once, until stop() or the end of its task.
function methods:forever()
  self.owner = task.current()
  for _, row in ipairs(self.rows) do
    if row.spec then
      arm(self, row)
    else
      start(self, row, nil)
    end
  end
  while not self.stopping or self.running > 0 do
    local row, now = not self.stopping and self.heap:first() or nil, task.now()
    if row and row.due <= now then
      self.heap:pop()
      due(self, row, row.due)
      missed(self, row, now)
      arm(self, row)
    else
      task.park(math.min(row and row.due - now or LONGEST_WAIT, LONGEST_WAIT))
    end
  end
end

--- stop(): nothing new starts; forever returns once what runs has ended.
function methods:stop()
  self.stopping = true
  self.queue = {first = 1, last = 0}
  for _, row in ipairs(self.rows) do
    row.queued_for = nil
  end
  task.wake(self.owner)
end

--- has_schedule() -> whether any target runs more than once.
function methods:has_schedule()
  for _, row in ipairs(self.rows) do
    if row.spec then
      return true
    end
  end
  return false
end

return runner
