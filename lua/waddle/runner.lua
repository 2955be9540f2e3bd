-- Runs targets: when they are due and how many at once. A target is a row; a task exists only while its probe runs. What
-- comes of a run goes into the pipeline (waddle.pipeline).
-- What must hold: every due time (waddle.dues) is a run, or is counted and recorded as skipped with the reason; a run never starts when
-- the next one of its target is due already; who waits for a place has it in order.

local core = require "waddle.core"
local address = require "waddle.address"
local budget = require "waddle.budget"
local dues = require "waddle.dues"
local isolate = require "waddle.isolate"
local pipeline = require "waddle.pipeline"
local places = require "waddle.places"
local rows = require "waddle.rows"
local scenario = require "waddle.scenario"
local schedule = require "waddle.schedule"
local swap = require "waddle.swap"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local runner = {}
local methods = {}
methods.__index = methods

local RUN = {} -- the metatable of runs: one that is closed has ended
local begin

local MOST_AT_ONCE = 256
local REAP_S = 1 -- between two looks for runs whose task has ended without a word
local LONGEST_WAIT_S = 30 -- between two looks at the clocks: cron follows the one on the wall, and a suspended machine wakes no timer
local STOPPED = "waddle was stopped before it began"
local BREATH = 256 -- due times worked off before others get their turn

local probes = {}

--- The probe function behind a name such as "tcp.connect".
function runner.probe(name)
  if not probes[name] then
    local module, fn = name:match("^(%w+)%.(%w+)$")
    probes[name] = require("waddle." .. module)[fn]
  end
  return probes[name]
end

--- Raises as the probe of a parsed target (waddle.target) would for bad options; sends nothing.
function runner.check(target)
  if type(target.probe) == "string" then
    core.check(target.probe, table.unpack(target.args))
  end
end

--- new{concurrency=256, concurrency_per_host=, transforms={fn...}, sinks={fn(result, row)...}, on_change={fn(result, before)...}}
-- At most so many probes run at once, and, where that is given, at most so many of them to one host. The lists may grow until the
-- runner starts. To be called in the task that lives as long as the sinks are to work.
function runner.new(opts)
  local counts = {runs = 0, skipped = 0, failed = 0, dropped = 0, transform_errors = 0, sink_errors = 0, sink_dropped = 0}
  local self = setmetatable({
    pipeline = pipeline.new {transforms = opts.transforms or {}, sinks = opts.sinks or {}, on_change = opts.on_change or {}, counts = counts},
    rows = rows.new(), plans = {}, plan_of = {}, -- rows, plans and what follows go by a target's number
    runs = {}, -- what is going on
    after = {}, waiting = {}, -- due times of runs that wait for the one before to end, or for a place (false: a single round)
    counts = counts,
  }, methods)
  self.dues = dues.new(self.plans, function(id) return self.rows[id].name end)
  self.places = places.new(opts.concurrency or MOST_AT_ONCE, opts.concurrency_per_host, function(id, host) return begin(self, id, host) end)
  return self
end

