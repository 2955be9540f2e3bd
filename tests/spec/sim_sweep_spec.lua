-- What sweeps report of a simulated internet, packet by packet: which target each round trip belongs to, and which packets were lost.

local icmp = require "waddle.icmp"
local sim = require "tests.support.sim"
local udp = require "waddle.udp"

local STAMPED_MS = 0.061 -- uncertainty of a round trip between two of the kernel's stamps
local MEDIAN_MS = 0.02 -- of what an interpolated moment of sending is off by: between two stamps lie eight packets

local SWEEPS = {icmp = icmp.sweep, udp = udp.sweep}

describe("a sweep of the simulated internet", function()
  for name, sweep in pairs(SWEEPS) do
    for _, stamps in ipairs {"exact", "lean"} do
      it(("by %s, %s, gives each target its own times and losses"):format(name, stamps), function()
        local truth, result = sim.run("10.77.0.0/16 delay=20ms jitter=20ms loss=5%", function()
          return sweep("10.77.16.0/22", {count = 3, interval = 0.2, rate = 10000, timeout = 1, linger = 1, stamps = stamps})
        end)
        local errors, lost = {}, 0
        assert.equal(#result.targets, #result.rtt_ms)
        assert.is_true(#result.targets >= 1022)
        for i, target in ipairs(result.targets) do
          local packets, fates = truth[target:match("^[%d.]+")], {}
          for k, rtt in ipairs(result.rtt_ms[i]) do
            fates[k] = rtt and "answered" or "lost"
            lost = lost + (rtt and 0 or 1)
          end
          assert.equal(sim.fates(packets), table.concat(fates, " "))
          if stamps == "exact" then
            sim.compare(result.rtt_ms[i], packets, errors)
          else
            for k, rtt in ipairs(result.rtt_ms[i]) do
              if rtt then
                assert.near(packets[k].wire_ms, rtt, result.quality.uncertainty_ms + 0.1)
                errors[#errors + 1] = math.abs(packets[k].wire_ms - rtt)
              end
            end
          end
        end
        assert.equal("kernel", result.quality.timestamp_source)
        assert.same({#result.targets * 3, #result.targets * 3 - lost}, {result.sent, result.received})
        sim.mostly_near(errors)
        if stamps == "exact" then
          assert.is_true(result.quality.uncertainty_ms <= STAMPED_MS)
        else
          assert.is_true(errors[#errors // 2] < MEDIAN_MS, errors[#errors // 2])
          -- it is the longest time between two stamps, and no pass of the loop is shorter than that
          assert.is_true(result.quality.uncertainty_ms <= STAMPED_MS + result.quality.loop_lag_ms)
        end
      end)
    end
  end
end)
