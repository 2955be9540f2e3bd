-- waddle run tests/bench/accuracy.lua PROBE COUNT RUNS LIMIT-P50 LIMIT-P99: how far off the round trips that PROBE reports are from the capture's, packet by
-- packet: COUNT probes at 10,000 a second of the simulated internet, RUNS times in turn with the peer, first idle and then with two busy loops
-- beside it. Prints lines for ./dev bench (rows.lua) with the medians of the runs; limits are in microseconds. What did not keep up with the rate has
-- failed: its errors, those of another load, are shown and not judged.

local json = require "waddle.json"
local measure = require "tests.bench.measure"
local probers = require "tests.bench.probers"
local simulated = require "tests.bench.simulated"

local BUSY_LOOPS, BUSY_SECONDS_MAX = 2, 120
local LOST_MAX, WARM_UP = 0.01, 100
local PEER_PART = 4 -- of the probes: peers are slower

local probe, count, runs = arg[1], tonumber(arg[2]), tonumber(arg[3])
local limits = {p50 = tonumber(arg[4]), p99 = tonumber(arg[5])}

-- Starts processes that do nothing, at full speed; gives a function that ends them.
local function burn()
  local loops, pids = {}, {}
  for i = 1, BUSY_LOOPS do
    loops[i] = assert(io.popen(("exec setpriv --pdeathsig KILL -- timeout %d sh -c 'echo $$; while :; do :; done'"):format(BUSY_SECONDS_MAX)))
    pids[i] = loops[i]:read("l")
  end
  return function()
    os.execute("kill " .. table.concat(pids, " "))
    for _, loop in ipairs(loops) do
      loop:close()
    end
  end
end

local function simulate(fn)
  return simulated.run(assert(measure.find("sim")), assert(measure.find("work")), fn)
end

-- How many us off a prober is: {p50=, p99=, worst=} of the absolute errors, median= of the signed ones; and rate=, what it sent a second.
local function errors_of(prober, n)
  local reported, packets, rate = simulate(function() return prober(n) end)
  local signed, absolute = {}, {}
  for i = 1, n do
    local sent = packets[simulated.host(i)] or {}
    if reported[i] then
      local wire_ms = #sent == 1 and sent[1].wire_ms or
        error(("%s was sent %d packets, and one round trip was reported"):format(simulated.host(i), #sent), 0)
      signed[#signed + 1] = (reported[i] - wire_ms) * 1000
      absolute[#absolute + 1] = math.abs(signed[#signed])
    end
  end
  if #signed < n * (1 - LOST_MAX) then
    error(("only %d of %d were answered"):format(#signed, n), 0)
  end
  table.sort(signed)
  table.sort(absolute)
  return {p50 = measure.quantile(absolute, 0.5), p99 = measure.quantile(absolute, 0.99), median = measure.quantile(signed, 0.5),
    worst = absolute[#absolute], rate = rate}
end

-- The median of each figure over the runs.
local function middle(list)
  local figures = {}
  for name in pairs(list[1]) do
    local values = {}
    for i, run in ipairs(list) do
      values[i] = run[name]
    end
    figures[name] = measure.median(values)
  end
  return figures
end

local function leave_out(what, why, failed)
  print(json.encode {what = what, why = why, failed = failed})
end

-- Prints the lines of one condition.
local function show(busy, ours, theirs, peer_name, absent)
  local what, slow = probe .. " error" .. (busy and ", busy" or ""), probers.fell_short(ours.rate)
  if slow then
    leave_out(what, slow, true)
  end
  local rates = probers.kilo(ours.rate) .. (theirs and (", %s %s"):format(peer_name, probers.kilo(theirs.rate)) or absent and ", " .. absent or "")
  for _, name in ipairs {"p50", "p99"} do
    print(json.encode {
      what = what .. ": " .. name, unit = "us", limit = not slow and limits[name] or nil,
      waddle = ours[name], peer = theirs and theirs[name], peer_name = peer_name,
      note = name == "p50" and ("median %+.2f"):format(ours.median) or rates,
      median = ours.median, worst = ours.worst, rate = ours.rate,
      peer_median = theirs and theirs.median, peer_worst = theirs and theirs.worst, peer_rate = theirs and theirs.rate,
    })
  end
end

-- The same with or without busy loops; nil, why when it fails.
local function try(prober, n, busy)
  local stop = busy and burn()
  local done, figures = pcall(errors_of, prober, n)
  if stop then
    stop()
  end
  return done and figures or nil, figures
end

local able, no_tun = simulate(function() return true end)
if not able then
  return leave_out(probe .. " error", no_tun)
end

local peer, absent = probers.peers[probe], nil
if peer and not measure.find(peer.name) then
  leave_out(probe .. " error: " .. peer.name, select(2, measure.find(peer.name)))
  peer, absent = nil, "no " .. peer.name
end

probers.ours[probe](WARM_UP) -- sockets are open then, and code is in the caches
for _, busy in ipairs {false, true} do
  local ours, theirs = {}, {}
  for run = 1, runs do
    ours[run] = assert(try(probers.ours[probe], count, busy))
    if peer then
      local why
      theirs[run], why = try(peer.run, count // PEER_PART, busy)
      if not theirs[run] then
        leave_out(probe .. " error: " .. peer.name, why, true)
        peer, theirs, absent = nil, nil, peer.name .. " failed"
      end
    end
  end
  show(busy, middle(ours), theirs and peer and middle(theirs), peer and peer.name, absent)
end