local function read_blackouts(windows)
  local blackouts = {}
  for _, window in ipairs(type(windows) == "table" and #windows > 0 and windows or {windows}) do
    local read, message = window
    if not schedule.is_wall_clock(window) then
      read, message = schedule.blackout(window)
    end
    if not read then
      return nil, message
    end
    blackouts[#blackouts + 1] = read
  end
  return blackouts
end

--- read(target [, every]) -> {spec=, overlap=, blackouts=} | nil, message: what the settings of a parsed target say about when it runs;
-- `every` is what its settings lack. Nothing in it depends on which target it is.
function runner.read(target, every)
  local settings, plan, message = target.settings, {}
  if settings.transform ~= nil and type(settings.transform) ~= "function" then
    return nil, ("field 'transform': expected a function, which only a .lua file can give, got %s"):format(type(settings.transform))
  end
  if settings.isolate ~= nil and type(settings.isolate) ~= "boolean" then
    return nil, ("field 'isolate': expected a boolean, got %s"):format(type(settings.isolate))
  elseif settings.isolate and not isolate.possible() then
    return nil, "field 'isolate': only a target of a .lua file can run in a process of its own, which reads that file again"
  end
  if settings.every or every then
    plan.spec, message = schedule.read(settings.every or every, {jitter = settings.jitter})
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

--- add(target [, every]): a target as waddle.target parses it. Gives true, or nil and a message.
function methods:add(target, every)
  local id = #self.rows + 1
  self.rows[id] = target
  -- Targets whose settings are equal share them, and the plan made of them.
  local by_every = self.plan_of[every or false] or {}
  self.plan_of[every or false] = by_every
  local settings = self.rows[id].settings
  local plan, message = by_every[settings]
  if not plan then
    plan, message = runner.read(target, every)
    by_every[settings] = plan
  end
  if not plan then
    self.rows[id] = nil
    return nil, message
  end
  self.plans[id] = plan
  if plan.spec then
    self.dues:add(id, target.name)
  end
  return true
end

local function copy_of(labels)
  local own = {}
  for key, value in next, labels do
    own[key] = value
  end
  return own
end

-- A result for a run that did not take place, or of a script: test types are those of probes.
local function without_probe(target, err, detail)
  local options = target.args[#target.args]
  return {
    test_type = type(target.probe) == "string" and target.probe:match("^%w+") or options.test_type,
    target = target.target, target_name = target.name, target_host = target.host or target.name, target_port = target.port,
    success = err == nil, error = err, error_detail = detail, started_at = sys.timestamp(), timings = {}, quality = {},
    labels = type(options.labels) == "table" and copy_of(options.labels) or nil,
  }
end

-- Which target it was goes to `target_name`: a dns result has a `name` already.
local function describe(result, target)
  result.target, result.target_name = target.target, target.name
  return result
end

-- The options of a probe belong to all targets that have the same: a run has its own, with the time it was planned for.
local function own_options(options, planned)
  local own = {planned = planned}
  for key, value in next, options do
    own[key] = value
  end
  own.labels = own.labels and copy_of(own.labels)
  return own
end

-- A probe function gets a table of its own with the target's name and options; what its result does not say is filled in, also how
-- late the function was called.
local function call_function(target, planned)
  local own = {name = target.name}
  for key, value in pairs(target.args[1]) do
    own[key] = value
  end
  local basis, late_s = without_probe(target), planned and math.max(0, task.now() - planned)
  local ok, result = pipeline.guarded(target.probe, own)
  if not ok and budget.is_over(result) then
    return without_probe(target, "budget", (result:match "^[^\n]*"))
  elseif not ok then
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
  if late_s and type(result.quality) == "table" and rawget(result.quality, "sched_lag_ms") == nil then
    result.quality.sched_lag_ms = late_s * 1000
  end
  return describe(result, target)
end

--- call(target, planned) -> result: one run, for what it measures; `planned` is when it was due, on task.now()'s clock.
function runner.call(target, planned)
  if type(target.probe) == "function" then
    return call_function(target, planned)
  end
  local args, n = target.args, #target.args
  local options = own_options(args[n], planned)
  local ok, result = pcall(runner.probe(target.probe), n == 1 and options or args[1], n == 2 and options or nil)
  return ok and describe(result, target) or without_probe(target, "script", tostring(result))
end

-- The record of due times that were no runs: of one, or of all that a target missed in one go.
local function skipped(self, target, reason, missed)
  self.counts.skipped = self.counts.skipped + missed
  local result = without_probe(target, "skipped", reason)
  result.missed = missed
  return result
end

local function skip(self, id, reason, missed)
  local row = {place = id, target = self.rows[id]}
  self.pipeline:emit_beside(row, skipped(self, row.target, reason, missed or 1))
end

local function blacked_out(self, id)
  local blackouts = self.plans[id].blackouts
  return #blackouts > 0 and schedule.blacked_out(blackouts, sys.time())
end

-- Who the packets go to; nil where only a script knows.
local function host_of(target)
  local options = target.args[#target.args]
  local host = target.host
  if target.probe == "dns.query" then
    host = options.server and address.host_port(options.server, 53)
  end
  return host and host:lower()
end

local function work(run, planned)
  local mark <close> = run -- luacheck: ignore 211
  local target, line = run.target, run.runner.pipeline
  local call = target.settings.isolate and not isolate.inside() and isolate.call or runner.call
  local result, err, detail = call(target, planned, line.home)
  line:emit(run, result or without_probe(target, err, detail))
  run.told = true
end

-- There is a place for who waits; in a blackout nothing starts.
function begin(self, id, host)
  local planned = self.waiting[id] or nil
  self.waiting[id] = nil
  if not self.plans[id] then -- removed while it waited
    return false
  elseif blacked_out(self, id) then
    skip(self, id, "blackout")
    return false
  end
  self.counts.runs = self.counts.runs + 1
  local run = setmetatable({runner = self, place = id, target = self.rows[id], host = host}, RUN)
  self.runs[id] = run
  run.task = task.spawn_under(self.owner, work, run, planned and self.dues:on_task_clock(planned))
  return true
end

-- A run that was due then (nil: no schedule) starts as soon as there is a place.
local function admit(self, id, planned)
  self.waiting[id] = planned or false
  self.places:ask(id, self.places.most_per_host and host_of(self.rows[id]))
end

-- Called when a run has ended, however, and once only: what waited for its place or its turn comes now.
function RUN.__close(run)
  local self, id = run.runner, run.place
  if run.over then
    return
  end
  run.over = true
  self.runs[id] = nil
  if self.over then
    return
  end
  local planned = self.after[id]
  self.after[id] = nil
  self.places:leave(run.host)
  if planned then
    admit(self, id, planned)
  end
  task.wake(self.owner)
end

-- A run whose task has ended without closing it, or never was: there was no memory for that. Its place is free, and its target due again.
local function is_lost(run)
  local status = run.task and run.task:status()
  return not status or status == "failed" or status == "cancelled"
end

-- Its record, unless there is one, is that it was lost.
local function bury(self, run)
  RUN.__close(run)
  if not run.told then
    self.pipeline:emit_beside(run, without_probe(run.target, "local", "the run was lost: out of memory"))
  end
end

local function reap(self)
  local lost = {}
  for _, run in pairs(self.runs) do
    lost[#lost + 1] = is_lost(run) and run or nil
  end
  for _, run in ipairs(lost) do
    bury(self, run)
  end
end

-- A run that is cancelled before its task began never closes anything: it is ended here.
local function abort(self, run, reason)
  run.task:cancel()
  self.pipeline:emit_beside(run, without_probe(run.target, "cancelled", reason))
  RUN.__close(run)
end

local function replace(self, id, planned)
  self.after[id] = planned
  abort(self, self.runs[id], "overlap: the next run takes its place")
end

-- A run that still waits, for a place or for the one before to end, when the next one is due did not take place. The next one
-- waits in its stead.
local function due(self, id, planned)
  local run, overlap = self.runs[id], self.plans[id].overlap
  if run and is_lost(run) then
    bury(self, run)
    run = self.runs[id]
  end
  if self.waiting[id] ~= nil then
    skip(self, id, "late: no free place until the next run was due, " .. self.places:full(id, host_of(self.rows[id])))
    self.waiting[id] = planned
  elseif not self.after[id] and blacked_out(self, id) then
    skip(self, id, "blackout")
  elseif not run then
    admit(self, id, planned)
  elseif overlap == "cancel" then
    replace(self, id, planned)
  else
    if overlap == "skip" or self.after[id] then
      skip(self, id, "overlap: the run before is still going on")
    end
    self.after[id] = overlap == "queue" and planned or nil
  end
end

-- The calling task runs the targets; when it is done with that, or ends, nothing is started behind its back. A failed must
-- meanwhile is one in a probe function: it ends that run.
local function own(self)
  self.owner, self.over = task.current(), false
  local leave = scenario.enter()
  return setmetatable({}, {__close = function()
    self.over = true
    leave()
  end})
end

--- once(): runs every target once, side by side up to the limits, and returns when all have ended.
function methods:once()
  local mark <close> = own(self) -- luacheck: ignore 211
  self.pipeline:be_patient(true)
  for id = 1, #self.rows do
    if self.stopping then
      skip(self, id, STOPPED)
    elseif blacked_out(self, id) then
      local row = {place = id, target = self.rows[id]}
      self.pipeline:emit(row, skipped(self, row.target, "blackout", 1))
    else
      admit(self, id)
    end
  end
  while self.places.taken > 0 do
    task.park(REAP_S)
    reap(self)
  end
end

-- Puts the targets at their places in time; those without a schedule start now.
local function line_up(self)
  self.dues:start()
  for id = 1, #self.rows do
    if not self.plans[id].spec then
      admit(self, id)
    end
  end
end

-- One target whose turn it is, if there is any. Of the due times that have passed meanwhile (the process was stopped, the machine
-- suspended) only the last one can still be a run; the others are one record.
local function turn(self, now)
  local id, planned, missed, why = self.dues:take(now)
  if not id then
    return false
  elseif missed > 0 then
    skip(self, id, ("late: due times missed: %d, %s"):format(missed, why), missed)
  end
  due(self, id, planned)
  return true
end

-- Works off what is due, in parts, and waits for what comes.
local function follow_schedule(self)
  local worked_off, now = 0, self.dues:clock()
  while not self.stopping and worked_off < BREATH and turn(self, now) do
    worked_off, now = worked_off + 1, self.dues:clock()
  end
  local at = not self.stopping and self.dues:next()
  task.park(math.min(at and math.max(0, at - now) or LONGEST_WAIT_S, LONGEST_WAIT_S))
  self.dues:look()
end

--- forever(): runs the targets that have a schedule when they are due, the others once, until stop() or the end of its task.
function methods:forever()
  local mark <close> = own(self) -- luacheck: ignore 211
  self.pipeline:be_patient(false)
  if not self.stopping then
    sys.trim() -- what the reading of many targets left behind is large
    line_up(self)
  end
  while not self.stopping or self.places.taken > 0 do
    follow_schedule(self)
    if self.stopping then
      reap(self)
    end
  end
end

--- stop(): nothing new starts, what was due and waits is recorded as skipped; forever and once return when what runs has ended.
function methods:stop()
  local left = {self.waiting, self.after}
  self.stopping, self.waiting, self.after = true, {}, {}
  self.places:close()
  for _, waiting in ipairs(left) do
    for id in pairs(waiting) do
      if self.plans[id] then
        skip(self, id, STOPPED)
      end
    end
  end
  if self.owner then
    task.wake(self.owner)
  end
end

--- reload{targets=list of waddle.rows, every=, transforms=, sinks=, on_change=, concurrency=, concurrency_per_host=} -> how many were kept, changed, added and
-- removed (waddle.swap), or nil and a message when one of the targets is wrong: then all is as it was. While forever() runs;
-- yields, and the old targets run until all of the new ones are in their place.
function methods:reload(opts)
  local counts, message = swap.apply(self, opts.targets, opts.every, runner.read)
  if not counts then
    return nil, message
  end
  self.pipeline:replace(opts)
  self.places:limit(opts.concurrency or MOST_AT_ONCE, opts.concurrency_per_host)
  for _, id in ipairs(counts.started) do
    admit(self, id)
  end
  task.wake(self.owner)
  return counts
end

--- size() -> how many targets there are.
function methods:size()
  local n = 0
  for id = 1, #self.rows do
    n = n + (self.plans[id] and 1 or 0)
  end
  return n
end

--- cancel(): ends what still runs, after stop(); each run is recorded as cancelled.
function methods:cancel()
  for _, run in pairs(self.runs) do
    abort(self, run, "waddle was stopped before it ended")
  end
end

--- drain([seconds]) -> whether all results have gone through all sinks; without a limit it waits until they have.
function methods:drain(seconds)
  return self.pipeline:drain(seconds)
end

--- discard() -> how many results had not gone through all sinks; no sink gets them any more.
function methods:discard()
  return self.pipeline:discard()
end

--- has_schedule() -> whether any target runs more than once.
function methods:has_schedule()
  return self.dues.count > 0
end

return runner
