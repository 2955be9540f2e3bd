-- What scripts may use, and that nobody else feels it when one uses more. Each case is a process of its own, whose code stands in a file.

local process = require "tests.support.process"

-- Runs code with another task beside it that looks at the clock as often as it can. Prints whether the code's task failed, its first line, and the worst delay of the
-- other one between two looks, in milliseconds of processor time: on a busy machine, time on the wall is everybody's.
local BESIDE = [[
local worst = 0
local looker = task.spawn(function()
  while true do
    local before = os.clock()
    task.sleep(0)
    worst = math.max(worst, os.clock() - before)
  end
end)
local running = task.spawn(function()
%s
end)
local ok, err = pcall(running.join, running)
looker:cancel()
print(ok, running:status(), (tostring(err):match "^[^\n]*"))
print(("%%.3f"):format(worst * 1000))
]]
local FIRST_LINE = select(2, BESIDE:match("^(.-)%%s"):gsub("\n", "")) + 1

local function beside(code, before)
  local file = process.file("case.lua", BESIDE:format(code))
  local args = before or {}
  args[#args + 1] = "run"
  args[#args + 1] = file
  local status, out, err = process.run(args)
  assert.equal(0, status, err)
  local message, delay = out:match "^([^\n]*)\n([%d.]+)\n$"
  return message, tonumber(delay), file, err
end

-- The task fails with FILE:LINE: budget: WHAT.
local function ends(code, what, budget)
  local message, delay, file, err = beside(code, budget and {"--budget", budget})
  local place = ("%s:%d: budget: %s"):format(file, FIRST_LINE, what)
  assert.matches("false\tfailed\t" .. place, message, 1, true)
  return delay, err
end

-- A slice is over after 2 to 3 ms; without the hook it would last for the 300 ms that the specs allow. What lies between is for busy machines.
local MOST_DELAY_MS = 30
-- Memory that is touched for the first time costs the machine what no hook can divide.
local MOST_DELAY_GROWING_MS = 100

describe("processor time", function()
  after_each(process.clean)

  for name, code in pairs {
    ["an endless loop"] = "while true do end",
    ["a loop around pcall"] = "while true do pcall(function() while true do end end) end",
    ["a coroutine that spins"] = "coroutine.wrap(function() while true do end end)()",
    ["coroutines in coroutines, in pcalls"] = "local co = coroutine.create(function() while true do pcall(coroutine.wrap(function() while true do "
      .. "pcall(function() while true do end end) end end)) end end) while true do coroutine.resume(co) end",
    ["a metamethod that spins"] = "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    ["garbage without end"] = "while true do local t = {{}} end",
  } do
    it("ends " .. name .. " with the place, and delays others by little", function()
      local delay = ends(code, "cpu: 0.3 s of processor time without waiting", "cpu=300ms")
      assert.is_true(delay > 0 and delay < MOST_DELAY_MS, ("delayed by %g ms"):format(delay))
    end)
  end

  for name, code in pairs {
    ["a table.sort comparator"] = "table.sort({3, 2, 1}, function() while true do end end)",
    ["a gsub callback that catches errors"] = "('x'):gsub('.', function() while true do pcall(function() while true do end end) end end)",
    ["a message handler"] = "while true do xpcall(error, function() while true do end end) end",
    ["a coroutine in a comparator"] = "table.sort({3, 2, 1}, function() coroutine.wrap(function() while true do end end)() end)",
  } do
    it("ends " .. name .. " that spins, which nothing can set aside, and the log names it", function()
      local delay, err = ends(code, "cpu: 1.5 s", "cpu=1500ms")
      assert.is_true(delay >= 900, "the loop was held, so this spec can tell") -- else the other delays would say nothing
      assert.matches("WARNING loop: held for over a second by [^ ]*case.lua:" .. FIRST_LINE .. ";", err)
    end)
  end

  it("of ten that spin delays others by no more than that of one", function()
    local status, out, err = process.run {"run", process.file("many.lua", [[
      local function a_look_takes(spinners)
        local all = {}
        for i = 1, spinners do all[i] = task.spawn(function() while true do end end) end
        task.sleep(0)
        task.sleep(0)
        local before = os.clock()
        for _ = 1, 20 do task.sleep(0) end
        local took = (os.clock() - before) / 20 * 1000
        for _, spinner in ipairs(all) do spinner:cancel() end
        task.sleep(0.1)
        return took
      end
      local one = a_look_takes(1)
      print(a_look_takes(10) / one)
    ]])}
    assert.equal(0, status, err)
    assert.is_true(tonumber(out) < 3, out)
  end)

  it("is counted from one wait to the next", function()
    local message = beside [[
      for _ = 1, 4 do
        local until_then = os.clock() + 0.4
        while os.clock() < until_then do end
        task.sleep(0)
      end
      return "done"]]
    assert.equal("true\tdone\tdone", message)
  end)

  it("is of the task, whatever others use meanwhile", function()
    local message = beside [[
      local function work()
        local mine = os.clock() + 1.5 -- of all three, so half a second of each
        while os.clock() < mine do end
        return "well"
      end
      local all = task.all {work, work, work}
      return all[1] .. all[2] .. all[3]
    ]]
    assert.equal("true\tdone\twellwellwell", message)
  end)

  it("has the limit that was set: by flag, by variable, in the file", function()
    local code = "while true do end"
    assert.matches("budget: cpu: 0.2 s", (beside(code, {"--budget", "cpu=200ms"})), 1, true)
    assert.matches("budget: cpu: 0.2 s", (beside("limits {cpu = 0.2} " .. code)), 1, true)
    local status, _, err = process.run({"-e", code}, {WADDLE_BUDGET = "slice=5ms, cpu=200ms"})
    assert.equal(1, status)
    assert.matches("budget: cpu: 0.2 s", err, 1, true)
  end)

  it("ends the script itself with 1 and the place", function()
    local file = process.file("spin.lua", "local function spin()\n  while true do\n  end\nend\nspin()\n")
    local status, _, err = process.run {"run", file}
    assert.equal(1, status)
    assert.matches(("waddle: %s:2: budget: cpu: 1 s"):format(file), err, 1, true)
    assert.matches(("%s:5: in "):format(file), err, 1, true)
  end)

  it("cuts no statement of one line in two", function()
    local message = beside [[
      local n, done = 0, {}
      for i = 1, 3 do
        done[i] = task.spawn(function() for _ = 1, 3000000 do n = n + 1 end end)
      end
      for i = 1, 3 do done[i]:join() end
      return n
    ]]
    assert.equal("true\tdone\t9000000", message)
  end)

  it("lets what a task closes run before it is gone", function()
    local message = beside [[
      local closed
      local t = task.spawn(function()
        local mark <close> = setmetatable({}, {__close = function() closed = "closed" end})
        while true do end
      end)
      pcall(t.join, t)
      return closed
    ]]
    assert.equal("true\tdone\tclosed", message)
  end)

  it("ends children with their parent, and fails a parent that did not ask", function()
    local message = beside [[
      local child
      local t = task.spawn(function()
        child = task.spawn(function() task.sleep(1000) end)
        while true do end
      end)
      pcall(t.join, t)
      local parent = task.spawn(function()
        task.spawn(function() while true do end end)
        task.sleep "6s"
      end)
      local ok, err = pcall(parent.join, parent)
      return child:status() .. " " .. tostring(ok) .. " " .. tostring(err):match "budget: cpu"
    ]]
    assert.equal("true\tdone\tcancelled false budget: cpu", message)
  end)
end)

describe("coroutines that are set aside", function()
  it("hand values back and forth as ever", function()
    local message = beside [[
      local co = coroutine.wrap(function(a, b)
        for _ = 1, 3000000 do end
        local c = coroutine.yield(a + b)
        for _ = 1, 3000000 do end
        local d <const> = coroutine.yield(c * 2, nil)
        error("broke " .. d)
      end)
      local one, two = co(1, 2), table.pack(co(5))
      local ok, err = pcall(co, "here")
      return ("%d %d %d %s %s"):format(one, two[1], two.n, ok, err:match "broke here")
    ]]
    assert.equal("true\tdone\t3 10 2 false broke here", message)
  end)

  it("are not resumed by another task", function()
    local message = beside [[
      local co = coroutine.create(function() for _ = 1, 30000000 do end return "end" end)
      local refused = 0
      local other = task.spawn(function()
        while coroutine.status(co) ~= "dead" do
          if not coroutine.resume(co) then refused = refused + 1 end
          task.sleep(0)
        end
      end)
      local ok, value = coroutine.resume(co)
      other:join()
      return ("%s %s %s"):format(ok, value, refused > 0)
    ]]
    assert.equal("true\tdone\ttrue end true", message)
  end)
end)

describe("memory", function()
  after_each(process.clean)

  for name, code in pairs {
    ["text that doubles"] = "local s = 'x' while true do s = s .. s end",
    ["text that doubles in pcalls"] = "local s = 'x' while true do pcall(function() s = s .. s end) end",
    ["a giant string.rep"] = "while true do pcall(string.rep, 'x', 1 << 30) end",
    ["one table that grows"] = "local t = {} while true do t[#t + 1] = 1 end",
  } do
    it("of one piece has a limit: " .. name, function()
      local delay = ends(code, "memory: one text or table of more than 8 MiB")
      assert.is_true(delay < MOST_DELAY_GROWING_MS, ("delayed by %g ms"):format(delay))
    end)
  end

  it("of one piece is not even taken where there are few objects", function()
    local status, out, err = process.run {"run", process.file("large.lua", [[
      local s = ("x"):rep(5 << 20)
      local mark <close> = setmetatable({}, {__close = function() print(collectgarbage "count" < 10 << 10) end})
      return s .. s
    ]])}
    assert.equal(1, status)
    assert.matches("large.lua:3: budget: memory: one text or table of more than 8 MiB", err)
    assert.equal("true\n", out)
  end)

  it("of all pieces has a limit, and is there again when the task has ended", function()
    local message, delay = beside(([[
      local function fill()
        local last
        while true do last = {last} end
      end
      for _ = 1, 3 do
        local t = task.spawn(fill)
        local _, err = pcall(t.join, t)
        assert(err:match ":%d: budget: memory: the script uses more than 32 MiB", err)
      end
      for _ = 1, 40 do
        if collectgarbage "count" < 8192 then
          return true
        end
        task.sleep "50ms"
      end
      return false
    ]]):format(FIRST_LINE + 2), {"--budget", "memory=32MiB,cpu=10s"})
    assert.equal("true\tdone\ttrue", message)
    assert.is_true(delay < MOST_DELAY_GROWING_MS, ("delayed by %g ms"):format(delay))
  end)

  it("does not end who asks for little when much of it is garbage", function()
    local message = beside([[
      for i = 1, 200000 do local t = {("x"):rep(500) .. i} end
      return "done"
    ]], {"--budget", "memory=32MiB,cpu=10s"})
    assert.equal("true\tdone\tdone", message)
  end)

  it("has no limit where that is 0", function()
    local message = beside("return #('x'):rep(64 << 20)", {"--budget", "block=0,memory=0,cpu=10s"})
    assert.equal("true\tdone\t" .. (64 << 20), message)
  end)
end)

describe("depth", function()
  after_each(process.clean)

  for name, code in pairs {
    ["plain"] = "local function f() return 1 + f() end f()",
    ["with large frames"] = "local function f(a) local b, c, d, e, g, h = a, a, a, a, a, a return 1 + f(b) + c + d + e + g + h end f(1)",
    ["in a coroutine"] = "coroutine.wrap(function() local function f() return 1 + f() end f() end)()",
  } do
    it("ends runaway recursion: " .. name, function()
      local delay = ends(code, "depth: more than ")
      assert.is_true(delay < MOST_DELAY_GROWING_MS, ("delayed by %g ms"):format(delay))
    end)
  end

  it("ends recursion by pcall, which Lua itself stops, and pcall goes on with", function()
    ends("local function f() pcall(f) pcall(f) end while true do f() end", "depth: more than ")
  end)

  it("leaves recursion in peace that ends", function()
    assert.equal("true\tdone\t15000", (beside "local function f(n) return n == 0 and 0 or 1 + f(n - 1) end return f(15000)"))
  end)
end)

describe("sockets", function()
  after_each(process.clean)

  it("have a limit, which ends who asks for more and nobody else", function()
    local message = beside([[
      local silent = serve.tcp {handler = function(conn) conn:read_line() end}
      local function probe() return tcp.connect("127.0.0.1:" .. silent.port, {dialogue = {{expect = "x"}}, timeout = "100ms"}).error end
      local ten = {}
      for i = 1, 10 do ten[i] = task.spawn(probe) end
      local eleventh = task.spawn(function() while true do pcall(probe) end end)
      local ok, err = pcall(eleventh.join, eleventh)
      for i = 1, 10 do assert(ten[i]:join() == "timeout") end
      assert(probe() == "timeout") -- there is room again
      return ("%s %s"):format(ok, err:match "budget: .*")
    ]], {"--budget", "sockets=10"})
    assert.equal("true\tdone\tfalse budget: sockets: more than 10 probes under way", message)
  end)
end)

describe("output", function()
  after_each(process.clean)

  for what, line in pairs {
    print = 'print(("x"):rep(1000))', ["io.write"] = 'io.write(("x"):rep(1000))', ["io.stdout:write"] = 'io.stdout:write("x", ("x"):rep(1000))',
    ["io.stderr:write"] = 'io.stderr:write(("x"):rep(1000))', log = 'log.info(("x"):rep(1000))', ["a coroutine"] = 'coroutine.wrap(function() print(("x"):rep(1000)) end)()',
  } do
    it("has a limit for " .. what .. ", which ends the task whatever it catches", function()
      local file = process.file("case.lua", ([[
local t = task.spawn(function()
  while true do
    pcall(function()
      %s
    end)
  end
end)
local ok, err = pcall(t.join, t)
task.sleep(0.01)
io.stderr:write("\nEND ", tostring(ok), " ", err, "\n")]]):format(line))
      local status, out, err = process.run {"--budget", "output=64KiB", "run", file}
      assert.equal(0, status)
      assert.matches(("END false %s:4: budget: output: more than 0.0625 MiB printed and logged without waiting"):format(file), err, 1, true)
      assert.is_true(#out <= 65 << 10)
    end)
  end

  it("is counted anew after each wait, and not for files", function()
    local file = process.file("case.lua", [[
local null = io.open("/dev/null", "w")
for _ = 1, 100 do
  for _ = 1, 10 do print(("x"):rep(1000)) null:write(("x"):rep(10000)) end
  task.sleep(0)
end]])
    local status, out, err = process.run {"--budget", "output=64KiB", "run", file}
    assert.equal(0, status, err)
    assert.equal(1001000, #out)
    assert.equal(0, (process.run {"--budget", "output=0", "-e", 'for _ = 1, 100 do print(("x"):rep(1000)) end'}))
  end)

  it("leaves the errors of what writes as they are", function()
    for code, message in pairs {["io.write({})"] = "bad argument #1 to 'write' (string expected, got table)",
      ["io.stdout:write(1, {})"] = "bad argument #2 to 'write' (string expected, got table)"} do
      local _, _, err = process.run {"-e", code}
      assert.matches(message, err, 1, true)
    end
  end)
end)

describe("a wrong budget", function()
  it("is bad usage that names its place", function()
    for args, message in pairs {
      [{"--budget", "cpu=lots", "-e", ""}] = "--budget: field 'cpu': expected a duration",
      [{"--budget", "cpus=1s", "-e", ""}] = "--budget: unknown field 'cpus'; did you mean 'cpu'?",
      [{"--budget", "cpu", "-e", ""}] = "--budget: expected a list such as cpu=5s,memory=1GiB, got 'cpu'",
      [{"--budget", "cpu=1,cpu=2", "-e", ""}] = "--budget: 'cpu' is there twice",
      [{"--budget"}] = "--budget: expected a list",
      [{"-e", "limits {cpuu = 1}"}] = "limits: unknown field 'cpuu', did you mean 'cpu'?",
      [{"-e", "limits {depth = 'deep'}"}] = "limits: field 'depth': expected an integer",
    } do
      local status, _, err = process.run(args)
      assert.equal(2, status, err)
      assert.matches(message, err, 1, true)
    end
    local status, _, err = process.run({"-e", ""}, {WADDLE_BUDGET = "memory=-1"})
    assert.equal(2, status)
    assert.matches("WADDLE_BUDGET: field 'memory'", err, 1, true)
  end)
end)

describe("a site", function()
  after_each(process.clean)

  it("goes on when a probe function, a transform or a sink spins, and tells which", function()
    local file = process.file("site.lua", [[
limits {cpu = "200ms"}
target {name = "spins", probe = function() while true do end end}
target {name = "is well", probe = function() return {} end}
target {name = "is transformed", transform = function() while true do end end, probe = function() return {} end}
sink(function(result) if result.target_name == "is well" then while true do end end end)
sink(function(result) print(result.target_name, result.success, result.error, result.error_detail, result.transform_error) end)
]])
    local status, out, err = process.run {"run", file}
    assert.equal(0, status, err)
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({
      ("is transformed\ttrue\tnil\tnil\t%s:4: budget: cpu: 0.2 s of processor time without waiting; task.sleep(0) gives others their turn"):format(file),
      "is well\ttrue\tnil\tnil\tnil",
      ("spins\tfalse\tbudget\t%s:2: budget: cpu: 0.2 s of processor time without waiting; task.sleep(0) gives others their turn\tnil"):format(file),
    }, lines)
    assert.matches(("sink: %s:5: budget: cpu"):format(file), err, 1, true)
  end)
end)

describe("a site of very many targets", function()
  it("is no runaway", function()
    local status, out, err = process.run({"--budget", "cpu=100ms", "-e",
      'for i = 1, 20000 do target {"icmp://127.0.0.1", name = i .. ""} end print(os.clock() > 0.2, "declared") sys.exit(0)'})
    assert.equal(0, status, err)
    assert.equal("true\tdeclared\n", out)
  end)
end)

describe("the prompt", function()
  it("says what ended the line, and goes on", function()
    local pipe = assert(io.popen(("printf 'while true do end\\n1 + 1\\n' | timeout 20 %s --budget cpu=100ms repl 2>&1; echo code=$?"):format(process.path)))
    local out = pipe:read "a"
    pipe:close()
    assert.matches("^prompt:1: budget: cpu: 0.1 s[^\n]*\n2\n", out)
  end)
end)
