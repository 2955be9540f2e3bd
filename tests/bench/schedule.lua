-- waddle run tests/bench/schedule.lua FIGURE...: what schedules of many targets cost, as rows of ./dev bench (rows.lua). Each target is a ping of one packet
-- to an address of its own on the loopback. Load of other processes is in these figures as in no others: the load average stands beside them.
--
--   lateness COUNT PERIOD SECONDS LIMIT_MS   how late runs start, all of those due in so many seconds: from when one was due to when its probe began;
--                                            bare: a timer that does nothing, as often, before and after ours
--   memory COUNT LIMIT_MIB                   what a process has in use when all its targets were declared and none is due yet
--   cpu SECONDS LIMIT                        CPU a probe at 100,000 targets against that at 1,000, at the same 1,667 probes a second, in turn; from the
--                                            first result on, without the program's start and the declaring
--   child COUNT PERIOD SECONDS               what the others start, in a process of its own: prints an object with what it found

local measure = require "tests.bench.measure"

local RATE, TURNS = 100000 / 60, 2
local BARE_SECONDS = 10 -- before ours, and as long after it

local figures = {}

local function print_line(line)
  print(json.encode(line))
  io.stdout:flush()
end

local function resident_mib()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then
      return kib / 1024
    end
  end
end

-- What a command prints, which is one object.
local function run(command, ...)
  local program <close> = assert(io.popen("exec " .. command:format(...)))
  local text = program:read("a")
  assert(program:close(), "the measured process failed")
  return json.decode(text)
end

local function child(count, period, seconds)
  return run("/proc/%d/exe run '%s' child %d %g %g", sys.pid(), arg[0], count, period, seconds)
end

-- What `between` returns, and p50 and p99 of a bare timer, the means of one run before it and one after.
local function beside_timer(rate, between)
  local command = ("%s/bare_timer %d %d"):format(measure.find("bare"), BARE_SECONDS * rate, rate)
  local before = run(command)
  local found = between()
  local after = run(command)
  return found, (before.p50_ms + after.p50_ms) / 2, (before.p99_ms + after.p99_ms) / 2
end

local function percentile(sorted, p)
  return sorted[math.max(1, math.ceil(#sorted * p / 100))]
end

-- Declares the targets and returns: they run when the file has ended, until a task beside them has seen enough.
function figures.child(count, period, seconds)
  local begun = task.now()
  for i = 0, count - 1 do
    target {("icmp://127.%d.%d.%d"):format(1 + (i >> 16), i >> 8 & 255, i & 255), count = 1, timeout = "5s", every = period}
  end
  local found = {declare_s = task.now() - begun, skipped = 0, failed = 0, runs = 0}
  local late_ms, cpu = {}, nil
  sink(function(result)
    cpu = cpu or os.clock()
    if result.error == "skipped" then
      found.skipped = found.skipped + 1
      return
    end
    late_ms[#late_ms + 1] = result.quality.sched_lag_ms
    found.failed = found.failed + (result.success and 0 or 1)
  end)
  task.spawn(function()
    task.sleep(seconds)
    found.runs, found.rss_mib = #late_ms, resident_mib()
    found.cpu_us = cpu and (os.clock() - cpu) / #late_ms * 1e6
    table.sort(late_ms)
    found.p50_ms, found.p99_ms, found.most_ms = percentile(late_ms, 50), percentile(late_ms, 99), late_ms[#late_ms]
    print_line(found)
    sys.exit(0)
  end)
end

function figures.lateness(count, period, seconds, limit)
  local found, p50, p99 = beside_timer(math.floor(count / period), function() return child(count, period, seconds) end)
  local what = ("lateness, %d each %g s"):format(count, period)
  -- Nothing may be left out of the figure: what did not run would be the latest of all.
  local due = math.floor(count / period * math.min(seconds, period))
  assert(found.runs >= due * 0.98 and found.skipped + found.failed < due * 0.001,
    ("of %d runs due %d took place, %d were skipped, %d failed"):format(due, found.runs, found.skipped, found.failed))
  -- Where a timer that does nothing is late by half of the limit and more, the limit is twice that.
  local slow = 2 * p99 > limit
  print_line {what = what .. ": p99", unit = "ms", waddle = found.p99_ms, bare = p99, limit = slow and 2 * p99 or limit,
    limit_note = slow and ("%g at bare %g"):format(limit, limit / 2) or nil}
  print_line {what = what .. ": p50", unit = "ms", waddle = found.p50_ms, bare = p50}
  print_line {what = what .. ": most", unit = "ms", waddle = found.most_ms}
end

function figures.memory(count, limit)
  local found = child(count, 86400, 5)
  print_line {what = ("memory of %d idle targets"):format(count), unit = "MiB", waddle = found.rss_mib, limit = limit}
  print_line {what = ("declaring %d targets"):format(count), unit = "s", waddle = found.declare_s}
end

function figures.cpu(seconds, limit)
  local few, many = 0, 0
  for _ = 1, TURNS do
    few = few + child(1000, 1000 / RATE, seconds).cpu_us / TURNS
    many = many + child(100000, 100000 / RATE, seconds).cpu_us / TURNS
  end
  print_line {what = "CPU a probe, 100,000 by 1,000", unit = "", waddle = many / few, limit = limit}
  print_line {what = "CPU a probe, 1,000 targets", unit = "us", waddle = few}
  print_line {what = "CPU a probe, 100,000 targets", unit = "us", waddle = many}
end

local numbers = {}
for i = 2, #arg do
  numbers[#numbers + 1] = math.tointeger(tonumber(arg[i])) or tonumber(arg[i])
end
figures[arg[1]](table.unpack(numbers))
