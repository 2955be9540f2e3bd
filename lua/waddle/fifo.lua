-- First in, first out: a queue of anything but nil.

local fifo = {}
fifo.__index = fifo

function fifo.new()
  return setmetatable({first = 1, last = 0}, fifo)
end

function fifo:push(value)
  self.last = self.last + 1
  self[self.last] = value
end

--- pop() -> the oldest value, taken out, or nil.
function fifo:pop()
  local value = self[self.first]
  if value ~= nil then
    self[self.first] = nil
    self.first = self.first + 1
    if self.first > self.last then
      self.first, self.last = 1, 0 -- places are used again: a queue that is mostly empty stays small
    end
  end
  return value
end

--- #queue -> how many values wait.
function fifo:__len()
  return self.last - self.first + 1
end

return fifo
