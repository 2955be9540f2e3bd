-- The benchmarks: their rows are data that run.lua understands, and what it makes of rows that do well, miss their limits, fail or cannot run here. No
-- figure that hangs on the machine is judged.

local json = require "waddle.json"
local measure = require "tests.bench.measure"
local program = require "tests.support.program"
local report = require "tests.bench.report"
local rows = require "tests.bench.rows"
local spec = require "tests.support.spec"

local build = program.path:match("^(.*)/") or "."

local function contents(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

describe("the rows of the benchmarks", function()
  -- The names in braces of a row's commands.
  local function each_name(row, fn)
    for _, command in pairs {row.lines or row.ours, row.peer and row.peer.command or "", row.bare or ""} do
      for name in command:gmatch("{([%w_]+)}") do
        fn(name)
      end
    end
  end

  it("have names of their own, and either figures or lines", function()
    local names = {}
    for _, row in ipairs(rows) do
      assert.is_nil(names[row.name], row.name)
      names[row.name] = true
      assert.is_true((row.lines ~= nil) ~= (row.ours ~= nil and row.figures ~= nil), row.name)
    end
  end)

  it("use names that run.sh finds, and a count where they say {n}", function()
    local values, sh = {n = true, seconds = true, runs = true}, contents("tests/bench/run.sh")
    for _, row in ipairs(rows) do
      each_name(row, function(name)
        assert.is_true(values[name] or sh:find("BENCH_" .. name:upper() .. "=") ~= nil or sh:find("%f[%w]" .. name .. "%f[%W]") ~= nil, row.name .. ": " .. name)
        assert.is_true(name ~= "n" or row.n ~= nil, row.name)
      end)
      for _, name in ipairs(row.needs or {}) do
        assert.truthy(sh:find("BENCH_" .. name:upper() .. "=") or sh:find("found " .. name, 1, true), row.name .. ": " .. name)
      end
    end
  end)

  it("have figures with units, limits of a known form, and fit into the table", function()
    local forms = {["most"] = true, ["bare most"] = true, ["of_bare"] = true, ["of_peer"] = true}
    for _, row in ipairs(rows) do
      for _, figure in ipairs(row.figures or {}) do
        assert.is_string(measure.unit(figure.of))
        assert.is_true(#row.what + 2 + #figure.what <= 35, row.what)
        local keys = {}
        for key, value in pairs(figure.limit or {most = 1}) do
          assert.is_true(value > 0)
          keys[#keys + 1] = key
        end
        table.sort(keys)
        local form = table.concat(keys, " ")
        assert.is_true(forms[form], row.name .. ": " .. form)
        assert.is_true(not form:find("bare") or row.bare ~= nil, row.name)
        assert.is_true(not form:find("peer") or row.peer ~= nil, row.name)
      end
    end
  end)
end)

describe("a quantile", function()
  it("is a value of the list, and nil where it is one of those that have none", function()
    local sorted = {}
    for i = 1, 99 do
      sorted[i] = i
    end
    assert.same({50, 99, 99}, {measure.quantile(sorted, 0.5), measure.quantile(sorted, 0.99), measure.quantile(sorted, 1)})
    assert.same({50, 99}, {measure.quantile(sorted, 0.5, 100), measure.quantile(sorted, 0.99, 100)})
    assert.is_nil(measure.quantile(sorted, 1, 100))
    assert.is_nil(measure.quantile(sorted, 0.99, 101))
    assert.is_nil(measure.quantile({}, 0.5, 100))
  end)
end)

describe("the table of the benchmarks", function()
  it("has its figures below their heads", function()
    local line = report.line {what = "icmp.sweep: CPU each", unit = "us", waddle = 3, peer = 4.5, peer_name = "fping", ratio = 2 / 3, bare = 1.953,
      limit = 2.7, limit_note = "0.6 of fping", ok = false}
    assert.equal("                                        waddle       peer  ratio       bare      limit", report.head())
    assert.equal("icmp.sweep: CPU each                   3.00 us    4.50 us   0.67    1.95 us    2.70 us  MISSED  0.6 of fping", line)
  end)

  it("leaves out what was not measured, and says nothing of what is not judged", function()
    assert.equal("a                                      1000 /s          -      -          -          -", report.line {what = "a", unit = "/s", waddle = 1000})
  end)

  for value, text in pairs {[0] = "0.0000 s", [0.05] = "0.0500 s", [0.5] = "0.500 s", [1] = "1.00 s", [9.994] = "9.99 s", [99.94] = "99.9 s", [12345] = "12345 s", [-0.2] = "-0.200 s"} do
    it(("shows %g as %s"):format(value, text), function()
      assert.equal(text, report.number(value, "s"))
    end)
  end
end)

describe("./dev bench", function()
  -- Runs rows of the fixtures: exit code, stdout, stderr.
  local function bench(words)
    return program.sh(('work=$(mktemp -d); BENCH_ROWS=tests.support.fixtures.bench_rows BENCH_WORK=$work BENCH_BARE="%s/bench" "%s" run tests/bench/run.lua %s; code=$?; rm -r $work; exit $code')
      :format(build, program.path, words))
  end

  -- The same as a document: its rows by their text, what was left out and what failed by the same.
  local function document(words)
    local code, out, err = bench("--json --quick " .. words)
    assert.equal("", err)
    local all = assert(json.decode(out))
    local function by_what(list)
      local map = {}
      for _, entry in ipairs(list) do
        map[entry.what] = entry.why or entry
      end
      return map
    end
    return code, by_what(all.rows), by_what(all.left_out), by_what(all.failed), all.machine
  end

  it("ends with 0 when no limit is missed", function()
    local code, lines, left_out, failed, machine = document "well peers lines"
    assert.same({0, {}, {b = "no b"}}, {code, failed, left_out})
    assert.same({"MiB", true, 1e6}, {lines["well: memory"].unit, lines["well: memory"].ok, lines["well: memory"].limit})
    assert.is_true(lines["well: memory"].waddle > 0 and lines["well: memory"].bare > 0)
    assert.is_nil(lines["well: free"].ok)
    assert.is_true(lines["a"].ok)
    local of_peer, of_bare, at_bare = lines["peers: of peer"], lines["peers: of bare"], lines["peers: at bare"]
    assert.near(of_peer.peer * 1e6, of_peer.limit, 1)
    assert.near(of_peer.waddle / of_peer.peer, of_peer.ratio, 1e-9)
    assert.near(of_bare.bare * 1e6, of_bare.limit, 1)
    assert.near(at_bare.bare * 1e12, at_bare.limit, at_bare.limit * 1e-9)
    assert.is_true(machine.cores >= 1 and machine.busy_before >= 0 and machine.busy_after <= 1)
    assert.is_string(machine.load_before)
  end)

  for _, name in ipairs {"missed", "least"} do
    it("ends with 1 when a limit is missed: " .. name, function()
      local code, lines, _, failed = document(name)
      local _, line = next(lines)
      assert.same({1, false, {}}, {code, line.ok, failed})
    end)
  end

  it("ends with 1 when a command fails, and says why", function()
    local code, lines, _, failed = document "broken"
    assert.equal(1, code)
    assert.matches("ended with 7: no such luck", failed["broken.lines"])
    assert.matches("ended with 7: no such luck", failed["broken.row: waddle"])
    assert.matches("ended with 7", failed["broken.peer: sh"])
    assert.equal("sh failed", lines["peer: memory"].note)
    assert.is_nil(lines["broken: memory"])
  end)

  it("ends with 1 when too few succeeded", function()
    local code, _, _, failed = document "few"
    assert.equal(1, code)
    assert.matches("only 3 of 100 succeeded", failed["few: waddle"])
  end)

  it("leaves out what needs what is not there, and judges nothing by it", function()
    local code, lines, left_out = document "out"
    assert.equal(0, code)
    assert.same({["out.needs"] = "no wonder", ["out.program"] = "no wonder", ["out.peer: wonder"] = "no wonder"}, left_out)
    assert.same({"no wonder"}, {lines["out: memory"].note, lines["out: memory"].limit})
  end)

  it("prints a table, with what failed and what was left out at its end", function()
    local code, out = bench "--quick missed broken.row out.needs"
    assert.equal(1, code)
    assert.matches("\nmissed: memory .* 0.0010 MiB  MISSED\n", out)
    assert.matches("\nbroken.row: waddle: FAILED\n", out)
    assert.matches("\nleft out: out.needs: no wonder\nFAILED: broken.row: waddle: ", out)
  end)

  it("knows its rows and options", function()
    local code, _, err = bench "nothing"
    assert.equal(2, code)
    assert.matches("no row 'nothing', expected well peers ", err)
    code, _, err = bench "--slow"
    assert.equal(2, code)
    assert.matches("no option '%-%-slow'", err)
  end)
end)

describe("the lateness of schedules", function()
  -- What is found of 200 targets that are due once in half a second, in a network where pings are answered, or not.
  local function first(answered)
    spec.value("private")
    local code, out, err = program.sh(("unshare --net sh -c '%s exec \"$0\" run tests/bench/schedule.lua first 200 0.5' \"$(realpath \"%s\")\"")
      :format(answered and "ip link set lo up;" or "", program.path), 60)
    assert.same({0, ""}, {code, err})
    return assert(json.decode(out))
  end

  it("is that of every target's first run", function()
    local found = first(true)
    assert.equal(200, found.runs)
    assert.is_true(found.p50_ms >= 0 and found.p50_ms <= found.p99_ms and found.p99_ms <= found.most_ms)
  end)

  it("is no figure where the runs failed", function()
    assert.same({runs = 0}, first(false))
  end)
end)

describe("the accuracy of a probe", function()
  it("fails where less than nine tenths of the rate left", function()
    local probers = require "tests.bench.probers"
    assert.is_nil(probers.fell_short(10000))
    assert.is_nil(probers.fell_short(9000))
    assert.equal("9.0k/s left, not 10.0k/s: this machine is too slow or too busy", probers.fell_short(8999))
  end)

  for _, probe in ipairs {"icmp.sweep", "icmp.ping", "udp.sweep", "udp.ping", "dns.query", "tcp.connect"} do
    it("is a figure of every packet's error: " .. probe, function()
      spec.value("private")
      local code, out, err = program.sh(('work=$(mktemp -d); BENCH_WORK=$work BENCH_SIM="$(realpath "%s")" "%s" run tests/bench/accuracy.lua %s 200 1 0.5 5; code=$?; rm -r $work; exit $code')
        :format(build .. "/tests/waddle-sim", program.path, probe), 60)
      assert.same({0, ""}, {code, err})
      local lines = {}
      for text in out:gmatch("[^\n]+") do
        local line = assert(json.decode(text))
        lines[line.what] = line
      end
      local no_tun = lines[probe .. " error"]
      if no_tun and not no_tun.failed then
        spec.skip(no_tun.why)
      end
      for _, busy in ipairs {"", ", busy"} do
        local what = probe .. " error" .. busy
        local p50, p99, slow = lines[what .. ": p50"], lines[what .. ": p99"], lines[what]
        assert.equal(p50.rate < 9000, slow ~= nil and slow.failed)
        assert.same(slow and {unit = "us us"} or {p50 = 0.5, p99 = 5, unit = "us us"}, {p50 = p50.limit, p99 = p99.limit, unit = p50.unit .. " " .. p99.unit})
        -- An error of milliseconds would be one of the pairing.
        assert.is_true(p50.waddle >= 0 and p50.waddle <= p99.waddle and p99.waddle <= p99.worst and p50.waddle < 1000, out)
        assert.is_true(math.abs(p50.median) <= p50.worst and p50.rate > 0, out)
      end
    end)
  end
end)
