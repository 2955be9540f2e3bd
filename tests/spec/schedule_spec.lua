local calendar = require "waddle.calendar"
local schedule = require "waddle.schedule"

local function dues(spec, after, count)
  local list = {}
  for i = 1, count do
    after = schedule.next_due(spec, after)
    list[i] = after
  end
  return list
end

describe("flaw 17: the period does not drift", function()
  it("due times are whole periods after the first, whatever a run takes", function()
    local spec = assert(schedule.every("30s", { start = 1000 }))
    assert.same({ 1000, 1030, 1060 }, dues(spec, 999.9, 3))
    assert.equal(1060, schedule.next_due(spec, 1030))
    assert.equal(1060, schedule.next_due(spec, 1059.999))
    assert.equal(4000, schedule.next_due(spec, 3987.123))
  end)

  it("keeps to the grid after millions of periods", function()
    local spec = assert(schedule.every(0.1, { start = 5 }))
    local at = schedule.next_due(spec, 1e6)
    assert.is_true(at > 1e6 and at <= 1e6 + 0.1000001)
    assert.is_true(math.abs((at - 5) / 0.1 - math.floor((at - 5) / 0.1 + 0.5)) < 1e-4)
  end)

  it("the first round begins at once and is spread over at most min(period, 5 s)", function()
    for _, period in ipairs { 1, 60 } do
      local spread, earliest, latest = math.min(period, 5), math.huge, 0
      for i = 1, 500 do
        local spec = schedule.every(period, { start = 100, identity = "target " .. i })
        local first = schedule.next_due(spec, 99)
        earliest, latest = math.min(earliest, first - 100), math.max(latest, first - 100)
        assert.is_true(first >= 100 and first < 100 + spread)
        assert.is_true(math.abs(schedule.next_due(spec, first) - first - period) < 1e-9)
      end
      assert.is_true(earliest < spread * 0.05 and latest > spread * 0.95)
    end
  end)

  it("keeps a target's place in the period: it depends on its identity alone", function()
    local a = schedule.every(60, { start = 100, identity = "https://a.test" })
    local b = schedule.every(60, { start = 100, identity = "https://a.test" })
    local c = schedule.every(60, { start = 100, identity = "https://c.test" })
    assert.equal(schedule.next_due(a, 500), schedule.next_due(b, 500))
    assert.not_equal(schedule.next_due(a, 500), schedule.next_due(c, 500))
  end)

  it("jitter makes runs late by a changing share and never adds up", function()
    local spec = assert(schedule.every(10, { jitter = "4s", identity = "x" }))
    local seen, grid = {}, spec.first
    for n, due in ipairs(dues(spec, spec.first - 0.001, 200)) do
      local late = due - (grid + (n - 1) * 10)
      assert.is_true(late >= -1e-9 and late < 4)
      seen[("%.3f"):format(late)] = true
    end
    local kinds = 0
    for _ in pairs(seen) do
      kinds = kinds + 1
    end
    assert.is_true(kinds > 150)
  end)

  it("counts the runs that were missed", function()
    local spec = schedule.every(10, { start = 0 })
    assert.equal(3, schedule.count_due(spec, 0, 30))
    assert.equal(0, schedule.count_due(spec, 0, 9))
    assert.equal(7, schedule.count_due(spec, 0, 1e9, 7))
  end)
end)

