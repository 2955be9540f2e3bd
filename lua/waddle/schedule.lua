--- When a target is due: periods, cron expressions, blackout windows, and what happens when a run is still going.
-- Pure: every function takes the times it needs. Due times are absolute, so a slow run shifts nothing.
-- Times of `every` are on any clock the caller keeps to (task.now()); cron and blackout need seconds since the epoch.

local calendar = require "waddle.calendar"
local cron = require "waddle.cron"
local duration = require "waddle.duration"
local nearest = require "waddle.nearest"
local trim = require "waddle.trim"

local schedule = {}

-- Few targets have their first results soon, many share the work out evenly.
local FEW = 100
local LEAST_PERIOD_S = 0.001
local MAX_BYTES = 1000 -- of a text
local FEW_SPREAD_S, MANY_SPREAD_S = 5, 3600

--- What a due time does while the last run is still going on.
schedule.OVERLAP = {
  skip = "the new run does not take place; it is recorded as skipped (the default)",
  queue = "the new run starts as soon as the old one ends; no more than one waits, others are recorded as skipped",
  cancel = "the old run is cancelled and the new one starts at once",
}

--- A number in [0, 1) that depends on nothing but the texts given: the same target has the same place in every process.
-- (FNV-1a, 64 bits, its high bits mixed once more because short texts differ in the low ones.)
function schedule.share(...)
  local hash = 0xcbf29ce484222325
  for i = 1, select("#", ...) do
    local s = tostring((select(i, ...)))
    for k = 1, #s do
      hash = (hash ~ s:byte(k)) * 0x100000001b3
    end
    hash = (hash ~ 0xff) * 0x100000001b3
  end
  hash = (hash ~ hash >> 32) * 0x9e3779b97f4a7c15
  return (hash >> 11) * 2.0 ^ -53
end

--- Where in the period of a target its runs are: seconds from 0 to the period, which depend on nothing but its identity and on
-- whether there are many. Up to 100 targets are within the first 5 s, more are spread over the whole period, but over no more than an
-- hour: what is due once a day has run once by then.
-- @param spec what `every` returned. @param share schedule.share(identity). @param among how many targets there are (default 1).
function schedule.place(spec, share, among)
  return share * math.min(spec.period, (among or 1) > FEW and MANY_SPREAD_S or FEW_SPREAD_S)
end

-- What `every` made has this in it, which a table out of a JSON file cannot have.
local function made_here() end

-- A copy of a period with a start, a place in it and a jitter.
local function bind(spec, options)
  local jitter, message = duration.parse(options.jitter or spec.jitter)
  if not jitter or jitter > spec.period then
    return nil, "jitter: " .. (message or "must not be longer than the period")
  end
  local identity = options.identity or spec.identity
  local bound = {kind = "every", made_here = made_here, period = spec.period, jitter = jitter, identity = identity, first = options.start or 0}
  if identity ~= "" then
    bound.first = bound.first + schedule.place(bound, schedule.share(identity))
  end
  return bound
end

--- A period.
-- @param period seconds or text ("30s"), longer than 0.
-- @param options table or nil:
--   start     when the schedule begins (default 0)
--   identity  text that the target's place in the period depends on (default "": at `start` itself)
--   jitter    seconds or text, at most the period: each run is late by a share of this, another one each time
--             (default 0)
-- The first run is at `start` plus the place that a lone target has in the period, all others whole periods after that.
-- @return spec (immutable), or nil and a message.
function schedule.every(period, options)
  local seconds, message = duration.parse(period)
  if not seconds or seconds < LEAST_PERIOD_S then
    return nil, "every: " .. (message or ("the period must be %d ms or longer"):format(LEAST_PERIOD_S * 1000))
  end
  return bind({ period = seconds, jitter = 0, identity = "" }, options or {})
end

--- A cron expression, or `@every 90s`.
-- @param text see `cron.parse`. @param options as `schedule.every`, and tz as `calendar.zone`.
-- @return spec (immutable), or nil and a message.
function schedule.cron(text, options)
  if type(text) == "string" and #text > MAX_BYTES then
    return nil, ("cron \"%s...\": longer than %d bytes"):format(text:sub(1, 80), MAX_BYTES)
  end
  local period = type(text) == "string" and text:match("^%s*@every%s+(.*)")
  if period then
    return schedule.every(period, options)
  end
  return cron.parse(text, options and options.tz)
end

--- Whether a value is what `cron` or `blackout` made: a JSON file cannot hold the function that is in it.
function schedule.is_wall_clock(value)
  return type(value) == "table" and type(rawget(value, "offset")) == "function"
end

--- Reads the `every` of a target.
-- @param value a duration, a cron expression (told by its five fields or its "@"), or a spec that `every` or `cron`
--   returned, which gets the start, identity and jitter of the options.
-- @param options as `schedule.cron`. @return spec (immutable), or nil and a message.
function schedule.read(value, options)
  if type(value) == "table" and value.made_here == made_here then
    return bind(value, options or {})
  elseif type(value) == "table" and schedule.is_wall_clock(value) then
    return value
  elseif type(value) == "string" and (value:find("^%s*@") or value:find("%S%s+%S")) then
    return schedule.cron(value, options)
  end
  return schedule.every(value, options)
end

-- When run n is due, counted from 0; `first` and `identity` as in next_due.
local function nth_due(spec, n, first, identity)
  local late = spec.jitter > 0 and schedule.share(identity, n) * spec.jitter or 0
  return first + n * spec.period + late
