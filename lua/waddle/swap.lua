-- Other targets for a runner (waddle.runner) that runs. Targets are known again by their names.
-- What must hold: one that has stayed as it was notices nothing; one that has changed keeps its number, and with it its place in time, what it waits
-- for and its last result; nothing is changed when one of the new ones is wrong. A run that is going on ends as it began. What takes long is done
-- beside, with pauses in which the old targets run; then all changes at once.

local rows = require "waddle.rows"
local task = require "waddle.core.task"

local swap = {}

local BREATH = 128 -- targets between two pauses
local DEEPEST = 8 -- tables in tables; deeper ones are taken for different

local function equal(a, b, depth)
  if rawequal(a, b) then
    return true
  elseif type(a) ~= "table" or type(b) ~= "table" or getmetatable(a) or getmetatable(b) or depth > DEEPEST then
    return math.type(a) == math.type(b) and a == b
  end
  for key, value in next, a do
    if not equal(value, b[key], depth + 1) then
      return false
    end
  end
  for key in next, b do
    if a[key] == nil then
      return false
    end
  end
  return true
end

local function pause(i)
  if i % BREATH == 0 then
    task.sleep(0)
  end
end

--- same(a, b) -> whether two values are the same data.
function swap.same(a, b)
  return equal(a, b, 0)
end

-- What a target is, without where it was declared.
local function is_same(a, b)
  for _, key in ipairs {"probe", "target", "name", "host", "port", "test_type"} do
    if a[key] ~= b[key] then
      return false
    end
  end
  return swap.same(a.args, b.args) and swap.same(a.settings, b.settings)
end

-- By name, the numbers of the targets that run, the first one last.
local function numbers_by_name(self)
  local by_name = {}
  for id = #self.rows, 1, -1 do
    pause(id)
    if self.plans[id] then
      local name = self.rows[id].name
      by_name[name] = by_name[name] or {}
      table.insert(by_name[name], id)
    end
  end
  return by_name
end

-- Numbers that nobody has and nothing still goes by, the first one last.
local function free_numbers(self)
  local free = {}
  for id = #self.rows, 1, -1 do
    pause(id)
    if not self.plans[id] and not self.runs[id] and self.waiting[id] == nil then
      free[#free + 1] = id
    end
  end
  return free
end

-- Which number each of the new targets has; numbers beyond the last one are new.
local function number(self, targets)
  local by_name, free, last, ids, of = numbers_by_name(self), free_numbers(self), #self.rows, {}, {}
  for i, target in ipairs(targets) do
    pause(i)
    local known = by_name[target.name]
    ids[i] = known and table.remove(known)
  end
  for i = 1, #targets do
    pause(i)
    if not ids[i] then
      ids[i] = table.remove(free) or last + 1
      last = math.max(last, ids[i])
    end
    of[ids[i]] = i
  end
  return of, last
end

-- What each target says about when it runs; those with the same settings share it. nil and a message when one is wrong.
local function plan_all(targets, every, read)
  local plans, by_settings = {}, {}
  for i, target in ipairs(targets) do
    pause(i)
    local plan, message = by_settings[target.settings], nil
    if not plan then
      plan, message = read(target, every)
      by_settings[target.settings] = plan
    end
    if not plan then
      return nil, ("%s: target %s: %s"):format(target.place or "?", target.target, message)
    end
    plans[i] = plan
  end
  return plans
end

--- swap.apply(runner, targets, every, read) -> {kept=, changed=, added=, removed=, started={number...}} | nil, message. `targets` is a list of
-- waddle.rows, `every` what their settings lack, `read` runner.read. `started` are those without a schedule that are new or other than they were: they
-- are to run once. Yields.
function swap.apply(self, targets, every, read)
  local planned, message = plan_all(targets, every, read)
  if not planned then
    return nil, message
  end
  local of, last = number(self, targets)
  local list, plans, counts = rows.new(), {}, {kept = 0, changed = 0, added = 0, removed = 0, started = {}}
  local gone, begin, others, scheduled = {}, {}, {}, 0 -- others: whose due times do not stay
  for id = 1, last do
    pause(id)
    local before, i = self.rows[id], of[id]
    local was = before and self.plans[id]
    local after = i and targets[i] or before
    local same = was and i and is_same(before, after) and swap.same(was, planned[i])
    list[id] = after
    plans[id] = i and planned[i] or nil
    scheduled = scheduled + (i and planned[i].spec and 1 or 0)
    if (was or i) and not (was and i and swap.same(was.spec, planned[i].spec)) then
      others[#others + 1] = id
    end
    local count = not i and (was and "removed") or i and (not was and "added" or same and "kept" or "changed")
    if count then
      counts[count] = counts[count] + 1
    end
    if not i or not was then
      gone[#gone + 1] = id
    end
    if i and not plans[id].spec and not same then
      begin[#begin + 1] = id
    end
  end
  -- From here on nothing waits.
  for _, id in ipairs(gone) do
    self.after[id] = nil
    self.pipeline:forget(id)
  end
  for _, id in ipairs(begin) do
    if not self.runs[id] and self.waiting[id] == nil then
      table.insert(counts.started, id)
    end
  end
  self.rows, self.plans, self.plan_of = list, plans, {}
  self.dues:swap(plans, others, last, scheduled)
  return counts
end

return swap