describe("schedule", function()
  it("refuses a period that is none", function()
    for _, period in ipairs { 0, "0s", -1, "soon", {}, true } do
      local spec, message = schedule.every(period)
      assert.is_nil(spec)
      assert.matches("^every: ", message)
    end
    local spec, message = schedule.every(10, { jitter = 11 })
    assert.is_nil(spec)
    assert.equal("jitter: must not be longer than the period", message)
  end)

  it("reads what a target's every may be", function()
    assert.equal(30, schedule.read("30s").period)
    assert.equal(30, schedule.read(30).period)
    assert.equal(90, schedule.read("@every 90s").period)
    assert.equal("cron", schedule.read("@hourly", { tz = "utc" }).kind)
    assert.equal("cron", schedule.read("*/5 8-18 * * mon-fri").kind)
    local bound = schedule.read(schedule.every("30s"), { start = 1000, identity = "x" })
    assert.is_true(bound.first >= 1000 and bound.first < 1005)
    assert.equal(30, bound.period)
    local spec, message = schedule.read("* * * *")
    assert.is_nil(spec)
    assert.matches("expected five fields", message)
    assert.is_nil((schedule.read("@every soon")))
    assert.is_nil((schedule.read(print)))
  end)

  it("reads what a run that is due does while another is going on", function()
    assert.equal("skip", schedule.overlap(nil))
    assert.equal("queue", schedule.overlap("queue"))
    local name, message = schedule.overlap("cancle")
    assert.is_nil(name)
    assert.equal("overlap: expected skip, queue or cancel, got 'cancle', did you mean 'cancel'?", message)
  end)

  describe("blackout", function()
    -- 2026-02-01 is a Sunday.
    local function at(day, hour, minute)
      return calendar.days(2026, 2, day) * 86400 + hour * 3600 + (minute or 0) * 60
    end
    local function inside(text, t, tz)
      return schedule.blacked_out({ assert(schedule.blackout(text, tz or "utc")) }, t) ~= nil
    end

    it("holds between its times, the end not included", function()
      assert.is_false(inside("sun 02:00-04:00", at(1, 1, 59)))
      assert.is_true(inside("sun 02:00-04:00", at(1, 2)))
      assert.is_true(inside("sun 02:00-04:00", at(1, 3, 59)))
      assert.is_false(inside("sun 02:00-04:00", at(1, 4)))
      assert.is_false(inside("sun 02:00-04:00", at(2, 3)))
    end)

    it("goes over midnight, and belongs to the day it began", function()
      assert.is_true(inside("mon-fri 22:00-06:00", at(2, 23)))
      assert.is_true(inside("mon-fri 22:00-06:00", at(7, 5, 59)))
      assert.is_false(inside("mon-fri 22:00-06:00", at(7, 23)))
      assert.is_false(inside("mon-fri 22:00-06:00", at(2, 5)))
    end)

    it("takes whole days, lists, ranges over the week's end, and every day", function()
      assert.is_true(inside("Sat, Sunday", at(1, 0)))
      assert.is_true(inside("sat,sun", at(7, 23, 59)))
      assert.is_false(inside("sat,sun", at(2, 0)))
      assert.is_true(inside("fri-mon 08:00-09:00", at(2, 8)))
      assert.is_false(inside("fri-mon 08:00-09:00", at(3, 8)))
      assert.is_true(inside("02:00-04:00", at(4, 3)))
      assert.is_true(inside("20:00 - 24:00", at(4, 23, 59)))
    end)

    it("is on the zone's clock", function()
      assert.is_true(inside("sun 02:00-04:00", at(1, 1), function() return 3600 end))
    end)

    it("names the window", function()
      local windows = { schedule.blackout("sat", "utc"), schedule.blackout("sun", "utc") }
      assert.equal("sun", schedule.blacked_out(windows, at(1, 5)).text)
      assert.is_nil(schedule.blacked_out({}, at(1, 5)))
    end)

    it("refuses with the reason", function()
      for text, reason in pairs { ["son 02:00-04:00"] = "'son' is not a weekday", ["sun 2-4"] = "is not a time", ["sun 02:00"] = "is not a time",
        ["sun 25:00-26:00"] = "'25:00' is not a time", ["sun 02:60-04:00"] = "is not a time", ["02:00-02:00"] = "begins and ends at the same time",
        [""] = "is not a time", ["sun-"] = "weekday" } do
        local window, message = schedule.blackout(text, "utc")
        assert.is_nil(window, text)
        assert.truthy(message:find(reason, 1, true), message)
      end
      assert.is_nil((schedule.blackout(5)))
    end)
  end)
end)
