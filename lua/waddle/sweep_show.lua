--- What a sweep found, for people and for pipes. Pure: a result of icmp.sweep or udp.sweep in, text out. Options as in waddle.show: colour, width.
-- Must hold: the work for a target is small, since there may be a million; what this machine is to blame for is never told of a target.

local get = require("waddle.fields").get
local json = require "waddle.json"
local text = require "waddle.text"

local sweep_show = {}

local ALIVE, UNREACHABLE, UNMEASURED = "✓", "✗", "–"
local MOST_LINES = 3 -- of the targets behind one error

-- Names that were not found and what went wrong on this machine say nothing of a target.
local function is_ours(err)
  return err == "local" or err == "permission" or err:find("^dns_") ~= nil
end

-- A target as it may be printed, and its width. Nearly all are addresses, which are fit as they are.
local function printable(target)
  if not target:find("[^%w.:-]") then
    return target, #target
  end
  target = text.printable(target)
  return target, text.width(target)
end

-- What a list element tells of one target: the round trips it has, their sum, the shortest and the longest. `value` is a number, false, or a list of these.
local function figures(value)
  if type(value) ~= "table" then
    return value and 1 or 0, value, value, value
  end
  local n, sum, low, high = 0, 0, nil, nil
  for _, rtt in ipairs(value) do
    if rtt then
      n, sum = n + 1, sum + rtt
      low, high = math.min(low or rtt, rtt), math.max(high or rtt, rtt)
    end
  end
  return n, sum, low, high
end

local function is_late(result, i)
  local late = get(result, "late_ms", i)
  return late and figures(late) > 0
end

