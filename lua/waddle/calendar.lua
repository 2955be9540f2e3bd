--- Calendar arithmetic between instants (seconds since the epoch) and the clock on the wall, with the time zone as an
-- offset function, so that a test can bring its own zone.

local calendar = {}

--- Days since 1970-01-01 of a date of the Gregorian calendar; days beyond the month carry over.
function calendar.days(year, month, day)
  -- Years begin in March here, so that the leap day is the last one.
  local y = month <= 2 and year - 1 or year
  local era = y // 400
  local year_of_era = y - era * 400
  local day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
  return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
end

--- The date of a day number: year, month, day, day of the week (0 is Sunday).
function calendar.date(days)
  local z = days + 719468
  local era = z // 146097
  local day_of_era = z - era * 146097
  local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
  local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
  local shifted = (5 * day_of_year + 2) // 153
  local month = shifted < 10 and shifted + 3 or shifted - 9
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  return year, month, day_of_year - (153 * shifted + 2) // 5 + 1, (days + 4) % 7
end

--- Seconds that the zone of this process is ahead of UTC at an instant (whole seconds).
function calendar.local_offset(t)
  local d = os.date("*t", t)
  return calendar.days(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.min * 60 + d.sec - t
end

local function no_offset()
  return 0
end

--- The offset function of a zone.
-- @param zone "local" (default; the zone of the process: TZ or /etc/localtime), "utc", or a function(t) -> seconds.
-- @return function, or nil and a message.
function calendar.zone(zone)
  if zone == nil or zone == "local" then
    return calendar.local_offset
  elseif type(zone) == "string" and zone:lower() == "utc" then
    return no_offset
  elseif type(zone) == "function" then
    return zone
  end
  return nil, ("expected tz 'local' or 'utc', got '%s'; for another zone start waddle with TZ set"):format(tostring(zone))
end

--- The wall clock at an instant: day number and second of that day.
function calendar.wall(t, offset)
  local whole = math.floor(t)
  local seconds = whole + offset(whole)
  return seconds // 86400, seconds % 86400
end

-- The first minute of the new offset between two instants that have different ones.
local function change_between(from, to, offset)
  local before = offset(from)
  local low, high = from // 60, to // 60
  while low + 1 < high do
    local middle = (low + high) // 2
    if offset(middle * 60) == before then
      low = middle
    else
      high = middle
    end
  end
  return high * 60
end

--- The instant of a wall-clock time. A time that occurs twice (clocks going back) is its first occurrence; a time that
-- does not occur (clocks going forward) is the first minute after the gap.
-- @param days day number. @param second second of that day. @param offset offset function.
function calendar.instant(days, second, offset)
  local seconds = days * 86400 + second
  local before, after = offset(seconds - 86400), offset(seconds + 86400)
  local first = seconds - before
  if before == after or offset(first) == before then
    return first
  end
  local other = seconds - after
  if offset(other) == after then
    return other
  end
  return change_between(seconds - 86400, seconds + 86400, offset)
end

return calendar
