-- A day in minutes: a site of two hundred targets under the virtual clock, with a schedule for each kind, a blackout, failures that come and go,
-- an uploader whose manager is never there, and a spool that is soon full. Memory and descriptors must be what they were after the second hour.

local process = require "tests.support.process"
local torture = require "tests.torture.torture"
local virtual = require "tests.support.virtual"

local HOURS = torture.pick(4, 24)
local GROWN_KIB = 4096 -- two huge pages, which the kernel may make of small ones at any time; what a run leaves behind is seen in Lua's count
local GROWN_LUA_KIB = 64

local begin, finish = torture.limits(60, 900)
before_each(begin)
after_each(finish)

describe("a day", function()
  it("leaves memory and descriptors as its second hour did", function()
    local out = virtual.output(([[
      local schedule, upload, lfs = require "waddle.schedule", require "waddle.upload", nil
      local HOURS, spool = %d, %q
      local u = upload.open {url = "http://127.0.0.1:1", spool = spool, max_rows = 500, full = "oldest", timeout = "1s",
        device = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}}
      local runs, failed = 0, 0
      fake(function(name)
        runs = runs + 1
        task.sleep(0.05)
        local bad = runs %% 97 == 0
        failed = failed + (bad and 1 or 0)
        return {test_type = "tcp", target = name, target_host = "h.test", target_ip = "192.0.2.1", success = not bad, error = bad and "timeout" or nil,
          latency_ms = not bad and 1.5 or nil, started_at = sys.timestamp()}
      end)
      local every_tenth = 0
      local r = start {sinks = {function(result)
        every_tenth = every_tenth + 1
        if every_tenth %% 10 == 0 then
          u:put(result)
        end
      end}}
      for i = 1, 200 do
        add(r, {("tcp://h%%d.test:1"):format(i), name = "t" .. i}, i %% 3 == 0 and schedule.cron "*/2 * * * *" or schedule.every(i %% 2 == 0 and "60s" or "90s"))
      end
      local function kib(field)
        for line in io.lines "/proc/self/status" do
          local n = line:match("^" .. field .. ":%%s+(%%d+)")
          if n then return tonumber(n) end
        end
      end
      local function descriptors()
        local n = 0
        for fd = 0, 255 do
          local f = io.open("/proc/self/fdinfo/" .. fd)
          if f then n = n + 1 f:close() end
        end
        return n
      end
      local going = task.spawn(function() r:forever() end)
      for hour = 1, HOURS do
        task.sleep(3600 + t0 + (hour - 1) * 3600 - task.now())
        collectgarbage() collectgarbage()
        print(hour, kib "VmRSS", descriptors(), runs, math.floor(collectgarbage "count"))
      end
      r:stop()
      going:join()
      r:drain()
      print("end", runs, failed, u:status().dropped)
      u:close()
    ]]):format(HOURS, process.folder() .. "/waddle.db"))
    local hours = {}
    for hour, rss, fds, runs, lua in out:gmatch "(%d+)\t(%d+)\t(%d+)\t(%d+)\t(%d+)\n" do
      hours[tonumber(hour)] = {rss = tonumber(rss), fds = tonumber(fds), runs = tonumber(runs), lua = tonumber(lua)}
    end
    assert.equal(HOURS, #hours, out)
    local first, last = hours[2], hours[HOURS]
    torture.say("day: %d hours, %d runs, %d KiB after the second hour, %d at the end (Lua: %d, %d), %d and %d descriptors", HOURS, last.runs, first.rss,
      last.rss, first.lua, last.lua, first.fds, last.fds)
    -- 67 by the minute, 67 in 90 s, 66 every other minute: in an hour 8,680 runs.
    assert.is_true(math.abs(last.runs - HOURS * 8680) < 300, ("%d runs"):format(last.runs))
    assert.is_true(last.rss - first.rss < GROWN_KIB, out)
    assert.is_true(last.lua - first.lua < GROWN_LUA_KIB, out)
    assert.equal(first.fds, last.fds, out)
  end)
end)
