--- Cron expressions: five fields (minute, hour, day of month, month, day of week) or @hourly and its like.
-- Where day of month and day of week are both restricted, either is enough (as in every cron).
-- When clocks change: an expression with `*` for the hour follows elapsed time, through the repeated hour too. One
-- that names hours keeps to the clock on the wall: a time that is skipped runs once, at the first minute after the gap,
-- and a time that is repeated runs once, the first time.

local calendar = require "waddle.calendar"
local trim = require "waddle.trim"

local cron = {}

local MONTHS = {
  jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10, nov = 11, dec = 12,
}
local WEEKDAYS = { sun = 0, mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6 }

local FIELDS = {
  { name = "minute", low = 0, high = 59 },
  { name = "hour", low = 0, high = 23 },
  { name = "day of month", low = 1, high = 31 },
  { name = "month", low = 1, high = 12, names = MONTHS, example = "jan" },
  -- 7 is Sunday too.
  { name = "day of week", low = 0, high = 7, names = WEEKDAYS, example = "mon" },
}

local NICKNAMES = {
  ["@hourly"] = "0 * * * *", ["@daily"] = "0 0 * * *", ["@midnight"] = "0 0 * * *", ["@weekly"] = "0 0 * * 0",
  ["@monthly"] = "0 0 1 * *", ["@yearly"] = "0 0 1 1 *", ["@annually"] = "0 0 1 1 *",
}

local DAYS_OF_MONTH = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- The 29th of February may be eight years away (1896 to 1904, 2096 to 2104).
local HORIZON_DAYS = 8 * 366 + 1

--- Day of the week, 0 (Sunday) to 6, of an English name or its first three letters; nil for anything else.
function cron.weekday(name)
  name = name:lower()
  for short, full in pairs { sun = "sunday", mon = "monday", tue = "tuesday", wed = "wednesday", thu = "thursday",
    fri = "friday", sat = "saturday" } do
    if name == short or name == full then
      return WEEKDAYS[short]
    end
  end
end

local function read_number(field, text)
  local number = text:match("^%d%d?$") and math.tointeger(tonumber(text)) or field.names and field.names[text:lower()]
  if not number or number < field.low or number > field.high then
    return nil, ("the %s '%s' is not from %d to %d%s"):format(field.name, text, field.low, field.high,
      field.example and (" nor a name such as '%s'"):format(field.example) or "")
  end
  return number
end

-- One item of a list: "*", "5", "5-10", each with "/2".
local function read_item(field, item, set)
  local range, step = item:match("^([^/]*)/?(.*)$")
  local by = step == "" and 1 or math.tointeger(tonumber(step:match("^%d%d?%d?$") or 0))
  if item:find("/", 1, true) and (step == "" or by == 0) then
    return nil, ("the %s '%s' has a step that is no number from 1 to 999"):format(field.name, item)
  end
  local low, high = field.low, field.high
  if range ~= "*" then
    local from, to = range:match("^([^-]+)%-([^-]+)$")
    local message
    low, message = read_number(field, from or range)
    if low and to then
      high, message = read_number(field, to)
    elseif low and step == "" then
      high = low
    end
    if not low or not high then
      return nil, message
    elseif low > high then
      return nil, ("the %s '%s' ends before it begins"):format(field.name, range)
    end
  end
  for value = low, high, by do
    set[field.names == WEEKDAYS and value % 7 or value] = true
  end
  return true
end

local function read_field(field, text)
  local set = {}
  for item in (text .. ","):gmatch("([^,]*),") do
    local ok, message = read_item(field, item, set)
    if not ok then
      return nil, message
    end
  end
  return set
end

local function sorted(set)
  local list = {}
  for value in pairs(set) do
    list[#list + 1] = value
  end
  table.sort(list)
  return list
end

local function can_happen(spec)
  if spec.any_day or not spec.any_weekday then
    return true
  end
  for month in pairs(spec.months) do
    for day in pairs(spec.days) do
      if day <= DAYS_OF_MONTH[month] then
        return true
      end
    end
  end
  return false
end

--- Reads a cron expression.
-- @param text "*/5 8-18 * * mon-fri", "@hourly" ... Names may be in any case; weekdays are 0 to 7, sun to sat.
-- @param tz as `calendar.zone`.
-- @return spec (immutable), or nil and a message that names the field.
function cron.parse(text, tz)
  local offset, message = calendar.zone(tz)
  if not offset then
    return nil, message
  elseif type(text) ~= "string" then
    return nil, ("expected a cron expression such as \"*/5 8-18 * * mon-fri\", got a %s"):format(type(text))
  end
  local plain, parts = NICKNAMES[trim(text:lower())] or text, {}
  for part in plain:gmatch("%S+") do
    parts[#parts + 1] = part
  end
  if #parts ~= 5 then
    return nil, ("cron \"%s\": expected five fields (minute hour day month weekday) or @hourly and the like, got %d")
      :format(text:sub(1, 80), #parts)
  end
  local sets = {}
  for i, field in ipairs(FIELDS) do
    sets[i], message = read_field(field, parts[i])
    if not sets[i] then
      return nil, ("cron \"%s\": %s"):format(text:sub(1, 80), message)
    end
  end
  local spec = {
    kind = "cron", text = text, offset = offset,
    minutes = sorted(sets[1]), hours = sorted(sets[2]), is_minute = sets[1],
    days = sets[3], months = sets[4], weekdays = sets[5],
    any_hour = parts[2]:sub(1, 1) == "*" and #sorted(sets[2]) == 24,
    any_day = parts[3]:sub(1, 1) == "*", any_weekday = parts[5]:sub(1, 1) == "*",
  }
  if not can_happen(spec) then
    return nil, ("cron \"%s\": no month it names has such a day"):format(text:sub(1, 80))
  end
  return spec
end

local function day_fits(spec, days)
  local _, month, day, weekday = calendar.date(days)
  if not spec.months[month] then
    return false
  elseif spec.any_day or spec.any_weekday then
    return spec.days[day] and spec.weekdays[weekday] or false
  end
  return spec.days[day] or spec.weekdays[weekday] or false
end

-- Elapsed time: the first instant after `after` on the day that is a full minute of the list.
local function next_on_day_elapsed(spec, days, after)
  local at = math.max(calendar.instant(days, 0, spec.offset), math.floor(after / 60) * 60 + 60)
  local day, second = calendar.wall(at, spec.offset)
  while day == days do
    if spec.is_minute[second // 60 % 60] then
      return at
    end
    at = at + 60
    day, second = calendar.wall(at, spec.offset)
  end
end

-- Clock time: the first of the day's times whose instant is after `after`.
local function next_on_day_clock(spec, days, after)
  for _, hour in ipairs(spec.hours) do
    for _, minute in ipairs(spec.minutes) do
      local at = calendar.instant(days, hour * 3600 + minute * 60, spec.offset)
      if at > after then
        return at
      end
    end
  end
end

--- The first time after an instant.
-- @param spec from `cron.parse`. @param after seconds since the epoch. @return seconds since the epoch.
function cron.next(spec, after)
  local today = calendar.wall(after, spec.offset)
  for days = today, today + HORIZON_DAYS do
    if day_fits(spec, days) then
      local at = (spec.any_hour and next_on_day_elapsed or next_on_day_clock)(spec, days, after)
      if at then
        return at
      end
    end
  end
end

return cron
