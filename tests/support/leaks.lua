-- The check that a spec left nothing behind, by the counters of waddle.core and by what is open in /proc/self/fd.
--
-- What the runtime opens on first use and keeps for the life of the process (the one ICMP socket of a family, the HTTP engine) is no leak. A spec file whose
-- specs are the first to use such a thing uses it once in its `setup`, which runs before the counters are read.

local core = require "waddle.core"
local lfs = require "lfs"
local task = require "waddle.task"

local leaks = {}

local COUNTED = {"tasks", "waiting", "watches", "timers", "registry", "descriptors"}
local SETTLE_SECONDS = 3 -- libcurl takes 2 to close a connection whose peer is silent
local PAUSE_SECONDS = 0.005

local before

local function measure()
  collectgarbage()
  collectgarbage() -- what a finalizer of the first round let go
  local now = core.stats()
  now.descriptors = 0
  for _ in lfs.dir("/proc/self/fd") do
    now.descriptors = now.descriptors + 1
  end
  return now
end

-- What is more in `now` than it was, as text; nil when nothing is.
local function growth(now)
  local grown = {}
  for _, name in ipairs(COUNTED) do
    if now[name] > before[name] then
      grown[#grown + 1] = ("%s %d -> %d"):format(name, before[name], now[name])
    end
  end
  return grown[1] and table.concat(grown, ", ")
end

-- Remembers what is open now; to be called before the spec begins.
function leaks.remember()
  before = measure()
end

-- What grew since `remember`, as text, or nil. Closing takes the loop a few passes: waits up to `settle` seconds (3) for it.
function leaks.found(settle)
  local deadline = task.now() + (settle or SETTLE_SECONDS)
  local grown = growth(measure())
  while grown and task.now() < deadline do
    task.sleep(PAUSE_SECONDS)
    grown = growth(measure())
  end
  return grown
end

-- Raises when something grew; `name` is the spec's, `settle` as above.
function leaks.check(name, settle)
  local grown = leaks.found(settle)
  if grown then
    error(("'%s' left something behind: %s"):format(name, grown), 0)
  end
end

return leaks
