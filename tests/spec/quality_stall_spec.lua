-- A stall of our own, a busy loop of 200 ms in the script: what was in flight says so, and only that; nothing is lost or late for it, and
-- figures made of the kernel's readings stay what they are. Timeouts of packets are shorter than the stall.

local dns = require "waddle.dns"
local http = require "waddle.http"
local icmp = require "waddle.icmp"
local sim = require "tests.support.sim"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local tls = require "waddle.tls"
local udp = require "waddle.udp"

local STALL_S, STALL_MS = 0.2, 200
local FLAGGED_MS = 150 -- well over what a busy machine does by itself, under the part of the stall that anything was in flight for
local NEAR_MS = 2 -- of the kernel's stamps and a capture's: a busy machine may interrupt the way from one to the other
local PASSES = 12 -- more than the loop needs from the call of a probe to its first packet
local FEW = 4 -- as many as it needs

-- When it began and ended.
local function stall()
  local from, to
  string.gsub("x", "x", function() -- where Lua cannot wait, nothing is set aside; after it, others may run before the next line does
    from = task.now()
    repeat to = task.now() until to >= from + STALL_S
  end)
  return from, to
end

-- Calls the probe in a task of its own and stalls `passes` passes of the loop later: before, while, or after its packet is in flight.
local function stalled_after(passes, probe)
  local job = task.spawn(probe)
  for _ = 1, passes do
    task.sleep(0)
  end
  stall()
  return job:join()
end

local function flagged(quality)
  return quality.loop_lag_ms >= FLAGGED_MS
end

