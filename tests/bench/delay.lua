-- How late others are while a script runs away: `waddle run tests/bench/delay.lua`. Each kind goes on until its budget ends it; a task that wakes
-- every millisecond tells the longest delay, without what other programs took of the processor; "bare" is the delay while no script runs, which is the
-- machine's own. Prints a row for each, as ./dev bench reads them (rows.lua).

local MOST_MS = 10 -- what a probe may be late by
local EVERY_S = 0.001

local KINDS = {
  {"a loop", function() while true do end end},
  {"a loop around pcall", function() while true do pcall(function() while true do end end) end end},
  {"a text that grows", function() local s = "x" while true do s = s .. s end end},
  {"a table that grows", function() local t = {} for i = 1, math.huge do t[i] = {i} end end}, -- luacheck: ignore 241
  {"runaway recursion", function() local function f() return 1 + f() end return f() end},
}

-- Seconds that the kernel let this thread wait for a processor until now: other programs' doing, not a script's. 0 where it does not count them.
local function waited()
  local file = io.open "/proc/thread-self/schedstat"
  local text = file and file:read "a" or ""
  if file then file:close() end
  return (tonumber(text:match "^%d+ (%d+)") or 0) / 1e9
end

local function longest_delay(during)
  local worst, over = 0, false
  local ticker = task.spawn(function()
    local due = task.now() + EVERY_S
    while not over do
      local before = waited()
      task.sleep(math.max(0, due - task.now()))
      worst = math.max(worst, task.now() - due - (waited() - before))
      due = task.now() + EVERY_S
    end
  end)
  during()
  over = true
  ticker:join()
  return worst * 1000
end

for _, kind in ipairs(KINDS) do
  local bare = longest_delay(function() task.sleep(0.5) end)
  local ours = longest_delay(function()
    local ok, err = pcall(function() task.spawn(kind[2]):join() end)
    assert(not ok and tostring(err):find "budget: ", err)
    task.sleep(0.2) -- what it left behind is collected
  end)
  print(json.encode {what = "budget, the longest delay by " .. kind[1], unit = "ms", waddle = ours, bare = bare, limit = MOST_MS})
end
