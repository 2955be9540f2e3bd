-- What is reported where the kernel is another one (support/preload/other_kernel.c): without names for stamps, without stamps, with those of a network
-- card; and with a receive buffer that overflows. Each runs a waddle of its own with that kernel preloaded.

local json = require "waddle.json"
local process = require "tests.support.process"
local sim = require "tests.support.sim"
local spec = require "tests.support.spec"

local CARD_LATE_MS = 7 -- what the card's clock adds to every round trip
local STAMPED_MS = 0.061 -- uncertainty of a round trip between two of the kernel's stamps
local MANY = 16 -- figures of a kind whose middle one is not at the mercy of one interruption
local MIDDLE_MS = 2 -- how far that may be from the wire's: hosts are 5 ms apart

-- What the script returns, run on that kernel.
local function on(kernel, script)
  local code, out, err = process.run({"-e", "print(json.encode((function() " .. script .. " end)()))"}, {LD_PRELOAD = process.preload "other-kernel", WADDLE_KERNEL = kernel})
  assert(code == 0, err)
  return json.decode(out)
end

-- Hosts that answer 5 ms after one another, so that a stamp of the wrong packet shows.
local HOSTS = 16
local function hosts()
  local lines = {}
  for i = 1, HOSTS do
    lines[i] = ("10.77.20.%d delay=%dms\nfd77::20:%x delay=%dms"):format(i, 5 * i, i, 5 * i)
  end
  return table.concat(lines, "\n")
end

