-- waddle ping -g seen from a shell: whole ranges, what is printed of those that answered and of the others, in which form, and how it ends.

local json = require "waddle.json"
local program = require "tests.support.program"
local sim = require "tests.support.sim"
local spec = require "tests.support.spec"
local sweep_show = require "waddle.sweep_show"
local task = require "waddle.task"

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = line
  end
  return list
end

-- Runs waddle ping -g; to be called inside `it`: without a network of our own echo requests may not be allowed.
local function sweep(...)
  spec.value("private")
  return program.run({"ping", "-g", ...})
end

-- How many echo requests have left this network so far, of IPv4.
local function requests()
  local file = assert(io.open "/proc/net/snmp")
  local names, figures = file:read("a"):match("\nIcmp: ([^\n]*)\nIcmp: ([^\n]*)")
  file:close()
  local next_figure = figures:gmatch("%d+")
  for name in names:gmatch("%w+") do
    local figure = next_figure()
    if name == "OutEchos" then
      return tonumber(figure)
    end
  end
  error("the kernel counts no echo requests")
end

-- Each target's line, and the summary, without figures.
local function skeleton(out)
  local list = lines(out)
  for i, line in ipairs(list) do
    list[i] = line:gsub("%d[%d.]*m?s%f[%W]", "T"):gsub("%d+ packets/s", "N packets/s"):gsub("%l+ clock.*", "CLOCK"):gsub(" +", " ")
  end
  return list
end

