-- Whose round trips tests/bench/accuracy.lua holds against the capture. Each prober is function(n) -> {[i] = what it reports of host i in ms, or false}:
-- one probe to each of the first n hosts. A prober of ours sends RATE packets a second, a peer what it can.

local dns = require "waddle.dns"
local http = require "waddle.http"
local icmp = require "waddle.icmp"
local measure = require "tests.bench.measure"
local simulated = require "tests.bench.simulated"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local udp = require "waddle.udp"

local probers = {ours = {}, peers = {}}

local RATE, TICK_SECONDS, PATIENCE = 10000, 0.001, "5s"
local LEAST_PART = 0.9 -- of the rate, which must leave
-- More at once make the exporter's errors larger, and its rate hardly higher.
local BLACKBOX_AT_ONCE, FPING_BURST = 16, 250

--- kilo(rate) -> text, such as "10.0k/s".
function probers.kilo(rate)
  return ("%.1fk/s"):format(rate / 1000)
end

--- fell_short(rate) -> nil, or why that many probes of ours a second are too few to speak of the rate they were to have.
function probers.fell_short(rate)
  return rate < RATE * LEAST_PART and ("%s left, not %s: this machine is too slow or too busy"):format(probers.kilo(rate), probers.kilo(RATE)) or nil
end

local function hosts(n, suffix)
  local list = {}
  for i = 1, n do
    list[i] = simulated.host(i) .. suffix
  end
  return list
end

local function swept(sweep, suffix)
  return function(n)
    return sweep(hosts(n, suffix), {rate = RATE, stamps = "exact", timeout = PATIENCE}).rtt_ms
  end
end

-- One call for each host, each in a task of its own, begun when it is due.
local function called(suffix, call)
  return function(n)
    local targets, reported, tasks, begun = hosts(n, suffix), {}, {}, task.now()
    while #tasks < n do
      for i = #tasks + 1, math.min(n, math.ceil((task.now() - begun) * RATE)) do
        tasks[i] = task.spawn(function()
          reported[i] = call(targets[i]) or false
        end)
      end
      task.sleep(TICK_SECONDS)
    end
    for _, t in ipairs(tasks) do
      t:join()
    end
    return reported
  end
end

probers.ours["icmp.sweep"] = swept(icmp.sweep, "")
probers.ours["udp.sweep"] = swept(udp.sweep, ":2000")
probers.ours["icmp.ping"] = called("", function(target)
  return icmp.ping(target, {count = 1, timeout = PATIENCE}).latency_ms
end)
probers.ours["udp.ping"] = called(":2000", function(target)
  return udp.ping(target, {count = 1, timeout = PATIENCE}).latency_ms
end)
probers.ours["dns.query"] = called(":53", function(target)
  return dns.query("www.bench.test", {server = target, timeout = PATIENCE}).latency_ms
end)
probers.ours["tcp.connect"] = called(":80", function(target)
  return tcp.connect(target, {timeout = PATIENCE}).latency_ms
end)

-- What the exporter says of the phase that is a round trip; of a TCP connection the whole probe.
local function blackbox(module, suffix, metric)
  return function(n)
    local targets, reported, tasks = hosts(n, suffix), {}, {}
    local url = ("http://127.0.0.1:%s/probe?module=%s&target="):format(assert(measure.find("blackbox")), module)
    local session = http.session()
    for first = 1, BLACKBOX_AT_ONCE do
      tasks[first] = task.spawn(function()
        for i = first, n, BLACKBOX_AT_ONCE do
          local page = session:get(url .. targets[i], {timeout = "10s"}).body or ""
          local seconds = page:find("\nprobe_success 1", 1, true) and tonumber(page:match("\n" .. metric .. " (%S+)"))
          reported[i] = seconds and seconds * 1000 or false
        end
      end)
    end
    for _, t in ipairs(tasks) do
      t:join()
    end
    return reported
  end
end

-- Burst after burst, each of one network's hosts.
local function fping(n)
  local reported, list = {}, measure.find("work") .. "/fping.hosts"
  for first = 1, n, FPING_BURST do
    local file <close> = assert(io.open(list, "w"))
    for i = first, math.min(n, first + FPING_BURST - 1) do
      file:write(simulated.host(i), "\n")
    end
    file:close()
    local pipe <close> = assert(io.popen(("'%s' -q -C 1 -r 0 -i 0 -f '%s' 2>&1"):format(assert(measure.find("fping")), list)))
    local i = first
    for line in pipe:lines() do -- in the order of the list
      reported[i] = line:find(simulated.host(i) .. "%f[%D]") and tonumber(line:match(": (%S+)$")) or false
      i = i + 1
    end
    pipe:close()
  end
  return reported
end

--- peers[what] = {name=, run=}: who does the same as ours; what is not there has no peer.
probers.peers["icmp.sweep"] = {name = "fping", run = fping}
probers.peers["icmp.ping"] = {name = "blackbox", run = blackbox("icmp", "", [[probe_icmp_duration_seconds{phase="rtt"}]])}
probers.peers["dns.query"] = {name = "blackbox", run = blackbox("dns", ":53", [[probe_dns_duration_seconds{phase="request"}]])}
probers.peers["tcp.connect"] = {name = "blackbox", run = blackbox("tcp", ":80", "probe_duration_seconds")}

return probers
