-- Packets that wait in a queue of the device before they leave: a shaper of 4 Mbit/s. The round trips are those of the wire, and what is not known is
-- said to be uncertain.

local json = require "waddle.json"
local program = require "tests.support.program"
local spec = require "tests.support.spec"

local BUSY_MS = 20 -- a host's real delay where the machine has other things to do
local SETTLED_MS = 1 -- the hosts answer at once, the shaper keeps packets for up to 170 ms

-- What the script returns, run before the shaper. `targets` are 1,000 of its hosts.
local function shaped(script)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write [[
    local targets = {}
    for i = 1, 1000 do
      targets[i] = ("10.89.%d.%d"):format(i // 250, i % 250 + 1)
    end
    icmp.ping("10.89.0.1", {count = 1}) -- the kernel begins to stamp a little after the first socket asks
    task.sleep(0.05)
  ]]
  file:write("print(json.encode((function() ", script, " end)()))\n")
  file:close()
  local code, out, err = program.sh(("unshare --net sh tests/support/shaped.sh %s run %s"):format(program.path, path), 40)
  os.remove(path)
  if code == 77 or err:find "unshare failed" then
    spec.skip("no shaper in a network of our own: " .. err)
  end
  assert.same({0, ""}, {code, (err:gsub("[^\n]* WARNING loop: held for over a second by [^\n]*\n", ""))}) -- a slow build may be held
  return json.decode(out)
end

-- Median, and what only one of a hundred exceeds.
local function percentiles(rtts)
  local sorted = {}
  for _, rtt in ipairs(rtts) do
    assert.is_number(rtt)
    sorted[#sorted + 1] = rtt
  end
  table.sort(sorted)
  return sorted[#sorted // 2], sorted[#sorted - #sorted // 100], sorted[#sorted]
end

-- All were answered, and none of the time in the queue is in the figures.
local function hold_exact(rtts, quality)
  local median, most = percentiles(rtts)
  assert.equal("kernel", quality.timestamp_source)
  assert.is_true(median < SETTLED_MS and most < BUSY_MS, ("half within %g ms, 99 of 100 within %g ms"):format(median, most))
end

describe("a packet that waits in a queue of the device", function()
  for what, rate in pairs {["at once"] = "nil", ["at 10,000 a second"] = "10000"} do
    it("is measured from when it left: a sweep " .. what, function()
      local r = shaped(([[
        local begun = task.now()
        local r = icmp.sweep(targets, {stamps = "exact", rate = %s})
        return {rtt_ms = r.rtt_ms, quality = r.quality, took = task.now() - begun}
      ]]):format(rate))
      assert.is_true(r.took > 0.15, "no packet had to wait")
      hold_exact(r.rtt_ms, r.quality)
    end)
  end

  it("is measured from when it left: pings", function()
    local r = shaped [[
      local rtt_ms, quality = {}, nil
      for i, ping in ipairs(task.map(targets, function(t) return icmp.ping(t, {count = 1}) end, {concurrency = 1000})) do
        rtt_ms[i], quality = ping.rtt_avg_ms, ping.quality
      end
      return {rtt_ms = rtt_ms, quality = quality}
    ]]
    hold_exact(r.rtt_ms, r.quality)
  end)

  it("is as uncertain as it is long where it has no stamp of its own", function()
    local r = shaped [[
      local r = icmp.sweep(targets, {stamps = "lean", rate = 10000})
      return {rtt_ms = r.rtt_ms, quality = r.quality}
    ]]
    local median, most, worst = percentiles(r.rtt_ms)
    local off = r.quality.uncertainty_ms
    assert.is_true(median < 3 and most < off + SETTLED_MS and worst < off + BUSY_MS, ("%g, %g, %g of %g"):format(median, most, worst, off))
  end)

  it("is no loss of the target's when it has not left in time", function()
    local r = shaped [[
      local function count(list)
        local counts = {}
        for i = 1, #targets do
          local error = list[i] or "none"
          counts[error] = (counts[error] or 0) + 1
        end
        return counts
      end
      local errors = {}
      for i, ping in ipairs(task.map(targets, function(t) return icmp.ping(t, {count = 1, timeout = 0.03}) end, {concurrency = 1000})) do
        errors[i] = ping.error or false
      end
      return {sweep = count(icmp.sweep(targets, {stamps = "exact", timeout = 0.03}).errors), pings = count(errors)}
    ]]
    for _, of in pairs(r) do
      assert.is_true(of["local"] and of["local"] > 300 and (of.timeout or 0) < 50, json.encode(r))
    end
  end)
end)
