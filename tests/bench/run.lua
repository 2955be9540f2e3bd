-- waddle run tests/bench/run.lua [--json] [--quick] [ROW...]: measures the rows of rows.lua, prints them, and ends with 1 when a limit is missed or a
-- row fails. Called by run.sh, which makes the network and starts the servers. A row's name selects it, and so does its beginning. BENCH_ROWS in the
-- environment is the module that has the rows, tests.bench.rows by default.

local machine = require "tests.bench.machine"
local measure = require "tests.bench.measure"
local report = require "tests.bench.report"
local rows = require(measure.find("rows") or "tests.bench.rows")

local TOO_SLOW = "slow, and this is --quick"
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

local lines, left_out, failed, missed = {}, {}, {}, false

local function say(...)
  if not flags.json then
    print(...)
    io.stdout:flush()
  end
end

local function leave_out(what, why)
  left_out[#left_out + 1] = {what = what, why = why:gsub("%s+$", "")}
end

local function fail(what, why)
  failed[#failed + 1] = {what = what, why = why}
  say(("%s: FAILED"):format(what))
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
    return line.peer and line.peer * limit.of_peer, line.peer and ("%g of %s"):format(limit.of_peer, line.peer_name)
  elseif limit.of_bare then
    return line.bare and line.bare * limit.of_bare, line.bare and ("%g of bare"):format(limit.of_bare)
  elseif limit.bare and line.bare and line.bare > limit.bare then
    return limit.most * line.bare / limit.bare, ("%g at bare %g"):format(limit.most, limit.bare)
  end
  return limit.most
end

local function measure_lines(row, values)
  local command, why = measure.fill(row.lines, values)
  if not command then
    return leave_out(row.name, why)
  end
  local found
  found, why = measure.lines(command)
  if not found then
    return fail(row.name, why)
  end
  for i = 1, #found - 1 do -- the last is what the command itself took
    local line = found[i]
    if line.why then
      (line.failed and fail or leave_out)(line.what, line.why)
    else
      line.row = row.name
      add(line)
    end
  end
end

-- The sides of a row that can run here: {{key=, name=, side=, command=, n=}}, ours first; nil, why when ours cannot. Those that cannot are added to `absent`.
local function sides_of(row, values, absent)
  local n = row.count or values.n
  local sides = {{key = "waddle", name = "waddle", side = {}, text = row.ours, n = n}}
  if row.peer then
    sides[#sides + 1] = {key = "peer", name = row.peer.name, side = row.peer, text = row.peer.command, n = not row.peer.server and n or nil}
  end
  sides[#sides + 1] = row.bare and {key = "bare", name = "bare loop", side = {}, text = row.bare, n = n} or nil
  local able = {}
  for _, s in ipairs(sides) do
    local why
    s.command, why = measure.fill(s.text, values)
    if s.side.slow and flags.quick then
      s.command, why = nil, TOO_SLOW
    end
    if s.command then
      able[#able + 1] = s
    elseif s.key == "waddle" then
      return nil, why
    else
      leave_out(row.name .. ": " .. s.name, why)
      absent[#absent + 1] = "no " .. s.name
    end
  end
  return able
end

-- All sides in turn, so that what else the machine does hits them alike; {key = {taken, ...}}. A side that fails has none.
local function take_turns(row, sides, absent)
  local runs = {}
  for _ = 1, flags.quick and 1 or row.runs or RUNS do
    for _, s in ipairs(sides) do
      if not s.failed then
        local taken, why = measure.once(s.side, s.command, s.n)
        runs[s.key] = taken and runs[s.key] or taken and {} or nil
        if taken then
          table.insert(runs[s.key], taken)
        else
          s.failed = true
          absent[#absent + 1] = s.name .. " failed"
          fail(row.name .. ": " .. s.name, why)
        end
      end
    end
  end
  return runs
end

local function measure_row(row)
  local values = {
    n = row.n and (flags.quick and not row.whole and row.n // QUICK_PART or row.n), seconds = flags.quick and QUICK_SECONDS or SECONDS,
    runs = flags.quick and 1 or RUNS,
  }
  for _, name in ipairs(row.needs or {}) do
    local found, why = measure.find(name)
    if not found then
      return leave_out(row.name, why)
    end
  end
  if row.slow and flags.quick then
    return leave_out(row.name, TOO_SLOW)
  end
  if row.lines then
    return measure_lines(row, values)
  end
  local absent = {} -- in words, for the table
  local sides, why = sides_of(row, values, absent)
  if not sides then
    return leave_out(row.name, why)
  end
  local runs = take_turns(row, sides, absent)
  for _, figure in ipairs(runs.waddle and row.figures or {}) do
    local line = {
      row = row.name, what = row.what .. ": " .. figure.what, unit = measure.unit(figure.of), plot = row.plot, known = figure.known,
      waddle = measure.figure(figure.of, runs.waddle), peer = measure.figure(figure.of, runs.peer), bare = measure.figure(figure.of, runs.bare),
      peer_name = runs.peer and row.peer.name, note = absent[1] and table.concat(absent, ", "),
    }
    if figure.limit then
      line.limit, line.limit_note = limit_of(figure.limit, line)
    end
    add(line)
  end
end

local facts = machine.before()
say(machine.describe(facts))
say(("medians of %d runs, ours and the peer's in turn\n"):format(flags.quick and 1 or RUNS))
say(report.head())
for _, row in ipairs(rows) do
  if selected(row) then
    measure_row(row)
  end
end
machine.after(facts)

local svg = measure.find("plot")
if svg and not report.plot(lines, measure.find("work"), svg) then
  svg = nil
end
if flags.json then
  print(json.encode {
    machine = facts, quick = flags.quick or false, rows = json.array(lines), left_out = json.array(left_out), failed = json.array(failed), plot = svg,
  })
else
  print("\n" .. report.legend .. "\n")
  for _, out in ipairs(left_out) do
    print(("left out: %s: %s"):format(out.what, out.why))
  end
  for _, out in ipairs(failed) do
    print(("FAILED: %s: %s"):format(out.what, out.why))
  end
  print(machine.load(facts, "after") .. (svg and "\nplot: " .. svg or ""))
end
return (missed or failed[1]) and 1 or 0
