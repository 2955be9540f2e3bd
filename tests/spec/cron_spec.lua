local calendar = require "waddle.calendar"
local cron = require "waddle.cron"

-- Clocks of central Europe in 2026: forward on 29 March at 01:00 UTC, back on 25 October at 01:00 UTC.
local FORWARD, BACK = 1774746000, 1792890000
local function berlin(t)
  return t >= FORWARD and t < BACK and 7200 or 3600
end

local function utc(text)
  local y, mo, d, h, mi = text:match("(%d+)-(%d+)-(%d+) (%d+):(%d+)")
  return math.tointeger(calendar.days(tonumber(y), tonumber(mo), tonumber(d)) * 86400 + tonumber(h) * 3600 + tonumber(mi) * 60)
end

local function shown(t)
  return os.date("!%Y-%m-%d %H:%M", t)
end

local function upcoming(text, after, count, zone)
  local spec = assert(cron.parse(text, zone or "utc"))
  local list, at = {}, utc(after)
  for i = 1, count do
    at = cron.next(spec, at)
    list[i] = shown(at)
  end
  return list
end

describe("cron", function()
  it("knows dates both ways", function()
    for days = -100000, 100000, 37 do
      local y, m, d, weekday = calendar.date(days)
      assert.equal(days, calendar.days(y, m, d))
      assert.equal(os.date("!%Y-%m-%d %w", days * 86400), ("%04d-%02d-%02d %d"):format(y, m, d, weekday))
    end
  end)

  local cases = {
    { "*/15 * * * *", "2026-01-31 12:07", { "2026-01-31 12:15", "2026-01-31 12:30" } },
    { "*/15 * * * *", "2026-01-31 12:15", { "2026-01-31 12:30" } },
    { "0 0 * * *", "2026-12-31 12:00", { "2027-01-01 00:00", "2027-01-02 00:00" } },
    { "*/5 8-18 * * mon-fri", "2026-01-30 18:54", { "2026-01-30 18:55", "2026-02-02 08:00" } },
    { "30 9 1,15 * *", "2026-01-15 09:30", { "2026-02-01 09:30", "2026-02-15 09:30" } },
    { "0 12 * JAN,Jul sun", "2026-01-26 00:00", { "2026-07-05 12:00" } },
    { "0 0 13 * fri", "2026-02-10 00:00", { "2026-02-13 00:00", "2026-02-20 00:00" } },
    { "0 0 1 * 7", "2026-01-30 00:00", { "2026-02-01 00:00", "2026-02-08 00:00" } },
    { "0 0 29 2 *", "2026-01-01 00:00", { "2028-02-29 00:00", "2032-02-29 00:00" } },
    { "0 0 29 2 *", "2096-03-01 00:00", { "2104-02-29 00:00" } },
    { "5/20 3 * * *", "2026-01-01 00:00", { "2026-01-01 03:05", "2026-01-01 03:25", "2026-01-01 03:45", "2026-01-02 03:05" } },
    { "10-20/5 * * * *", "2026-01-01 00:12", { "2026-01-01 00:15", "2026-01-01 00:20", "2026-01-01 01:10" } },
    { "0 0 * * fri-7", "2026-01-01 00:00", { "2026-01-02 00:00", "2026-01-03 00:00", "2026-01-04 00:00", "2026-01-09 00:00" } },
    { "@hourly", "2026-01-01 00:59", { "2026-01-01 01:00", "2026-01-01 02:00" } },
    { "@daily", "2026-01-01 00:59", { "2026-01-02 00:00" } },
    { "@Weekly", "2026-01-01 00:59", { "2026-01-04 00:00" } },
    { "@monthly", "2026-01-01 00:59", { "2026-02-01 00:00" } },
    { "@yearly", "2026-01-01 00:59", { "2027-01-01 00:00" } },
  }
  for _, case in ipairs(cases) do
    it(("%s after %s"):format(case[1], case[2]), function()
      assert.same(case[3], upcoming(case[1], case[2], #case[3]))
    end)
  end

  it("is always later than the instant given, also between seconds", function()
    local spec = cron.parse("* * * * *", "utc")
    assert.equal(utc "2026-01-01 00:01", cron.next(spec, utc "2026-01-01 00:00" + 59.999))
    assert.equal(utc "2026-01-01 00:02", cron.next(spec, utc "2026-01-01 00:01"))
  end)

  it("knows the zone of the process", function()
    local at = cron.next(cron.parse "30 12 * * *", os.time())
    local d = os.date("*t", at)
    assert.same({ 12, 30, 0 }, { d.hour, d.min, d.sec })
    assert.is_true(at > os.time() and at <= os.time() + 25 * 3600)
  end)

  it("refuses with the field and the reason", function()
    for text, reason in pairs {
      ["* * * *"] = "expected five fields", ["* * * * * *"] = "got 6", [""] = "got 0", ["60 * * * *"] = "the minute '60' is not from 0 to 59",
      ["* 24 * * *"] = "the hour '24'", ["* * 0 * *"] = "the day of month '0'", ["* * * 13 *"] = "the month '13'", ["* * * * 8"] = "the day of week '8'",
      ["* * * foo *"] = "the month 'foo'", ["*/0 * * * *"] = "a step that is no number from 1 to 999", ["*/ * * * *"] = "a step", ["5-1 * * * *"] = "ends before it begins",
      ["1, * * * *"] = "the minute ''", ["-1 * * * *"] = "the minute", ["1-2-3 * * * *"] = "the minute", ["0 0 30 2 *"] = "no month it names has such a day",
      ["0 0 31 4,6 *"] = "no month it names", ["@sometimes"] = "expected five fields",
    } do
      local spec, message = cron.parse(text, "utc")
      assert.is_nil(spec, text)
      assert.truthy(message:find(reason, 1, true), message)
    end
    assert.is_nil((cron.parse(5)))
    local _, message = cron.parse("* * * * *", "Mars/Olympus")
    assert.matches("expected tz 'local' or 'utc'", message)
  end)
end)

describe("cron when clocks change", function()
  it("runs a skipped time once, at the first minute after the gap", function()
    assert.same({ "2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30" }, upcoming("30 2 * * *", "2026-03-28 00:00", 3, berlin))
    assert.same({ "2026-03-29 01:00", "2026-03-29 01:10" }, upcoming("*/10 2,3 * * *", "2026-03-29 00:59", 2, berlin))
  end)

  it("runs a repeated time once, the first time", function()
    assert.same({ "2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30" }, upcoming("30 2 * * *", "2026-10-24 00:00", 3, berlin))
  end)

  it("follows elapsed time where the hour is free", function()
    assert.same({ "2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30", "2026-10-25 02:00" }, upcoming("*/30 * * * *", "2026-10-25 00:00", 4, berlin))
    assert.same({ "2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30" }, upcoming("*/30 * * * *", "2026-03-29 00:00", 3, berlin))
  end)

  it("keeps midnight on the days of change", function()
    assert.same({ "2026-03-28 23:00", "2026-03-29 22:00" }, upcoming("0 0 * * *", "2026-03-28 12:00", 2, berlin))
    assert.same({ "2026-10-24 22:00", "2026-10-25 23:00" }, upcoming("0 0 * * *", "2026-10-24 12:00", 2, berlin))
  end)
end)
