-- Runs targets: when they are due and how many at once. A target is a row; a task exists only while its probe runs. What
-- comes of a run goes into the pipeline (waddle.pipeline).
-- What must hold: due times are absolute, nothing a run does shifts them; every due time is a run or is counted as skipped.

local core = require "waddle.core"
local heap = require "waddle.heap"
local pipeline = require "waddle.pipeline"
local scenario = require "waddle.scenario"
local schedule = require "waddle.schedule"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local runner = {}
local methods = {}
methods.__index = methods

local MOST_AT_ONCE = 256
local INSTANT_S = 1e-6 -- what is due within this is due now: a wait has whole nanoseconds, a due time has fractions of them
local WALL_MARGIN_S = 1e-4 -- the wall clock is read in microseconds, and a cron's run must not begin in the minute before
local LONGEST_WAIT_S = 30 -- between two looks at the wall clock, which cron follows and somebody may set
local CLOCK_STEP_S = 1 -- a wall clock that moved by more than this against the monotonic one was set
local CRON_REPEAT_S = 3 * 3600 -- a clock set back by less does not repeat the runs in between

local function on_close(fn)
  return setmetatable({}, {__close = fn})
end

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
-- The lists may grow until the runner starts. To be called in the task that lives as long as the sinks are to work.
function runner.new(opts)
  local counts = {runs = 0, skipped = 0, failed = 0, dropped = 0, transform_errors = 0, sink_errors = 0, sink_dropped = 0}
  return setmetatable({
    limit = opts.concurrency or MOST_AT_ONCE,
    pipeline = pipeline.new {transforms = opts.transforms or {}, sinks = opts.sinks or {}, on_change = opts.on_change or {}, counts = counts},
    rows = {}, heap = heap.new(), queue = {first = 1, last = 0}, running = 0, counts = counts,
  }, methods)
end

