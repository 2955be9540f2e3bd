-- What icmp.ping and udp.ping report of a simulated internet, held against both of its truths packet by packet: what its hosts did, and what a capture saw.

local icmp = require "waddle.icmp"
local sim = require "tests.support.sim"
local task = require "waddle.task"
local udp = require "waddle.udp"

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

local world = sim.world()
local FLOWS = {
  {name = "icmp.ping over IPv4", ping = icmp.ping},
  {name = "icmp.ping over IPv6", ping = icmp.ping, v6 = true},
  {name = "udp.ping over IPv4", ping = udp.ping, port = 2000},
  {name = "udp.ping over IPv6", ping = udp.ping, v6 = true, port = 2000},
}

for _, flow in ipairs(FLOWS) do
  -- A host with these options, pinged with those.
  local function pinged(host_options, ping_options)
    return world(flow.v6, host_options, function(host)
      return flow.ping(flow.port and sim.at(host, flow.port) or host, ping_options)
    end)
  end
  local jittery = pinged("delay=20ms jitter=4ms", {count = 40, interval = 0.005})
  local lossy = pinged("delay=5ms loss=0110010", {count = 14, interval = 0.005, timeout = 1, linger = 1})
  local doubling = pinged("delay=5ms twice=10", {count = 10, interval = 0.02})
  local overtaken = pinged("delay=5ms hold=1000:100ms", {count = 8, interval = 0.005})
  local late = pinged("delay=5ms hold=010:1600ms", {count = 6, interval = 0.005, timeout = 1, linger = 20})
  local limited = pinged("delay=1ms rate=0.001:3", {count = 6, interval = 0.005, timeout = 1, linger = 1})

  describe(flow.name, function()
    it("reports the round trips that the wire saw, and never less than was asked for", function()
      local result, packets = jittery()
      assert.same({true, 40, 40, 0.0}, {result.success, result.packets_sent, result.packets_received, result.packet_loss_percent})
      assert.same({0, 0, 0}, {result.duplicates, result.late, result.foreign})
      assert.equal("kernel", result.quality.timestamp_source)
      sim.mostly_near(sim.compare(sim.rtts(result.samples), packets))
    end)

    it("loses what was lost and nothing else", function()
      local result, packets = lossy()
      assert.equal("ok lost lost ok ok lost ok ok lost lost ok ok lost ok", statuses(result))
      assert.equal(statuses(result):gsub("ok", "answered"), sim.fates(packets))
      assert.near(600 / 14, result.packet_loss_percent, 1e-9)
      sim.compare(sim.rtts(result.samples), packets)
    end)

    it("counts a second answer as a duplicate, and measures the first", function()
      local result, packets = doubling()
      assert.same({10, 5, 0.0}, {result.packets_received, result.duplicates, result.packet_loss_percent})
      assert.same({2, 1}, {packets[1].answers, packets[2].answers})
      sim.compare(sim.rtts(result.samples), packets)
    end)

    it("sees answers that overtake others", function()
      local result, packets = overtaken()
      assert.equal("held answered answered answered held answered answered answered", sim.fates(packets))
      -- Both that were held come after one of a later packet, and so do none of the others.
      assert.same({8, 2}, {result.packets_received, result.reordered})
      sim.compare(sim.rtts(result.samples), packets)
    end)

    it("reports what comes after its timeout as late, and counts it as lost", function()
      local result, packets = late()
      assert.equal("ok late ok ok late ok", statuses(result))
      assert.same({4, 2}, {result.packets_received, result.late})
      assert.near(100 / 3, result.packet_loss_percent, 1e-9)
      sim.compare(sim.rtts(result.samples), packets)
    end)

    it("loses what is above a rate", function()
      local result, packets = limited()
      assert.equal("ok ok ok lost lost lost", statuses(result))
      assert.equal("answered answered answered limited limited limited", sim.fates(packets))
    end)
  end)
end

describe("2,000 hosts", function()
  it("are pinged side by side, each with its own delay and its own loss", function()
    local targets = {}
    for i = 1, 2000 do
      targets[i] = ("10.77.%d.%d"):format(20 + i // 250, i % 250 + 1)
    end
    local truth, results = sim.run("10.77.0.0/16 delay=20ms jitter=20ms loss=5%", function()
      return task.map(targets, function(target)
        return icmp.ping(target, {count = 3, interval = 0.3, timeout = 2, linger = 2})
      end, {concurrency = #targets})
    end)
    local errors, lost = {}, 0
    for i, target in ipairs(targets) do
      assert.equal(sim.fates(truth[target]):gsub("answered", "ok"), statuses(results[i]))
      sim.compare(sim.rtts(results[i].samples), truth[target], errors)
      lost = lost + results[i].packets_sent - results[i].packets_received
    end
    assert.is_true(lost > 200 and lost < 400, lost)
    sim.mostly_near(errors)
  end)
end)
