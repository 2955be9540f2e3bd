-- What probes make of the errors of a simulated internet: routers, paths and ports that refuse; and of names and connections there.

local dns = require "waddle.dns"
local icmp = require "waddle.icmp"
local sim = require "tests.support.sim"
local tcp = require "waddle.tcp"
local udp = require "waddle.udp"

setup(function()
  -- The sockets of a family are opened by the first probe and kept.
  icmp.ping("127.0.0.1", {count = 1})
  icmp.ping("::1", {count = 1})
end)

local FAMILIES = {
  {name = "IPv4", host = "10.77.20.7", shown = "10.77.20.7", router = "10.77.255.%d", port = "10.77.20.7:%d"},
  {name = "IPv6", host = "fd77::20:7", shown = "fd77::20:7", router = "fd77::ff0%d", port = "[fd77::20:7]:%d"},
}

for _, family in ipairs(FAMILIES) do
  local host = family.host
  local function run(options, fn)
    local truth, result = sim.run(host .. " " .. options, fn)
    return result, truth[host]
  end
  local function ping(options, ping_options)
    ping_options.count = ping_options.count or 1
    return run(options, function() return icmp.ping(host, ping_options) end)
  end

  describe("on a simulated internet of " .. family.name, function()
    for _, quote in ipairs {"", " quote=8"} do
      it("each router on the way says that it gave a packet up" .. quote, function()
        for hop = 1, 4 do
          local result, packets = ping("delay=40ms hops=5" .. quote, {ttl = hop, timeout = 20})
          assert.same({"ttl_exceeded", family.router:format(hop)}, {result.error, result.samples[1].from})
          assert.same({"ttl_exceeded", hop * 8.0, "error"}, {packets[1].fate, packets[1].asked_ms, packets[1].kind})
        end
        local result, packets = ping("delay=40ms hops=5" .. quote, {ttl = 5})
        assert.same({true, 60, host}, {result.success, result.samples[1].ttl, result.samples[1].from})
        sim.compare(sim.rtts(result.samples), packets)
      end)

      it("a packet that does not fit the path comes back with what would" .. quote, function()
        local result, packets = ping("delay=2ms hops=3 mtu=1300" .. quote, {size = 1400, dont_fragment = true, timeout = 20})
        assert.same({"message_too_big", 1300, family.router:format(2)}, {result.error, result.samples[1].mtu, result.samples[1].from})
        assert.equal("message_too_big", sim.fates(packets))
        assert.is_true(ping("delay=2ms hops=3 mtu=1300" .. quote, {size = 1200, dont_fragment = true}).success)
      end)

      it("a port that nobody serves is refused by the host" .. quote, function()
        local result = run("delay=5ms" .. quote, function() return udp.ping(family.port:format(9), {timeout = 20, interval = 0.005}) end)
        assert.same({"connection_refused", family.shown}, {result.error, result.samples[1].from})
      end)
    end

    it("a black hole on the path is a timeout, for what does not fit alone", function()
      local function sized(size)
        return ping("delay=2ms blackhole=1300", {size = size, dont_fragment = true, timeout = 0.3, linger = 0.3, count = 2, interval = 0.01})
      end
      local result, packets = sized(1400)
      assert.same({"timeout", "blackholed blackholed"}, {result.error, sim.fates(packets)})
      result, packets = sized(1200)
      assert.same({true, "answered answered"}, {result.success, sim.fates(packets)})
    end)

    for _, says in ipairs {"host_unreachable", "network_unreachable", "admin_prohibited"} do
      it("a router's " .. says .. " is the packet's fate, to every probe", function()
        local options = "delay=4ms hops=3 says=" .. says
        local result = ping(options, {timeout = 20})
        assert.same({says, family.router:format(2)}, {result.error, result.samples[1].from})
        result = run(options, function() return udp.ping(family.port:format(2000), {timeout = 20, count = 2}) end)
        assert.same({says, family.router:format(2)}, {result.error, result.samples[1].from})
      end)
    end

    it("a connection takes as long as its handshake did on the wire", function()
      local result, packets = run("delay=20ms", function() return tcp.connect(family.port:format(80)) end)
      assert.is_true(result.success)
      sim.compare({result.latency_ms}, packets)
      sim.compare({result.tcp.rtt_ms}, packets)
    end)

    it("a closed port refuses after its delay", function()
      local result, packets = run("delay=20ms", function() return tcp.connect(family.port:format(81)) end)
      assert.same({"connection_refused", "connection_refused", "reply"}, {result.error, packets[1].fate, packets[1].kind})
      assert.is_nil(result.latency_ms)
    end)

    it("a silent port is a timeout", function()
      local result, packets = run("delay=1ms closed=silent", function() return tcp.connect(family.port:format(81), {timeout = 0.3}) end)
      assert.same({"timeout", "ignored"}, {result.error, sim.fates(packets)})
    end)

    it("a SYN that was lost is sent again, and the kernel's round trip is not told", function()
      local result, packets = run("delay=20ms loss=1000", function() return tcp.connect(family.port:format(80)) end)
      assert.is_true(result.success)
      assert.same({2, 1}, {packets[1].tries, packets[1].answers})
      assert.same({2, 1}, {packets[1].tries, result.tcp.retransmits})
      assert.is_nil(result.tcp.rtt_ms)
      assert.is_true(result.latency_ms >= packets[1].wire_ms - 0.1 and packets[1].wire_ms > 500, result.latency_ms)
    end)

    it("a name is looked up in the time the wire took", function()
      local answer = family.name == "IPv4" and "192.0.2.9" or "2001:db8::9"
      local result, packets = run("delay=30ms answer=" .. answer, function()
        return dns.query("host.test", {server = family.port:format(53), type = family.name == "IPv4" and "A" or "AAAA"})
      end)
      assert.same({true, answer, 1}, {result.success, result.answers[1].address, result.tries})
      assert.equal("kernel", result.quality.timestamp_source)
      sim.compare({result.latency_ms}, packets)
    end)

    it("a query that was lost is asked again, and the answering one is timed", function()
      local result, packets = run("delay=30ms loss=100", function()
        return dns.query("host.test", {server = family.port:format(53), timeout = 6, type = "MX", expect = {rcode = "NOERROR"}})
      end)
      assert.same({true, 2, "lost answered"}, {result.success, result.tries, sim.fates(packets)})
      sim.compare({result.latency_ms}, {packets[2]})
    end)
  end)
end
