-- The limits of what scripts may use, as people write them: `--budget cpu=5s,memory=1GiB`, WADDLE_BUDGET, and limits{...} in a file.
-- What must hold: a wrong limit is an error that names the place it was written at, never a default.

local core = require "waddle.core.budget"

local budget = {}

--- names() -> {name=true}: slice, cpu, memory, block, depth, sockets, output.
function budget.names()
  local names = {}
  for _, field in ipairs(core.describe()) do
    names[field.name] = true
  end
  return names
end

--- set(limits, what): {cpu="5s", memory="1GiB"}, 0 for no limit; raises in the name of `what`.
function budget.set(limits, what)
  core.set(limits, what)
end

--- enforce(): to be called before code runs that is not waddle's own.
budget.enforce = core.enforce

-- A limit as it stands in a list: whole numbers are such, all else is left to the reader.
local function value_of(text)
  return math.tointeger(tonumber(text)) or text
end

--- apply(text, place) -> true | nil, message: sets the limits in a list like "cpu=5s,memory=1GiB"; `place` is where it was written.
function budget.apply(text, place)
  local limits = {}
  for item in text:gmatch "[^,%s]+" do
    local name, value = item:match "^([%w_]+)=(.+)$"
    if not name then
      return nil, ("%s: expected a list such as cpu=5s,memory=1GiB, got '%s'"):format(place, item)
    elseif limits[name] then
      return nil, ("%s: '%s' is there twice"):format(place, name)
    end
    limits[name] = value_of(value)
  end
  local ok, message = pcall(core.set, limits, place)
  if not ok then
    return nil, (tostring(message):gsub("^[^:\n]+:%d+: ", ""))
  end
  return true
end

--- is_over(err) -> whether an error is that of a task which used too much.
function budget.is_over(err)
  return type(err) == "string" and err:find "^[^\n]-:%d+: budget: " ~= nil
end

return budget
