--- Statistics in bounded memory, and the thresholds on them.
-- What must hold: a figure over nothing is nil, never 0; a threshold without figures fails and says so.

local compare = require "waddle.compare"
local nearest = require "waddle.nearest"

local stats = {}

-- Up to this many values percentiles are exact; then they are within RELATIVE_ERROR of the true one, in buckets whose
-- borders grow by a constant factor (the idea of DDSketch), at most some thousand for all doubles anyone measures.
local EXACT_VALUES = 1000
local RELATIVE_ERROR = 0.01
local LOG_GROWTH = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
local TINY = 1e-9

local Series = {}
Series.__index = Series

--- A new series of numbers.
function stats.series()
  return setmetatable({ count = 0, sum = 0, min = nil, max = nil, values = {}, sorted = true }, Series)
end

local function bucket_of(value)
  local size = math.abs(value)
  if size < TINY then
    return 0
  end
  -- Negative and positive values, large and small, on one line of integers in their own order.
  local index = math.ceil(math.log(size / TINY) / LOG_GROWTH) + 1
  return value < 0 and -index or index
end

local function bucket_value(index)
  if index == 0 then
    return 0
  end
  local top = TINY * math.exp((math.abs(index) - 1) * LOG_GROWTH)
  return (index < 0 and -top or top) * (1 - RELATIVE_ERROR)
end

local function into_bucket(buckets, value, times)
  local index = bucket_of(value)
  buckets[index] = (buckets[index] or 0) + times
end

--- Adds a number, so many times (default 1). NaN, infinities and anything that is no number are not counted.
function Series:add(value, times)
  times = times or 1
  if type(value) ~= "number" or value ~= value or value == math.huge or value == -math.huge then
    return
  end
  self.count, self.sum = self.count + times, self.sum + value * times
  self.min, self.max = math.min(self.min or value, value), math.max(self.max or value, value)
  if not self.buckets and self.count <= EXACT_VALUES then
    for i = self.count - times + 1, self.count do
      self.values[i] = value
    end
    self.sorted = false
    return
  elseif not self.buckets then
    self.buckets = {}
    for _, kept in ipairs(self.values) do
      into_bucket(self.buckets, kept, 1)
    end
    self.values = nil
  end
  into_bucket(self.buckets, value, times)
end

--- The mean, nil of nothing.
function Series:mean()
  return self.count > 0 and self.sum / self.count or nil
end

local function exact_percentile(self, rank)
  if not self.sorted then
    table.sort(self.values)
    self.sorted = true
  end
  return self.values[rank]
end

--- The smallest value that at least p percent of the values do not exceed (nearest rank); nil of nothing.
-- @param p number from 0 to 100.
function Series:percentile(p)
  if self.count == 0 then
    return nil
  end
  local rank = math.max(1, math.ceil(p / 100 * self.count - 1e-9))
  if not self.buckets then
    return exact_percentile(self, rank)
  elseif rank >= self.count then
    return self.max
  end
  local indices = {}
  for index in pairs(self.buckets) do
    indices[#indices + 1] = index
  end
  table.sort(indices)
  for _, index in ipairs(indices) do
    rank = rank - self.buckets[index]
    if rank <= 0 then
      return math.max(self.min, math.min(self.max, bucket_value(index)))
    end
  end
end

--- How much round-trip times vary.
-- @param rtts list of numbers in the order of the packets; `n` is its length where replies are missing (nil).
-- @return mean of |RTT(i) - RTT(i-1)| over consecutive replies, and RFC 3550's smoothed figure (section 6.4.1, on round
--   trips); nil, nil with fewer than two replies.
function stats.jitter(rtts)
  local previous, sum, steps, smoothed = nil, 0, 0, 0
  for i = 1, rtts.n or #rtts do
    local rtt = rtts[i]
    if rtt and previous then
      local change = math.abs(rtt - previous)
      sum, steps, smoothed = sum + change, steps + 1, smoothed + (change - smoothed) / 16
    end
    previous = rtt or previous
  end
  if steps == 0 then
    return nil, nil
  end
  return sum / steps, smoothed
end

-- Figures a threshold may ask of a series; truth values are in it as 1 and 0.
local FIGURES = {
  mean = function(series) return series:mean() end,
  avg = function(series) return series:mean() end,
  min = function(series) return series.min end,
  max = function(series) return series.max end,
  median = function(series) return series:percentile(50) end,
  count = function(series) return series.count end,
  rate = function(series) return series:mean() end,
}

local KINDS = { http = true, tcp = true, tls = true, ssh = true, udp = true, dns = true, icmp = true }

local function figure_of(name)
  local p = name:match("^p(%d+%.?%d*)$")
  p = p and tonumber(p)
  if p and p <= 100 then
    return function(series)
      return series:percentile(p)
    end
  end
  return FIGURES[name]
end

