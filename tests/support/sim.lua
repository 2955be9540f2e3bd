-- The simulated internet (tests/sim) for specs: hosts with known truth on a TUN device, for the time of one function.
--
--   local truth, r = sim.run("10.77.20.0/24 delay=20ms", function() return icmp.ping("10.77.20.7") end)
--   for i, packet in ipairs(truth["10.77.20.7"]) do assert.near(packet.wire_ms, r.samples[i].rtt_ms, 0.3) end
--
-- `truth[host]` lists what was sent to the host, in the order of sending; support/truth.lua tells its fields.

local luassert = require "luassert"
local program = require "tests.support.program"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local truth = require "tests.support.truth"

local sim = {}

-- A round trip made of the kernel's stamps is the capture's but for the way from one hook to the next, where a busy machine may be interrupted.
local NEAR_MS, MOSTLY_NEAR_MS = 2, 0.1
-- Stamps are placed on another clock, which costs so much at most (probes/packet_clock.c).
local CLOCKS_MS = 0.003

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
  local ended, hosts = true, nil
  if finish then
    ended, hosts = pcall(function()
      finish()
      return truth.read(folder)
    end)
  end
  os.execute("rm -rf " .. folder)
  if code == "3\n" then
    spec.skip("no simulated internet: " .. err)
  end
  assert(finish, err)
  assert(results[1], results[2])
  assert(ended, hosts)
  return hosts, table.unpack(results, 2, results.n)
end

--- A simulated internet for many specs: hosts are declared one by one, each with what is done to it, and all of that is done side by side once, when the
--- first spec asks for its outcome; by then all have to be declared. `world(v6, options, fn)` declares a host, of IPv6 where `v6` is true; fn(host) gets its address. It returns a function
--- for specs, which gives what fn returned and the packets of the host.
function sim.world()
  local config, probes, truths, results = {}, {}, nil, nil
  return function(v6, options, fn)
    local place = #probes + 1
    local host = (v6 and "fd77::20:%x" or "10.77.20.%d"):format(place)
    config[place] = host .. " " .. options
    probes[place] = function() return fn(host) end
    return function()
      if not results then
        truths, results = sim.run(table.concat(config, "\n"), function()
          return task.map(probes, function(probe) return probe() end, {concurrency = #probes})
        end)
      end
      return results[place], truths[host] or {}
    end
  end
end

--- "10.77.20.1:80", "[fd77::20:1]:80".
function sim.at(host, port)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

--- What became of each packet, as a line of words.
function sim.fates(packets)
  local words = {}
  for i, packet in ipairs(packets) do
    words[i] = packet.fate
  end
  return table.concat(words, " ")
end

--- The round trips of a result's samples, false where there is none.
function sim.rtts(samples)
  local list = {}
  for i, sample in ipairs(samples) do
    list[i] = sample.rtt_ms or false
  end
  return list
end

--- Holds round trips (false: none) against both truths, packet by packet: never below the delay asked for, never far from what the wire saw. Adds how far
--- each is off to `errors`, and returns it.
function sim.compare(rtts, packets, errors)
  errors = errors or {}
  luassert.equal(#packets, #rtts)
  for i, rtt in ipairs(rtts) do
    local packet = packets[i]
    if rtt then
      luassert.is_true(rtt >= packet.asked_ms - CLOCKS_MS, ("%s ms where %s were asked for"):format(rtt, packet.asked_ms))
      luassert.near(packet.wire_ms, rtt, NEAR_MS)
      errors[#errors + 1] = math.abs(packet.wire_ms - rtt)
    end
  end
  return errors
end

--- Nine of ten are much nearer.
function sim.mostly_near(errors)
  table.sort(errors)
  luassert.is_true(#errors > 0)
  local most = errors[math.ceil(#errors * 0.9)]
  luassert.is_true(most < MOSTLY_NEAR_MS, ("one in ten is %g ms off or more"):format(most))
end

return sim
