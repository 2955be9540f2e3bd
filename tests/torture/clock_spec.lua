-- A wall clock that is set by a year, both ways, while an agent with a spool runs, and while its manager is away: schedules keep their pace,
-- results say the time of the new clock, and what waits is not thrown away, nor kept back for a year.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local torture = require "tests.torture.torture"
local uploads = require "tests.support.uploads"

local YEAR_S = 365 * 86400
local EVERY_S = 0.05
local LOOK_S = torture.pick(1, 5) -- how long the pace is looked at

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak
    uploads.put(u, 1)
    u:flush(5)
  end)
end)

local begin, finish = torture.limits(nil, 60)
before_each(begin)
after_each(finish)

local function set(file, seconds)
  local out = assert(io.open(file, "r+b"))
  out:write(string.pack("i8", math.floor(seconds * 1e9)))
  out:close()
end

local function year_of(row)
  return tonumber((row.timestamp or row.started_at or ""):match "^(%d%d%d%d)") or 0
end

-- An agent whose clock is what the file says, with a target every EVERY_S and one by the minute: the agent, the file.
local function start(m)
  local clock = process.file("clock", string.pack("i8", 0))
  local site = process.file("site.lua", ([[
    target {"tcp://127.0.0.1:1", name = "steady", every = every "%gs"}
    target {"tcp://127.0.0.2:1", name = "clockwork", every = cron "* * * * *"}
  ]]):format(EVERY_S))
  local agent = process.start({"agent"}, {MANAGER_URL = m.url, HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1", DEVICE_HOSTNAME = "h",
    WADDLE_CONTROL = "none", WADDLE_SPOOL = process.folder() .. "/waddle.db", WADDLE_SITE = site, RUN_SECONDS = "3600",
    WADDLE_CLOCK = clock, LD_PRELOAD = process.preload "other-clock"})
  spec.eventually(function() return m.stored > 3 end, 10)
  return agent, clock
end

-- Its end: nothing was dropped or left, and the minutes of two years were not run.
local function stop(agent)
  agent:kill "TERM"
  local code, _, err = agent:wait()
  assert.is_true(code == 0 or code == 1, err)
  for _, word in ipairs {"dropped", "not delivered"} do
    assert.not_matches(word, err, 1, true)
  end
  local _, minutes = err:gsub("127%.0%.0%.2", "")
  assert.is_true(minutes < 12, err)
end

describe("a wall clock that is set by a year, forth and back", function()
  it("leaves the pace of runs as it is, and results say the new time", function()
    local m <close> = assert(manager.start())
    local agent, clock = start(m)
    local now, seen = os.date("!*t").year, {}
    for _, years in ipairs {0, 1, -1, 0} do
      set(clock, years * YEAR_S)
      task.sleep(0.2)
      local before = m.stored
      task.sleep(LOOK_S)
      local count, right, due = m.stored - before, 0, LOOK_S / EVERY_S
      for i = before + 1, m.stored do
        right = right + (year_of(m.rows[i]) == now + years and 1 or 0)
      end
      seen[#seen + 1] = ("%+d: %d"):format(years, count)
      assert.is_true(count > due / 2 and count < 2 * due + 5, ("%+d years: %d results, %d were due\n%s"):format(years, count, due, agent:err()))
      assert.equal(count, right)
    end
    stop(agent)
    torture.say("clock: %g runs due, with the years ahead: %s", LOOK_S / EVERY_S, table.concat(seen, ", "))
  end)

  for _, years in ipairs {1, -1} do
    it(("neither drops what waits for the manager nor keeps it back (%+d)"):format(years), function()
      local m <close> = assert(manager.start())
      local agent, clock = start(m)
      m.always = 503
      spec.eventually(function() return agent:err():find "503" end, 10)
      task.sleep(0.5)
      set(clock, years * YEAR_S)
      task.sleep(0.5)
      m.always = nil
      local before, at = m.stored, task.now()
      spec.eventually(function() return m.stored > before + 15 end, 10)
      torture.say("clock: %+d years while results wait, delivered %.1f s after the manager was back", years, task.now() - at)
      set(clock, 0)
      local then_ = m.stored
      spec.eventually(function() return m.stored > then_ + 10 end, 5)
      stop(agent)
    end)
  end
end)