--- Reads a threshold: `figure(metric) operator number`.
-- @param text "p95(http.latency_ms) < 500", "rate(success) >= 99%", "rate(skipped) < 1%", "max(tcp.timings.connect_ms) < 1s". The figure is
--   mean (avg), min, max, median, count, rate (the share of true values) or p0 to p100; the metric is a field of the
--   results, with its kind before it or of all kinds; the number may have the field's unit.
-- @return threshold (immutable), or nil and a message.
function stats.threshold(text)
  if type(text) ~= "string" then
    return nil, ("threshold: expected a text such as \"p95(http.latency_ms) < 500\", got a %s"):format(type(text))
  end
  local name, metric, condition = text:match("^%s*([%w.]+)%s*%(%s*([%w_.-]+)%s*%)%s*([<>=!].-)%s*$")
  if not name then
    return nil, ("threshold \"%s\": expected figure(metric) and a comparison, such as \"p95(http.latency_ms) < 500\"")
      :format(text:sub(1, 80))
  end
  local figure = figure_of(name)
  if not figure then
    return nil, ("threshold \"%s\": unknown figure '%s'%s; there are mean, min, max, median, count, rate, p95"):format(
      text, name, nearest.hint(name, FIGURES))
  end
  local kind, path = metric:match("^(%w+)%.(.+)$")
  if not KINDS[kind] then
    kind, path = nil, metric
  end
  local field = path:match("[^.]+$")
  local unit = (name == "count" or name == "rate") and name or field
  -- A rate is a share of 1; written in percent it is a hundredth of the number.
  local percent = name == "rate" and condition:match("^([<>=!]=?%s*[%d.]+)%s*%%$")
  local holds, message = compare.operator(unit, percent or condition)
  if holds then
    -- == and != compare texts too, a figure is never one.
    holds, message = compare.amount(unit, (percent or condition):match("^[<>=!]=?%s*(.*)$")) and holds, nil
  end
  if not holds then
    return nil, ("threshold \"%s\": %s"):format(text, message or "expected < <= > >= == or != and a number")
  end
  local parts = {}
  for part in path:gmatch("[^.]+") do
    parts[#parts + 1] = part
  end
  return {
    text = text, kind = kind, metric = metric, parts = parts, figure = figure, scale = percent and 100 or 1,
    holds = holds,
  }
end

local function kind_of(result)
  local detail = rawget(result, "protocol_detail")
  if detail == "tcp_tls" then
    return "tls"
  end
  return (detail == "ssh" or detail == "dns") and detail or rawget(result, "test_type")
end

local function look_up(result, parts)
  for _, part in ipairs(parts) do
    if type(result) ~= "table" then
      return nil
    end
    result = rawget(result, part)
  end
  return result
end

-- What a result has to say about a metric, and how many times. A run that did not take place, or not to its end, is no measurement: all
-- it has is that it was skipped, for all the due times it stands for.
local function figure_in(result, parts)
  local err = rawget(result, "error")
  if parts[1] == "skipped" and not parts[2] then
    return err == "skipped", err == "skipped" and rawget(result, "missed") or 1
  elseif err == "skipped" or err == "cancelled" then
    return nil
  end
  return look_up(result, parts), 1
end

local Watch = {}
Watch.__index = Watch

--- Watches results for a list of thresholds.
-- @param thresholds list of what `stats.threshold` returned; more may be added to `watch.thresholds` before the first
--   result.
function stats.watch(thresholds)
  return setmetatable({ thresholds = thresholds, series = {} }, Watch)
end

local function add_value(self, metric, value, times)
  self.series[metric] = self.series[metric] or stats.series()
  if type(value) == "boolean" then
    value = value and 1 or 0
  end
  self.series[metric]:add(value, times)
end

--- Takes the figures of one result. A field that is absent (the latency of a failure) is not counted; of a run that did not take place
-- only `skipped` is.
function Watch:add(result)
  local done = {}
  for _, threshold in ipairs(self.thresholds) do
    if not done[threshold.metric] and (not threshold.kind or threshold.kind == kind_of(result)) then
      done[threshold.metric] = true
      local value, times = figure_in(result, threshold.parts)
      if value ~= nil then
        add_value(self, threshold.metric, value, times)
      end
    end
  end
end

--- Takes a value that is not of a result, for example `checks` with true or false.
function Watch:value(metric, value)
  add_value(self, metric, value, 1)
end

--- Judges every threshold. @return whether all hold, and a list of {text=, ok=, value= (nil: nothing was measured),
-- reason= (of a failure)} in the order of the thresholds.
function Watch:judge()
  local all, verdicts = true, {}
  for i, threshold in ipairs(self.thresholds) do
    local series = self.series[threshold.metric] or stats.series()
    local value = threshold.figure(series)
    local ok = value ~= nil and threshold.holds(value * threshold.scale)
    local reason = not ok and (value == nil and "nothing was measured" or ("it is %.6g"):format(value)) or nil
    verdicts[i] = { text = threshold.text, ok = ok, value = value, reason = reason }
    all = all and ok
  end
  return all, verdicts
end

return stats
