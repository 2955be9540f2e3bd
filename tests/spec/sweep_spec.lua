-- icmp.sweep and udp.sweep: which figure belongs to which target, what is counted as what, pace, rounds, and what is said of misuse.

local core = require "waddle.core"
local icmp = require "waddle.icmp"
local json = require "waddle.json"
local program = require "tests.support.program"
local show = require "waddle.show"
local sim = require "tests.support.sim"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local udp = require "waddle.udp"

local STAMPED_MS = 0.061 -- uncertainty of a round trip between two of the kernel's stamps
local LEAN_MS = 1 -- the same where moments of sending are interpolated, ten times what it mostly is
local SEVERAL = 9 -- sweeps of which one is not interrupted, also on a busy machine

setup(function()
  -- What is opened by the first probe and kept.
  icmp.ping("127.0.0.1", {count = 1})
  icmp.ping("peer.test", {count = 1})
end)

-- Runs fn while these lines stand in front of the private network's hosts file.
local function with_hosts(lines, fn)
  local path = spec.value("hosts")
  local file = assert(io.open(path))
  local old = file:read("a")
  file:close()
  local function write(text)
    file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
  end
  write(lines .. old)
  local results = table.pack(pcall(fn))
  write(old)
  assert(results[1], results[2])
  return table.unpack(results, 2, results.n)
end

