-- A sweep and the machine it runs on: what a stall of ours does to it, which sockets it takes, and that sweeps side by side keep apart.

local icmp = require "waddle.icmp"
local program = require "tests.support.program"
local sim = require "tests.support.sim"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local udp = require "waddle.udp"

setup(function()
  -- What is opened by the first probe and kept.
  icmp.ping("127.0.0.1", {count = 1})
end)

describe("a stall of our own", function()
  local STALL_S, TIMEOUT_MS, BORDER_MS = 0.2, 50, 2

  -- What the wire answered in time was received, with the time it took; where the wire took about the timeout, either is right.
  local function hold(r, truth)
    local answered = 0
    for i, rtt in ipairs(r.rtt_ms) do
      local packet = truth[r.targets[i]:match("^[%d.]+")][1]
      if packet.wire_ms <= TIMEOUT_MS - BORDER_MS then
        answered = answered + 1
        sim.compare({rtt}, {packet})
        assert.is_truthy(rtt)
      elseif packet.wire_ms > TIMEOUT_MS + BORDER_MS then
        assert.is_false(rtt)
      end
    end
    return answered
  end

  for name, sweep in pairs {["icmp.sweep"] = icmp.sweep, ["udp.sweep"] = udp.sweep} do
    for _, rate in ipairs {false, 5000} do
      it(("loses nothing of %s %s, and nothing is late for it"):format(name, rate and "at a rate" or "at full speed"), function()
        local answered = 0
        for passes = 1, 3 do
          local truth, r = sim.run("10.77.20.0/24 delay=20ms", function()
            local job = task.spawn(sweep, "10.77.20.1-10.77.20.200", {timeout = TIMEOUT_MS / 1000, stamps = "exact", rate = rate or nil})
            for _ = 1, passes * 2 do
              task.sleep(0)
            end
            local until_s = task.now() + STALL_S
            while task.now() < until_s do end
            return job:join()
          end)
          if r.quality.timestamp_source == "kernel" then
            assert.equal(200, r.sent)
            answered = answered + hold(r, truth)
          end
        end
        assert.is_true(answered > 0)
      end)
    end
  end
end)

describe("icmp.sweep over raw sockets", function()
  -- Runs fn where nobody may open ping sockets.
  local function without_ping_sockets(fn)
    spec.value("private")
    local path = "/proc/sys/net/ipv4/ping_group_range"
    local file = assert(io.open(path))
    local old = file:read("a")
    file:close()
    local function write(text)
      file = io.open(path, "w")
      if not file then
        spec.skip(path .. " cannot be written here")
      end
      file:write(text)
      file:close()
    end
    write("1 0\n")
    local results = table.pack(pcall(fn))
    write(old)
    assert(results[1], results[2])
    return table.unpack(results, 2, results.n)
  end

  it("keeps sweeps side by side apart: replies, errors that quote little, stamps", function()
    local config, expected = {}, {}
    for i = 1, 20 do
      local what = i % 4 == 0 and "hops=3 quote=8 says=host_unreachable" or i % 4 == 1 and "loss=10" or ""
      config[i] = ("10.77.20.%d delay=%dms %s"):format(i, 2 * i, what)
      expected[i] = i % 4 == 0 and "host_unreachable"
    end
    local truth, results = sim.run(table.concat(config, "\n"), function()
      return without_ping_sockets(function()
        return task.map({1, 2, 3}, function()
          return icmp.sweep("10.77.20.1-10.77.20.20", {stamps = "exact", retries = 3, timeout = 0.3})
        end)
      end)
    end)
    local sent = 0
    for _, r in ipairs(results) do
      assert.same(expected, r.errors)
      assert.same({15, 0, 0, 0}, {r.received, r.foreign, r.duplicates, r.overflowed})
      sent = sent + r.sent
      for i, rtt in ipairs(r.rtt_ms) do
        assert.is_true(not rtt or rtt >= 2 * i - 0.01)
      end
    end
    for i = 1, 20 do
      sent = sent - #truth["10.77.20." .. i]
    end
    assert.equal(0, sent)
  end)
end)

describe("icmp.sweep's way onto the wire", function()
  local SWEEP = [[ -e "r = icmp.sweep({\"127.0.0.1\", \"::1\"}, {timeout = 1}) ]]
    .. [[print(r.success, r.received, r.error, r.error_detail)"]]

  -- Runs a script in a network of its own, where only loopback is up and nobody may open ping sockets; $WADDLE is the program.
  local function isolated(script)
    local _, refused = program.sh("unshare --net true")
    if refused ~= "" then
      spec.skip("no network namespace of our own: " .. refused)
    end
    local path = program.path
    path = path:sub(1, 1) == "/" and path or os.getenv "PWD" .. "/" .. path
    local _, out, err = program.sh(("WADDLE='%s' unshare --net sh -c 'ip link set lo up; %s'"):format(path, script))
    return out .. err
  end

  it("is a ping socket where those are allowed", function()
    assert.equal("true\t2\tnil\tnil\n", isolated([[echo "0 0" >/proc/sys/net/ipv4/ping_group_range; ]]
      .. [[exec setpriv --bounding-set=-all --inh-caps=-all --reuid 65534 --regid 0 --clear-groups --no-new-privs $WADDLE]] .. SWEEP))
  end)

  it("is a raw socket next", function()
    assert.equal("true\t2\tnil\tnil\n", isolated("$WADDLE" .. SWEEP))
  end)

  it("is none without permission: the error names the sysctl and the capability", function()
    local out = isolated("setpriv --no-new-privs --reuid 65534 --clear-groups $WADDLE" .. SWEEP)
    assert.matches("^false\tnil\tpermission\t", out)
    assert.truthy(out:find("net.ipv4.ping_group_range", 1, true), out)
    assert.truthy(out:find("CAP_NET_RAW", 1, true), out)
  end)
end)
