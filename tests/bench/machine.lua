-- What the benchmarks were taken on, and whether something else used it: {cores=, processor=, kernel=, peers={NAME = VERSION}, load_before=, busy_before=,
-- load_after=, busy_after=}. Loads are the three averages as text, busy is the part of the processors in use for a quarter of a second.

local measure = require "tests.bench.measure"
local sys = require "waddle.sys"
local task = require "waddle.task"

local machine = {}

local BUSY_MOST, LOAD_MOST, LOOK_SECONDS = 0.1, 1, 0.25 -- of all processors; for each of them
local COLUMNS = 118

local function match(path, pattern)
  local file <close> = io.open(path)
  return (file and file:read("a") or ""):match(pattern)
end

-- Time in which a processor worked, or was kept from us; and all of it. In the kernel's ticks, since boot.
local function ticks()
  local user, nice, system, idle, waiting, irq, soft, steal = match("/proc/stat", "^cpu +" .. ("(%d+) "):rep(8):sub(1, -2))
  local used = user + nice + system + irq + soft + steal
  return used, used + idle + waiting
end

local function look(facts, when)
  local used, all = ticks()
  task.sleep(LOOK_SECONDS)
  local used_now, all_now = ticks()
  facts["load_" .. when] = match("/proc/loadavg", "^%S+ %S+ %S+")
  facts["busy_" .. when] = (used_now - used) / math.max(all_now - all, 1)
end

--- before() -> the facts, with those of the time before the measurements.
function machine.before()
  local _, cores = match("/proc/stat", ".*"):gsub("\ncpu%d", "")
  local facts = {cores = cores, processor = match("/proc/cpuinfo", "model name%s*: ([^\n]*)"), kernel = sys.uname().release, peers = {}}
  for name, version in (measure.find("versions") or ""):gmatch("(%S+) (%S+)") do
    facts.peers[name] = version
  end
  look(facts, "before")
  return facts
end

--- after(facts): adds those of the time after them.
function machine.after(facts)
  look(facts, "after")
end

--- describe(facts) -> lines for the table's head: the machine, the peers, and a warning where something else used it.
function machine.describe(facts)
  local peers = {}
  for name, version in pairs(facts.peers) do
    peers[#peers + 1] = name .. " " .. version:gsub("^%d+:", ""):gsub("%-[^-]*$", "") -- without Debian's part
  end
  table.sort(peers)
  local lines = {("%d cores, %s, Linux %s"):format(facts.cores, facts.processor or "unknown processor", facts.kernel), machine.load(facts, "before")}
  for i, peer in ipairs(peers) do
    local longer = lines[#lines] .. ", " .. peer
    if i == 1 or #longer > COLUMNS then
      lines[#lines + 1] = peer
    else
      lines[#lines] = longer
    end
  end
  if facts.busy_before > BUSY_MOST or tonumber(facts.load_before:match("%S+")) > LOAD_MOST * facts.cores then
    lines[#lines + 1] = "WARNING: the machine was busy before the start; times may be too long, and errors too large"
  end
  return table.concat(lines, "\n")
end

--- load(facts, "before" | "after") -> how busy the machine was then, in words.
function machine.load(facts, when)
  return ("load %s %s, %.0f %% of the processors in use"):format(when, facts["load_" .. when], facts["busy_" .. when] * 100)
end

return machine