end

-- The number of the last run that is due by `at`, -1 before the first.
local function number_at(spec, at, first, identity)
  -- Being late by at most one period, run n - 1 is never due after the undelayed time of run n.
  local n = math.max(-1, math.floor((at - first) / spec.period))
  while n >= 0 and nth_due(spec, n, first, identity) > at do
    n = n - 1
  end
  while nth_due(spec, n + 1, first, identity) <= at do
    n = n + 1
  end
  return n
end

--- The first due time after an instant.
-- @param first, identity of a period: when its first run is and what its jitter depends on (default: the spec's own), so that many
--   targets can have one spec.
-- @return a time on the clock of `after`; never `after` itself.
function schedule.next_due(spec, after, first, identity)
  if spec.kind == "cron" then
    return cron.next(spec, after)
  end
  first, identity = first or spec.first, identity or spec.identity
  return nth_due(spec, number_at(spec, after, first, identity) + 1, first, identity)
end

--- How many due times there are after one instant up to and including another: runs that were missed are counted, not
-- forgotten. Counting stops at `limit` (default: none for periods, 1000 for cron).
-- @return the number, and the last of those counted (nil for none).
function schedule.count_due(spec, after, up_to, limit, first, identity)
  if spec.kind == "every" then
    first, identity = first or spec.first, identity or spec.identity
    local last = number_at(spec, up_to, first, identity)
    local count = last - number_at(spec, after, first, identity)
    return math.min(count, limit or count), count > 0 and nth_due(spec, last, first, identity) or nil
  end
  local count, at, last = 0, cron.next(spec, after), nil
  while at and at <= up_to and count < (limit or 1000) do
    count, at, last = count + 1, cron.next(spec, at), at
  end
  return count, last
end

local function read_days(text)
  local days = {}
  for item in (text .. ","):gmatch("([^,]*),") do
    local from, to = item:match("^(%a+)%-(%a+)$")
    local first, last = cron.weekday(from or item), cron.weekday(to or item)
    if not first or not last then
      return nil, ("'%s' is not a weekday such as sun or mon-fri"):format(item)
    end
    -- fri-mon goes over the end of the week.
    for i = 0, (last - first) % 7 do
      days[(first + i) % 7] = true
    end
  end
  return days
end

local function read_time(text)
  local hour, minute = text:match("^(%d%d?):(%d%d)$")
  hour, minute = tonumber(hour), tonumber(minute)
  if not hour or minute > 59 or hour > 24 or (hour == 24 and minute > 0) then
    return nil, ("'%s' is not a time from 00:00 to 24:00"):format(text)
  end
  return math.tointeger(hour * 3600 + minute * 60)
end

--- A window in which nothing runs: "sun 02:00-04:00", "mon-fri 22:00-06:00" (into the next day), "sat,sun" (all day),
-- "02:00-04:00" (every day). The clock is the one on the wall.
-- @param text the window. @param tz as `calendar.zone`.
-- @return window (immutable), or nil and a message.
function schedule.blackout(text, tz)
  local offset, message = calendar.zone(tz)
  if not offset then
    return nil, message
  elseif type(text) ~= "string" then
    return nil, ("blackout: expected a text such as \"sun 02:00-04:00\", got a %s"):format(type(text))
  end
  if #text > MAX_BYTES then
    return nil, ("blackout \"%s...\": longer than %d bytes"):format(text:sub(1, 80), MAX_BYTES)
  end
  local plain = trim(text:lower():gsub("%s*([-,])%s*", "%1"))
  local days_text, times = plain:match("^(%a[%a,-]*)%s*(.*)$")
  if not days_text then
    -- No day named: every day, but then a time must be.
    days_text, times = "sun-sat", plain ~= "" and plain or "-"
  end
  local window = { text = text, offset = offset, from = 0, to = 86400 }
  window.days, message = read_days(days_text)
  if window.days and times ~= "" then
    local from, to = times:match("^([^-]+)%-([^-]+)$")
    window.from, message = read_time(from or times)
    if window.from then
      window.to, message = read_time(to or "")
    end
    if window.from and window.from == window.to then
      window.to, message = nil, "it begins and ends at the same time"
    end
  end
  if not (window.days and window.from and window.to) then
    return nil, ("blackout \"%s\": %s"):format(text:sub(1, 80), message)
  end
  return window
end

--- The window that an instant falls into.
-- @param windows list of `schedule.blackout` values. @param t seconds since the epoch. @return window, or nil.
function schedule.blacked_out(windows, t)
  for _, window in ipairs(windows) do
    local days, second = calendar.wall(t, window.offset)
    local weekday = (days + 4) % 7
    if window.from < window.to then
      if window.days[weekday] and second >= window.from and second < window.to then
        return window
      end
    elseif (window.days[weekday] and second >= window.from) or (window.days[(weekday - 1) % 7] and second < window.to) then
      return window
    end
  end
end

--- Checks an overlap policy. @return its name ("skip" for nil), or nil and a message.
function schedule.overlap(name)
  if name == nil then
    return "skip"
  elseif schedule.OVERLAP[name] then
    return name
  end
  return nil, ("overlap: expected skip, queue or cancel, got '%s'%s"):format(tostring(name),
    nearest.hint(name, schedule.OVERLAP))
end

return schedule
