-- A binary heap of rows by their `due`: the next one first.

local heap = {}
heap.__index = heap

function heap.new()
  return setmetatable({n = 0}, heap)
end

local function place(self, i, row)
  self[i] = row
  row.slot = i
end

local function up(self, i, row)
  while i > 1 and self[i // 2].due > row.due do
    place(self, i, self[i // 2])
    i = i // 2
  end
  place(self, i, row)
end

local function down(self, i, row)
  while 2 * i <= self.n do
    local child = 2 * i
    if child < self.n and self[child + 1].due < self[child].due then
      child = child + 1
    end
    if self[child].due >= row.due then
      break
    end
    place(self, i, self[child])
    i = child
  end
  place(self, i, row)
end

--- push(row): row.due orders it; row.slot is the heap's own.
function heap:push(row)
  self.n = self.n + 1
  up(self, self.n, row)
end

--- first() -> the row with the least due, or nil.
function heap:first()
  return self[1]
end

--- pop() -> the row with the least due, taken out, or nil.
function heap:pop()
  local row, last = self[1], self[self.n]
  if not row then
    return nil
  end
  self[self.n] = nil
  self.n = self.n - 1
  if row ~= last then
    down(self, 1, last)
  end
  row.slot = nil
  return row
end

return heap
