-- When targets are due, in order. Targets are known by numbers.
-- What must hold: due times are absolute, nothing a run does shifts them; none is passed over without being counted. They are on a
-- clock that begins at start() and also goes on while the machine is suspended: a due time of a period is what schedule.next_due gives,
-- to the last bit, since another sum of the same parts is another time. Cron follows the clock on the wall, also when that is set.

local heap = require "waddle.heap"
local schedule = require "waddle.schedule"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local dues = {}
local methods = {}
methods.__index = methods

local INSTANT_S = 1e-6 -- what is due within this is due now: a wait has whole nanoseconds, a due time has fractions of them
local WALL_MARGIN_S = 1e-4 -- the wall clock is read in microseconds, and a cron's run must not begin in the minute before
local CLOCK_STEP_S = 1 -- a clock that moved by more than this against another one was set, or stood still
local CRON_REPEAT_S = 3 * 3600 -- a clock set back by less does not repeat the runs in between
local MOST_COUNTED = 10000 -- due times of a cron expression that are counted one by one: a week of minutes

--- new(plans, name_of): plans[id].spec is the schedule (waddle.schedule) of a target, `name_of(id)` what its jitter depends on.
function dues.new(plans, name_of)
  return setmetatable({
    plans = plans, name_of = name_of, heap = heap.new(), last_id = 0, count = 0,
    first = {}, -- of periods: their first due time; until start() their share
    began = 0, asleep = 0, -- start() on task.now()'s clock with the time added that the machine was suspended; that time
    wall_due = {}, last_wall_due = {}, -- of cron: the due time that comes and the one that was, on the wall clock
    next_of = {}, counted_of = {}, -- by cron expression: what was worked out last, for all targets that share it
    woke = -math.huge,
  }, methods)
end

--- add(id, name): a target that has a schedule; its place in a period depends on the name. To be called before start().
function methods:add(id, name)
  self.last_id, self.count = math.max(self.last_id, id), self.count + 1
  self.first[id] = self.plans[id].spec.kind == "every" and schedule.share(name) or nil
end

--- clock() -> now, on the clock of due times.
function methods:clock()
  return task.now() + self.asleep - self.began
end

--- on_task_clock(due) -> the same moment on task.now()'s clock.
function methods:on_task_clock(due)
  return due - self.asleep + self.began
end

local function identity_of(self, id)
  return self.plans[id].spec.jitter > 0 and self.name_of(id) or nil
end

-- The first minute of a cron expression after an instant, or nil: from any instant up to that minute it is the same.
local function cron_after(self, spec, after)
  local known = self.next_of[spec]
  if not (known and known.from <= after and after < known.at) then
    known = {from = after, at = schedule.next_due(spec, after) or math.huge}
    self.next_of[spec] = known
  end
  return known.at < math.huge and known.at or nil
end

-- How many minutes of a cron expression came after one and up to an instant, and the last of them.
local function count_cron(self, spec, was, up_to)
  local known = self.counted_of[spec]
  if not (known and known.was == was and known.from <= up_to and up_to < known.to) then
    local count, last = schedule.count_due(spec, was, up_to, MOST_COUNTED)
    known = {was = was, from = up_to, to = cron_after(self, spec, up_to) or math.huge, count = count, last = last}
    self.counted_of[spec] = known
  end
  return known.count, known.last
end

-- When a target with a cron expression is due next, or nil.
local function next_on_wall(self, id)
  local wall, was = sys.time(), self.wall_due[id]
  if was and was - wall > CRON_REPEAT_S then
    was = nil
  end
  local at = cron_after(self, self.plans[id].spec, math.max(wall, was or 0))
  self.wall_due[id] = at
  return at and self:clock() + (at - wall) + WALL_MARGIN_S
end

local function next_in_period(self, id, after)
  return schedule.next_due(self.plans[id].spec, after, self.first[id], identity_of(self, id))
end

