-- waddle run tests/bench/run.lua [--json] [--quick] [ROW...]: measures the rows of rows.lua, prints them, and ends with 1 when a limit is missed. Called
-- by run.sh, which makes the network and starts the servers. A row's name selects it, and so does its beginning.

local measure = require "tests.bench.measure"
local report = require "tests.bench.report"
local rows = require "tests.bench.rows"

local RUNS, SECONDS, QUICK_SECONDS, QUICK_PART = 5, 3, 1, 5

local flags, wanted = {}, {}
for _, word in ipairs(arg) do
  if word == "--json" or word == "--quick" then
    flags[word:sub(3)] = true
  elseif word:find("^%-") then
    io.stderr:write("bench: no option '", word, "', expected --json or --quick\n")
    return 2
  else
    wanted[#wanted + 1] = word
  end
end

local function begins(row, word)
  return row.name:sub(1, #word) == word
end

local function selected(row)
  for _, word in ipairs(wanted) do
    if begins(row, word) then
      return true
    end
  end
  return #wanted == 0
end

for _, word in ipairs(wanted) do
  local names, known = {}, false
  for i, row in ipairs(rows) do
    names[i], known = row.name, known or begins(row, word)
  end
  if not known then
    io.stderr:write("bench: no row '", word, "', expected ", table.concat(names, " "), "\n")
    return 2
  end
end

local lines, left_out, missed = {}, {}, false

local function say(...)
  if not flags.json then
    print(...)
    io.stdout:flush()
  end
end

local function leave_out(what, why)
  left_out[#left_out + 1] = {what = what, why = why}
end

-- A line of the table is complete: judged, kept and shown.
local function add(line)
  line.ratio = line.peer and line.waddle / line.peer or nil
  if line.limit then
    line.ok = line.waddle <= line.limit
  elseif line.least then
    line.ok = line.waddle >= line.least
  end
  missed = missed or line.ok == false
  lines[#lines + 1] = line
  say(report.line(line))
end

-- The limit of a figure in its unit, and where it comes from; nothing where what it is measured by is missing.
local function limit_of(limit, line)
  if limit.of_peer then
    return line.peer and line.peer * limit.of_peer, ("limit %g of %s"):format(limit.of_peer, line.peer_name)
  elseif limit.of_bare then
    return line.bare and line.bare * limit.of_bare, ("limit %g of bare"):format(limit.of_bare)
  elseif limit.bare and line.bare and line.bare > limit.bare then
    return limit.most * line.bare / limit.bare, ("limit %g at bare %g"):format(limit.most, limit.bare)
  end
  return limit.most
end

local function measure_lines(row, values)
  local command, found, why
  command, why = measure.fill(row.lines, values)
  if command then
    found, why = measure.lines(command)
    missed = missed or not found
  end
  if not found then
    return leave_out(row.name, why)
  end
  for i = 1, #found - 1 do -- the last is what the command itself took
    found[i].row = row.name
    add(found[i])
  end
end

-- The sides of a row that can run here: {{key=, side=, command=, n=}}, ours first; nil, why when ours cannot.
local function sides_of(row, values)
  local n = row.count or values.n
  local sides = {{key = "waddle", side = {}, text = row.ours, n = n}}
  if row.peer and row.peer.slow and flags.quick then
    leave_out(row.name .. ": " .. row.peer.name, "slow, and this is --quick")
  elseif row.peer then
    sides[#sides + 1] = {key = "peer", side = row.peer, text = row.peer.command, n = not row.peer.server and n or nil}
  end
  sides[#sides + 1] = row.bare and {key = "bare", side = {}, text = row.bare, n = n} or nil
  local able = {}
  for _, s in ipairs(sides) do
    local why
    s.command, why = measure.fill(s.text, values)
    if s.command then
      able[#able + 1] = s
    elseif s.key == "waddle" then
      return nil, why
    else
      leave_out(row.name .. ": " .. (s.side.name or "bare loop"), why)
    end
  end
  return able
end

-- All sides in turn, so that what else the machine does hits them alike; {key = {taken, ...}}.
local function take_turns(row, sides)
  local runs, taken, why = {}, nil, nil
  for _ = 1, flags.quick and 1 or row.runs or RUNS do
    for _, s in ipairs(sides) do
      if not s.failed then
        taken, why = measure.once(s.side, s.command, s.n)
        if taken then
          runs[s.key] = runs[s.key] or {}
          table.insert(runs[s.key], taken)
        else
          s.failed = true
          runs[s.key] = nil
          missed = missed or s.key == "waddle"
          leave_out(row.name .. ": " .. (s.side.name or s.key), why)
        end
      end
    end
  end
  return runs
end

local function measure_row(row)
  local values = {n = row.n and (flags.quick and not row.whole and row.n // QUICK_PART or row.n), seconds = flags.quick and QUICK_SECONDS or SECONDS}
  for _, name in ipairs(row.needs or {}) do
    local found, why = measure.find(name)
    if not found then
      return leave_out(row.name, why)
    end
  end
  if row.lines then
    return measure_lines(row, values)
  end
  local sides, why = sides_of(row, values)
  if not sides then
    return leave_out(row.name, why)
  end
  local runs = take_turns(row, sides)
  for _, figure in ipairs(runs.waddle and row.figures or {}) do
    local line = {
      row = row.name, what = row.what .. ": " .. figure.what, unit = measure.unit(figure.of), plot = row.plot, known = figure.known,
      waddle = measure.figure(figure.of, runs.waddle), peer = measure.figure(figure.of, runs.peer), bare = measure.figure(figure.of, runs.bare),
      peer_name = runs.peer and row.peer.name,
    }
    if figure.limit then
      line.limit, line.limit_note = limit_of(figure.limit, line)
    end
    add(line)
  end
end

local function first_match(path, pattern)
  local file <close> = io.open(path)
  return file and file:read("a"):match(pattern)
end

local function load_average()
  return first_match("/proc/loadavg", "^%S+ %S+ %S+")
end

local _, cores = (first_match("/proc/stat", ".*") or ""):gsub("\ncpu%d", "")
local machine = {
  cores = cores, processor = first_match("/proc/cpuinfo", "model name%s*: ([^\n]*)"), kernel = sys.uname().release, load_before = load_average(),
}
say(("%d cores, %s, Linux %s, load %s; medians of %d runs, ours and the peer's in turn\n"):format(cores, machine.processor or "unknown processor",
  machine.kernel, machine.load_before, flags.quick and 1 or RUNS))
say(report.head())
for _, row in ipairs(rows) do
  if selected(row) then
    measure_row(row)
  end
end
machine.load_after = load_average()

local svg = measure.find("plot")
if svg and not report.plot(lines, measure.find("work"), svg) then
  svg = nil
end
if flags.json then
  print(json.encode {machine = machine, quick = flags.quick or false, rows = json.array(lines), left_out = json.array(left_out), plot = svg})
else
  print("\n" .. report.legend)
  for _, out in ipairs(left_out) do
    print(("left out: %s: %s"):format(out.what, out.why))
  end
  print(("load at the end %s%s"):format(machine.load_after, svg and "; plot: " .. svg or ""))
end
return missed and 1 or 0