--- Who answered and who did not: {alive=, unreachable=, unmeasured= (lists of places in `targets`), groups=}; a group is such a list with `error`, its name, or
-- "late" for those whose replies came after the timeout, and `ours` where it says nothing of the targets. Nil for a result without targets: nothing was sent.
function sweep_show.sort(result)
  local targets, errors = get(result, "targets"), get(result, "errors")
  if not targets or not get(result, "rtt_ms") then
    return nil
  end
  local found = {alive = {}, unreachable = {}, unmeasured = {}, groups = {}}
  local by_error = {}
  for i = 1, #targets do
    local err = errors and errors[i]
    if err then
      local ours = is_ours(err)
      local name = err == "timeout" and is_late(result, i) and "late" or err
      local group = by_error[name]
      if not group then
        group = {error = name, ours = ours}
        by_error[name], found.groups[#found.groups + 1] = group, group
      end
      group[#group + 1] = i
      local list = ours and found.unmeasured or found.unreachable
      list[#list + 1] = i
    else
      found.alive[#found.alive + 1] = i
    end
  end
  return found
end

-- ---- lists of targets ----

--- The targets at these places, a line each.
function sweep_show.names(result, places)
  local targets, out = get(result, "targets"), {}
  for k, i in ipairs(places) do
    out[k] = printable(targets[i])
  end
  out[#out + 1] = ""
  return table.concat(out, "\n")
end

-- An address as what does not change within a short range, and a number that does; nil for a name.
local function parts(target)
  local a, b, c, d = target:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then
    return "", ((a * 256 + b) * 256 + c) * 256 + d
  end
  local before, last = target:match("^(%x*:[%x:]*:)(%x*)$")
  return before, before and (tonumber(last, 16) or 0)
end

-- The targets that stand one after another from the kth place on, as a word: "10.0.0.1-10.0.0.9", or the first of them alone. Gives the last one's place, too.
local function neighbours(targets, places, k)
  local last = k
  local before, number = parts(targets[places[k]])
  while before and places[last + 1] do
    local next_before, next_number = parts(targets[places[last + 1]])
    if next_before ~= before or next_number ~= number + 1 then
      break
    end
    last, number = last + 1, next_number
  end
  local word = text.printable(targets[places[k]])
  if last <= k + 1 then
    return word, k
  end
  return word .. "-" .. text.printable(targets[places[last]]), last
end

-- The targets at these places as "10.0.0.1-10.0.0.9, 10.0.0.20, and 4 more", as many as fit into so many lines of so many columns.
local function spans(result, places, columns, lines)
  local targets, words, k = get(result, "targets"), {}, 1
  local line, used = 1, 0 -- as text.wrap breaks them
  local rest = #(" and %d more"):format(#places)
  while k <= #places do
    local word, last = neighbours(targets, places, k)
    local width = text.width(word) + 1
    if used > 0 and used + 1 + width > columns then
      line, used = line + 1, width
    else
      used = used + (used > 0 and 1 or 0) + width
    end
    local over = line > lines or (line == lines and used + (last < #places and rest or 0) > columns)
    if over and words[1] then
      words[#words + 1] = ("and %d more"):format(#places - k + 1)
      break
    end
    words[#words + 1] = word
    k = last + 1
  end
  return table.concat(words, ", ")
end

--- The targets that did not answer, by reason, a row each.
function sweep_show.groups(result, found, options)
  options = options or {}
  local width, rows, lead = options.width or 80, {}, 0
  for _, group in ipairs(found.groups) do
    lead = math.max(lead, #group.error + #tostring(#group) + 6) -- the mark and two gaps
  end
  for i, group in ipairs(found.groups) do
    rows[i] = {("%s %s"):format(group.ours and UNMEASURED or UNREACHABLE, group.error), #group, spans(result, group, width - lead, MOST_LINES)}
  end
  return text.table(rows, {width = width, align = {nil, "right"}, wrap = true, colour = options.colour, style = function(row, column)
    return column == 1 and (found.groups[row].ours and "yellow" or "red") or nil
  end})
end

--- The groups that say nothing of their targets, a line each, for those who see only a list: "dns_nxdomain: nowhere.test".
function sweep_show.notes(result, found)
  local lines = {}
  for _, group in ipairs(found.groups) do
    if group.ours then
      lines[#lines + 1] = ("%s: %s"):format(group.error, spans(result, group, 200, 1))
    end
  end
  return lines
end

-- ---- those that answered ----

--- The targets that answered, a line each: the round trip, of several packets how many were answered and the shortest, mean and longest.
function sweep_show.table(result, found, options)
  local targets, rtts, places = get(result, "targets"), get(result, "rtt_ms"), found.alive
  local colour = options and options.colour
  local several = type(rtts[1]) == "table"
  local names, widths, width = {}, {}, several and #"target" or 0
  for k, i in ipairs(places) do
    names[k], widths[k] = printable(targets[i])
    width = math.max(width, widths[k])
  end
  local out, mark, blanks = {}, text.paint(ALIVE, "green", colour), (" "):rep(width)
  if several and places[1] then
    local headers = ("  %-" .. width .. "s  replies       min       avg       max"):format("target")
    out[1] = text.paint(headers, "dim", colour) .. "\n" -- in the widths of the lines below
  end
  for k, i in ipairs(places) do
    local n, sum, low, high = figures(rtts[i])
    local name = names[k] .. blanks:sub(widths[k] + 1)
    if several then
      local replies = ("%7s"):format(n .. "/" .. #rtts[i])
      out[#out + 1] = ("%s %s  %s  %8s  %8s  %8s\n"):format(mark, name, text.paint(replies, "yellow", colour and n < #rtts[i]),
        text.ms(low), text.ms(sum / n), text.ms(high))
    else
      out[#out + 1] = ("%s %s  %8s\n"):format(mark, name, text.ms(sum))
    end
  end
  return table.concat(out)
end

-- ---- all of it ----

local function positive(result, name, words)
  local n = get(result, name)
  return n and n > 0 and (", %d %s"):format(n, words) or ""
end

--- One line for the whole sweep; broken between its parts where it is wider than options.width.
-- @param elapsed how long it took, seconds.
function sweep_show.summary(result, found, elapsed, options)
  options = options or {}
  local n, alive = #get(result, "targets"), #found.alive
  local said = {("%d %s: %d alive, %d unreachable%s"):format(n, n == 1 and "target" or "targets", alive, #found.unreachable,
    #found.unmeasured > 0 and (", %d not measured"):format(#found.unmeasured) or "")}
  local loss = get(result, "packet_loss_percent")
  said[2] = ("%d sent, %d received%s"):format(result.sent, result.received, loss and (", %s loss"):format(text.percent(loss)) or "")
    .. positive(result, "late", "late") .. positive(result, "duplicates", "doubled") .. positive(result, "foreign", "foreign")
    .. positive(result, "overflowed", "dropped by this machine")
  local low, mean, high = get(result, "rtt_min_ms"), get(result, "rtt_avg_ms"), get(result, "rtt_max_ms")
  if low then
    said[#said + 1] = ("min/avg/max %s / %s / %s"):format(text.ms(low), text.ms(mean), text.ms(high))
  end
  said[#said + 1] = ("%s, %.0f packets/s"):format(text.ms(elapsed * 1000), result.sent / math.max(elapsed, 1e-6))
  local clock, off = get(result, "quality", "timestamp_source"), get(result, "quality", "uncertainty_ms")
  if clock then
    said[#said + 1] = ("%s clock%s"):format(clock, off and " ±" .. text.ms(off) or "")
  end
  local lines, line = {}, text.paint(alive == n and ALIVE or UNREACHABLE, alive == n and "green" or "red", options.colour)
  for k, part in ipairs(said) do
    local longer = line .. (k == 1 and " " or "; ") .. part
    if k > 1 and options.width and text.width(longer) + 1 > options.width then
      lines[#lines + 1] = line .. ";"
      longer = "  " .. part
    end
    line = longer
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n") .. "\n"
end

--- A line of JSON for each target, in their order: `target`, `success`, then `latency_ms` (the mean) and `rtt_ms` as in the result, or `error`;
-- `late_ms` where a reply was late; of several packets `received`, how many were answered.
function sweep_show.jsonl(result)
  local targets, rtts, errors = get(result, "targets"), get(result, "rtt_ms"), get(result, "errors")
  local out = {}
  for i = 1, #targets do
    local n, sum = figures(rtts[i])
    local late = is_late(result, i) and (',"late_ms":%s'):format(json.encode(result.late_ms[i])) or ""
    local received = type(rtts[i]) == "table" and (',"received":%d'):format(n) or ""
    local found
    if n > 0 then
      local mean = json.encode(sum / n)
      local rtt = received == "" and mean or json.encode(rtts[i])
      found = ('"latency_ms":%s%s%s,"rtt_ms":%s,"success":true'):format(mean, late, received, rtt)
    else
      found = ('"error":%s%s%s,"success":false'):format(json.encode(errors[i]), late, received)
    end
    out[i] = ('{%s,"target":"%s"}\n'):format(found, targets[i]:find("^[%w.:-]+$") and targets[i] or json.encode(targets[i]):sub(2, -2))
  end
  return table.concat(out)
end

return sweep_show
