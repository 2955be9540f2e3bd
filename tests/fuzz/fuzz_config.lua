-- The agent's configuration: a JSON file of any bytes, and behind a NUL its environment as NAME=VALUE lines. What is accepted goes on to where the agent
-- reads plans and options, as far as nothing is sent; what is refused is refused in words.

local cli = require "waddle.cli"
local config = require "waddle.config"
local runner = require "waddle.runner"
local schedule = require "waddle.schedule"

local NOW = 1767268800
local MOST_TARGETS = 100

local function check_target(found, period, names)
  assert(not names[found.name], "two targets of one name")
  names[found.name] = true
  local plan, message = runner.read(found, period)
  if not plan then
    assert(type(message) == "string" and message ~= "", "refused without a reason")
  elseif plan.spec then
    schedule.next_due(plan.spec, NOW)
    schedule.count_due(plan.spec, NOW, NOW + 3600, 100)
    schedule.blacked_out(plan.blackouts, NOW)
  end
  local ok, err = pcall(runner.check, found)
  assert(ok or cli.plain_message(err):find(found.probe, 1, true) == 1, err)
end

return function(input)
  local nul = input:find("\0", 1, true) or #input + 1
  local content, env = input:sub(1, nul - 1), {}
  for line in input:sub(nul + 1):gmatch("[^\n]+") do
    local name, value = line:match("^([%u_]+)=(.*)")
    env[name or ""] = value
  end
  local loaded, message = config.load {
    env = function(name) return env[name] end,
    flags = {config_file = "c.json"},
    read_file = function() return content end,
  }
  if not loaded then
    assert(type(message) == "string" and message ~= "", "refused without a reason")
    return
  end
  local names = {}
  for i = 1, math.min(#loaded.targets, MOST_TARGETS) do
    check_target(loaded.targets[i], loaded.period, names)
  end
end
