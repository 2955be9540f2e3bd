-- What probes report of a simulated internet, held against both of its truths packet by packet: what its hosts did, and what a capture saw.

local icmp = require "waddle.icmp"
local sim = require "tests.support.sim"
local task = require "waddle.task"
local udp = require "waddle.udp"

-- A round trip made of kernel stamps is the capture's but for the way from one hook to the next, which a busy machine may interrupt.
local NEAR_MS, MOSTLY_NEAR_MS = 2, 0.1
-- A clock is read between stamps of two others: so far off the asked delay a sample may be.
local CLOCKS_MS = 0.002

local PINGS = {
  icmp = {v4 = "10.77.20.7", v6 = "fd77::20:7", ping = icmp.ping},
  udp = {v4 = "10.77.20.7:2000", v6 = "[fd77::20:7]:2000", ping = udp.ping},
}

setup(function()
  -- The socket of a family is opened by the first probe and kept.
  icmp.ping("127.0.0.1", {count = 1})
  icmp.ping("::1", {count = 1})
end)

-- The words of a result's samples, with the reason of errors.
local function statuses(result)
  local words = {}
  for i, sample in ipairs(result.samples) do
    words[i] = sample.error or sample.status
  end
  return table.concat(words, " ")
end

local function fates(packets)
  local words = {}
  for i, packet in ipairs(packets) do
    words[i] = packet.fate
  end
  return table.concat(words, " ")
end

-- Holds the round trips of a result's samples against both truths; adds the errors to `errors`.
local function compare(result, packets, errors)
  assert.equal(result.packets_sent, #packets)
  for i, sample in ipairs(result.samples) do
    local packet = packets[i]
    if sample.rtt_ms then
      assert.is_true(sample.rtt_ms >= packet.asked_ms - CLOCKS_MS, ("%s ms of %s asked"):format(sample.rtt_ms, packet.asked_ms))
      assert.near(packet.wire_ms, sample.rtt_ms, NEAR_MS)
      errors[#errors + 1] = math.abs(packet.wire_ms - sample.rtt_ms)
    end
  end
end

-- Nine of ten are much nearer.
local function mostly_near(errors)
  table.sort(errors)
  assert.is_true(#errors > 0)
  local most = errors[math.ceil(#errors * 0.9)]
  assert.is_true(most < MOSTLY_NEAR_MS, ("one in ten is more than %g ms off"):format(most))
end

describe("on the simulated internet", function()
  for name, case in pairs(PINGS) do
    for _, family in ipairs {"v4", "v6"} do
      local target, ping = case[family], case.ping
      local host = target:match("10%.[%d.]+") or "fd77::20:7"
      local function run(options, ping_options)
        local truth, result = sim.run(host .. " " .. options, function() return ping(target, ping_options) end)
        return result, truth[host]
      end

      describe(name .. ".ping over IP" .. family, function()
        it("reports the round trips that the wire saw, and never less than was asked for", function()
          local errors = {}
          local result, packets = run("delay=20ms jitter=4ms", {count = 40, interval = 0.005})
          assert.same({true, 40, 0, 0, 0}, {result.success, result.packets_received, result.duplicates, result.late, result.foreign})
          assert.equal("kernel", result.quality.timestamp_source)
          compare(result, packets, errors)
          mostly_near(errors)
        end)

        it("loses what was lost and nothing else", function()
          local result, packets = run("delay=5ms loss=0110010", {count = 14, interval = 0.005, timeout = 0.5})
          assert.equal(("ok lost lost ok ok lost ok "):rep(2):sub(1, -2), statuses(result))
          assert.equal(("answered lost lost answered answered lost answered "):rep(2):sub(1, -2), fates(packets))
          assert.near(600 / 14, result.packet_loss_percent, 1e-9)
          compare(result, packets, {})
        end)

        it("counts second answers as duplicates, and takes the first", function()
          local errors = {}
          local result, packets = run("delay=5ms twice=10", {count = 10, interval = 0.02})
          assert.same({10, 5, 0.0}, {result.packets_received, result.duplicates, result.packet_loss_percent})
          compare(result, packets, errors)
          assert.same({2, 1}, {packets[1].answers, packets[2].answers})
        end)
      end)
    end
  end

  it("2,000 hosts are pinged side by side, each with its own delay and its own loss", function()
    local targets = {}
    for i = 1, 2000 do
      targets[i] = ("10.77.%d.%d"):format(20 + i // 250, i % 250 + 1)
    end
    local truth, results = sim.run("10.77.0.0/16 delay=20ms jitter=20ms loss=5%", function()
      return task.map(targets, function(target)
        return icmp.ping(target, {count = 3, interval = 0.3, timeout = 1})
      end, {concurrency = #targets})
    end)
    local errors, lost = {}, 0
    for i, target in ipairs(targets) do
      assert.equal(fates(truth[target]):gsub("answered", "ok"), statuses(results[i]))
      compare(results[i], truth[target], errors)
      lost = lost + results[i].packets_sent - results[i].packets_received
    end
    assert.is_true(lost > 200 and lost < 400, lost)
    mostly_near(errors)
  end)
end)
