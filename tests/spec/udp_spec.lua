local spec = require "tests.support.spec"
local task = require "waddle.task"
local udp = require "waddle.udp"

local function ping(name, options)
  options = options or {}
  options.count, options.interval = options.count or 4, options.interval or 0.01
  return udp.ping(spec.peer(name), options)
end

local function statuses(r)
  local words = {}
  for i, sample in ipairs(r.samples) do
    words[i] = sample.status
  end
  return table.concat(words, " ")
end

describe("udp.ping", function()
  it("measures an echo server, of both families", function()
    for _, host in ipairs {"127.0.0.1", "::1"} do
      local target, _, port = spec.peer("udp_echo", host)
      local r = udp.ping(target, {interval = 0.01})
      assert.is_true(r.success)
      assert.same({"udp", "raw_udp", target, host, host, port},
        {r.test_type, r.protocol_detail, r.target, r.target_host, r.target_ip, r.target_port})
      assert.same({4, 4, 0.0, 0, 0, 0, 0},
        {r.packets_sent, r.packets_received, r.packet_loss_percent, r.duplicates, r.late, r.reordered, r.foreign})
      assert.equal("ok ok ok ok", statuses(r))
      assert.equal(host, r.samples[1].from)
      assert.equal(r.rtt_avg_ms, r.latency_ms)
      assert.is_true(r.latency_ms > 0)
    end
  end)

  it("counts a doubled reply as one and a duplicate", function()
    local r = ping("udp_duplicate")
    assert.same({4, 0.0}, {r.packets_received, r.packet_loss_percent})
    assert.is_true(r.duplicates >= 3, r.duplicates) -- the last one may come when all is known
  end)

  it("matches replies that overtake each other to their packets", function()
    local r = ping("udp_reordered", {interval = 0.05})
    assert.same({4, 2}, {r.packets_received, r.reordered})
    -- The first of a pair is held until the second comes: its round trip is the longer one by the time between them.
    assert.is_true(r.samples[1].rtt_ms > r.samples[2].rtt_ms and r.samples[3].rtt_ms > r.samples[4].rtt_ms)
    assert.is_true(r.samples[1].rtt_ms > 20 and r.samples[3].rtt_ms > 20)
  end)

  it("takes what is harmed, cut or longer for foreign", function()
    for _, name in ipairs {"udp_truncated", "udp_empty", "udp_garbled", "udp_longer"} do
      local r = ping(name, {timeout = 0.15})
      assert.same({false, "timeout", 0, 4}, {r.success, r.error, r.packets_received, r.foreign})
    end
  end)

  it("says what was lost", function()
    local r = ping("udp_lossy", {timeout = 0.3})
    assert.same({true, 4, 2, 50.0}, {r.success, r.packets_sent, r.packets_received, r.packet_loss_percent})
    assert.is_number(r.jitter_ms)
    local silent = ping("udp_silent", {timeout = 0.1, count = 2})
    assert.same({false, "timeout", 2, 100.0}, {silent.success, silent.error, silent.packets_sent, silent.packet_loss_percent})
    assert.is_nil(silent.latency_ms)
  end)

  it("carries the largest datagram", function()
    assert.is_true(ping("udp_echo", {count = 1, size = 65507}).success)
  end)

  it("knows port 2000 by itself", function()
    spec.value("private")
    assert.equal(2000, udp.ping("127.0.0.1", {count = 1}).target_port)
  end)

  it("sends from the source asked for", function()
    assert.is_true(ping("udp_echo", {source = "127.0.0.9", count = 1}).success)
    local r = ping("udp_echo", {source = "192.0.2.77", count = 1})
    assert.same({false, "local"}, {r.success, r.error})
  end)

  it("runs many at once to one server, each with its own replies", function()
    local target, list = spec.peer("udp_echo"), {}
    for i = 1, 100 do
      list[i] = target
    end
    for _, r in ipairs(task.map(list, function(t)
      return udp.ping(t, {count = 3, interval = 0.02})
    end, {concurrency = #list})) do
      assert.same({3, 0, 0}, {r.packets_received, r.foreign, r.duplicates})
    end
  end)

  it("names a target it cannot read", function()
    for _, target in ipairs {"", "host:port", "host:70000", "[::1"} do
      assert.has_error(function() udp.ping(target) end)
    end
    assert.has_error(function() udp.ping("127.0.0.1:9", {size = 19}) end)
  end)
end)
