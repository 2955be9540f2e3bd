-- What probes make of the errors of a simulated internet, of routers, paths and ports that refuse; and how long its names and connections take.

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
  {name = "IPv4", router = "10.77.255.%d", address = "192.0.2.9", type = "A"},
  {name = "IPv6", v6 = true, router = "fd77::ff0%d", address = "2001:db8::9", type = "AAAA"},
}

for _, family in ipairs(FAMILIES) do
  local world = sim.world() -- of this family alone: the other one's hosts are declared after its specs ran
  local function host(options, fn) return world(family.v6, options, fn) end

  -- Pings of one host one after another, one for each of the options.
  local function pinged(options, ...)
    local each = {...}
    return host(options, function(address)
      local results = {}
      for i, ping_options in ipairs(each) do
        ping_options.count = 1
        results[i] = icmp.ping(address, ping_options)
      end
      return results
    end)
  end

  local function connected(options, port)
    return host(options, function(address) return tcp.connect(sim.at(address, port), {timeout = 10}) end)
  end

  describe("on a simulated internet of " .. family.name, function()
    for _, quote in ipairs {"", " quote=8"} do
      local far = pinged("delay=40ms hops=5" .. quote, {ttl = 1}, {ttl = 2}, {ttl = 3}, {ttl = 4}, {ttl = 5})
      it("each router on the way says that it gave a packet up" .. quote, function()
        local results, packets = far()
        for hop = 1, 4 do
          local sample = results[hop].samples[1]
          assert.same({"ttl_exceeded", family.router:format(hop)}, {results[hop].error, sample.from})
          assert.same({"ttl_exceeded", hop * 8.0, "error"}, {packets[hop].fate, packets[hop].asked_ms, packets[hop].kind})
        end
        assert.same({true, 60}, {results[5].success, results[5].samples[1].ttl})
        sim.compare({false, false, false, false, results[5].latency_ms}, packets)
      end)

      local narrow = pinged("delay=2ms hops=3 mtu=1300" .. quote, {size = 1400, dont_fragment = true}, {size = 1200, dont_fragment = true}, {size = 1400})
      it("a packet that does not fit the path comes back with what would" .. quote, function()
        local results = narrow()
        local sample = results[1].samples[1]
        assert.same({"message_too_big", 1300, family.router:format(2)}, {results[1].error, sample.mtu, sample.from})
        assert.is_true(results[2].success)
        assert.equal(family.v6, results[3].error == "message_too_big" or nil) -- IPv6 lets no router take it apart
      end)

      local closed = host("delay=5ms" .. quote, function(address)
        return {address, udp.ping(sim.at(address, 9), {interval = 0.005})}
      end)
      it("a port that nobody serves is refused by the host" .. quote, function()
        local outcome = closed()
        assert.same({"connection_refused", outcome[1]}, {outcome[2].error, outcome[2].samples[1].from})
      end)
    end

    local hole = pinged("delay=2ms blackhole=1300", {size = 1400, dont_fragment = true, timeout = 0.5, linger = 0.5}, {size = 1200, dont_fragment = true})
    it("a black hole on the path is a timeout, for what does not fit alone", function()
      local results, packets = hole()
      assert.same({"timeout", true, "blackholed answered"}, {results[1].error, results[2].success, sim.fates(packets)})
    end)

    for _, says in ipairs {"host_unreachable", "network_unreachable", "admin_prohibited"} do
      local refused = host("delay=4ms hops=3 says=" .. says, function(address)
        return {icmp.ping(address, {count = 1}), udp.ping(sim.at(address, 2000), {count = 2}), tcp.connect(sim.at(address, 80), {timeout = 10})}
      end)
      it("a router's " .. says .. " ends a ping, a datagram's wait and a connection", function()
        local results = refused()
        for i = 1, 2 do
          assert.same({says, family.router:format(2)}, {results[i].error, results[i].samples[1].from})
        end
        assert.equal(says, results[3].error)
      end)
    end

    local open, shut = connected("delay=20ms", 80), connected("delay=20ms", 81)
    it("a connection takes as long as its handshake did on the wire", function()
      local result, packets = open()
      assert.is_true(result.success)
      sim.compare({result.latency_ms}, packets)
      sim.compare({result.tcp.rtt_ms}, packets)
    end)

    it("a closed port refuses after its delay", function()
      local result, packets = shut()
      assert.same({"connection_refused", "connection_refused", "reply"}, {result.error, packets[1].fate, packets[1].kind})
      assert.is_true(packets[1].wire_ms >= 20)
      assert.is_nil(result.latency_ms)
    end)

    local silent = host("delay=1ms closed=silent", function(address) return tcp.connect(sim.at(address, 81), {timeout = 0.5}) end)
    it("a silent port is a timeout", function()
      local result, packets = silent()
      assert.same({"timeout", "ignored"}, {result.error, sim.fates(packets)})
    end)

    local once_more = connected("delay=20ms loss=1000", 80)
    it("a SYN that was lost is sent again, and no round trip is made up of both", function()
      local result, packets = once_more()
      assert.is_true(result.success)
      assert.same({2, 1, 1}, {packets[1].tries, packets[1].answers, result.tcp.retransmits})
      assert.is_nil(result.tcp.rtt_ms)
      assert.is_true(packets[1].wire_ms > 500 and result.latency_ms >= packets[1].wire_ms - 0.1, result.latency_ms)
    end)

    local named = host("delay=30ms answer=" .. family.address, function(address)
      return dns.query("host.test", {server = sim.at(address, 53), type = family.type})
    end)
    it("a name is looked up in the time the wire took", function()
      local result, packets = named()
      assert.same({true, family.address, 1}, {result.success, result.answers[1].address, result.tries})
      assert.equal("kernel", result.quality.timestamp_source)
      sim.compare({result.latency_ms}, packets)
    end)

    local asked_twice = host("delay=30ms loss=100", function(address)
      return dns.query("host.test", {server = sim.at(address, 53), timeout = 10})
    end)
    it("a query that was lost is asked again, and the one that was answered is timed", function()
      local result, packets = asked_twice()
      assert.same({true, 2, "lost answered"}, {result.success, result.tries, sim.fates(packets)})
      sim.compare({result.latency_ms}, {packets[2]})
    end)
  end)
end
