-- Cron lines, periods, jitter and blackout windows of any bytes, a text a line: a plan whose next due time is later than now, or a reason.

local duration = require "waddle.duration"
local schedule = require "waddle.schedule"

local NOW = 1767268800
local MOST_LINES = 4

local function refused(message)
  assert(type(message) == "string" and message ~= "", "refused without a reason")
end

local function check_due(spec)
  local first = spec.first or NOW
  for _, after in ipairs {NOW, NOW + 86399.5, 4102444799, first} do
    local due = schedule.next_due(spec, after)
    assert(due == nil and spec.kind == "cron" or due > after, "a due time that is not ahead")
    local count = schedule.count_due(spec, after, after + 3600, 1000)
    assert(count >= 0 and count <= 1000, "a count beyond its limit")
  end
end

local function check_duration(text)
  local seconds, message = duration.parse(text)
  if not seconds then
    return refused(message)
  end
  local again = assert(duration.parse(duration.format(seconds)))
  assert(math.abs(again - seconds) <= (seconds < 1 and 1e-6 or 0.5001e-3), "a duration that is another one when it is read again")
end

local function check_line(line, jitter)
  local spec, message = schedule.read(line, {tz = "utc", jitter = jitter, identity = "x", start = 0})
  if spec then
    check_due(spec)
  else
    refused(message)
  end
  local window, reason = schedule.blackout(line, "utc")
  if window then
    schedule.blacked_out({window}, NOW)
  else
    refused(reason)
  end
  check_duration(line)
end

return function(input)
  local last, lines = nil, 0
  for line in input:gmatch("[^\n]+") do
    check_line(line, nil)
    if last then
      check_line(last, line) -- a jitter is text too
    end
    last, lines = line, lines + 1
    if lines == MOST_LINES then
      return
    end
  end
end
