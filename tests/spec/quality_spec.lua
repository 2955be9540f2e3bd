-- What every result says of how far to trust it.

local dns = require "waddle.dns"
local http = require "waddle.http"
local icmp = require "waddle.icmp"
local program = require "tests.support.program"
local spec = require "tests.support.spec"
local ssh = require "waddle.ssh"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local tls = require "waddle.tls"
local udp = require "waddle.udp"

-- Each probe, succeeding and failing.
local function every_probe()
  local ca = spec.value "ca"
  return {
    http = {http.get(spec.url("http", "/ok")), http.get "http://127.0.0.1:1/"},
    tcp = {tcp.connect((spec.peer "tcp_silent")), tcp.connect "127.0.0.1:1"},
    tls = {tls.connect(spec.peer "nginx_tls", {ca = ca}), tls.connect "127.0.0.1:1"},
    ssh = {ssh.connect((spec.peer "ssh_good")), ssh.connect "127.0.0.1:1"},
    udp = {udp.ping(spec.peer "udp_echo", {count = 1}), udp.ping("127.0.0.1:1", {count = 1})},
    dns = {dns.query("zone.test", {type = "NS", server = spec.peer "unbound"}), dns.query("a.test", {server = "127.0.0.1:1"})},
    icmp = {icmp.ping("127.0.0.1", {count = 1}), icmp.ping("127.0.0.1", {count = 1, source = "192.0.2.77"})},
    ["icmp.sweep"] = {icmp.sweep {"127.0.0.1", "127.0.0.2"}, icmp.sweep({"127.0.0.1", "127.0.0.2"}, {source = "192.0.2.77"})},
    ["udp.sweep"] = {udp.sweep {(spec.peer "udp_echo")}, udp.sweep {"127.0.0.1:1", "127.0.0.2:1"}},
  }
end

describe("the quality of a result", function()
  setup(function()
    icmp.ping("127.0.0.1", {count = 1})
    dns.query("a.test", {server = "127.0.0.1:1", timeout = 0.05})
    http.get("http://127.0.0.1:1/")
  end)

  it("is told by every probe, whether it succeeded or not", function()
    for kind, results in pairs(every_probe()) do
      assert.equal(kind:match "^%w+", results[1].test_type)
      assert.is_nil(results[1].error, kind)
      assert.is_false(results[2].success, kind)
      for i, r in ipairs(results) do
        local q = r.quality
        assert.is_true(q.loop_lag_ms >= 0 and q.loop_lag_ms < 5000, kind)
        assert.is_nil(q.sched_lag_ms)
        assert.is_boolean(q.clock_synchronized, kind)
        assert.equal(q.clock_synchronized, q.clock_error_ms ~= nil, kind)
        if i == 1 then
          assert.is_not_nil(({kernel = 1, user = 1})[q.timestamp_source], kind)
        end
      end
    end
  end)

  it("of a sweep says how far off its round trips may be, whether all packets were stamped or some, and nothing where there are none", function()
    local function swept(stamps)
      return icmp.sweep({"127.0.0.1-127.0.0.50"}, {stamps = stamps}).quality, udp.sweep({(spec.peer "udp_echo")}, {stamps = stamps}).quality
    end
    for _, stamps in ipairs {"lean", "exact"} do
      for _, q in ipairs {swept(stamps)} do
        assert.is_true(q.uncertainty_ms > 0 and q.uncertainty_ms < 1000, stamps)
        assert.is_not_nil(({kernel = 1, user = 1})[q.timestamp_source], stamps)
      end
    end
    local refused = udp.sweep {"127.0.0.1:1", "127.0.0.2:1"}
    assert.equal("connection_refused", refused.error)
    assert.is_nil(refused.quality.timestamp_source)
    assert.is_nil(refused.quality.uncertainty_ms)
  end)

  it("has the lateness of a run that was due earlier", function()
    assert.is_true(tcp.connect("127.0.0.1:1", {planned = task.now() - 0.25}).quality.sched_lag_ms >= 250)
    assert.equal(0, tcp.connect("127.0.0.1:1", {planned = task.now() + 10}).quality.sched_lag_ms)
    assert.is_true(icmp.sweep({"127.0.0.1"}, {planned = task.now() - 0.25}).quality.sched_lag_ms >= 250)
    assert.is_true(udp.sweep({"127.0.0.1:1"}, {planned = task.now() - 0.25}).quality.sched_lag_ms >= 250)
  end)
end)

-- Probes before, while and after the processor is wanted without a break for half a second; prints what each says of throttling.
local BUSY = [[
  local function told(r)
    io.write(tostring(r.success), " ", tostring(r.quality.cpu_throttled), "\n")
  end
  local function once() return udp.ping(arg[1], {count = 1}) end
  task.sleep("250ms") -- two periods of the quota: what the start took is over
  told(once())
  local series = task.spawn(udp.ping, arg[1], {count = 3, interval = "100ms"})
  task.sleep("20ms")
  local until_s = task.now() + 0.5
  while task.now() < until_s do end
  told(series:join())
  task.sleep("250ms")
  told(once())
]]

-- Shell: runs its arguments in a control group of their own, which gets `limit` us of each 100,000; ends with 77 where there is none to be had.
local GROUP = [[
  limit=%s
  if [ -e /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then top=/sys/fs/cgroup/cpu
  else top=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); fi
  group=${top%%/}/waddle-spec-$$
  mkdir "$group" 2>&1 || exit 77
  trap 'rmdir "$group"' EXIT
  if [ -e "$group/cpu.cfs_quota_us" ]; then
    { echo 100000 >"$group/cpu.cfs_period_us" && echo "$limit" >"$group/cpu.cfs_quota_us"; } 2>&1 || exit 77
  else
    [ "$limit" -ge 0 ] || limit=max
    echo "$limit 100000" 2>&1 >"$group/cpu.max" || exit 77
  fi
  sh -c 'echo $$ >"$0/cgroup.procs" || exit 77; exec "$@"' "$group" "$@" 2>&1
]]

-- What the probes of BUSY say in a group with this much of each 100,000 us (-1: all of it); skips where no such group can be made.
local function in_group(limit)
  local target = spec.peer "udp_echo"
  local script = os.tmpname()
  local file = assert(io.open(script, "w"))
  file:write(GROUP:format(limit))
  file:close()
  local words = program.path .. " -e '" .. BUSY:gsub("'", "'\\''") .. "' " .. target
  local code, out, err = program.sh(("sh %s %s"):format(script, words))
  os.remove(script)
  if code == 77 then
    spec.skip("no control group with a quota can be made here: " .. out)
  end
  assert.equal(0, code, err)
  return out
end

describe("a throttled processor", function()
  it("is told by what ran meanwhile, and only that", function()
    assert.equal("true false\ntrue true\ntrue false\n", in_group(20000))
  end)

  it("is not told where there is no quota", function()
    assert.equal("true false\ntrue false\ntrue false\n", in_group(-1))
  end)
end)
