-- When targets are due, and what was missed: waddle.dues under clocks that the spec sets. Nothing waits here.

local core_task = require "waddle.core.task"
local dues = require "waddle.dues"
local schedule = require "waddle.schedule"
local sys = require "waddle.core.sys"

local EPOCH = 1767225600 -- 2026-01-01 00:00 UTC, a Thursday
local clock = {} -- mono: task.now(); asleep: sys.suspended(); set: what somebody added to the wall clock
local real = {}

before_each(function()
  clock.mono, clock.asleep, clock.set = 12345.678901234, 0, 0
  real.now, real.suspended, real.time = core_task.now, sys.suspended, sys.time
  core_task.now = function() return clock.mono end
  sys.suspended = function() return clock.asleep end
  sys.time = function() return EPOCH + clock.mono + clock.asleep + clock.set end
end)

after_each(function()
  core_task.now, sys.suspended, sys.time = real.now, real.suspended, real.time
end)

-- Started dues of `count` targets that share a schedule, named name(i).
local function started(count, spec, name)
  local plan, plans, names = {spec = spec}, {}, {}
  for i = 1, count do
    plans[i], names[i] = plan, (name or tostring)(i)
  end
  local d = dues.new(plans, function(id) return names[id] end)
  for i = 1, count do
    d:add(i, names[i])
  end
  d:start()
  return d
end

-- Waits, as a runner does, until something is due, and takes it; `late_s` is how much too long the wait is.
local function take_next(d, late_s)
  clock.mono = clock.mono + math.max(0, d:next() - d:clock()) + (late_s or 0)
  d:look()
  return d:take(d:clock())
end

-- When each of so many targets is first due, after the start.
local function phases(count, period, name)
  local d, phase = started(count, schedule.every(period), name), {}
  local began = d:clock()
  for _ = 1, count do
    local id, planned = take_next(d)
    phase[id] = planned - began
  end
  return phase
end

-- How many of the phases are in each of `parts` equal parts of the time from 0 to `span`.
local function tally(phase, span, parts)
  local counts = {}
  for i = 1, parts do
    counts[i] = 0
  end
  for _, at in ipairs(phase) do
    local part = math.floor(at / span * parts) + 1
    assert.truthy(counts[part], ("due after %g s"):format(at))
    counts[part] = counts[part] + 1
  end
  return counts
end

describe("due times", function()
  -- What differs by the last bit of a fraction would be a due time of its own, missed at once.
  it("are the same however they are come by: no run on time is taken for one that was late, with jitter or without", function()
    for _, jitter in ipairs {"0s", "1s", "2s"} do
      local d = started(200, schedule.every(2, {jitter = jitter}), function(i) return "t" .. i end)
      local began, last, count = d:clock(), {}, 0
      while d:clock() < began + 60 do
        local id, planned, missed = take_next(d, 1e-4)
        assert.equal(0, missed, ("jitter %s, target %d, due %.9f s after the start"):format(jitter, id, planned - began))
        assert.is_true(not last[id] or planned > last[id])
        last[id], count = planned, count + 1
      end
      assert.is_true(count >= 200 * 29 and count <= 200 * 31, count)
    end
  end)

  it("of one moment are all taken, whatever the fractions: none is left behind by its last bit", function()
    local d = started(50, schedule.every(0.1), function() return "same" end)
    for round = 0, 99 do
      local first, count = d:next(), 0
      clock.mono = clock.mono + math.max(0, first - d:clock())
      while d:take(d:clock()) do
        count = count + 1
      end
      assert.equal(50, count, "round " .. round)
    end
  end)
end)

describe("many targets", function()
  it("are spread evenly over the whole period", function()
    local counts = tally(phases(5000, 60), 60, 50)
    for part, count in ipairs(counts) do
      assert.is_true(count > 50 and count < 150, ("%d of 100 in part %d of 50"):format(count, part)) -- five standard deviations
    end
  end)

  it("are spread over the first hour where the period is longer", function()
    local counts = tally(phases(5000, "1d"), 3600, 50)
    for part, count in ipairs(counts) do
      assert.is_true(count > 50 and count < 150, ("%d of 100 in part %d of 50"):format(count, part))
    end
  end)

  it("begin with the 101st: up to 100 are in the first 5 s", function()
    local few, many = phases(100, 60), phases(101, 60)
    table.sort(few)
    table.sort(many)
    assert.is_true(few[100] < 5)
    assert.is_true(many[101] > 50)
  end)

  it("have their places again after a restart, and without some of the others, in any order", function()
    local all = phases(3000, 60)
    clock.mono = 0.1
    local again = phases(3000, 60)
    local left = phases(2000, 60, function(i) return tostring(3001 - i) end) -- of the 3000, backwards
    for i = 1, 3000 do
      assert.equal(all[i], again[i])
      assert.equal(all[3001 - i], left[i] or all[3001 - i])
    end
  end)
end)

describe("a due time that was missed", function()
  it("is counted, and the last of them is due now, at its own time", function()
    local d = started(1, schedule.every(10))
    local _, first = take_next(d)
    local _, planned, missed, why = take_next(d, 34.5)
    assert.near(first + 40, planned, 1e-9)
    assert.equal(3, missed)
    assert.equal("waddle was held up", why)
    assert.near(first + 50, d:next(), 1e-9)
  end)

  -- A suspended machine stops the clock of timers; the time it was away is only told when somebody asks.
  it("is blamed on the suspended machine where that had been the cause", function()
    local d = started(1, schedule.every(10))
    local _, first = take_next(d)
    local slept_mono = clock.mono
    clock.asleep = 95
    clock.mono = clock.mono + 1
    d:look()
    local _, planned, missed, why = d:take(d:clock())
    assert.near(first + 90, planned, 1e-9)
    assert.equal(8, missed)
    assert.equal("the machine was suspended", why)
    assert.near(slept_mono + 90 - 95, d:on_task_clock(planned), 1e-6) -- before the sleep by that clock
    assert.near(first + 100, d:next(), 1e-9)
    -- What is missed later has nothing to do with it.
    _, _, missed, why = take_next(d, 25)
    assert.equal(2, missed)
    assert.equal("waddle was held up", why)
  end)

  it("is none where the machine was suspended between two of them", function()
    local d = started(1, schedule.every(60))
    local _, first = take_next(d)
    clock.asleep = 30
    d:look()
    assert.near(first + 60, d:next(), 1e-9)
    assert.near(30, d:next() - d:clock(), 1e-6)
    local _, planned, missed = take_next(d)
    assert.near(first + 60, planned, 1e-9)
    assert.equal(0, missed)
  end)

  it("is none where the machine was suspended before the start", function()
    local plan = {spec = schedule.every(1)}
    local d = dues.new({plan}, function() return "t" end)
    d:add(1, "t")
    clock.asleep = 100
    d:start()
    d:look()
    local _, _, missed = take_next(d)
    assert.equal(0, missed)
  end)

  it("of a cron expression is counted and blamed in the same way", function()
    local d = started(1, schedule.cron("* * * * *", {tz = "utc"}))
    take_next(d)
    clock.asleep = 300
    d:look()
    local _, _, missed, why = d:take(d:clock())
    assert.equal(4, missed)
    assert.equal("the machine was suspended", why)
    local _, _, later, held = take_next(d, 130)
    assert.equal(2, later)
    assert.equal("waddle was held up", held)
  end)
end)
