-- Scripts in a process of their own: what no hook can stop is ended from outside, with the place, and nobody else feels it.

local process = require "tests.support.process"
local task = require "waddle.task"

after_each(process.clean)

-- A pattern with so many ways to fail that no time is enough.
local BACKTRACKS = '(("a"):rep(60)):find(("a*"):rep(40) .. "b")'
local STALL_S = 10

local function isolated(code, before)
  local file = process.file("case.lua", code)
  local args = before or {}
  for _, word in ipairs {"run", "--isolate", file, "one", "--two"} do args[#args + 1] = word end
  local began = task.now()
  local status, out, err = process.run(args)
  return status, out, err, file, task.now() - began
end

describe("waddle run --isolate", function()
  it("hands arguments, output and the exit code through", function()
    local status, out = isolated "print(arg[0]:match 'case.lua', ...) io.stderr:write('to stderr\\n') return 7"
    assert.equal(7, status)
    assert.equal("case.lua\tone\t--two\n", out)
    local code, _, err, file = isolated "error 'broken'"
    assert.equal(1, code)
    assert.matches(file .. ":1: broken", err, 1, true)
    assert.equal(99, (isolated "check(tcp.connect '127.0.0.1:9', 'open')"))
    assert.equal(2, (isolated "local x ="))
  end)

  it("keeps to the budget that was given", function()
    local status, _, err, file = isolated("while true do end", {"--budget", "cpu=100ms"})
    assert.equal(1, status)
    assert.matches(("waddle: %s:1: budget: cpu: 0.1 s"):format(file), err, 1, true)
  end)

  it("has a limit of address space", function()
    local status, out, err = isolated([[
      for line in io.lines "/proc/self/limits" do
        if line:match "^Max address space" or line:match "^Max core" then print((line:gsub("%s+", " "))) end
      end]])
    assert.equal(0, status, err)
    assert.matches("Max core file size 0 0 bytes", out, 1, true)
    if not os.getenv "ASAN_OPTIONS" then -- whose shadow memory is larger than any limit
      assert.matches("Max address space 536870912 536870912 bytes", out, 1, true)
    end
  end)

  for name, code in pairs {
    ["a pattern that backtracks"] = "local x = 1\nreturn " .. BACKTRACKS,
    ["a finalizer"] = "setmetatable({}, {__gc = function() while true do end end})\ncollectgarbage()",
    ["a message handler of an error in a hook's place"] = "local t = setmetatable({}, {__close = function() " .. BACKTRACKS .. " end})\ndo local c <close> = t end",
  } do
    it("ends " .. name .. " that goes on for ever, and says where", function()
      local status, _, err, file, took = isolated(code)
      assert.equal(1, status)
      assert.matches(("waddle: %s:%d: budget: the script has not come back to its loop, it is ended"):format(file, name:match "message" and 1 or 2), err, 1, true)
      assert.is_true(took >= STALL_S and took < STALL_S + 8, ("after %g s"):format(took))
    end)
  end

  it("ends a finalizer that spins when all else is over", function()
    local status, out, err = isolated "forever = setmetatable({}, {__gc = function() while true do end end}) print 'over'"
    assert.equal(1, status)
    assert.equal("over\n", out)
    assert.matches("budget: the script has not come back to its loop, it is ended", err, 1, true)
  end)

  it("hands signals on", function()
    local file = process.file("case.lua", "print 'ready' io.stdout:flush() print(sys.signal()) return 4")
    local running = process.start {"run", "--isolate", file}
    require("tests.support.spec").eventually(function() return running:out() ~= "" end)
    running:kill "TERM"
    local status, out = running:wait()
    assert.equal(4, status)
    assert.equal("ready\nTERM\n", out)
  end)

  it("leaves no process behind when it is killed itself", function()
    local file = process.file("case.lua", [[print(sys.pid(), io.open "/proc/self/stat":read "a":match "%) %a (%d+)") io.stdout:flush() task.sleep(1000)]])
    local running = process.start {"run", "--isolate", file}
    local spec = require "tests.support.spec"
    local pid, parent
    spec.eventually(function()
      pid, parent = running:out():match "^(%d+)\t(%d+)\n"
      return pid
    end)
    assert(os.execute("kill -KILL " .. parent))
    spec.eventually(function()
      local stat = io.open(("/proc/%s/stat"):format(pid))
      local state = stat and stat:read("a"):match "%) (%a)"
      if stat then stat:close() end
      return not stat or state == "Z"
    end)
    running:wait()
  end)
end)

describe("target{isolate=true}", function()
  it("ends what goes on for ever, while the others' runs are on time", function()
    local file = process.file("site.lua", ([[
target {name = "evil", isolate = true, probe = function()
  return %s
end}
target {name = "apart", every = "250ms", isolate = true, probe = function() return {pid = sys.pid(), latency_ms = 3, success = true} end}
target {"tcp://127.0.0.1:9", name = "closed", isolate = true}
target {name = "here", every = "100ms", probe = function() return {pid = sys.pid()} end}
local late, runs, apart = 0, 0, 0
sink(function(r)
  if r.target_name == "here" then
    assert(r.pid == sys.pid())
    runs, late = runs + 1, math.max(late, r.quality.sched_lag_ms or 0)
  elseif r.target_name == "apart" and r.success then
    assert(r.pid ~= sys.pid() and r.latency_ms == 3)
    apart = apart + 1
  else
    print(r.target_name, r.success, r.error, r.error_detail)
  end
  if r.target_name == "evil" then
    print(runs > 50, apart > 15, late)
    sys.exit(0)
  end
end)
]]):format(BACKTRACKS))
    local status, out, err = process.run {"run", file}
    assert.equal(0, status, err)
    local closed, evil, well = out:match "^([^\n]*)\n([^\n]*)\n([^\n]*)\n$"
    assert.equal("closed\tfalse\tconnection_refused\tconnection refused", closed)
    assert.equal(("evil\tfalse\tbudget\t%s:2: budget: the script has not come back to its loop, it is ended"):format(file), evil)
    assert.matches("^true\ttrue\t", well)
    assert.is_true(tonumber(well:match "([%d.]+)$") < 1000, well) -- a stall of the evil one's kind would be ten seconds
  end)

  it("gets a new process after one that was ended, and tells what a script in it raised", function()
    local file = process.file("site.lua", [[
local n = 0
target {name = "exits", every = "200ms", isolate = true, probe = function() os.exit(3) end}
target {name = "raises", isolate = true, probe = function() error "oops" end}
sink(function(r)
  print(r.target_name, r.error, r.error_detail)
  n = n + (r.target_name == "exits" and r.error ~= "skipped" and 1 or 0)
  if n == 2 then sys.exit(0) end
end)
]])
    local status, out, err = process.run {"run", file}
    assert.equal(0, status, err)
    assert.equal(2, select(2, out:gsub("exits\tscript\tits process ended with exit code 3\n", "")))
    assert.matches(("raises\tscript\t%s:3: oops"):format(file), out, 1, true)
  end)

  it("ends its process with the script", function()
    local file = process.file("site.lua", [[
target {name = "once", isolate = true, probe = function() return {pid = sys.pid()} end}
sink(function(r) print(r.pid) end)
]])
    local status, out, err = process.run {"run", file}
    assert.equal(0, status, err)
    assert.is_nil(io.open("/proc/" .. tonumber(out)))
  end)

  it("leaves the spool of the file's uploader to the process that runs the file", function()
    local spool = process.file("results.db", "")
    os.remove(spool)
    local file = process.file("site.lua", ([[
local u = upload.open {url = "http://127.0.0.1:9", spool = %q}
target {name = "here", probe = function() return {spool = u:status().spool or "none"} end}
target {name = "apart", isolate = true, probe = function() return {spool = u:status().spool or "none"} end}
sink(function(r) print(r.target_name, r.spool) end)
]]):format(spool))
    local status, out, err = process.run {"run", file}
    assert.equal(0, status, err)
    assert.matches("here\t" .. spool .. "\n", out, 1, true)
    assert.matches("apart\tnone\n", out, 1, true)
  end)

  it("needs a file, and a boolean", function()
    local status, _, err = process.run {"-e", 'target {"tcp://127.0.0.1:9", isolate = true}'}
    assert.equal(2, status)
    assert.matches("field 'isolate': only a target of a .lua file can run in a process of its own", err, 1, true)
    local code, _, message = process.run {"run", process.file("site.lua", 'target {"tcp://127.0.0.1:9", isolate = "yes"}')}
    assert.equal(2, code)
    assert.matches("field 'isolate': expected a boolean, got string", message, 1, true)
  end)
end)
