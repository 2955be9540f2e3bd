-- The flaws of the reference client that concern packets, by their number in the contract.

local icmp = require "waddle.icmp"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local udp = require "waddle.udp"

local program = os.getenv "WADDLE" or "build/waddle"

setup(function()
  -- The socket of a family is opened by the first probe and kept.
  icmp.ping("127.0.0.1", {count = 1})
  icmp.ping("::1", {count = 1})
end)

describe("flaw 10: replies were matched to the wrong packet, and from any sender", function()
  it("a late reply counts for its own packet, not for the one that is waited for", function()
    local r = udp.ping(spec.peer("udp_late_300"), {count = 5, interval = 0.12, timeout = 0.25})
    assert.equal(0, r.packets_received)
    assert.is_true(r.late >= 2, r.late)
    for _, sample in ipairs(r.samples) do
      assert.not_equal("ok", sample.status)
      if sample.status == "late" then
        assert.is_true(sample.rtt_ms >= 299, sample.rtt_ms) -- matched to the packet before, it would be 180
      end
    end
  end)

  it("a reply from any other sender is not the target's", function()
    local r = udp.ping(spec.peer("udp_foreign"), {count = 3, interval = 0.01, timeout = 0.2})
    assert.same({false, "timeout", 0, 3}, {r.success, r.error, r.packets_received, r.foreign})
  end)

  it("an echo reply from any other sender is not the target's", function()
    spec.value("router_v6")
    local r = icmp.ping("ff02::1%near0", {count = 1, timeout = 0.3}) -- all hosts on the link answer, each from its own address
    assert.same({false, "timeout", 0, "lost"}, {r.success, r.error, r.packets_received, r.samples[1].status})
    assert.is_true(r.foreign > 0)
  end)

  it("pings that share a socket do not take each other's replies", function()
    local list = {}
    for i = 1, 50 do
      list[i] = i % 2 == 0 and "127.0.0.1" or "127.0.0.2"
    end
    for i, r in ipairs(task.map(list, function(address)
      return icmp.ping(address, {count = 4, interval = 0.005})
    end, {concurrency = 50})) do
      assert.same({4, 0, 0}, {r.packets_received, r.duplicates, r.foreign})
      assert.equal(list[i], r.samples[4].from)
    end
  end)
end)

describe("flaw 11: a closed UDP port took 20 s to report nothing", function()
  it("a closed UDP port is told at once", function()
    for _, host in ipairs {"127.0.0.1", "::1"} do
      local began = task.now()
      local r = udp.ping(spec.peer("udp_closed", host), {timeout = 20, interval = 5})
      assert.same({false, "connection_refused"}, {r.success, r.error})
      assert.same({"error", "connection_refused", host}, {r.samples[1].status, r.samples[1].error, r.samples[1].from})
      assert.is_nil(r.latency_ms)
      assert.is_true(task.now() - began < 4)
    end
  end)

  it("so is a host that a router cannot reach", function()
    local began = task.now()
    local r = udp.ping(spec.value("unreachable") .. ":2000", {timeout = 20, interval = 5})
    assert.same({false, "host_unreachable", spec.value("router")}, {r.success, r.error, r.samples[1].from})
    assert.is_true(task.now() - began < 4)
  end)
end)

describe("flaw 12: no IPv6, and an IP header of 20 bytes", function()
  it("IPv6 is spoken", function()
    assert.is_true(icmp.ping("::1", {count = 1}).success)
    assert.is_true(udp.ping(spec.peer("udp_echo", "::1"), {count = 1}).success)
  end)

  it("the echo id is no process id", function()
    local script = [[ip link set lo up; echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range; exec %s -e "]]
      .. [[icmp.ping(\"127.0.0.1\", {count = 1}) print(io.open(\"/proc/net/icmp\"):read(\"a\"))"]]
    local ids = {}
    for i = 1, 2 do
      local pipe = io.popen(("timeout 20 unshare --net --pid --fork sh -c '%s' 2>&1"):format(script:format(program)))
      local out = pipe:read("a")
      pipe:close()
      ids[i] = out:match("%d+: 00000000:(%x%x%x%x)")
      if not ids[i] then
        spec.skip("no namespaces of our own: " .. out)
      end
    end
    -- In a fresh container the process id is the same small number each time, and the kernel's own choice comes in order.
    assert.is_true(tonumber(ids[1], 16) > 9 or tonumber(ids[2], 16) > 9)
    assert.is_true(math.abs(tonumber(ids[1], 16) - tonumber(ids[2], 16)) > 1)
  end)
end)