--- start(): puts the targets at their places in time. The time that takes makes none late.
function methods:start()
  for id = 1, self.last_id do
    local spec = self.plans[id].spec
    if spec and spec.kind == "every" then
      self.first[id] = schedule.place(spec, self.first[id], self.count)
      self.heap:push(id, next_in_period(self, id, -1))
    end
  end
  self.asleep = sys.suspended()
  self.began = task.now() + self.asleep
  self.wall_offset = sys.time() - self:clock()
  for id = 1, self.last_id do
    local spec = self.plans[id].spec
    local at = spec and spec.kind ~= "every" and next_on_wall(self, id)
    if at then
      self.heap:push(id, at)
    end
  end
end

--- swap(plans, others, last, count): other plans, numbered up to `last`, `count` of them with a schedule. `others` lists the numbers whose times do not
-- stay what they are: those that are left of them have their first due time from now on, at their own place in the period.
function methods:swap(plans, others, last, count)
  local now, gone = self:clock(), {}
  for _, id in ipairs(others) do
    gone[id] = true
    self.first[id], self.wall_due[id], self.last_wall_due[id] = nil, nil, nil
  end
  self.heap:remove(gone, #others)
  self.plans, self.last_id, self.count = plans, last, count
  self.next_of, self.counted_of = {}, {}
  for _, id in ipairs(others) do
    local spec = plans[id] and plans[id].spec
    if spec and spec.kind == "every" then
      self.first[id] = schedule.place(spec, schedule.share(self.name_of(id)), self.count)
      self.heap:push(id, next_in_period(self, id, now))
    elseif spec then
      local at = next_on_wall(self, id)
      if at then
        self.heap:push(id, at)
      end
    end
  end
end

--- next() -> when the next target is due, or nil where none ever is again.
function methods:next()
  local _, at = self.heap:first()
  return at
end

-- The due times of a target that passed since the one it waited for: how many, and the last of them.
local function count_passed(self, id, planned, now)
  local spec = self.plans[id].spec
  if spec.kind == "every" then
    return schedule.count_due(spec, planned, now, nil, self.first[id], identity_of(self, id))
  end
  local was = self.wall_due[id]
  self.last_wall_due[id] = was
  local count, last = count_cron(self, spec, was, sys.time())
  return count, last and planned + (last - was)
end

--- take(now) -> id, planned, missed, why | nil: a target whose due time has come by `now`, and then waits for its next one. Where more
-- than one of its due times have passed, `planned` is the last of them, `missed` how many there were before (0), and `why` says what
-- held them up.
function methods:take(now)
  local id, planned = self.heap:first()
  if not id or planned > now + INSTANT_S then
    return nil
  end
  local periodic = self.plans[id].spec.kind == "every"
  local next_one = periodic and next_in_period(self, id, planned)
  if next_one and next_one > now then
    self.heap:move(next_one)
    return id, planned, 0
  end
  local passed, last = count_passed(self, id, planned, now)
  local why = planned < self.woke and "the machine was suspended" or "waddle was held up"
  if periodic then
    next_one = next_in_period(self, id, passed > 0 and now or planned)
  else
    next_one = next_on_wall(self, id)
  end
  if next_one then
    self.heap:move(next_one)
  else
    self.heap:pop()
  end
  return id, passed > 0 and last or planned, passed, why
end

-- Somebody set the wall clock: what follows it is due at another time now.
local function follow_wall_clock(self)
  local offset = sys.time() - self:clock()
  if math.abs(offset - self.wall_offset) <= CLOCK_STEP_S then
    return
  end
  self.wall_offset = offset
  local old = self.heap
  self.heap = heap.new()
  for i = 1, old.n do
    local id, at = old.ids[i], old.dues[i]
    if self.wall_due[id] then
      -- The due time it waits for did not come yet: it may come again.
      self.wall_due[id] = self.last_wall_due[id]
      at = next_on_wall(self, id)
    end
    if at then
      self.heap:push(id, at)
    end
  end
end

--- look(): follows the clocks; to be called after each wait.
function methods:look()
  local asleep = sys.suspended()
  if math.abs(asleep - self.asleep) > CLOCK_STEP_S then
    self.asleep = asleep
    self.woke = self:clock()
  end
  follow_wall_clock(self)
end

return dues
