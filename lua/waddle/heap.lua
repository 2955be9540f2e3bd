-- A binary heap of numbers by when they are due: the next one first. Two plain arrays of numbers, which the garbage collector has
-- nothing to look for in.

local FIRST_OF_ALL = -math.huge -- due before all that has a time
local FEW = 16 -- a part of all that is worth no new heap

local heap = {}
heap.__index = heap

function heap.new()
  return setmetatable({n = 0, ids = {}, dues = {}}, heap)
end

local function up(self, i, id, due)
  local ids, dues = self.ids, self.dues
  while i > 1 and dues[i // 2] > due do
    ids[i], dues[i] = ids[i // 2], dues[i // 2]
    i = i // 2
  end
  ids[i], dues[i] = id, due
end

local function down(self, i, id, due)
  local ids, dues, n = self.ids, self.dues, self.n
  local child = 2 * i
  while child <= n do
    local least = dues[child]
    if child < n and dues[child + 1] < least then
      child = child + 1
      least = dues[child]
    end
    if least >= due then
      break
    end
    ids[i], dues[i] = ids[child], least
    i, child = child, 2 * child
  end
  ids[i], dues[i] = id, due
end

--- push(id, due): puts a number in.
function heap:push(id, due)
  self.n = self.n + 1
  up(self, self.n, id, due)
end

--- first() -> id, due of the one that is due next, or nil.
function heap:first()
  return self.ids[1], self.dues[1]
end

--- pop(): takes the first one out.
function heap:pop()
  local n = self.n
  local id, due = self.ids[n], self.dues[n]
  self.ids[n], self.dues[n], self.n = nil, nil, n - 1
  if n > 1 then
    down(self, 1, id, due)
  end
end

-- By sifting each of them up to the top, from the last place on: what comes down to a place that was looked at is looked at again.
local function remove_few(self, gone)
  local ids, dues, found = self.ids, self.dues, 0
  for i = self.n, 1, -1 do
    while gone[ids[i]] and dues[i] > FIRST_OF_ALL do
      up(self, i, ids[i], FIRST_OF_ALL)
      found = found + 1
    end
  end
  for _ = 1, found do
    self:pop()
  end
end

local function remove_many(self, gone)
  local ids, dues, n = self.ids, self.dues, self.n
  self.ids, self.dues, self.n = {}, {}, 0
  for i = 1, n do
    if not gone[ids[i]] then
      self:push(ids[i], dues[i])
    end
  end
end

--- remove(gone, count): takes out all numbers that are keys of `gone`, about so many.
function heap:remove(gone, count)
  if count < self.n // FEW then
    remove_few(self, gone)
  elseif count > 0 then
    remove_many(self, gone)
  end
end

--- move(due): the first one is due then, no earlier than it was.
function heap:move(due)
  down(self, 1, self.ids[1], due)
end

return heap