-- Probes of these hosts, beside packets that the kernel refuses, whose places in its count are easily lost.
local PROBES = [[
  icmp.ping("127.0.0.1", {count = 1}) -- the kernel begins to stamp a little after the first socket asks
  task.sleep(0.05)
  local targets, refused = {}, 0
  for i = 1, 16 do
    if i % 3 == 0 then
      targets[#targets + 1] = "192.0.2." .. i
    end
    targets[#targets + 1] = "10.77.20." .. i
  end
  local pings = task.map(targets, function(t) return icmp.ping(t, {count = 2, interval = 0.01}) end, {concurrency = 30})
  local datagrams = task.map(targets, function(t) return udp.ping(t, {count = 2, interval = 0.01}) end, {concurrency = 30})
  return {
    exact = icmp.sweep(targets, {stamps = "exact"}), lean = icmp.sweep(targets, {stamps = "lean"}),
    six = icmp.sweep("fd77::20:1-fd77::20:10", {stamps = "exact"}),
    udp_exact = udp.sweep(targets, {stamps = "exact"}), udp_lean = udp.sweep(targets, {stamps = "lean"}), pings = pings, datagrams = datagrams,
    query = dns.query("host.test", {server = "10.77.20.7"}),
  }
]]

local function sweeps_of(r)
  return {exact = r.exact, lean = r.lean, six = r.six, udp_exact = r.udp_exact, udp_lean = r.udp_lean}
end

-- The packets that the wire saw, by host and protocol, in the order of sending.
local function by_protocol(truth)
  local all = {}
  for host, packets in pairs(truth) do
    all[host] = {icmp = {}, udp = {}, dns = {}}
    for _, packet in ipairs(packets) do
      table.insert(all[host][packet.proto], packet)
    end
  end
  return all
end

-- Everything was answered but what could not be sent. Gives check(name, rtt, the host's delay, quality) each round trip; the middle one of each name is
-- near to what the wire saw. `late_ms`: by how much a clock of its own makes all of them longer.
local function hold(truth, r, check, late_ms)
  local wire, off = by_protocol(truth), {}
  -- Of a host's packets the first two were pings, then came two datagrams, two sweeps ...
  local turn = {exact = {"icmp", 3}, lean = {"icmp", 4}, six = {"icmp", 1}, udp_exact = {"udp", 3}, udp_lean = {"udp", 4}, pings = {"icmp", 0},
    datagrams = {"udp", 0}, query = {"dns", 1}}
  local function compare(name, host, nth, rtt, delay_ms, quality)
    local packet = wire[host][turn[name][1]][turn[name][2] + nth]
    check(name, rtt, delay_ms, quality)
    off[name] = off[name] or {}
    local by = math.abs(rtt - (quality.timestamp_source == "hardware" and late_ms or 0) - packet.wire_ms)
    -- Our clock is read when we come to it, which on a busy machine is as much later as we say.
    local told = quality.timestamp_source == "user" and by <= quality.loop_lag_ms
    table.insert(off[name], told and 0 or by)
  end
  for name, sweep in pairs(sweeps_of(r)) do
    local refused = name == "six" and 0 or 5
    assert.same({true, HOSTS, HOSTS, refused}, {sweep.success, sweep.sent, sweep.received, #sweep.targets - HOSTS}, name)
    local place = 0
    for i, rtt in ipairs(sweep.rtt_ms) do
      if sweep.targets[i]:find("^192") then
        assert.same({false, "local"}, {rtt, sweep.errors[i]})
      else
        place = place + 1
        compare(name, sweep.targets[i]:match("^10[%d.]+") or sweep.targets[i], 0, rtt, 5 * place, sweep.quality)
      end
    end
  end
  for _, kind in ipairs {"pings", "datagrams"} do
    for _, ping in ipairs(r[kind]) do
      local place = tonumber(ping.target:match("^10%.77%.20%.(%d+)"))
      assert.same(place and {true, 2} or {false, 0}, {ping.success, ping.packets_received})
      for nth, sample in ipairs(place and ping.samples or {}) do
        compare(kind, "10.77.20." .. place, nth, sample.rtt_ms, 5 * place, ping.quality)
      end
    end
  end
  assert.is_true(r.query.success)
  compare("query", "10.77.20.7", 0, r.query.latency_ms, 35, r.query.quality)
  for name, list in pairs(off) do
    table.sort(list)
    assert.is_true(name == "query" or #list >= MANY, name)
    assert.is_true(#list < MANY or list[#list // 2] < MIDDLE_MS, ("%s: half are %s ms off or more"):format(name, list[#list // 2]))
  end
end

-- A round trip is never shorter than the host's delay by more than it is uncertain.
local function hold_bound(name, rtt, delay_ms, quality)
  assert.is_true(quality.uncertainty_ms > 0, name)
  assert.is_true(rtt >= delay_ms - quality.uncertainty_ms - 0.01, ("%s: %s ms of %s, off by %s"):format(name, rtt, delay_ms, quality.uncertainty_ms))
end

describe("on a kernel", function()
  after_each(process.clean)

  it("that cannot name packets for their stamps, we count as it does", function()
    local truth, r = sim.run(hosts(), function() return on("no-names", PROBES) end)
    hold(truth, r, function(name, rtt, delay_ms, quality)
      hold_bound(name, rtt, delay_ms, quality)
      assert.equal("kernel", quality.timestamp_source, name)
      -- what is interpolated is as uncertain as the time between two stamps is long, and no pass of the loop is shorter than that
      assert.is_true(quality.uncertainty_ms <= STAMPED_MS + (name:find("lean") and quality.loop_lag_ms or 0), name)
    end)
    local wire = by_protocol(truth)
    for place = 1, HOSTS do
      local of = wire["10.77.20." .. place]
      local at = place + (place // 3)
      local ping, datagram = r.pings[at].samples, r.datagrams[at].samples
      assert.equal("10.77.20." .. place, r.exact.targets[at])
      sim.compare({ping[1].rtt_ms, ping[2].rtt_ms, r.exact.rtt_ms[at]}, {of.icmp[1], of.icmp[2], of.icmp[3]})
      sim.compare({datagram[1].rtt_ms, datagram[2].rtt_ms, r.udp_exact.rtt_ms[at]}, {of.udp[1], of.udp[2], of.udp[3]})
      sim.compare({r.six.rtt_ms[place]}, truth[("fd77::20:%x"):format(place)])
    end
  end)

  for kernel, what in pairs {["no-stamps"] = "that knows no timestamps", silent = "that gives none"} do
    it(what .. ", the clock is ours, and that is said", function()
      local truth, r = sim.run(hosts(), function() return on(kernel, PROBES) end)
      hold(truth, r, function(name, rtt, delay_ms, quality)
        hold_bound(name, rtt, delay_ms, quality)
        assert.equal("user", quality.timestamp_source, name)
      end)
    end)
  end

  it("whose network card stamps, round trips are made of the card's clock", function()
    local truth, r = sim.run(hosts(), function() return on("hardware", PROBES) end)
    hold(truth, r, function(name, rtt, delay_ms, quality)
      if name:find("lean") then -- one in eight has a stamp of the card: the figures are no better than those of the others
        assert.equal("kernel", quality.timestamp_source)
      else
        assert.equal("hardware", quality.timestamp_source, name)
        assert.is_true(quality.uncertainty_ms < STAMPED_MS, name)
        hold_bound(name, rtt - CARD_LATE_MS, delay_ms, quality)
      end
    end, CARD_LATE_MS)
  end)
end)

-- A stall of the script that ends once the kernel had to drop datagrams for it, after 5 seconds in any case.
local STALL = [[
  limits {slice = 0, cpu = 0} -- else nothing would stall
  local function drops(name)
    local n = 0
    for line in io.lines("/proc/net/" .. name) do
      n = n + (tonumber(line:match("(%d+)%s*$")) or 0)
    end
    return n
  end
  local function stall(name)
    local before, until_s = drops(name), task.now() + 5
    while drops(name) < before + 20 and task.now() < until_s do end
  end
]]

describe("a receive buffer that overflows", function()
  after_each(process.clean)

  it("is read before that, however much is sent at once", function()
    local r = on("small-room", [[
      local targets = {}
      for i = 1, 500 do
        targets[i] = ("127.4.%d.%d"):format(i // 200, i % 200 + 1)
      end
      return {sweeps = {icmp.sweep(targets, {timeout = 0.5}), icmp.sweep(targets, {timeout = 0.5, size = 1400}), icmp.sweep(targets, {timeout = 0.5, rate = 1000000}),
        icmp.sweep(targets, {timeout = 0.5, stamps = "exact"})},
        pings = task.map(targets, function(t) return icmp.ping(t, {count = 1, timeout = 0.5}) end, {concurrency = 500})}
    ]])
    for i, sweep in ipairs(r.sweeps) do
      assert.same({500, 500, 0}, {sweep.sent, sweep.received, sweep.overflowed}, i)
    end
    assert.equal(500, #r.pings)
    for _, ping in ipairs(r.pings) do
      assert.same({1, 0}, {ping.packets_received, ping.overflowed})
    end
  end)

  -- What found no room is an error of ours, is counted, and is no loss.
  local function hold_sweep(r, sent)
    assert.same({true, sent}, {r.success, r.sent})
    assert.is_true(r.overflowed > 0 and r.received > 0)
    assert.equal(sent, r.received + r.overflowed)
    assert.equal(0.0, r.packet_loss_percent)
    local blamed = 0
    for i, rtt in ipairs(r.rtt_ms) do
      assert.equal(not rtt and "local", r.errors[i])
      blamed = blamed + (rtt and 0 or 1)
    end
    assert.equal(r.overflowed, blamed)
  end

  local function hold_samples(r)
    local blamed = 0
    for _, sample in ipairs(r.samples) do
      assert.truthy(sample.status == "ok" or sample.status == "error" and sample.error == "local", sample.status)
      blamed = blamed + (sample.error and 1 or 0)
    end
    assert.equal(blamed, r.overflowed)
    assert.equal(r.packets_sent, r.packets_received + r.overflowed)
    return blamed
  end

  it("makes the samples of icmp.sweep that it hit errors of ours, and no loss", function()
    local _, r = sim.run("10.77.20.0/24 delay=300ms", function()
      return on("small-room", STALL .. [[
        local sweep = task.spawn(icmp.sweep, "10.77.20.1-10.77.20.150", {timeout = 1, rate = 2000})
        task.sleep(0.15)
        stall("icmp")
        return sweep:join()
      ]])
    end)
    hold_sweep(r, 150)
  end)

  it("makes those of udp.sweep so", function()
    local late = spec.peer("udp_late_300")
    hold_sweep(on("small-room", STALL .. ([[
      local targets = {}
      for i = 1, 150 do
        targets[i] = "%s"
      end
      local sweep = task.spawn(udp.sweep, targets, {timeout = 2, rate = 2000})
      task.sleep(0.15)
      stall("udp")
      return sweep:join()
    ]]):format(late)), 150)
  end)

  it("makes those of udp.ping so", function()
    local late = spec.peer("udp_late_300")
    local r = on("small-room", STALL .. ([[
      local ping = task.spawn(udp.ping, "%s", {count = 150, interval = 0.001, timeout = 2})
      task.sleep(0.25)
      stall("udp")
      return ping:join()
    ]]):format(late))
    assert.is_true(hold_samples(r) > 0)
    assert.same({true, 0.0}, {r.success, r.packet_loss_percent})
  end)

  it("makes those of icmp.ping so", function()
    local _, results = sim.run("10.77.20.0/24 delay=300ms", function()
      return on("small-room", STALL .. [[
        local jobs = {}
        for i = 1, 200 do
          jobs[i] = task.spawn(icmp.ping, "10.77.20." .. i, {count = 1, timeout = 1})
        end
        task.sleep(0.15)
        stall("icmp")
        for i, job in ipairs(jobs) do
          jobs[i] = job:join()
        end
        return jobs
      ]])
    end)
    local blamed = 0
    for _, r in ipairs(results) do
      if hold_samples(r) > 0 then
        blamed = blamed + 1
        assert.same({false, "local"}, {r.success, r.error})
        assert.is_nil(r.packet_loss_percent)
        assert.truthy(r.error_detail:find("receive buffer overflowed", 1, true), r.error_detail)
      end
    end
    assert.is_true(blamed > 0 and blamed < 200, blamed)
  end)

  it("makes those of dns.query so", function()
    local late = spec.peer("dns_late_300")
    local results = on("small-room", STALL .. ([[
      local jobs = {}
      for i = 1, 150 do
        jobs[i] = task.spawn(dns.query, "host" .. i .. ".test", {server = "%s", tries = i %% 2 == 0 and 2 or 1, timeout = 1.5})
      end
      task.sleep(0.15)
      stall("udp")
      for i, job in ipairs(jobs) do
        jobs[i] = job:join()
      end
      return jobs
    ]]):format(late))
    local blamed, healed = 0, 0
    for i, r in ipairs(results) do
      local tries = i % 2 == 0 and 2 or 1
      if not r.success then
        blamed = blamed + 1
        assert.same({"local", tries, "error", "local"}, {r.error, r.tries, r.samples[1].status, r.samples[1].error})
        assert.truthy(r.error_detail:find("receive buffer overflowed", 1, true), r.error_detail)
      elseif r.samples[1].status ~= "ok" then -- the second query was answered
        healed = healed + 1
        assert.same({2, "error", "local", "ok"}, {r.tries, r.samples[1].status, r.samples[1].error, r.samples[2].status})
      end
    end
    assert.is_true(blamed > 0 and blamed + healed < 150, blamed)
    assert.is_true(healed > 0)
  end)
end)
