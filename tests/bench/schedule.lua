-- waddle run tests/bench/schedule.lua FIGURE...: what schedules of many targets cost, as rows of ./dev bench (rows.lua). Each target is a ping of one packet
-- to an address of its own on the loopback. Load of other processes is in these figures as in no others: the load average stands beside them.
--
--   lateness COUNT PERIOD LIMIT_MS   how late runs start, the first one of each target: from when it was due to when its probe began. A run that was
--                                    skipped, that failed, or that did not end in time counts as later than all others. bare: a timer that does nothing,
--                                    as often, before and after ours
--   memory COUNT LIMIT_MIB           what a process has in use when all its targets were declared and none is due yet
--   cpu SECONDS LIMIT                CPU a probe at 100,000 targets against that at 1,000, at the same 1,667 probes a second, in turn; from the
--                                    first result on, without the program's start and the declaring
--   first COUNT PERIOD, cost COUNT PERIOD SECONDS
--                                    what the others start, in a process of its own: each prints an object with what it found

local measure = require "tests.bench.measure"

local RATE, TURNS = 100000 / 60, 2
local BARE_SECONDS = 10 -- before ours, and as long after it
local TIMEOUT_S = 5 -- of a probe
local GRACE_S = TIMEOUT_S + 5 -- after the period, for the last runs due in it to end

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

local function child(figure, ...)
  return run("/proc/%d/exe run '%s' %s %s", sys.pid(), arg[0], figure, table.concat({...}, " "))
end

-- What `between` returns, and p50 and p99 of a bare timer, the means of one run before it and one after.
local function beside_timer(rate, between)
  local command = ("%s/bare_timer %d %d"):format(measure.find("bare"), BARE_SECONDS * rate, rate)
  local before = run(command)
  local found = between()
  local after = run(command)
  return found, (before.p50_ms + after.p50_ms) / 2, (before.p99_ms + after.p99_ms) / 2
end

local function declare(count, period)
  for i = 0, count - 1 do
    target {("icmp://127.%d.%d.%d"):format(1 + (i >> 16), i >> 8 & 255, i & 255), count = 1, timeout = TIMEOUT_S, every = period}
  end
end

-- Which of the declared targets it is, from 1 on.
local function number_of(name)
  local high, middle, low = name:match("%.(%d+)%.(%d+)%.(%d+)$")
  return (high - 1) * 65536 + middle * 256 + low + 1
end

-- The targets run when the file has ended, until a task beside them has seen enough.
function figures.cost(count, period, seconds)
  local begun, probes, cpu = task.now(), 0, nil
  declare(count, period)
  local found = {declare_s = task.now() - begun}
  sink(function()
    cpu = cpu or os.clock()
    probes = probes + 1
  end)
  task.spawn(function()
    task.sleep(seconds)
    found.rss_mib, found.cpu_us = resident_mib(), cpu and (os.clock() - cpu) / probes * 1e6
    print_line(found)
    sys.exit(0)
  end)
end

-- Nothing grows meanwhile, and the collector has an array of numbers to look at: what is measured are the runs, not the notes on them.
function figures.first(count, period)
  local late_ms, left, all_ended = {}, count, task.channel(1)
  for i = 1, count do
    late_ms[i] = false
  end
  declare(count, period)
  sink(function(result)
    local i = number_of(result.target_name)
    if late_ms[i] then
      return
    end
    late_ms[i], left = result.success and result.quality.sched_lag_ms or math.huge, left - 1
    if left == 0 then
      all_ended:send(true)
    end
  end)
  task.spawn(function()
    all_ended:receive(period + GRACE_S)
    local sorted = {}
    for _, late in ipairs(late_ms) do
      sorted[#sorted + 1] = late and late < math.huge and late or nil
    end
    table.sort(sorted)
    print_line {runs = #sorted, p50_ms = measure.quantile(sorted, 0.5, count), p99_ms = measure.quantile(sorted, 0.99, count),
      most_ms = measure.quantile(sorted, 1, count)}
    sys.exit(0)
  end)
end

function figures.lateness(count, period, limit)
  local found, p50, p99 = beside_timer(math.floor(count / period), function() return child("first", count, period) end)
  local what = ("lateness, %d each %g s"):format(count, period)
  local missing = found.runs < count and ("%d of %d runs were skipped, failed or did not end"):format(count - found.runs, count) or nil
  -- Where a timer that does nothing is late by half of the limit and more, the limit is twice that.
  local slow = 2 * p99 > limit
  local lines = {
    {what = what .. ": p99", unit = "ms", waddle = found.p99_ms, bare = p99, limit = slow and 2 * p99 or limit,
      limit_note = slow and ("%g at bare %g"):format(limit, limit / 2) or nil, note = missing},
    {what = what .. ": p50", unit = "ms", waddle = found.p50_ms, bare = p50},
    {what = what .. ": most", unit = "ms", waddle = found.most_ms},
  }
  for _, line in ipairs(lines) do
    print_line(line.waddle and line or {what = line.what, why = missing, failed = line.limit ~= nil})
  end
end

function figures.memory(count, limit)
  local found = child("cost", count, 86400, 5)
  print_line {what = ("memory of %d idle targets"):format(count), unit = "MiB", waddle = found.rss_mib, limit = limit}
  print_line {what = ("declaring %d targets"):format(count), unit = "s", waddle = found.declare_s}
end

function figures.cpu(seconds, limit)
  local few, many = 0, 0
  for _ = 1, TURNS do
    few = few + child("cost", 1000, 1000 / RATE, seconds).cpu_us / TURNS
    many = many + child("cost", 100000, 100000 / RATE, seconds).cpu_us / TURNS
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