describe("waddle ping -g", function()
  it("prints each target of a range that answered, then one line for all", function()
    local code, out, err = sweep("127.0.0.0/29")
    assert.same({0, ""}, {code, err})
    assert.same({"✓ 127.0.0.1 T", "✓ 127.0.0.2 T", "✓ 127.0.0.3 T", "✓ 127.0.0.4 T", "✓ 127.0.0.5 T", "✓ 127.0.0.6 T",
      "✓ 6 targets: 6 alive, 0 unreachable; 6 sent, 6 received, 0% loss; min/avg/max T / T / T; T, N packets/s; CLOCK"}, skeleton(out))
  end)

  it("takes ranges, addresses and names at once, and tells the replies to several packets", function()
    local code, out = sweep("127.0.0.1-127.0.0.2", "::1/128", "localhost", "-c", "3", "-i", "10ms")
    assert.equal(0, code)
    assert.same({" target replies min avg max", "✓ 127.0.0.1 3/3 T T T", "✓ 127.0.0.2 3/3 T T T", "✓ ::1 3/3 T T T", "✓ localhost 3/3 T T T",
      "✓ 4 targets: 4 alive, 0 unreachable; 12 sent, 12 received, 0% loss; min/avg/max T / T / T; T, N packets/s; CLOCK"}, skeleton(out))
    local columns = {}
    for i, line in ipairs(lines(out)) do
      columns[i] = i < 6 and utf8.len(line) or nil
    end
    assert.same({columns[1], columns[1], columns[1], columns[1], columns[1]}, columns)
  end)

  it("aligns the times", function()
    local _, out = sweep("127.0.0.8-127.0.0.11", "--json")
    local result = json.decode(out)
    result.rtt_ms = {0.01, 9.99, 99.9, 12345}
    assert.equal([[
✓ 127.0.0.8    0.010ms
✓ 127.0.0.9     9.99ms
✓ 127.0.0.10    99.9ms
✓ 127.0.0.11    12.35s
]], sweep_show.table(result, sweep_show.sort(result)))
  end)

  local INTERNET = [[
10.77.20.0/24 delay=5ms
10.77.21.0/24 hops=3 delay=6ms says=host_unreachable
10.77.22.0/24 hops=3 delay=6ms says=admin_prohibited
10.77.23.0/24 delay=400ms
10.77.24.0/24 delay=5ms loss=10]]
  -- 10.77.25.0/24 is silent
  local MIXED = {"10.77.20.1-10.77.20.3", "10.77.21.1", "10.77.21.2", "10.77.21.3", "10.77.21.9", "10.77.22.7", "10.77.23.1-10.77.23.2", "10.77.25.0/29",
    "nowhere.invalid", "--timeout", "100ms", "--linger", "2s"}

  -- The same sweep in every view, side by side, when the first spec asks for one of them.
  local VIEWS, seen = {"-4", "-a", "-u", "-q", "--json", "--jsonl"}, nil -- -4 stands for no view

  local function mixed(view)
    if not seen then
      local _, outcomes = sim.run(INTERNET, function()
        return task.map(VIEWS, function(flag) return table.pack(sweep(flag, table.unpack(MIXED))) end, {concurrency = #VIEWS})
      end)
      seen = {}
      for i, flag in ipairs(VIEWS) do
        seen[flag] = outcomes[i]
      end
    end
    return table.unpack(seen[view], 1, 3)
  end

  it("groups those that did not answer by the reason, and says which are our own fault", function()
    local code, out, err = mixed "-4"
    assert.same({1, ""}, {code, err})
    local list = skeleton(out)
    local dns = table.remove(list, 8)
    assert.matches("^– dns_%l+ 1 nowhere%.invalid$", dns)
    assert.same({"✓ 10.77.20.1 T", "✓ 10.77.20.2 T", "✓ 10.77.20.3 T", "✗ host_unreachable 4 10.77.21.1-10.77.21.3, 10.77.21.9",
      "✗ admin_prohibited 1 10.77.22.7", "✗ late 2 10.77.23.1, 10.77.23.2", "✗ timeout 6 10.77.25.1-10.77.25.6",
      "✗ 17 targets: 3 alive, 13 unreachable, 1 not measured; 16 sent, 3 received, 81.2% loss, 2 late; min/avg/max T / T / T; T, N packets/s; CLOCK"}, list)
  end)

  it("-a prints who answered and nothing else", function()
    local code, out, err = mixed "-a"
    assert.same({1, "10.77.20.1\n10.77.20.2\n10.77.20.3\n"}, {code, out})
    assert.matches("^waddle ping: dns_%l+: nowhere%.invalid\n$", err)
  end)

  it("-u prints who did not, but none whom we could not ask", function()
    local code, out, err = mixed "-u"
    assert.same({1, {"10.77.21.1", "10.77.21.2", "10.77.21.3", "10.77.21.9", "10.77.22.7", "10.77.23.1", "10.77.23.2", "10.77.25.1", "10.77.25.2",
      "10.77.25.3", "10.77.25.4", "10.77.25.5", "10.77.25.6"}}, {code, lines(out)})
    assert.matches("^waddle ping: dns_%l+: nowhere%.invalid\n$", err)
  end)

  it("-q prints the summary alone", function()
    local code, out = mixed "-q"
    assert.equal(1, code)
    assert.equal(1, #lines(out))
    assert.matches("^✗ 17 targets: 3 alive, 13 unreachable, 1 not measured; ", out)
    for _, grade in ipairs {"exact", "lean"} do
      code, out = sweep("-q", "127.0.0.0/20", "--stamps", grade)
      assert.equal(0, code)
      assert.matches("^✓ 4094 targets: 4094 alive, 0 unreachable; 4094 sent, 4094 received, 0%% loss; .*; %l+ clock ±[^;]+\n$", out)
    end
  end)

  it("prints nothing for -a and -u where there is nobody", function()
    local code, out, err = sweep("-u", "127.0.0.1-127.0.0.9")
    assert.same({0, "", ""}, {code, out, err})
    local _, silent_code, silent = sim.run(INTERNET, function() return sweep("-a", "10.77.25.1", "10.77.25.2", "--timeout", "50ms") end)
    assert.same({1, ""}, {silent_code, silent})
  end)

  it("--json prints the sweep's result", function()
    local code, out, err = mixed "--json"
    assert.same({1, ""}, {code, err})
    local result = assert(json.decode(out))
    assert.same({17, 17, 17}, {#result.targets, #result.rtt_ms, #result.errors})
    assert.same({16, 3, 2}, {result.sent, result.received, result.late})
    assert.equal("10.77.21.9", result.targets[7])
    assert.equal("host_unreachable", result.errors[7])
    assert.is_true(result.success)
    code, out = sweep("--json", "127.0.0.1")
    assert.equal(0, code)
    assert.same({"127.0.0.1"}, json.decode(out).targets)
  end)

  it("--jsonl prints a line a target, in their order", function()
    local code, out = mixed "--jsonl"
    assert.equal(1, code)
    local list = lines(out)
    assert.equal(17, #list)
    for i, line in ipairs(list) do
      list[i] = assert(json.decode(line))
    end
    local first = list[1]
    assert.is_true(first.latency_ms >= 5)
    assert.same({target = "10.77.20.1", success = true, latency_ms = first.latency_ms, rtt_ms = first.latency_ms}, first)
    assert.same({target = "10.77.21.9", success = false, error = "host_unreachable"}, list[7])
    assert.is_true(list[9].late_ms >= 400)
    assert.same({target = "10.77.23.1", success = false, error = "timeout", late_ms = list[9].late_ms}, list[9])
    assert.same({"nowhere.invalid", false}, {list[17].target, list[17].success})
  end)

  it("--jsonl lists the round trips of several packets", function()
    local _, code, out = sim.run(INTERNET, function() return sweep("--jsonl", "10.77.24.1", "10.77.25.1", "-c", "2", "-i", "0", "--timeout", "200ms") end)
    assert.equal(1, code)
    local half, none = lines(out)[1], lines(out)[2]
    half = json.decode(half)
    assert.same({target = "10.77.24.1", success = true, received = 1, latency_ms = half.latency_ms, rtt_ms = {false, half.latency_ms}}, half)
    assert.same({target = "10.77.25.1", success = false, received = 0, error = "timeout"}, json.decode(none))
  end)

  it("sends again as often as --retries says, at the rate it is given, of the size, from the source", function()
    local truth, code, out = sim.run(INTERNET, function()
      return sweep("-q", "10.77.24.0/29", "--retries", "1", "--timeout", "100ms", "--rate", "1000", "-s", "20", "--ttl", "9", "--source", "10.77.0.1")
    end)
    assert.equal(0, code)
    assert.matches("^✓ 6 targets: 6 alive, 0 unreachable; 12 sent, 6 received, 50%% loss; ", out)
    assert.equal("lost answered", sim.fates(truth["10.77.24.6"]))
  end)

  it("leaves out the family it is told to", function()
    local code, out = sweep("-6", "127.0.0.1-127.0.0.3", "::1")
    assert.equal(1, code)
    assert.same({"✓ ::1 T", "– local 3 127.0.0.1-127.0.0.3"}, table.move(skeleton(out), 1, 2, 1, {}))
  end)

  it("says why nothing could be sent", function()
    for _, view in ipairs(VIEWS) do
      local code, out, err = sweep(view, "127.0.0.0/29", "--source", "127.0.0.1.invalid")
      assert.equal(1, code, view)
      assert.matches("127.0.0.1.invalid", out .. err, 1, true)
    end
  end)

  it("teaches what a range is, and which flags go together", function()
    for _, case in ipairs {
      {{"-g", "10.0.0/24"}, "'10.0.0/24' has a character that no host name has; to be swept are ranges (10.0.0.0/16, "},
      {{"-g", "127.0.0.1", "10.0.0.0/4"}, "'10.0.0.0/4': expected a prefix length from 8 to 32; to be swept are ranges"},
      {{"-g", "10.0.0.9-10.0.0.1"}, "'10.0.0.9-10.0.0.1': expected a last address that is not before the first"},
      {{"-g", "10.0.0.0/24:7"}, "'10.0.0.0/24:7': a port has no meaning here"},
      {{"-g", "10.0.0.1,10.0.0.2"}, "10.0.0.1,10.0.0.2"},
      {{"-g"}, "missing argument"},
      {{"-g", "127.0.0.1", "--rate", "0"}, "field 'rate': expected a number from 0.01 to 10000000, got 0\n"},
      {{"-g", "127.0.0.1", "--rate", "fast"}, "expected a number, got 'fast'"},
      {{"-g", "127.0.0.1", "--stamps", "none"}, "stamps"},
      {{"-g", "127.0.0.1", "--linger", "1ms"}, "field 'linger': shorter than the timeout"},
      {{"-g", "10.0.0.0/9", "-c", "4"}, "more than 16777216 packets"},
      {{"-g", "127.0.0.1", "-a", "-u"}, "-a and -u: only one of them"},
      {{"-g", "127.0.0.1", "-q", "--json"}, "-q and --json: only one of them"},
      {{"127.0.0.1", "--rate", "5"}, "--rate belongs to a sweep; add -g"},
      {{"127.0.0.1", "-a"}, "-a belongs to a sweep; add -g"},
      {{"10.0.0.0/24"}, "'10.0.0.0/24': not a name or an address; a range needs -g"},
      {{"10.0.0.1-10.0.0.9"}, "a range needs -g"},
    } do
      local words = {"ping", table.unpack(case[1])}
      local said = table.concat(words, " ")
      local code, out, err = program.run(words)
      assert.same({2, ""}, {code, out}, said)
      assert.matches("^waddle ping: ", err, said)
      assert.is_truthy(err:find(case[2], 1, true), said .. "\n" .. err)
    end
  end)

  it("ends at once on Ctrl-C, with 130, and says how far it came", function()
    spec.value("private")
    local base, before = os.tmpname(), requests()
    local wait = program.start(("env --default-signal=INT %s ping -g 127.0.0.0/16 --rate 20 & until [ -s %s ]; do sleep 0.01; done; kill -INT $!; wait $!")
      :format(program.path, base))
    spec.eventually(function() return requests() > before end)
    local file = io.open(base, "w")
    file:write("now")
    file:close()
    local code, out, err = wait()
    os.remove(base)
    assert.same({130, ""}, {code, out})
    assert.matches("^waddle ping: interrupted after [%d.]+ s: %d+ of 65534 packets sent, %d+ answered\n$", err)
  end)

  it("tells a terminal how far it is, takes that away again, and paints", function()
    spec.value("private")
    if program.sh("command -v script >/dev/null") ~= 0 then
      spec.skip("no script(1) on this machine: it makes the terminal")
    end
    local _, out = program.sh(("env -u NO_COLOR TERM=xterm script -qec '%s ping -g 127.0.0.1-127.0.0.30 --rate 20' /dev/null"):format(program.path))
    assert.matches("\r\27%[K%d+ of 30 packets sent, %d+ answered, %d s\r\27%[K\27%[32m✓\27%[0m 127%.0%.0%.1 ", out)
    _, out = program.sh(("%s ping -g 127.0.0.1-127.0.0.30 --rate 20"):format(program.path))
    assert.is_nil(out:find("\27", 1, true))
  end)
end)

describe("what a sweep prints", function()
  -- A result as icmp.sweep gives it; errors[i] is false where rtts[i] is a time.
  local function result(targets, rtts, errors)
    return {targets = targets, rtt_ms = rtts, errors = errors, sent = #targets, received = 0, packet_loss_percent = 100}
  end

  local function groups(targets, width, err)
    local rtts, errors = {}, {}
    for i = 1, #targets do
      rtts[i], errors[i] = false, err or "timeout"
    end
    local r = result(targets, rtts, errors)
    return sweep_show.groups(r, sweep_show.sort(r), {width = width})
  end

  it("draws neighbours together, those of one network only, and no names", function()
    assert.equal("✗ timeout  12  10.0.0.1-10.0.0.3, 10.0.0.5, 10.0.0.255-10.0.1.1, 2001:db8::9-2001:db8::b, host1, host2\n",
      groups({"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.255", "10.0.1.0", "10.0.1.1", "2001:db8::9", "2001:db8::a", "2001:db8::b",
        "host1", "host2"}, 200))
    assert.equal("✗ timeout  4  10.0.0.2, 10.0.0.1, 2001:db8::1, 2001:db9::2\n", groups({"10.0.0.2", "10.0.0.1", "2001:db8::1", "2001:db9::2"}, 200))
  end)

  it("fits into the terminal, with all targets counted", function()
    local odd = {}
    for i = 1, 99 do
      odd[i] = ("10.0.%d.%d"):format(i, i)
    end
    for _, width in ipairs {40, 80, 120} do
      local printed = groups(odd, width)
      local list, shown = lines(printed), 0
      assert.is_true(#list >= 2 and #list <= 4, printed)
      for _, line in ipairs(list) do
        assert.is_true(utf8.len(line) <= width, line)
      end
      for _ in printed:gmatch("10%.0%.") do
        shown = shown + 1
      end
      assert.equal(99, shown + tonumber(printed:gsub("%s+", " "):match("and (%d+) more")))
    end
  end)

  it("breaks the summary between its parts", function()
    local r = result({"a", "b"}, {1.5, false}, {false, "timeout"})
    r.received, r.packet_loss_percent, r.rtt_min_ms, r.rtt_avg_ms, r.rtt_max_ms, r.late, r.duplicates = 1, 50, 1.5, 1.5, 1.5, 1, 2
    r.quality = {timestamp_source = "kernel", uncertainty_ms = 0.06}
    local found = sweep_show.sort(r)
    assert.equal("✗ 2 targets: 1 alive, 1 unreachable; 2 sent, 1 received, 50% loss, 1 late, 2 doubled; min/avg/max 1.50ms / 1.50ms / 1.50ms; " ..
      "2.00s, 1 packets/s; kernel clock ±0.060ms\n", sweep_show.summary(r, found, 2))
    assert.equal([[
✗ 2 targets: 1 alive, 1 unreachable;
  2 sent, 1 received, 50% loss, 1 late, 2 doubled;
  min/avg/max 1.50ms / 1.50ms / 1.50ms; 2.00s, 1 packets/s;
  kernel clock ±0.060ms
]], sweep_show.summary(r, found, 2, {width = 60}))
  end)

  it("never lets a name move a cursor", function()
    local r = result({"evil\27[2J", "bad\n"}, {1, false}, {false, "timeout"})
    local found = sweep_show.sort(r)
    local printed = sweep_show.table(r, found) .. sweep_show.groups(r, found) .. sweep_show.names(r, found.alive) .. sweep_show.names(r, found.unreachable)
    assert.is_nil(printed:find("\27", 1, true))
    assert.equal(4, #lines(printed))
    assert.equal("evil\27[2J", json.decode(lines(sweep_show.jsonl(r))[1]).target)
  end)

  it("has nothing to sort where nothing was sent", function()
    assert.is_nil(sweep_show.sort {success = false, error = "permission"})
  end)
end)