-- The round trips held against what the wire saw: rtts[i] is that of the only packet to hosts[i], never another's.
local function compare_each(rtts, hosts, truth)
  assert.equal(#hosts, #rtts)
  for i, host in ipairs(hosts) do
    assert.equal(1, #truth[host], host)
    sim.compare({rtts[i]}, truth[host])
  end
end

local function took(fn)
  local began = task.now()
  local r = fn()
  return task.now() - began, r
end

local function numbers(list)
  local words = {}
  for i, value in ipairs(list) do
    words[i] = type(value) == "table" and "{" .. numbers(value) .. "}" or math.type(value) and "n" or tostring(value)
  end
  return table.concat(words, " ")
end

describe("a sweep's list", function()
  -- Each host answers 15 ms later than the one before, so that no order but the right one fits.
  local function delayed(hosts)
    local lines = {}
    for i, host in ipairs(hosts) do
      lines[i] = ("%s delay=%dms udp=2000,2001"):format(host, i * 15)
    end
    return table.concat(lines, "\n")
  end

  local HOSTS = {"10.77.20.9", "fd77::20:5", "10.77.20.3", "10.77.20.1", "10.77.20.2", "fd77::20:8", "fd77::20:9", "10.77.20.12", "10.77.20.13",
    "10.77.20.14"}

  it("keeps its order, whatever it mixes", function()
    local targets = {"10.77.20.9", "fd77::20:5", "third.test", "10.77.20.1-10.77.20.2", "fd77::20:8/127", "10.77.20.12-10.77.20.13", "10.77.20.14/32"}
    local truth, r = sim.run(delayed(HOSTS), function()
      return with_hosts("10.77.20.3 third.test\n", function() return icmp.sweep(targets, {stamps = "exact"}) end)
    end)
    assert.same({"10.77.20.9", "fd77::20:5", "third.test", "10.77.20.1", "10.77.20.2", "fd77::20:8", "fd77::20:9", "10.77.20.12", "10.77.20.13",
      "10.77.20.14"}, r.targets)
    assert.same({true, 10, 10, 0.0}, {r.success, r.sent, r.received, r.packet_loss_percent})
    compare_each(r.rtt_ms, HOSTS, truth)
    assert.is_nil(r.errors)
    assert.equal("10.77.20.9 and 6 more", r.target)
  end)

  it("keeps its order with ports, each its own", function()
    local targets = {"10.77.20.9", "[fd77::20:5]:2001", "third.test:2001", "10.77.20.1-10.77.20.2:2001", "[fd77::20:8/127]:2000",
      "10.77.20.12-10.77.20.13", "10.77.20.14/32:2001"}
    local truth, r = sim.run(delayed(HOSTS), function()
      return with_hosts("10.77.20.3 third.test\n", function() return udp.sweep(targets, {stamps = "exact"}) end)
    end)
    assert.same({"10.77.20.9", "[fd77::20:5]:2001", "third.test:2001", "10.77.20.1:2001", "10.77.20.2:2001", "[fd77::20:8]:2000", "[fd77::20:9]:2000",
      "10.77.20.12:2000", "10.77.20.13:2000", "10.77.20.14:2001"}, r.targets)
    assert.same({true, 10, 10}, {r.success, r.sent, r.received})
    compare_each(r.rtt_ms, HOSTS, truth)
  end)

  it("may be one text, and names a target as often as it likes", function()
    local r = icmp.sweep("127.0.0.1")
    assert.same({{"127.0.0.1"}, 1, "127.0.0.1"}, {r.targets, #r.rtt_ms, r.target})
    r = icmp.sweep {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"}
    assert.same({4, 4, "n n n n", 0, 0}, {r.sent, r.received, numbers(r.rtt_ms), r.duplicates, r.foreign})
  end)

  it("says of each target why it never answered", function()
    local closed = spec.peer("udp_closed")
    local targets = {"127.0.0.1", spec.value("unreachable"), "::1", spec.value("unreachable_v6"), spec.value("prohibited"), spec.value("prohibited_v6"),
      spec.value("blackhole"), "192.0.2.1", "nosuch.test", spec.value("blackhole_v6"), "127.0.0.2"}
    local r = icmp.sweep(targets, {timeout = 0.3})
    assert.same({false, "host_unreachable", false, "network_unreachable", "admin_prohibited", "admin_prohibited", "timeout", "local", "dns_nxdomain",
      "timeout", false}, r.errors)
    assert.equal("n false n false false false false false false false n", numbers(r.rtt_ms))
    assert.same({true, 9, 3}, {r.success, r.sent, r.received})
    assert.near(100 * 6 / 9, r.packet_loss_percent, 1e-9)

    r = udp.sweep({(spec.peer("udp_echo")), closed, spec.value("unreachable") .. ":7", "nosuch.test:7", (spec.peer("udp_closed", "::1"))}, {timeout = 0.5})
    assert.same({false, "connection_refused", "host_unreachable", "dns_nxdomain", "connection_refused"}, r.errors)
    assert.same({4, 1}, {r.sent, r.received})
  end)

  it("gives an error to its target, also where a router quotes no more than it must", function()
    local config = {}
    for i = 1, 8 do
      config[i] = ("10.77.20.%d delay=%dms hops=3 quote=8 %s"):format(i, i, i % 2 == 0 and "says=host_unreachable" or i == 3 and "loss=1" or "")
    end
    local expected = {false, "host_unreachable", "timeout", "host_unreachable", false, "host_unreachable", false, "host_unreachable"}
    for _, sweep in ipairs {icmp.sweep, udp.sweep} do
      local _, r = sim.run(table.concat(config, "\n"), function() return sweep("10.77.20.1-10.77.20.8", {timeout = 1}) end)
      assert.same(expected, r.errors)
    end
  end)

  it("holds the time to live that it was asked for against the way there", function()
    local r = icmp.sweep({spec.value("routed"), spec.value("routed_v6"), "127.0.0.1"}, {ttl = 1})
    assert.same({"ttl_exceeded", "ttl_exceeded", false}, r.errors)
  end)

  it("has one error for a sweep that nobody answered, and says so in words", function()
    local r = icmp.sweep({"nosuch.test", "nosuch2.test"})
    assert.same({false, "dns_nxdomain", 0}, {r.success, r.error, r.sent})
    assert.equal("none of 2 targets answered, each dns_nxdomain", r.error_detail)
    assert.is_nil(r.packet_loss_percent)
    assert.is_nil(r.latency_ms)
    r = icmp.sweep({"nosuch.test", "192.0.2.1"})
    assert.same({"timeout", {"dns_nxdomain", "local"}}, {r.error, r.errors})
    for target, expected in pairs {["nosuch.test:7"] = "dns_nxdomain", [spec.peer("udp_closed")] = "connection_refused", ["192.0.2.1:7"] = "local"} do
      r = udp.sweep(target)
      assert.equal(expected, r.error)
      assert.truthy(r.error_detail and #r.error_detail > 10, target)
    end
    r = icmp.sweep("127.0.0.1", {family = "6"})
    assert.same({"local", {"local"}}, {r.error, r.errors})
    assert.truthy(r.error_detail:find("IPv6", 1, true), r.error_detail)
  end)

  it("is done when all is known, also where the last of it was never sent", function()
    local late = spec.peer("udp_late_30")
    for _, targets in ipairs {{late, "nosuch.test:9"}, {"nosuch.test:9", late}, {late, "nosuch.test:9", late, "nosuch.test:9"}} do
      for _, opts in ipairs {{timeout = 20}, {timeout = 20, rate = 1000}, {timeout = 20, count = 2, interval = 0}} do
        local seconds, r = took(function() return udp.sweep(targets, opts) end)
        assert.same({true, 0.0}, {r.success, r.packet_loss_percent})
        assert.is_true(seconds < 10, seconds)
      end
    end
  end)
end)

describe("a sweep's packets", function()
  it("are false where they were lost, and come in lists where there are several", function()
    local config = "10.77.20.1 delay=5ms loss=010\n10.77.20.2 delay=5ms\n10.77.20.3 delay=5ms loss=1\n10.77.20.4 delay=5ms loss=100"
    for _, sweep in ipairs {icmp.sweep, udp.sweep} do
      local _, r = sim.run(config, function() return sweep("10.77.20.1-10.77.20.4", {count = 3, interval = 0.02, timeout = 1}) end)
      assert.equal("{n false n} {n n n} {false false false} {false n n}", numbers(r.rtt_ms))
      assert.same({12, 7, {false, false, "timeout", false}}, {r.sent, r.received, r.errors})
      assert.near(100 * 5 / 12, r.packet_loss_percent, 1e-9)
      assert.is_true(r.rtt_min_ms >= 4.99 and r.rtt_min_ms <= r.rtt_avg_ms and r.rtt_avg_ms <= r.rtt_max_ms)
      assert.equal(r.rtt_avg_ms, r.latency_ms)
    end
  end)

  it("leave in rounds, the interval apart", function()
    local seconds, r = took(function() return icmp.sweep({"127.0.0.1", "nosuch.test", "127.0.0.2"}, {count = 4, interval = "50ms"}) end)
    assert.same({8, 8, "{n n n n} {false false false false} {n n n n}"}, {r.sent, r.received, numbers(r.rtt_ms)})
    assert.is_true(seconds >= 0.149, seconds)
  end)

  it("are sent again to those alone that did not answer", function()
    local config = "10.77.20.1 delay=5ms\n10.77.20.2 delay=5ms loss=10\n10.77.20.3 delay=5ms loss=1\n"
      .. "10.77.20.4 delay=5ms hops=2 says=host_unreachable\n10.77.20.5 delay=5ms loss=110"
    for _, sweep in ipairs {icmp.sweep, udp.sweep} do
      local truth, r = sim.run(config, function() return sweep("10.77.20.1-10.77.20.5", {retries = 2, timeout = 0.4, stamps = "exact"}) end)
      assert.same({"answered", "lost answered", "lost lost lost", "host_unreachable", "lost lost answered"}, {sim.fates(truth["10.77.20.1"]),
        sim.fates(truth["10.77.20.2"]), sim.fates(truth["10.77.20.3"]), sim.fates(truth["10.77.20.4"]), sim.fates(truth["10.77.20.5"])})
      assert.equal("n n false false n", numbers(r.rtt_ms))
      assert.same({false, false, "timeout", "host_unreachable", false}, r.errors)
      assert.same({10, 3, 70.0}, {r.sent, r.received, r.packet_loss_percent})
      -- the round trip is that of the packet that was answered, not the time since the first
      sim.compare({r.rtt_ms[2]}, {truth["10.77.20.2"][2]})
      sim.compare({r.rtt_ms[5]}, {truth["10.77.20.5"][3]})
    end
  end)

  it("are late, not received, where the reply came after the timeout", function()
    local late, quick = spec.peer("udp_late_300"), spec.peer("udp_echo")
    local r = udp.sweep({late, quick, late}, {timeout = 0.15, linger = 5})
    assert.same({3, 1, 2}, {r.sent, r.received, r.late})
    assert.equal("false n false", numbers(r.rtt_ms))
    assert.equal("n false n", numbers(r.late_ms))
    assert.is_true(r.late_ms[1] >= 299 and r.late_ms[3] >= 299)
    assert.same({"timeout", false, "timeout"}, r.errors)
    assert.near(100 * 2 / 3, r.packet_loss_percent, 1e-9)
    assert.is_true(r.rtt_max_ms < 150)

    r = udp.sweep(late, {timeout = 0.15, linger = 5, count = 2, interval = 0.01})
    assert.same({false, "timeout", 0, 2, "{n n}"}, {r.success, r.error, r.received, r.late, numbers(r.late_ms)})
    assert.is_nil(r.latency_ms)
    assert.is_nil(r.quality.timestamp_source)
  end)

  it("are waited for no longer than the timeout without a linger, and no longer than that", function()
    local late, silent = spec.peer("udp_late_300"), spec.peer("udp_silent")
    local r = udp.sweep(late, {timeout = 0.1})
    assert.same({"timeout", 0, 0, "no answer within 0.1 s"}, {r.error, r.received, r.late, r.error_detail})
    assert.is_nil(r.late_ms)
    local seconds = took(function() return udp.sweep(silent, {timeout = 0.1, linger = 0.4}) end)
    assert.is_true(seconds >= 0.4, seconds)
    assert.is_true(seconds < 10, seconds)
  end)

  it("have one answer each: the others are duplicates", function()
    local doubled = spec.peer("udp_duplicate")
    local r = udp.sweep({doubled, doubled, (spec.peer("udp_late_30"))})
    assert.same({3, 3, 2, 0}, {r.sent, r.received, r.duplicates, r.foreign})
    local _, pinged = sim.run("10.77.20.1 delay=5ms twice=1\n10.77.20.2 delay=60ms", function() return icmp.sweep("10.77.20.1-10.77.20.2") end)
    assert.same({2, 2, 1, 0.0}, {pinged.sent, pinged.received, pinged.duplicates, pinged.packet_loss_percent})
  end)

  it("are answered by nothing that is harmed, cut, longer, or from elsewhere", function()
    for _, name in ipairs {"udp_truncated", "udp_empty", "udp_garbled", "udp_longer", "udp_foreign"} do
      local r = udp.sweep((spec.peer(name)), {timeout = 0.15, count = 2, interval = 0.01})
      assert.same({false, "timeout", 0, 2}, {r.success, r.error, r.received, r.foreign}, name)
    end
    spec.value("router_v6")
    local r = icmp.sweep("ff02::1%near0", {timeout = 0.3}) -- all hosts on the link answer, each from its own address
    assert.same({"timeout", 0}, {r.error, r.received})
    assert.is_true(r.foreign > 0)
  end)

  it("carry any size", function()
    for _, size in ipairs {8, 9, 1472, 1473, 65507} do
      assert.same({2, 0}, (function(r) return {r.received, r.foreign} end)(icmp.sweep({"127.0.0.1", "::1"}, {size = size})), size)
    end
    for _, size in ipairs {20, 21, 65507} do
      local r = udp.sweep({(spec.peer("udp_echo")), (spec.peer("udp_echo", "::1"))}, {size = size})
      assert.same({2, 0}, {r.received, r.foreign}, size)
    end
  end)

  it("leave no faster than the rate, also after a stall of ours", function()
    local RATE, MANY, IN_A_ROW = 200, 120, 20
    local truth, r = sim.run("10.77.20.0/24 delay=1ms", function()
      local job = task.spawn(icmp.sweep, ("10.77.20.1-10.77.20.%d"):format(MANY), {rate = RATE})
      task.sleep(0.1)
      local until_s = task.now() + 0.2
      while task.now() < until_s do end
      return job:join()
    end)
    assert.equal(MANY, r.sent)
    local sent_ns = {}
    for _, packets in pairs(truth) do
      sent_ns[#sent_ns + 1] = packets[1].tx[1]
    end
    table.sort(sent_ns)
    assert.equal(MANY, #sent_ns)
    assert.is_true(sent_ns[MANY] - sent_ns[1] >= (MANY - 10) / RATE * 1e9)
    for i = IN_A_ROW, MANY do -- 95 ms by the rate; the stall would have let 40 go at once
      assert.is_true(sent_ns[i] - sent_ns[i - IN_A_ROW + 1] > 30e6)
    end
  end)

  it("leave as fast as they can without a rate: thousands, each with its own reply", function()
    local r = icmp.sweep("127.1.0.0/20")
    assert.same({4094, 4094, 4094, 0, 0, 0}, {r.sent, r.received, #r.rtt_ms, r.duplicates, r.foreign, r.overflowed})
    assert.same({"127.1.0.1", "127.1.15.254"}, {r.targets[1], r.targets[4094]})
  end)
end)

describe("a sweep's grades", function()
  it("say whose clock it was, and how far off that may be", function()
    task.sleep(0.05) -- the kernel begins to stamp a little after the first socket asks
    local echo = spec.peer("udp_echo")
    for name, sweep in pairs {["icmp.sweep"] = function(o) return icmp.sweep("127.2.0.0/24", o) end,
      ["udp.sweep"] = function(o) return udp.sweep({echo, echo, echo, echo, echo, echo, echo, echo, echo, echo, echo, echo}, o) end} do
      local exact = sweep({stamps = "exact"}).quality
      assert.same({"kernel", true}, {exact.timestamp_source, exact.uncertainty_ms <= STAMPED_MS}, name)
      assert.is_number(exact.loop_lag_ms)
      for _, stamps in ipairs {"lean", false} do -- by default it is lean
        local least_ms = math.huge
        for _ = 1, SEVERAL do
          local lean = sweep({stamps = stamps or nil}).quality
          assert.equal("kernel", lean.timestamp_source, name)
          assert.is_true(lean.uncertainty_ms > exact.uncertainty_ms, name)
          assert.is_true(lean.uncertainty_ms <= STAMPED_MS + lean.loop_lag_ms, name) -- no pass of the loop is shorter than the time between two stamps
          least_ms = math.min(least_ms, lean.uncertainty_ms)
        end
        assert.is_true(least_ms < LEAN_MS, ("%s: %g ms"):format(name, least_ms))
      end
    end
  end)
end)

describe("a sweep is misused", function()
  local function says(message, ...)
    local ok, err = pcall(...)
    assert.is_false(ok)
    assert.truthy(tostring(err):find(message, 1, true), tostring(err))
  end

  it("by a list that is none", function()
    says("field 'targets': expected a list", icmp.sweep)
    says("icmp.sweep: field 'targets': expected", icmp.sweep, 5)
    says("icmp.sweep: field 'targets': expected", icmp.sweep, {"127.0.0.1", 5})
    says("field 'targets': expected at least one target", icmp.sweep, {})
    says("expected a string of 1 to 270 bytes", icmp.sweep, {"127.0.0.1", ""})
    says("'two words' has a blank", icmp.sweep, {"two words"})
    says("'127.0.0.1:7' has a port", icmp.sweep, "127.0.0.1:7")
    says("'127.0.0.0/24:7': a port has no meaning here", icmp.sweep, "127.0.0.0/24:7")
    says("'127.0.0.1:0' has the port '0'", udp.sweep, "127.0.0.1:0")
  end)

  it("by a range that is none, or too large", function()
    says("'10.0.0.0/4': expected a prefix length from 8 to 32", icmp.sweep, "10.0.0.0/4")
    says("'fd77::/64': expected a prefix length from 104 to 128", icmp.sweep, {"127.0.0.1", "fd77::/64"})
    says("'10.0.0.9-10.0.0.1': expected a last address that is not before the first", icmp.sweep, "10.0.0.9-10.0.0.1")
    says("'10.0.0.0-12.0.0.0': expected 16777216 addresses at most", udp.sweep, "10.0.0.0-12.0.0.0")
    says("'10.0.0.0/24:70000': expected a port from 1 to 65535", udp.sweep, "10.0.0.0/24:70000")
    says("field 'targets': more than 16777216 addresses", icmp.sweep, {"10.0.0.0/8", "127.0.0.1", "127.0.0.2", "127.0.0.3"})
    says("more than 16777216 packets: fewer targets, a smaller 'count' or fewer 'retries'", icmp.sweep, "10.0.0.0/16", {count = 200, retries = 1})
    says("more than 16777216 packets", icmp.sweep, "10.0.0.0/16", {count = 65535, retries = 255})
  end)

  it("by an option that makes no sense", function()
    says("unknown field 'rat'; did you mean 'rate'?", icmp.sweep, "127.0.0.1", {rat = 5})
    says("unknown field 'retrys'; did you mean 'retries'?", udp.sweep, "127.0.0.1", {retrys = 5})
    for _, rate in ipairs {0, -1, 0 / 0, math.huge, 1e-9, "fast"} do
      says("field 'rate': expected a number from 0.01 to 10000000", icmp.sweep, "127.0.0.1", {rate = rate})
    end
    says("field 'stamps': expected one of: lean, exact, got \"rough\"", icmp.sweep, "127.0.0.1", {stamps = "rough"})
    says("field 'linger': shorter than the timeout", icmp.sweep, "127.0.0.1", {timeout = 1, linger = 0.5})
    for field, value in pairs {count = 0, retries = -1, interval = -1, timeout = "soon", linger = 0, size = 7, ttl = 0} do
      says(("field '%s'"):format(field), icmp.sweep, "127.0.0.1", {[field] = value})
    end
    says("field 'size': expected an integer from 20 to 65507", udp.sweep, "127.0.0.1", {size = 19})
  end)
end)

describe("a sweep that is cancelled", function()
  it("lets go of its sockets, wherever it was, and others go on", function()
    local silent = spec.peer("udp_silent")
    local other = task.spawn(icmp.sweep, {"127.0.0.1", "127.0.0.2"}, {count = 20, interval = 0.02})
    local descriptors = core.stats().watches
    for passes = 0, 6 do
      local jobs = {
        task.spawn(icmp.sweep, {"127.0.0.1", "::1", spec.value("blackhole"), "nosuch.test"}, {count = 100, interval = 0.001, retries = 3}),
        task.spawn(udp.sweep, {silent, "nosuch2.test:7", silent}, {rate = 500, count = 100, linger = 30}),
        task.spawn(icmp.sweep, "127.3.0.0/18"),
      }
      for _ = 1, passes do
        task.sleep(passes > 3 and 0.01 or 0)
      end
      for _, job in ipairs(jobs) do
        job:cancel()
      end
      for _, job in ipairs(jobs) do
        pcall(job.join, job)
      end
    end
    local r = other:join()
    assert.same({true, 40, 40}, {r.success, r.sent, r.received})
    assert.is_true(core.stats().watches <= descriptors)
    assert.is_true(udp.sweep((spec.peer("udp_echo"))).success)
  end)
end)

describe("a sweep's result", function()
  it("is what others take for a result", function()
    local r = icmp.sweep({"127.0.0.1", spec.value("blackhole")}, {count = 2, interval = 0.01, timeout = 0.1})
    assert.same({"icmp", "sweep", "127.0.0.1 and 1 more"}, {r.test_type, r.protocol_detail, r.target})
    local decoded = json.decode(json.encode(r))
    assert.same(r.rtt_ms, decoded.rtt_ms)
    assert.same({{"127.0.0.1", spec.value("blackhole")}, {false, "timeout"}, 4, 2}, {decoded.targets, decoded.errors, decoded.sent, decoded.received})
    assert.matches("^✓ 127.0.0.1 and 1 more: [%d.]+ms  2 of 4 replies$", show.line(r))
    local failed = icmp.sweep({spec.value("blackhole")}, {timeout = 0.05})
    assert.equal(("✗ %s: timeout: no answer within 0.05 s"):format(spec.value("blackhole")), show.line(failed))
  end)

  it("is judged by checks", function()
    local code, out = program.run {"-e", [[
      local r = icmp.sweep {"127.0.0.1", "127.0.0.2"}
      check(r, "all", {received = 2, packet_loss_percent = "< 1", latency_ms = "< 1000"})
      check(r, "too many", {received = 3})
      print(#must(r, "up").rtt_ms)
    ]]}
    assert.equal(99, code)
    assert.matches("^✓ all  [%d.]+ms\n✗ too many: received: expected 3, got 2\n✓ up  [%d.]+ms\n2\n2 checks passed, 1 failed\n$", out)
  end)
end)
