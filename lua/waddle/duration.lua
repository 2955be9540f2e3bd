--- Durations: what people write, as seconds.
-- A duration goes in as a number of seconds or as text: "250ms", "1.5s", "2m", "1h30m".
-- Inside the program it is always a finite, non-negative number of seconds.

local trim = require "waddle.trim"

local duration = {}

-- Larger units first: "1h30m" is a duration, "30m1h" is a slip of the pen.
local UNITS = { d = 86400, h = 3600, m = 60, s = 1, ms = 1e-3, us = 1e-6 }
local EXPECTED = "expected seconds or text such as \"250ms\", \"1.5s\", \"2m\", \"1h30m\""

-- No duration means more than this (about 31 years), and it keeps ns arithmetic inside 64 bits.
local MAX_SECONDS = 1e9

local MAX_BYTES = 100 -- of a text

local function shown(value)
  if type(value) == "string" then
    return ("%q"):format(#value > 40 and value:sub(1, 40) .. "..." or value)
  end
  return type(value) == "number" and tostring(value) or "a " .. type(value)
end

local function refuse(value, reason)
  return nil, ("%s, got %s%s"):format(EXPECTED, shown(value), reason and " (" .. reason .. ")" or "")
end

local function in_range(value, seconds)
  if seconds ~= seconds or seconds < 0 then
    return refuse(value, "must not be negative")
  elseif seconds > MAX_SECONDS then
    return refuse(value, "too long")
  end
  return seconds
end

--- Reads a duration.
-- @param value number of seconds, or text: numbers each followed by one of d h m s ms us, larger
--   units first and each unit once; a bare number in text is seconds.
-- @return seconds (number), or nil and a message that says what was expected and what came.
function duration.parse(value)
  if type(value) == "number" then
    return in_range(value, value)
  elseif type(value) ~= "string" then
    return refuse(value)
  elseif #value > MAX_BYTES then
    return refuse(value, ("longer than %d bytes"):format(MAX_BYTES))
  end
  local text = trim(value)
  if text:match("^%d+%.?%d*$") or text:match("^%.%d+$") then
    return in_range(value, tonumber(text))
  end
  local total, at, last = 0, 1, math.huge
  while at <= #text do
    local number, unit, after = text:match("^(%d*%.?%d*)([a-z]+)()", at)
    local amount, scale = tonumber(number), UNITS[unit]
    if not amount then
      return refuse(value)
    elseif not scale then
      return refuse(value, ("unknown unit '%s', use d h m s ms us"):format(unit))
    elseif scale >= last then
      return refuse(value, "larger units come first, each once")
    end
    -- Dividing keeps 250ms exactly 0.25; multiplying by 1e-3 does not.
    total = total + (scale < 1 and amount / (1 / scale) or amount * scale)
    last, at = scale, after
  end
  if #text == 0 then
    return refuse(value)
  end
  return in_range(value, total)
end

local function trimmed(number)
  local text = ("%.3f"):format(number):gsub("0+$", ""):gsub("%.$", "")
  return text
end

--- Writes a duration the way people would: "250ms", "1.5s", "2m", "1h30m", "2d4h".
-- @param seconds number, 0 or more.
-- @return text that `parse` reads back to within a microsecond (half a millisecond above one second).
function duration.format(seconds)
  if seconds == 0 then
    return "0s"
  elseif seconds < 0.0009995 then
    return trimmed(seconds * 1e6) .. "us"
  elseif seconds < 0.9999995 then
    return trimmed(seconds * 1e3) .. "ms"
  elseif seconds < 59.9995 then
    return trimmed(seconds) .. "s"
  end
  local whole = math.floor(seconds * 1000 + 0.5)
  local parts = {}
  for _, unit in ipairs { "d", "h", "m" } do
    local size = UNITS[unit] * 1000
    if whole >= size then
      parts[#parts + 1] = ("%d%s"):format(whole // size, unit)
      whole = whole % size
    end
  end
  if whole > 0 then
    parts[#parts + 1] = trimmed(whole / 1000) .. "s"
  end
  return table.concat(parts)
end

return duration
