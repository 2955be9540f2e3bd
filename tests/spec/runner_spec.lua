-- When targets run, how many at once, and what their results go through. Under the virtual clock, so each spec is a process of
-- its own; what it prints is judged here.

local virtual = require "tests.support.virtual"

local numbers, output = virtual.numbers, virtual.output

describe("the schedule", function()
  it("starts at once, spread over min(period, 5 s), and then keeps each target's place in the period", function()
    local out = output [[
      local r, starts = start(), {}
      for i = 1, 24 do
        add(r, {probe = function(t) starts[i] = starts[i] or {} table.insert(starts[i], at()) task.sleep(i % 3 / 2) return {success = true} end, name = "t" .. i}, i <= 20 and 60 or 2)
      end
      finish(r, 300)
      for i = 1, 24 do
        local worst = 0
        for n, t in ipairs(starts[i]) do worst = math.max(worst, math.abs(t - starts[i][1] - (n - 1) * (i <= 20 and 60 or 2))) end
        say("%.6f %.9f %d", starts[i][1], worst, #starts[i])
      end
    ]]
    local list, least, most = numbers(out), 1e9, 0
    assert.equal(72, #list)
    for i = 1, 24 do
      local first, worst, count = list[3 * i - 2], list[3 * i - 1], list[3 * i]
      assert.is_true(first >= 0 and first <= (i <= 20 and 5 or 2), "first run at " .. first)
      assert.is_true(worst < 1e-3, "moved by " .. worst)
      if i <= 20 then
        least, most = math.min(least, first), math.max(most, first)
        assert.equal(5, count)
      end
    end
    assert.is_true(most - least > 2, "all at the same moment")
  end)

  it("gives a target the same place in every process", function()
    local code = [[
      local r = start()
      add(r, {probe = function() return {success = true} end, name = "same"}, 60)
      finish(r, 10)
      say("%.6f", seen[1].at)
    ]]
    assert.equal(output(code), output(code))
  end)

  it("jitter moves each run by another share, and never the next one; none is skipped", function()
    local list = numbers(output [[
      local r, starts = start(), {}
      add(r, {probe = function() starts[#starts + 1] = at() return {success = true} end, name = "j", jitter = "2s"}, 10)
      finish(r, 300)
      for n, t in ipairs(starts) do say("%.6f", t - (n - 1) * 10) end
      say("%d", r.counts.skipped)
    ]])
    assert.equal(0, table.remove(list))
    assert.is_true(#list >= 29)
    local least, most = math.huge, 0
    for _, offset in ipairs(list) do
      least, most = math.min(least, offset), math.max(most, offset)
    end
    assert.is_true(least >= 0 and most <= 7 and most - least <= 2 and most - least > 1)
  end)

  it("with jitter, many targets have all their runs, and nothing else is recorded", function()
    local many = 200
    local list = numbers(output(([[
      local r = start()
      for i = 1, MANY do
        add(r, {probe = function() return {success = true} end, name = "t" .. i, jitter = "1s"}, 2)
      end
      finish(r, 60)
      print(r.counts.runs, #seen, r.counts.skipped)
    ]]):gsub("MANY", many)))
    assert.is_true(list[1] > many * 29 and list[1] <= many * 30, list[1])
    assert.same({list[1], 0}, {list[2], list[3]})
  end)

  it("cron runs at its minutes on the wall clock", function()
    local out = output [[
      local r = start()
      add(r, {probe = function() return {success = true} end, name = "c", every = "*/5 * * * *"})
      finish(r, 1800)
      for _, s in ipairs(seen) do io.write(s.result.started_at:match("T%d+:(%d+:%d+)"), " ") end
      print(#seen)
    ]]
    assert.matches("6\n$", out)
    for minute, second in out:gmatch("(%d%d):(%d%d) ") do
      assert.equal(0, tonumber(minute) % 5)
      assert.equal("00", second)
    end
  end)

  it("cron follows a wall clock that is set, forward and years back", function()
    local list = numbers(output [[
      local core_sys, shift, runs = require "waddle.core.sys", 0, 0
      local wall = core_sys.time
      core_sys.time = function() return wall() + shift end
      local function near_noon() shift = shift + 86400 - (core_sys.time() + 60 - 43200) % 86400 end -- 11:59:00
      local r = start()
      add(r, {probe = function() runs = runs + 1 return {success = true} end, name = "noon", every = "0 12 * * *"})
      shift = 3600
      near_noon()
      shift = shift + 7200 -- one o'clock has passed
      local t = task.spawn(function() r:forever() end)
      task.sleep(300)
      print(runs)
      near_noon()
      task.sleep(120)
      print(runs)
      shift = shift - 10 * 365 * 86400
      near_noon()
      task.sleep(120)
      print(runs)
      shift = shift - 60 -- by a minute only: noon is over
      task.sleep(120)
      print(runs)
      sys.exit(0)
    ]])
    assert.same({0, 1, 2, 2}, list)
  end)

  it("a target without a schedule runs once beside those that have one", function()
    assert.equal("1 6\n", output [[
      local r, once, often = start(), 0, 0
      add(r, {probe = function() once = once + 1 return {success = true} end, name = "once"})
      add(r, {probe = function() often = often + 1 return {success = true} end, name = "often", every = 10})
      finish(r, 60)
      print(once .. " " .. often)
    ]])
  end)

  -- A target is due each second. After three runs `hold` makes it 10.5 s later with no time for a run between, and 2.3 s later all ends:
  -- how many runs there were before and after, and what was recorded as skipped.
  local function missed(hold)
    return output(([[
      local core_sys, r, runs = require "waddle.core.sys", start(), 0
      add(r, {probe = function() runs = runs + 1 return {success = true} end, name = "held", every = 1})
      local t = task.spawn(function() r:forever() end)
      task.sleep(2.999)
      local before = runs
      do %s end
      task.sleep(2.3)
      r:stop() t:join() r:drain()
      say("runs %%d and %%d", before, runs - before)
      for _, s in ipairs(seen) do
        local x = s.result
        if x.error == "skipped" then say("%%s, %%s, missed %%d", x.target_name, x.error_detail, x.missed) end
      end
      say("counted %%d", r.counts.skipped)
    ]]):format(hold))
  end

  it("counts due times that passed while the process was held up, and runs once for them", function()
    assert.equal("runs 3 and 3\nheld, late: due times missed: 10, waddle was held up, missed 10\ncounted 10\n",
      missed "local now = core_task.now core_task.now = function() return now() + 10.5 end")
  end)

  it("counts due times that passed while the machine was suspended, says so, and runs once for them", function()
    assert.equal("runs 3 and 3\nheld, late: due times missed: 10, the machine was suspended, missed 10\ncounted 10\n",
      missed "core_sys.suspended = function() return 10.5 end")
  end)

  it("nothing starts in a blackout; such a run is recorded as skipped with the reason", function()
    local out = output [[
      local r, starts = start(), 0
      add(r, {probe = function() starts = starts + 1 return {success = true} end, name = "b", every = 10, blackout = "00:00-24:00"})
      finish(r, 60)
      say("%d %d %s %s", starts, #seen, seen[1].result.error, seen[1].result.error_detail)
      local once = start()
      add(once, {probe = function() starts = starts + 1 return {success = true} end, name = "b", blackout = {"00:00-24:00"}})
      once:once() once:drain()
      say("%d %s", starts, seen[#seen].result.error)
    ]]
    assert.equal("0 6 skipped blackout\n0 skipped\n", out)
  end)
end)

describe("overlap", function()
  local function overlap(policy, probe_seconds)
    return output(([[
      local r, starts, ends, most, now = start(), 0, 0, 0, 0
      add(r, {probe = function()
        starts = starts + 1 now = now + 1 most = math.max(most, now)
        local down <close> = setmetatable({}, {__close = function() now = now - 1 end})
        task.sleep(%s)
        ends = ends + 1
        return {success = true}
      end, name = "o", every = 10, overlap = %q})
      finish(r, 59)
      local kinds = {}
      for _, s in ipairs(seen) do local e = s.result.error or "ok" kinds[e] = (kinds[e] or 0) + 1 end
      say("%%d %%d %%d ok=%%d skipped=%%d cancelled=%%d counted=%%d", starts, ends, most, kinds.ok or 0, kinds.skipped or 0, kinds.cancelled or 0, r.counts.skipped)
    ]]):format(probe_seconds, policy))
  end

  it("skip: the new run does not take place and is recorded", function()
    assert.equal("3 3 1 ok=3 skipped=3 cancelled=0 counted=3\n", overlap("skip", 15))
  end)

  it("queue: one waits and starts as the old one ends, others are recorded as skipped", function()
    assert.equal("5 5 1 ok=5 skipped=1 cancelled=0 counted=1\n", overlap("queue", 14))
  end)

  it("cancel: the old run ends at once and is recorded, the new one starts", function()
    assert.equal("6 1 1 ok=1 skipped=0 cancelled=5 counted=0\n", overlap("cancel", 15))
  end)
end)

describe("the cap", function()
  it("runs no more than that many at once, and all of them", function()
    assert.equal("8 40 40 50\n", output [[
      local r, now, most, done = start {concurrency = 8}, 0, 0, 0
      for i = 1, 40 do
        add(r, {probe = function() now = now + 1 most = math.max(most, now) task.sleep(10) now = now - 1 done = done + 1 return {success = true} end, name = "t" .. i})
      end
      r:once() r:drain()
      say("%d %d %d %.0f", most, done, #seen, at())
    ]])
  end)

  it("is 256 where nothing is said", function()
    assert.equal("256\n", output [[
      local r, now, most = start(), 0, 0
      for i = 1, 300 do
        add(r, {probe = function() now = now + 1 most = math.max(most, now) task.sleep(10) now = now - 1 return {success = true} end, name = "t" .. i})
      end
      r:once()
      print(most)
    ]])
  end)

  it("a run that waits for its place is not started twice", function()
    assert.equal("true true\n", output [[
      local r, starts = start {concurrency = 1}, {0, 0}
      for i = 1, 2 do
        add(r, {probe = function() starts[i] = starts[i] + 1 task.sleep(25) return {success = true} end, name = "t" .. i, every = 10, overlap = "queue"})
      end
      finish(r, 99)
      say("%s %s", starts[1] + starts[2] <= 5, r.counts.skipped > 0)
    ]])
  end)
end)

describe("the pipeline", function()
  it("goes through the target's transform, then the global ones in order", function()
    assert.equal("abc\n", output [[
      local function append(letter) return function(r) r.trail = (r.trail or "") .. letter return r end end
      local r = start {transforms = {append "b", append "c"}}
      add(r, {probe = function() return {success = true} end, name = "t", transform = append "a"})
      r:once() r:drain()
      print(seen[1].result.trail)
    ]])
  end)

  it("nil drops, a table replaces, several split", function()
    assert.equal("0 dropped=1\n1 new\n3\n", output [[
      for _, fn in ipairs {function() end, function() return {name = "new", success = true} end, function(x) return x, {success = true}, {success = true} end} do
        seen = {}
        local r = start {transforms = {fn}}
        add(r, {probe = function() return {success = true} end, name = "t"})
        r:once() r:drain()
        print(#seen == 0 and "0 dropped=" .. r.counts.dropped or #seen == 1 and "1 " .. seen[1].result.name or #seen)
      end
    ]])
  end)

  it("a transform that raises, or gives what is no result, keeps the record, marks it and counts", function()
    local out = output [[
      sys.log_level("error")
      local r = start {transforms = {function() error("broken") end, function() return "text" end, function(x) x.last = true return x end}}
      add(r, {probe = function() return {success = true} end, name = "t"})
      r:once() r:drain()
      print(#seen, seen[1].result.success, seen[1].result.last, r.counts.transform_errors, seen[1].result.transform_error)
    ]]
    assert.matches("^1\ttrue\ttrue\t2\t.*text", out:gsub("string", "text"))
  end)

  it("a sink that waits holds up neither the others nor the schedule, and misses nothing", function()
    assert.equal("6 6 0.0\n", output [[
      local fast, slow, worst = {}, 0, 0
      local r = start {sinks = {function() task.sleep(25) slow = slow + 1 end, function(x) fast[#fast + 1] = task.now() end}}
      local began
      add(r, {probe = function() began = task.now() return {success = true} end, name = "t", every = 10})
      r.pipeline.sinks[3] = function() worst = math.max(worst, task.now() - began) end
      finish(r, 60)
      say("%d %d %.1f", slow, #fast, worst)
    ]])
  end)

  it("a sink gets its results in their order, and one that raises gets the next ones too", function()
    assert.equal("1 2 3 4 5 errors=5\n", output [[
      local n, got = 0, {}
      local r = start {sinks = {function(x) task.sleep(1 / x.n) got[#got + 1] = x.n error("no") end}}
      add(r, {probe = function() n = n + 1 return {success = true, n = n} end, name = "t", every = 10})
      finish(r, 50)
      print(table.concat(got, " ") .. " errors=" .. r.counts.sink_errors)
    ]])
  end)

  it("a single round waits for a sink that has fallen behind and drops nothing; a schedule drops the newest and counts", function()
    assert.equal("20500 0\n1 true\n", output [[
      sys.log_level("error")
      local slow, n = true, 0
      local function split(x)
        local out = {}
        for i = 1, 205 do out[i] = {success = true} end
        return table.unpack(out)
      end
      local r = start {transforms = {split}, sinks = {function() n = n + 1 if slow then task.sleep(100) slow = false end end}}
      for i = 1, 100 do add(r, {probe = function() return {success = true} end, name = "t" .. i}) end
      r:once() r:drain()
      say("%d %d", n, r.counts.sink_dropped)
      n = 0
      r = start {transforms = {split}, sinks = {function() n = n + 1 task.sleep(1000) end}}
      for i = 1, 100 do add(r, {probe = function() return {success = true} end, name = "t" .. i}, 60) end
      local t = task.spawn(function() r:forever() end)
      task.sleep(20)
      say("%d %s", n, r.counts.sink_dropped > 10000)
      t:cancel()
      sys.exit(0)
    ]])
  end)

  it("what a script's function spawned and did not join ends with it and fails nothing else", function()
    assert.equal("script 1\n", output [[
      sys.log_level("error")
      local r = start {transforms = {function(x) task.spawn(function() error("left behind") end) task.sleep(0) return x end}}
      add(r, {probe = function() task.spawn(function() error("in the probe") end) task.sleep(0) return {success = true} end, name = "t"})
      r:once() r:drain()
      print(seen[1].result.error .. " " .. r.counts.transform_errors)
    ]])
  end)

  it("on_change is called when a target begins to fail and to succeed, not for skipped runs", function()
    assert.equal("false true false;true false false;\n", output [[
      local n, calls = 0, ""
      local r = start {on_change = {function(x, before) calls = calls .. ("%s %s %s;"):format(x.success, before.success, x.error == "skipped") end}}
      add(r, {probe = function() n = n + 1 if n == 2 then task.sleep(15) end return {success = n < 2 or n > 4} end, name = "t", every = 10})
      finish(r, 95)
      print(calls)
    ]])
  end)
end)

describe("a probe function", function()
  it("gets its name and options, and its result is filled in", function()
    local out = output [[
      local r = start()
      add(r, {probe = function(t) return {test_type = "tcp", latency_ms = 5, note = t.name .. t.port} end, name = "own", port = 7, labels = {site = "x"}})
      r:once() r:drain()
      local x = seen[1].result
      print(x.success, x.note, x.target, x.target_name, x.labels.site, x.started_at ~= nil)
    ]]
    assert.equal("true\town7\town\town\tx\ttrue\n", out)
  end)

  it("that raises or gives no table is a failed result with the place", function()
    local out = output [[
      local r = start()
      add(r, {probe = function() error("my mistake") end, name = "a"})
      add(r, {probe = function() return 5 end, name = "b"})
      add(r, {probe = function() must({success = false, error = "timeout"}, "m", {success = true}) end, name = "c"})
      r:once() r:drain()
      table.sort(seen, function(x, y) return x.row.place < y.row.place end)
      for _, s in ipairs(seen) do print(s.result.error, s.result.error_detail) end
      print(r.counts.failed)
      sys.exit(0) -- the failed must would make it 99
    ]]
    assert.matches("script\t.*%d: my mistake\n", out)
    assert.matches("script\tthe probe function gave number", out, 1, true)
    assert.matches("assertion\t", out)
    assert.matches("3\n$", out)
  end)
end)

describe("a probe's result", function()
  it("tells how late it started against its plan, and carries the target as written without credentials", function()
    local out = output [[
      local r = start {concurrency = 1}
      add(r, {probe = function() task.sleep(7) return {success = true} end, name = "in the way"}) -- until 7 s after the start
      add(r, {"http://me:hunter2@127.0.0.1:1/", timeout = 1, name = "h", every = 10})
      finish(r, 22)
      local x = seen[2].result
      print(x.target, x.target_name, x.error)
      local place = require("waddle.schedule").share("h") * 5
      say("%.3f", x.quality.sched_lag_ms - (7 - place) * 1000)
      say("%.3f", seen[3].result.quality.sched_lag_ms)
    ]]
    local told, late, on_time = out:match("^(.*\n)(%S+)\n(%S+)\n$")
    assert.equal("http://***@127.0.0.1:1/\th\tconnection_refused\n", told, out)
    assert.near(0, tonumber(late), 1)
    assert.is_true(tonumber(on_time) >= 0 and tonumber(on_time) < 1, on_time)
  end)

  it("says the same of a probe function whose result has a quality", function()
    local list = numbers(output [[
      local r = start {concurrency = 1}
      add(r, {probe = function() task.sleep(7) return {success = true} end, name = "in the way"})
      add(r, {probe = function() return {success = true, quality = {}} end, name = "h", every = 10})
      finish(r, 22)
      local place = require("waddle.schedule").share("h") * 5
      say("%.3f %.3f", seen[2].result.quality.sched_lag_ms - (7 - place) * 1000, seen[3].result.quality.sched_lag_ms)
    ]])
    assert.near(0, list[1], 1)
    assert.is_true(list[2] >= 0 and list[2] < 1)
  end)
end)

describe("a run that is lost", function()
  -- Its task has ended and never closed it, as where there was no memory to begin.
  local LOSE = [[
    local spawn = core_task.spawn_under
    local armed = true
    core_task.spawn_under = function(home, fn, run, ...)
      local t = spawn(home, fn, run, ...)
      if armed and type(run) == "table" and run.place then
        armed = false
        t:cancel()
      end
      return t
    end
    fake(function() return {test_type = "tcp", target = "t", success = true, latency_ms = 1} end)
  ]]

  it("leaves its record and its place, and its target goes on", function()
    local out = output(LOSE .. [[
      local r = start {concurrency = 1}
      add(r, "tcp://h.test:1", 10)
      finish(r, 45)
      for _, one in ipairs(seen) do say("%s", rawget(one.result, "error") or "ok") end
    ]])
    assert.matches("^local\nok\nok\n", out)
    assert.is_nil(out:find("skipped", 1, true), out)
  end)

  it("does not keep a single round waiting", function()
    assert.equal("local\n", output(LOSE .. [[
      local r = start {}
      assert(r:add(assert(parse "tcp://h.test:1")))
      r:once()
      r:drain()
      for _, one in ipairs(seen) do say("%s", rawget(one.result, "error") or "ok") end
    ]]))
  end)
end)

describe("stop", function()
  it("lets what runs finish and starts nothing more", function()
    assert.equal("1 1\n", output [[
      local r, starts, ends = start {concurrency = 1}, 0, 0
      for i = 1, 3 do
        add(r, {probe = function() starts = starts + 1 task.sleep(5) ends = ends + 1 return {success = true} end, name = "t" .. i})
      end
      local t = task.spawn(function() r:once() end)
      task.sleep(1)
      r:stop()
      t:join()
      print(starts .. " " .. ends)
    ]])
  end)

  it("records what was due and did not begin, and what was ended before its time", function()
    assert.equal("long: cancelled: waddle was stopped before it ended\nqueues: cancelled: waddle was stopped before it ended\n" ..
      "queues: skipped: overlap: the run before is still going on\nqueues: skipped: waddle was stopped before it began\n" ..
      "run: success\nwaits: skipped: waddle was stopped before it began\n", output [[
      local lines = {}
      local function record(result) lines[#lines + 1] = result.target_name .. ": " .. (result.success and "success" or result.error .. ": " .. result.error_detail) end
      local function probe(seconds) return function() task.sleep(seconds) return {success = true} end end
      local r = start {concurrency = 1, sinks = {record}}
      add(r, {probe = probe(5), name = "run"})
      add(r, {probe = probe(5), name = "waits"})
      local t = task.spawn(function() r:once() end)
      task.sleep(1)
      r:stop()
      t:join()
      r:drain()
      r = start {sinks = {record}}
      add(r, {probe = probe(100), name = "long"})
      add(r, {probe = probe(100), name = "queues", overlap = "queue", every = 10})
      t = task.spawn(function() r:forever() end)
      task.sleep(25)
      r:stop()
      r:cancel()
      t:join()
      r:drain()
      table.sort(lines)
      for _, line in ipairs(lines) do
        print(line)
      end
    ]])
  end)
end)
