-- A binary heap of numbers by when they are due: the next one first. Two plain arrays of numbers, which the garbage collector has
-- nothing to look for in.

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

--- move(due): the first one is due then, no earlier than it was.
function heap:move(due)
  down(self, 1, self.ids[1], due)
end

return heap
