-- The simulated internet (tests/sim) for specs: hosts with known truth on a TUN device, for the time of one function.
--
--   local truth, r = sim.run("10.77.20.0/24 delay=20ms", function() return icmp.ping("10.77.20.7") end)
--   for i, packet in ipairs(truth["10.77.20.7"]) do assert.near(packet.wire_ms, r.samples[i].rtt_ms, 0.3) end
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

local program = require "tests.support.program"
local spec = require "tests.support.spec"

local sim = {}

local WAIT_SECONDS = 20
local MOST_SECONDS = 120

local function contents(path)
  local file = io.open(path)
  local text = file and file:read("a")
  if file then
    file:close()
  end
  return text or ""
end

local function lines(path)
  return contents(path):gmatch("([^\n]*)\n")
end

local function numbers(text)
  local list = {}
  for n in text:gmatch("%d+") do
    list[#list + 1] = math.tointeger(n)
  end
  return list
end

--- Reads a capture: a list for each host, and a map by protocol, host and key. Raises where packets are missing in it.
function sim.read_capture(path)
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

-- Where waddle-sim is: in tests/ beside the program under test.
local function sim_path()
  local path = program.path:gsub("[^/]*$", "tests/waddle-sim")
  return path:sub(1, 1) == "/" and path or os.getenv "PWD" .. "/" .. path
end

-- Starts it in a folder of its own. Gives a function that ends it.
local function start(folder, config)
  local file = assert(io.open(folder .. "/config", "w"))
  file:write(config, "\n")
  file:close()
  local wait = program.start(("cd %s; '%s' config log capture >out 2>err; echo $? >code"):format(folder, sim_path()), MOST_SECONDS)
  local pid = spec.eventually(function()
    return contents(folder .. "/out"):match("^ready (%d+) ") or contents(folder .. "/code"):match("\n") and "none"
  end, WAIT_SECONDS)
  local function finish()
    os.execute("kill -s TERM " .. pid)
    wait()
    assert(contents(folder .. "/code") == "0\n", contents(folder .. "/err"))
  end
  if pid ~= "none" then
    return finish
  end
  wait()
  return nil, contents(folder .. "/code"), contents(folder .. "/err")
end

--- Runs fn() while the hosts of `config` are there. Gives what is true of them, and then what fn returned. Skips the spec, saying why, where there is no
--- network of our own or no TUN device; raises where the truth has holes, and what fn raises.
function sim.run(config, fn)
  spec.value("private")
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  local finish, code, err = start(folder, config)
  local results = finish and table.pack(pcall(fn))
  local ended, truth = true, nil
  if finish then
    ended, truth = pcall(function()
      finish()
      local hosts, by_key = sim.read_capture(folder .. "/capture")
      add_log(folder .. "/log", by_key)
      return hosts
    end)
  end
  os.execute("rm -rf " .. folder)
  if code == "3\n" then
    spec.skip("no simulated internet: " .. err)
  end
  assert(finish, err)
  assert(results[1], results[2])
  assert(ended, truth)
  return truth, table.unpack(results, 2, results.n)
end

return sim