local function read_blackouts(windows)
  local blackouts = {}
  for _, window in ipairs(type(windows) == "table" and #windows > 0 and windows or {windows}) do
    local read, message = window, nil
    if type(window) ~= "table" then
      read, message = schedule.blackout(window)
    end
    if not read then
      return nil, message
    end
    blackouts[#blackouts + 1] = read
  end
  return blackouts
end

--- read(target [, every]) -> {every=, spec=, overlap=, blackouts=} | nil, message: what the settings of a parsed target say
-- about when it runs; `every` is what its settings lack.
function runner.read(target, every)
  local settings, plan, message = target.settings, {}
  if settings.transform ~= nil and type(settings.transform) ~= "function" then
    return nil, ("field 'transform': expected a function, which only a .lua file can give, got %s"):format(type(settings.transform))
  end
  plan.every = settings.every or every
  if plan.every then
    plan.spec, message = schedule.read(plan.every, {identity = target.name, jitter = settings.jitter})
    if not plan.spec then
      return nil, message
    end
  end
  plan.overlap, message = schedule.overlap(settings.overlap)
  if not plan.overlap then
    return nil, message
  end
  plan.blackouts, message = read_blackouts(settings.blackout)
  if not plan.blackouts then
    return nil, message
  end
  return plan
end

--- add(target [, every]): a target as waddle.target parses it. Gives the row, or nil and a message.
function methods:add(target, every)
  local row, message = runner.read(target, every)
  if not row then
    return nil, message
  end
  row.target, row.name = target, target.name
  row.place = #self.rows + 1
  self.rows[row.place] = row
  return row
end

-- A result for a run that did not take place, or of a script: test types are those of probes.
local function without_probe(target, err, detail)
  local options = target.args[#target.args]
  return {
    test_type = type(target.probe) == "string" and target.probe:match("^%w+") or options.test_type,
    target = target.target, target_name = target.name, target_host = target.host or target.name, target_port = target.port,
    success = err == nil, error = err, error_detail = detail, started_at = sys.timestamp(), timings = {}, quality = {},
    labels = options.labels,
  }
end

-- Which target it was goes to `target_name`: a dns result has a `name` already.
local function describe(result, target)
  result.target, result.target_name = target.target, target.name
  return result
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

-- A probe function gets a table of its own with the target's name and options; what its result does not say is filled in.
local function call_function(target)
  local own = {name = target.name}
  for key, value in pairs(target.args[1]) do
    own[key] = value
  end
  local basis = without_probe(target)
  local ok, result = pipeline.guarded(target.probe, own)
  if not ok then
    local failed_must = type(result) == "table"
    return without_probe(target, failed_must and "assertion" or "script", failed_must and tostring(result.reason) or result)
  elseif type(result) ~= "table" then
    return without_probe(target, "script", ("the probe function gave %s in place of a result table"):format(type(result)))
  elseif rawget(result, "success") == nil then
    result.success = rawget(result, "error") == nil
  end
  for key, value in pairs(basis) do
    if rawget(result, key) == nil then
      result[key] = value
    end
  end
  return describe(result, target)
end

local function call(target, planned)
  if type(target.probe) == "function" then
    return call_function(target)
  end
  local ok, result = pcall(runner.probe(target.probe), table.unpack(arguments(target, planned)))
  return ok and describe(result, target) or without_probe(target, "script", tostring(result))
end

local function skip(self, row, reason, runs)
  self.counts.skipped = self.counts.skipped + (runs or 1)
  self.pipeline:emit_beside(row, without_probe(row.target, "skipped", reason))
end

local start

-- Called when a run has ended, however, and once only: what waited for its place or its turn comes now.
local function ended(self, row, run)
  if run.over then
    return
  end
  run.over = true
  self.running = self.running - 1
  if row.run == run then
    row.run = nil
  end
  if self.over then
    return
  end
  if row.queued_for and not row.run then
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
  local run = {}
  row.run = run
  run.task = task.spawn_under(self.owner, function()
    local mark <close> = on_close(function() ended(self, row, run) end) -- luacheck: ignore 211
    self.pipeline:emit(row, call(row.target, planned))
  end)
end

-- A run that is cancelled before its task began never closes anything: it is ended here.
local function replace(self, row, planned)
  local run = row.run
  row.queued_for = planned
  run.task:cancel()
  self.pipeline:emit_beside(row, without_probe(row.target, "cancelled", "overlap: the next run takes its place"))
  ended(self, row, run)
end

local function due(self, row, planned)
  if schedule.blacked_out(row.blackouts, sys.time()) then
    return skip(self, row, "blackout")
  end
  local what = schedule.decide(row.overlap, row.run or row.in_queue, row.queued_for)
  if what == "start" then
    start(self, row, planned)
  elseif what == "wait" and row.run then
    row.queued_for = planned
  elseif what == "replace" and row.run then
    replace(self, row, planned)
  else
    skip(self, row, row.run and "overlap: the run before is still going on" or "overlap: the run before waits for a free place")
  end
end

-- Cron expressions count on the wall clock, periods on the monotonic one.
local function arm(self, row)
  if row.spec.kind == "cron" then
    local wall = sys.time()
    if row.wall_due and row.wall_due - wall > CRON_REPEAT_S then
      row.wall_due = nil
    end
    local at = schedule.next_due(row.spec, math.max(wall, row.wall_due or 0))
    row.wall_due = at
    row.due = at and task.now() + (at - wall) + WALL_MARGIN_S
  else
    row.due = schedule.next_due(row.spec, row.due or task.now() - 1e-9)
  end
  if row.due then
    self.heap:push(row)
  end
end

-- Somebody set the wall clock: what follows it is due at another time now.
local function follow_wall_clock(self)
  local offset = sys.time() - task.now()
  if math.abs(offset - self.wall_offset) > CLOCK_STEP_S then
    local rows = self.heap
    self.heap = heap.new()
    for i = 1, rows.n do
      local row = rows[i]
      if row.spec.kind == "cron" then
        -- The due time it waits for did not come yet: it may come again.
        row.wall_due = row.last_wall_due
        arm(self, row)
      else
        self.heap:push(row)
      end
    end
    self.wall_offset = offset
  end
end

-- Due times that passed while waddle did not run (a suspended machine) are no runs any more.
local function missed(self, row, now)
  local cron = row.spec.kind == "cron"
  local from, to = cron and row.wall_due or row.due, cron and sys.time() or now
  local n = schedule.count_due(row.spec, from, to)
  if n > 0 then
    skip(self, row, ("late: due times missed: %d"):format(n), n)
    row.due = now
  end
end

-- The calling task runs the targets; when it is done with that, or ends, nothing is started behind its back. A failed must
-- meanwhile is one in a probe function: it ends that run.
local function own(self)
  self.owner, self.over = task.current(), false
  local leave = scenario.enter()
  return on_close(function()
    self.over = true
    leave()
  end)
end

--- once(): runs every target once, side by side up to the limit, and returns when all have ended.
function methods:once()
  local mark <close> = own(self) -- luacheck: ignore 211
  self.pipeline:be_patient(true)
  for _, row in ipairs(self.stopping and {} or self.rows) do
    if schedule.blacked_out(row.blackouts, sys.time()) then
      skip(self, row, "blackout")
    else
      start(self, row, nil)
    end
  end
  while self.running > 0 do
    task.park()
  end
end

--- forever(): runs the targets that have a schedule when they are due, the others once, until stop() or the end of its task.
function methods:forever()
  local mark <close> = own(self) -- luacheck: ignore 211
  self.pipeline:be_patient(false)
  local began = task.now()
  self.wall_offset = sys.time() - began
  for _, row in ipairs(self.stopping and {} or self.rows) do
    if row.every then
      row.spec = schedule.read(row.every, {start = began, identity = row.name, jitter = row.target.settings.jitter})
      arm(self, row)
    else
      start(self, row, nil)
    end
  end
  while not self.stopping or self.running > 0 do
    local row, now = not self.stopping and self.heap:first() or nil, task.now()
    if row and row.due <= now + INSTANT_S then
      self.heap:pop()
      row.last_wall_due = row.wall_due
      due(self, row, row.due)
      missed(self, row, now)
      arm(self, row)
    else
      task.park(math.min(row and row.due - now or LONGEST_WAIT_S, LONGEST_WAIT_S))
      follow_wall_clock(self)
    end
  end
end

--- stop(): nothing new starts; forever and once return when what runs has ended.
function methods:stop()
  self.stopping = true
  self.queue = {first = 1, last = 0}
  for _, row in ipairs(self.rows) do
    row.queued_for = nil
  end
  if self.owner then
    task.wake(self.owner)
  end
end

--- drain([seconds]) -> whether all results have gone through all sinks; without a limit it waits until they have.
function methods:drain(seconds)
  return self.pipeline:drain(seconds)
end

--- has_schedule() -> whether any target runs more than once.
function methods:has_schedule()
  for _, row in ipairs(self.rows) do
    if row.every then
      return true
    end
  end
  return false
end

return runner
