-- How many may run at once, of all and of each host. Who finds no place waits for one, in order: first for one of its host's, then
-- for one of all. Those who ask are known by numbers.

local fifo = require "waddle.fifo"

local places = {}
local methods = {}
methods.__index = methods

--- new(most, most_per_host, begin): `begin(id, host)` is called when a place is there for who asked, and gives whether it is used
-- (then `leave` follows some day). most_per_host may be nil: no limit.
function places.new(most, most_per_host, begin)
  return setmetatable({
    most = most, most_per_host = most_per_host, begin = begin,
    taken = 0, queue = fifo.new(),
    of_host = {}, holds = {}, host_queues = {}, -- places taken of each host; host by who has its place and waits for the other
  }, methods)
end

-- There is a place: gives whether it is used.
local function start(self, id)
  local host = self.holds[id]
  self.holds[id] = nil
  self.taken = self.taken + 1
  local ok, used = pcall(self.begin, id, host)
  if ok and used then
    return true
  end
  self.taken = self.taken - 1
  if not ok then
    error(used, 0)
  end
  return false
end

-- Gives whether the place of its host is in use, or will be. Who waits already comes first.
local function enter(self, id)
  if self.taken >= self.most or #self.queue > 0 then
    self.queue:push(id)
    return true
  end
  return start(self, id)
end

-- A place of a host has become free: who waits for it takes it over.
local function pass_on(self, host)
  local queue = self.host_queues[host]
  local id = queue and queue:pop()
  while id do
    self.holds[id] = host
    if enter(self, id) then
      return
    end
    id = queue:pop()
  end
  self.host_queues[host] = nil
  self.of_host[host] = self.of_host[host] > 1 and self.of_host[host] - 1 or nil
end

--- ask(id, host): calls `begin`, now or when there is a place. `host` may be nil: then only the limit of all counts.
function methods:ask(id, host)
  if not host or not self.most_per_host then
    enter(self, id)
    return
  end
  local taken = self.of_host[host] or 0
  if taken >= self.most_per_host then
    self.host_queues[host] = self.host_queues[host] or fifo.new()
    self.host_queues[host]:push(id)
    return
  end
  self.of_host[host], self.holds[id] = taken + 1, host
  if not enter(self, id) then
    pass_on(self, host)
  end
end

--- leave(host): a place that `begin` used is free again; `host` as begin was told. Who has waited longest has it now, nobody else.
function methods:leave(host)
  self.taken = self.taken - 1
  if host then
    pass_on(self, host)
  end
  while self.taken < self.most and #self.queue > 0 do
    local id = self.queue:pop()
    local of = self.holds[id]
    if not start(self, id) and of then
      pass_on(self, of)
    end
  end
end

--- limit(most, most_per_host): as for new, from now on.
function methods:limit(most, most_per_host)
  self.most, self.most_per_host = most, most_per_host
end

local function be(count)
  return count == 1 and "is" or "are"
end

--- full(id, host) -> what keeps somebody waiting, for people: "256 are in flight", "8 to db.test are in flight".
function methods:full(id, host)
  if host and self.most_per_host and not self.holds[id] then
    return ("%d to %s %s in flight"):format(self.most_per_host, host, be(self.most_per_host))
  end
  return ("%d %s in flight"):format(self.most, be(self.most))
end

--- close(): nobody who waits is called any more.
function methods:close()
  self.queue, self.host_queues = fifo.new(), {}
end

return places
