local icmp = require "waddle.icmp"
local spec = require "tests.support.spec"
local task = require "waddle.task"

local program = os.getenv "WADDLE" or "build/waddle"

-- Runs a shell script in a network of its own, where only loopback is up and nobody may open ping sockets; $WADDLE is the program.
local function isolated(script)
  local pipe = io.popen(("WADDLE='%s' timeout -k 1 20 unshare --net sh -c '%s' 2>&1"):format(program, "ip link set lo up; " .. script))
  local out = pipe:read("a")
  pipe:close()
  return out
end

local function need_root()
  local pipe = io.popen("unshare --net true 2>&1")
  local out = pipe:read("a")
  pipe:close()
  if out ~= "" then
    spec.skip("no network namespace of our own: " .. out)
  end
end

local PING = [[ -e "r = icmp.ping(\"127.0.0.1\", {count = 2, interval = 0.01}) ]]
  .. [[print(r.success, r.packets_received, r.error, r.error_detail, r.quality.timestamp_source)"]]

describe("icmp.ping", function()
  setup(function()
    -- The socket of a family is opened by the first probe and kept.
    icmp.ping("127.0.0.1", {count = 1})
    icmp.ping("::1", {count = 1})
  end)

  it("measures both families", function()
    for _, address in ipairs {"127.0.0.1", "::1"} do
      local r = icmp.ping(address, {count = 3, interval = 0.01})
      assert.is_true(r.success)
      assert.is_nil(r.error)
      assert.same({"icmp", "ping", address, address, address}, {r.test_type, r.protocol_detail, r.target, r.target_host, r.target_ip})
      assert.same({3, 3, 0.0, 0, 0, 0, 0},
        {r.packets_sent, r.packets_received, r.packet_loss_percent, r.duplicates, r.late, r.reordered, r.foreign})
      assert.equal(3, #r.samples)
      local sum = 0
      for _, sample in ipairs(r.samples) do
        assert.same({"ok", 64, address}, {sample.status, sample.ttl, sample.from})
        sum = sum + sample.rtt_ms
      end
      assert.near(sum / 3, r.latency_ms, 1e-5)
      assert.equal(r.rtt_avg_ms, r.latency_ms)
      assert.is_true(r.rtt_min_ms > 0 and r.rtt_min_ms <= r.rtt_avg_ms and r.rtt_avg_ms <= r.rtt_max_ms)
      local steps = math.abs(r.samples[2].rtt_ms - r.samples[1].rtt_ms) + math.abs(r.samples[3].rtt_ms - r.samples[2].rtt_ms)
      assert.near(steps / 2, r.jitter_ms, 1e-5)
    end
  end)

  it("says whose clock it used, and how far off that may be", function()
    local r = icmp.ping("127.0.0.1", {count = 2, interval = 0.01})
    assert.truthy(r.quality.timestamp_source == "kernel" or r.quality.timestamp_source == "user")
    assert.is_true(r.quality.uncertainty_ms > 0)
  end)

  it("keeps to the interval", function()
    local began = task.now()
    icmp.ping("127.0.0.1", {count = 4, interval = "50ms"})
    local took = task.now() - began
    assert.is_true(took >= 0.149, took)
  end)

  it("looks names up, by family", function()
    local _ = spec.value("hosts")
    assert.equal("127.0.0.1", icmp.ping("peer.test", {count = 1, family = "4"}).target_ip)
    assert.equal("::1", icmp.ping("peer.test", {count = 1, family = "6"}).target_ip)
    assert.equal("127.0.0.1", icmp.ping("peer.test", {count = 1, address = "127.0.0.1"}).target_ip)
  end)

  it("reads the unspecified address as this machine", function()
    assert.same({true, "127.0.0.1"}, (function(r) return {r.success, r.target_ip} end)(icmp.ping("0.0.0.0", {count = 1})))
  end)

  it("carries any size", function()
    for _, size in ipairs {0, 1, 8, 1400, 65507} do
      local r = icmp.ping("127.0.0.1", {count = 1, size = size})
      assert.is_true(r.success, size)
    end
  end)

  it("waits for each packet no longer than its timeout", function()
    for _, name in ipairs {"blackhole", "blackhole_v6"} do
      local began = task.now()
      local r = icmp.ping(spec.value(name), {count = 2, interval = 0.05, timeout = 0.1})
      assert.same({false, "timeout", 2, 0, 100.0}, {r.success, r.error, r.packets_sent, r.packets_received, r.packet_loss_percent})
      assert.same({"lost", "lost"}, {r.samples[1].status, r.samples[2].status})
      assert.is_nil(r.latency_ms)
      assert.is_nil(r.rtt_avg_ms)
      assert.is_nil(r.jitter_ms)
      assert.is_true(task.now() - began < 3)
    end
  end)

  it("gives ICMP errors at once, with the router that said so", function()
    local cases = {
      {"unreachable", "router", "host_unreachable"},
      {"unreachable_v6", "router_v6", "network_unreachable"},
      {"prohibited", "router", "admin_prohibited"},
      {"prohibited_v6", "router_v6", "admin_prohibited"},
      {"routed", "router", "ttl_exceeded", {ttl = 1}},
      {"routed_v6", "router_v6", "ttl_exceeded", {ttl = 1}},
    }
    for _, case in ipairs(cases) do
      local options = case[4] or {}
      options.count, options.timeout = 1, 20
      local began = task.now()
      local r = icmp.ping(spec.value(case[1]), options)
      assert.same({false, case[3]}, {r.success, r.error})
      assert.same({"error", case[3], spec.value(case[2])}, {r.samples[1].status, r.samples[1].error, r.samples[1].from})
      assert.truthy(r.error_detail:find(spec.value(case[2]), 1, true))
      assert.is_true(task.now() - began < 10)
    end
  end)

  it("tells the MTU that a packet was too large for, where it may not be fragmented", function()
    for _, name in ipairs {"routed", "routed_v6"} do
      local r = icmp.ping(spec.value(name), {count = 1, size = 1400, dont_fragment = true})
      assert.same({"message_too_big", 1300}, {r.error, r.samples[1].mtu})
      local small = icmp.ping(spec.value(name), {count = 1, size = 1200, dont_fragment = true})
      assert.is_true(small.success)
    end
    for _ = 1, 2 do -- what the kernel learnt of the path changes nothing
      assert.is_true(icmp.ping(spec.value("routed"), {count = 1, size = 1400}).success)
    end
  end)

  it("sends from the source asked for", function()
    local to = spec.value("routed")
    assert.is_true(icmp.ping(to, {count = 1, source = "10.99.1.1"}).success)
    assert.is_true(icmp.ping(to, {count = 1, source = "near0"}).success)
    local r = icmp.ping(to, {count = 1, source = "192.0.2.77"})
    assert.same({false, "local"}, {r.success, r.error})
    assert.truthy(r.error_detail:find("192.0.2.77", 1, true))
    assert.is_nil(r.packets_sent)
  end)

  it("blames this machine where it has no route, at once", function()
    spec.value("private")
    local began = task.now()
    local r = icmp.ping("192.0.2.1")
    assert.same({false, "local", 0}, {r.success, r.error, r.packets_sent})
    assert.is_nil(r.packet_loss_percent)
    assert.is_true(task.now() - began < 0.9)
  end)

  it("goes on after errors of others on the same socket", function()
    local bad, good = spec.value("unreachable_v6"), "::1"
    local results = task.map({bad, good, bad, good}, function(address)
      return icmp.ping(address, {count = 5, interval = 0.01})
    end)
    for i = 1, 4 do
      assert.equal(i % 2 == 0 and 5 or 0, results[i].packets_received)
    end
  end)

  it("runs thousands at once, each with its own replies", function()
    local addresses = {}
    for i = 1, 3000 do
      addresses[i] = ("127.1.%d.%d"):format(i // 250, i % 250 + 1)
    end
    local results = task.map(addresses, function(address)
      return icmp.ping(address, {count = 2, interval = 0.1, timeout = 20})
    end, {concurrency = #addresses})
    for i, address in ipairs(addresses) do
      local r = results[i]
      assert.same({true, 2, 0, 0}, {r.success, r.packets_received, r.duplicates, r.foreign})
      assert.equal(address, r.samples[2].from)
    end
  end)

  it("lets go of everything when it is cancelled", function()
    local t = task.spawn(icmp.ping, "127.0.0.1", {count = 100, interval = 0.01, dont_fragment = true})
    task.sleep(0.03)
    t:cancel()
    assert.is_true(icmp.ping("127.0.0.1", {count = 1}).success)
  end)

  it("refuses what makes no sense", function()
    for field, value in pairs {count = 0, size = -1, ttl = 256, interval = 0, timeout = "soon", source = ""} do
      assert.has_error(function() icmp.ping("127.0.0.1", {[field] = value}) end)
    end
    assert.has_error(function() icmp.ping() end)
  end)
end)

describe("icmp.ping's way onto the wire", function()
  it("is a ping socket where those are allowed", function()
    need_root()
    local out = isolated([[echo "0 0" >/proc/sys/net/ipv4/ping_group_range; $WADDLE]] .. PING
      .. [[; exec setpriv --bounding-set=-all --inh-caps=-all --reuid 65534 --regid 0 --clear-groups --no-new-privs $WADDLE]] .. PING)
    assert.equal(("true\t2\tnil\tnil\tkernel\n"):rep(2), out)
  end)

  it("is a raw socket next", function()
    need_root()
    assert.equal("true\t2\tnil\tnil\tkernel\n", isolated("$WADDLE" .. PING))
  end)

  it("is the system's ping program last, with the clock that is not the kernel's", function()
    need_root()
    local out = isolated("setpriv --reuid 65534 --clear-groups ping -c 1 127.0.0.1 >/dev/null && echo works")
    if out ~= "works\n" then
      spec.skip("no ping program that works without privileges: " .. out)
    end
    assert.equal("true\t2\tnil\tnil\tuser\n", isolated("setpriv --reuid 65534 --clear-groups $WADDLE" .. PING))
  end)

  it("is none without permission: the error names the sysctl and the capability", function()
    need_root()
    for _, how in ipairs {"setpriv --no-new-privs", "env PATH=/nonexistent $(command -v setpriv)"} do
      local out = isolated(how .. " --reuid 65534 --clear-groups $WADDLE" .. PING)
      assert.truthy(out:find("^false\tnil\tpermission\t"), out)
      assert.truthy(out:find("net.ipv4.ping_group_range", 1, true), out)
      assert.truthy(out:find("CAP_NET_RAW", 1, true), out)
    end
  end)
end)
