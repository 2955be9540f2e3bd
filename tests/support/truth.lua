-- What waddle-sim wrote down (tests/sim/README.md): the capture, and the log of what its hosts did, joined packet by packet.
--
-- `truth[host]` lists what was sent to a host, in the order of sending:
--   proto      icmp, udp, dns or tcp
--   fate       what the simulator did: answered, held, lost ... or an error, see tests/sim/README.md; a SYN that was sent again has the last one's
--   asked_ms   the delay that was to be
--   from       who answered
--   wire_ms    what the capture says from the (first) sending to the first answer; nil where none came
--   held_ms    the same from entering the simulator to leaving it: the wire's time without the way there and back
--   answers    how many came
--   tries      how often it was sent: more than one of a SYN
--   tx, rx     the moments of all that, in ns of the wall clock
--   kind       reply, error or -

local truth = {}

local function lines(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text:gmatch("([^\n]*)\n")
end

local function numbers(text)
  local list = {}
  for n in text:gmatch("%d+") do
    list[#list + 1] = math.tointeger(n)
  end
  return list
end

--- Reads a capture: a list for each host, and a map by protocol, host and key. Raises where packets are missing in it.
function truth.capture(path)
  local hosts, by_key = {}, {}
  local next_line = lines(path)
  local packets, dropped = next_line():match("^packets\t(%d+)\tdropped\t(%d+)$")
  assert(dropped == "0", ("the capture lacks %s of %s packets"):format(dropped, packets))
  for line in next_line do
    local name, proto, host, kind, answers, tx, rx = line:match("^((%S+)\t(%S+)\t%S+)\t(%S+)\t(%d+)\t(%S+)\t(%S+)$")
    local packet = {proto = proto, kind = kind, answers = math.tointeger(answers), tx = numbers(tx), rx = numbers(rx)}
    packet.tries = #packet.tx
    packet.wire_ms = packet.rx[1] and (packet.rx[1] - packet.tx[1]) / 1e6
    hosts[host] = hosts[host] or {}
    table.insert(hosts[host], packet)
    by_key[name] = by_key[name] or {}
    table.insert(by_key[name], packet)
  end
  return hosts, by_key
end

-- Adds what the log says to the packets that the capture has.
local function add_log(path, by_key)
  local entries, lost = {}, 0
  for line in lines(path) do
    local entered, left, asked, name, fate, from = line:match("^(%d+)\t(%d+)\t(%d+)\t(%S+\t%S+\t%S+)\t(%S+)\t(%S+)$")
    if fate ~= "segment" and fate ~= "doubled" then
      entries[#entries + 1] = {entered = math.tointeger(entered), left = math.tointeger(left), asked = tonumber(asked), name = name, fate = fate, from = from}
    end
  end
  table.sort(entries, function(a, b) return a.entered < b.entered end)
  for _, e in ipairs(entries) do
    local list = by_key[e.name]
    if list then
      -- Of several exchanges with one key each has its own entry; of one that was sent again the last entry counts.
      local packet = list[1]
      if #list > 1 then
        table.remove(list, 1)
      end
      packet.fate, packet.asked_ms = e.fate, e.asked / 1e6
      packet.from = e.left > 0 and e.from or nil
      packet.held_ms = e.left > 0 and (e.left - e.entered) / 1e6 or nil
    else
      lost = lost + 1
    end
  end
  assert(lost == 0, ("the capture lacks %d packets of the log"):format(lost))
end

--- Reads both truths from the files `log` and `capture` of a folder, as above. Raises where they do not tell of the same packets.
function truth.read(folder)
  local hosts, by_key = truth.capture(folder .. "/capture")
  add_log(folder .. "/log", by_key)
  return hosts
end

return truth