describe("a stall of our own", function()
  setup(function()
    -- what is opened by the first probe and kept
    icmp.ping("127.0.0.1", {count = 1})
    dns.query("a.test", {server = "127.0.0.1:1", timeout = 0.05})
    http.get("http://127.0.0.1:1/")
  end)

  it("marks the packets of a series that were in flight, and only those", function()
    local target = spec.peer("udp_late_30")
    local series = task.spawn(udp.ping, target, {count = 40, interval = "10ms", timeout = "100ms"})
    task.sleep(0.15)
    stall()
    local r = series:join()
    assert.same({40, 40, 0}, {r.packets_sent, r.packets_received, r.late})
    local first, last, marked
    for i, sample in ipairs(r.samples) do
      if flagged(sample) then
        first, last, marked = first or i, i, (marked or 0) + 1
        assert.is_true(sample.loop_lag_ms < 2 * STALL_MS)
      end
      if r.quality.timestamp_source == "kernel" then
        assert.is_true(sample.rtt_ms >= 29 and sample.rtt_ms < FLAGGED_MS, sample.rtt_ms)
      end
    end
    -- three packets leave while one is in flight
    assert.is_true(marked and marked == last - first + 1 and marked <= 5, marked)
    assert.is_true(first > 5 and last < 35, first)
    assert.is_true(flagged(r.quality))
  end)

  local function ping()
    return icmp.ping("127.0.0.1", {count = 1, timeout = "50ms"})
  end
  local function echo()
    return udp.ping(spec.peer("udp_echo"), {count = 1, timeout = "50ms"})
  end
  for name, probe in pairs {["icmp.ping"] = ping, ["udp.ping"] = echo} do
    it("loses no reply to " .. name .. ", wherever it hits", function()
      local marked = 0
      for passes = 0, PASSES do
        local r = stalled_after(passes, probe)
        assert.same({true, 1, 0}, {r.success, r.packets_received, r.late})
        if r.quality.timestamp_source == "kernel" then
          assert.is_true(r.latency_ms < FLAGGED_MS, r.latency_ms)
        end
        marked = marked + (flagged(r.samples[1]) and 1 or 0)
      end
      assert.is_true(marked >= 1 and marked < PASSES, marked)
    end)
  end

  -- Of probes that have one deadline for all: as long as it is before the stall ends.
  local function query(server)
    return dns.query("a.test", {server = server, timeout = "50ms"})
  end
  local function connect(target)
    return tcp.connect(target, {timeout = "50ms"})
  end

  local function greet()
    return tcp.connect((spec.peer("nginx_http")), {timeout = "50ms", dialogue = {{send = "GET / HTTP/1.0\r\n\r\n"}, {expect = "200 OK"}}})
  end

  for name, probe in pairs {["dns.query"] = function() return query((spec.peer("dns_good"))) end,
    ["tcp.connect"] = function() return connect((spec.peer("tcp_silent"))) end, ["a dialogue"] = greet,
    ["http.get"] = function() return http.get(spec.url("nginx_tls"), {timeout = "150ms", connect_timeout = "100ms", tls = {verify = false}}) end,
    ["tls.connect"] = function() return tls.connect((spec.peer("nginx_tls")), {timeout = "100ms", verify = false}) end} do
    it("loses no answer to " .. name .. ", wherever it hits", function()
      local marked = 0
      for passes = 0, PASSES do
        local r = stalled_after(passes, probe)
        assert.is_true(r.success, ("%s after %d passes"):format(r.error_detail, passes))
        if r.quality.timestamp_source == "kernel" then
          assert.is_true(r.latency_ms < FLAGGED_MS, r.latency_ms)
        end
        marked = marked + (flagged(r.quality) and 1 or 0)
      end
      assert.is_true(marked >= 1, marked)
    end)
  end

  -- The host answers after 100 ms: too late, whether we sleep at the deadline or not.
  for name, probe in pairs {["dns.query"] = query, ["tcp.connect"] = function(host) return connect(host .. ":80") end,
    ["http.get"] = function(host) return http.get("http://" .. host, {connect_timeout = "50ms", timeout = "400ms"}) end} do
    it("makes no success of an answer to " .. name .. " that came after the timeout", function()
      local truth, results = sim.run("10.77.20.0/24 delay=100ms", function()
        -- Queries under way share a socket: with one that waits for nobody it stays open for the answers that come late.
        local unanswered = task.spawn(dns.query, "a.test", {server = "10.77.30.1", timeout = 60, tries = 1})
        local list = {[0] = probe("10.77.20.100")}
        for passes = 0, FEW do
          list[#list + 1] = stalled_after(passes, function() return probe("10.77.20." .. passes + 1) end)
        end
        task.sleep(0.15)
        unanswered:cancel()
        return list
      end)
      for i = 0, #results do
        local host = results[i].target_ip
        assert.is_true(not truth[host] or truth[host][1].wire_ms > 99) -- http.get may be over before it asks
        assert.same({false, "timeout"}, {results[i].success, results[i].error}, i)
        assert.equal(results[0].error_detail:gsub("10%.77%.20%.%d+", "it"):gsub("asked.*", ""),
          (results[i].error_detail:gsub("10%.77%.20%.%d+", "it"):gsub("asked.*", "")))
        for _, sample in ipairs(rawget(results[i], "samples") or {}) do
          assert.same({"unanswered"}, {sample.status, sample.rtt_ms})
        end
      end
    end)
  end

  -- A second passes until the SYN is sent again; the kernel has no round trip then, and tells how long the connection has been quiet.
  it("is no reason to call a connection late, or in time, after a SYN was sent again", function()
    local MS = {in_time = 1300, late = 950}
    local _, results = sim.run("10.77.20.0/24 delay=30ms loss=10", function()
      local jobs = {}
      for name, timeout_ms in pairs(MS) do
        jobs[name] = task.spawn(tcp.connect, "10.77.20." .. #name .. ":80", {timeout = timeout_ms / 1000})
      end
      task.sleep(0.8)
      local until_s = task.now() + 0.7
      while task.now() < until_s do end
      return {in_time = jobs.in_time:join(), late = jobs.late:join()}
    end)
    assert.same({true, 1}, {results.in_time.success, results.in_time.tcp.retransmits}, results.in_time.error_detail)
    assert.is_nil(results.in_time.tcp.rtt_ms)
    assert.same({false, "timeout"}, {results.late.success, results.late.error})
  end)

  -- Calls `probe` over and over, one after the other, until runs.enough: a list of {began=, ended=, result=}.
  local function keep_probing(runs, probe)
    while not runs.enough do
      local run = {began = task.now()}
      runs[#runs + 1] = run
      run.result = probe()
      run.ended = task.now()
    end
  end

  -- Waits until the last run of each list is in the midst of the 30 ms that it takes: its packet has left, and it does not end in this pass of
  -- the loop.
  local function until_all_in_flight(lists)
    local passes = {}
    local function is_in_flight(runs)
      local run = runs[#runs]
      local for_s = task.now() - run.began
      passes[run] = (passes[run] or 0) + 1
      return #runs >= 4 and passes[run] > FEW and for_s > 0.005 and for_s < 0.025
    end
    local deadline = task.now() + 10
    repeat
      task.sleep(0)
      local all = true
      for _, runs in ipairs(lists) do
        all = is_in_flight(runs) and all
      end
      assert(task.now() < deadline, "the probes were never in flight together")
    until all
  end

  -- The one run of these that was under way during the stall from `from` to `to`, by its own word and by the times.
  local function the_marked(runs, from, to)
    local marked
    for i, run in ipairs(runs) do
      assert.is_true(run.result.success, run.result.error_detail)
      local during = run.began < from and run.ended > to
      assert.equal(during, flagged(run.result.quality))
      marked = during and i or marked
    end
    return marked
  end

  it("marks the probes that were under way, whatever they measure, and no phase that the kernel timed has it", function()
    local url = spec.url("http", "/delay/30")
    local from, to
    local connects, queries, requests = {}, {}, {}
    local lists = {connects, queries, requests}
    local truth = sim.run("10.77.20.0/24 delay=30ms", function()
      local jobs = {
        task.spawn(keep_probing, connects, function() return tcp.connect "10.77.20.1:80" end),
        task.spawn(keep_probing, queries, function() return dns.query("a.test", {server = "10.77.20.2"}) end),
        task.spawn(keep_probing, requests, function() return http.get(url) end),
      }
      until_all_in_flight(lists)
      from, to = stall()
      task.sleep(0.1)
      for i, job in ipairs(jobs) do
        lists[i].enough = true
        job:join()
      end
    end)
    for _, runs in ipairs(lists) do
      assert.is_not_nil(the_marked(runs, from, to))
    end
    assert.is_true(connects[the_marked(connects, from, to)].result.timings.connect_wall_ms >= FLAGGED_MS)
    for i, run in ipairs(connects) do
      local r = run.result
      assert.equal("kernel", r.quality.timestamp_source)
      assert.near(truth["10.77.20.1"][i].wire_ms, r.latency_ms, NEAR_MS)
      assert.is_true(r.timings.connect_wall_ms >= r.timings.connect_ms)
    end
    for i, run in ipairs(queries) do
      if run.result.quality.timestamp_source == "kernel" then
        assert.near(truth["10.77.20.2"][i].wire_ms, run.result.latency_ms, NEAR_MS)
      end
    end
  end)

  it("is no lag of a packet that never left", function()
    local _ = spec.value("private") -- where there is no route
    local r = icmp.ping("192.0.2.1", {count = 1})
    assert.equal("error", r.samples[1].status)
    assert.is_nil(r.samples[1].loop_lag_ms)
  end)
end)
