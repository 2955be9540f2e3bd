-- The program seen from outside: exit codes, what goes to stderr, signals. The peer is the program
-- itself, run by the shell with a time limit.

local program = os.getenv "WADDLE" or "build/waddle"

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs waddle with the arguments; gives exit code, stdout, stderr. `prefix` stands before the
-- program on the shell's line.
local function run(args, prefix)
  local words = {}
  for i, word in ipairs(args) do words[i] = quoted(word) end
  local err_name = os.tmpname()
  local pipe = io.popen(("%s timeout -k 10 20 %s %s 2>%s; echo \"code=$?\""):format(prefix or "", program, table.concat(words, " "), err_name))
  local out = pipe:read("a")
  pipe:close()
  local f = io.open(err_name)
  local err = f:read("a")
  f:close()
  os.remove(err_name)
  local code = tonumber(out:match("code=(%d+)%s*$"))
  return code, (out:gsub("code=%d+%s*$", "")), err
end

-- Runs code and sends it a signal once it runs; `waiting` says that the code waits, and the signal is to come when it does so. Gives exit code and stdout.
local function run_and_signal(signal, code_text, waiting)
  local ready = os.tmpname()
  local told = ("io.open(%q, 'w'):write('x'):close() "):format(ready)
  if waiting then
    told = "task.spawn(function() " .. told .. "end) "
  end
  local pipe = io.popen(([[
    env --default-signal=INT timeout --foreground --preserve-status -k 1 20 %s -e %s &
    until [ -s %s ]; do sleep 0.01; done
    kill -s %s $!
    wait $!
    echo "code=$?"]]):format(program, quoted(told .. code_text), ready, signal))
  local out = pipe:read("a")
  pipe:close()
  os.remove(ready)
  return tonumber(out:match("code=(%d+)%s*$")), (out:gsub("code=%d+%s*$", ""))
end

local function file_with(text)
  local name = os.tmpname()
  local f = io.open(name, "w")
  f:write(text)
  f:close()
  return name
end

describe("waddle -e", function()
  it("runs a piece of Lua with arg and ...", function()
    local code, out = run {"-e", "print(arg[0], arg[1], ...)", "x", "y"}
    assert.equal(0, code)
    assert.equal("-e\tx\tx\ty\n", out)
  end)

  it("gives the code that the script returns, or asks for", function()
    assert.equal(7, (run {"-e", "return 7"}))
    assert.equal(9, (run {"-e", "task.spawn(function() sys.exit(9) end) task.sleep(1000)"}))
    assert.equal(3, (run {"-e", "os.exit(3)"}))
  end)

  it("needs the piece of Lua", function()
    assert.equal(2, (run {"-e"}))
  end)
end)

describe("a script", function()
  it("that raises ends with file:line, a traceback and 1, its tasks cancelled first", function()
    local name = file_with [[
      task.spawn(function()
        local mark <close> = setmetatable({}, {__close = function() print("closed") end})
        task.sleep(1000)
      end)
      task.sleep(0.01)
      local function deep() error("something broke") end
      deep()
    ]]
    local code, out, err = run {"run", name}
    os.remove(name)
    assert.equal(1, code)
    assert.equal("closed\n", out)
    assert.matches(name .. ":6: something broke", err, 1, true)
    assert.matches("stack traceback:", err, 1, true)
    assert.matches(name .. ":7: in ", err, 1, true)
    assert.is_nil(err:find("lua/waddle/run.lua", 1, true)) -- how waddle came to run it helps nobody
  end)

  it("that breaks inside a scenario has one traceback, that of the place", function()
    local code, _, err = run {"-e", 'scenario("a", function() local x; x.y = 1 end)'}
    assert.equal(1, code)
    assert.equal(1, select(2, err:gsub("stack traceback:", "")))
  end)

  it("with a syntax error ends with 2 and its place", function()
    local name = file_with "local x =\nlocal y"
    local code, _, err = run {"run", name}
    os.remove(name)
    assert.equal(2, code)
    assert.matches(name .. ":2:", err, 1, true)
  end)

  it("that is not there ends with 2", function()
    local code, _, err = run {"run", "/nonexistent/file.lua"}
    assert.equal(2, code)
    assert.matches("/nonexistent/file.lua", err, 1, true)
  end)

  it("that yields by itself is told what to use", function()
    local code, _, err = run {"-e", "coroutine.yield(1)"}
    assert.equal(1, code)
    assert.matches("use task.sleep, a channel or a probe", err, 1, true)
  end)

  it("with an error value of any type says so", function()
    assert.matches("the error value is a table", (select(3, run {"-e", "error({})"})))
    assert.matches("the error value is nil", (select(3, run {"-e", "error()"})))
    assert.matches("custom", (select(3, run {"-e", "error(setmetatable({}, {__tostring = function() return 'custom' end}))"})))
  end)
end)

describe("the strict environment", function()
  it("names the nearest global", function()
    local code, _, err = run {"-e", "print(tsak)"}
    assert.equal(1, code)
    assert.matches("'tsak' is not set anywhere; did you mean 'task'?", err, 1, true)
  end)

  it("names the function that was meant, and the line", function()
    local code, _, err = run {"-e", "tcp.connet 'x'"}
    assert.equal(1, code)
    assert.matches("(command line):1: tcp has no 'connet'; did you mean 'connect'?", err, 1, true)
  end)

  it("keeps what a script sets, nil too", function()
    local code, out = run {"-e", "x = 5 y = nil print(x, y, _G.x)"}
    assert.equal(0, code)
    assert.equal("5\tnil\t5\n", out)
  end)

  it("takes nil for a value of any name, its own too", function()
    local code, out = run {"-e", "local h = http http = nil tcp = nil print = nil io.write(tostring(http), tostring(tcp), tostring(print))"}
    assert.equal(0, code)
    assert.equal("nilnilnil", out)
  end)

  it("is what load, loadfile and dofile see, unless told otherwise", function()
    local name = os.tmpname()
    local file = io.open(name, "w")
    file:write("seen = math.type(task.now()) return ...")
    file:close()
    for _, code in ipairs {"load('seen = math.type(task.now())')()", ("dofile %q"):format(name), ("loadfile(%q)()"):format(name)} do
      local status, out, err = run {"-e", code .. " print(seen)"}
      assert.equal(0, status, err)
      assert.equal("float\n", out)
    end
    local _, out = run {"-e", ("print(pcall(load('return task', 'c', 't', {}))) print(loadfile(%q, 't', {math = math, task = task})(7))"):format(name)}
    assert.equal("true\tnil\n7\n", out)
    local code, _, err = run {"-e", "load('tsak()')()"}
    assert.equal(1, code)
    assert.matches("did you mean 'task'?", err, 1, true)
    os.remove(name)
    assert.matches("cannot open " .. name, (select(3, run {"-e", ("dofile %q"):format(name)})), 1, true)
  end)
end)

describe("a signal", function()
  it("ends a script that waits, with 130", function()
    assert.equal(130, (run_and_signal("INT", "task.sleep(1000)", true)))
    assert.equal(130, (run_and_signal("TERM", "task.sleep(1000)", true)))
  end)

  it("ends a script deep in pure Lua", function()
    assert.equal(130, (run_and_signal("INT", "while true do end")))
    assert.equal(130, (run_and_signal("TERM", "while true do pcall(function() while true do end end) end")))
    assert.equal(130, (run_and_signal("INT", "coroutine.wrap(function() while true do pcall(function() while true do end end) end end)()")))
    assert.equal(130, (run_and_signal("INT", "local co = coroutine.create(function() while true do pcall(function() while true do end end) end end) "
      .. "while true do coroutine.resume(co) end")))
    assert.equal(130, (run_and_signal("INT", "table.sort({3, 2, 1, 5, 4}, function(a, b) while true do end end)")))
  end)

  it("ends a script whose closing variables never end", function()
    local endless = "local never <close> = setmetatable({}, {__close = function() while true do end end}) "
    assert.equal(130, (run_and_signal("INT", endless .. "task.sleep(1000)", true)))
  end)

  it("that is sent twice at once is one, as timeout(1) sends it to the process and to its group", function()
    local code, out = run {"-e", "local pid = sys.pid() task.spawn(function() os.execute((\"kill -TERM %d; kill -TERM %d\"):format(pid, pid)) end) "
      .. "print(sys.signal()) task.sleep(0) return 4"}
    assert.equal(4, code)
    assert.equal("TERM\n", out)
  end)

  it("goes to a script that waits for it", function()
    local code, out = run_and_signal("TERM", "print(sys.signal()) return 4", true)
    assert.equal(4, code)
    assert.equal("TERM\n", out)
  end)
end)

describe("WADDLE_PATH", function()
  it("puts a folder before the files inside the program", function()
    local dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir .. "/scripts " .. dir .. "/lua/waddle")
    os.execute("echo 'print(\"mine\", (require(\"waddle.mine\")))' > " .. dir .. "/scripts/mine.lua")
    os.execute("echo 'return 42' > " .. dir .. "/lua/waddle/mine.lua")
    local code, out = run({"mine"}, "WADDLE_PATH=" .. dir)
    os.execute("rm -r " .. dir)
    assert.equal(0, code)
    assert.equal("mine\t42\n", out)
  end)

  it("passes over what is no file there", function()
    local dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir .. "/lua/waddle/http.lua")
    local _, out = run({"-e", "print(type(http.get))"}, "WADDLE_PATH=" .. dir)
    os.execute("rm -r " .. dir)
    assert.equal("function\n", out)
  end)
end)

describe("an unknown command", function()
  it("is bad usage and offers the nearest", function()
    local code, _, err = run {"rnu"}
    assert.equal(2, code)
    assert.matches("did you mean 'run'", err, 1, true)
  end)
end)

describe("standard output", function()
  it("that takes nothing makes the exit code 1, and says so", function()
    local pipe = io.popen(("{ timeout 20 %s help >/dev/full; echo code=$?; } 2>&1"):format(program))
    local out = pipe:read("a")
    pipe:close()
    assert.matches("cannot write to standard output", out, 1, true)
    assert.matches("code=1", out, 1, true)
  end)

  it("that is closed does no harm", function()
    local pipe = io.popen(("timeout 20 %s -e 'print(tcp.connect(\"127.0.0.1:9\").error) task.sleep(0.01)' >&- 2>&-; echo code=$?"):format(program))
    local out = pipe:read("a")
    pipe:close()
    assert.equal("code=0\n", out)
  end)
end)

describe("the virtual clock", function()
  it("lets a day of sleeping pass in no time", function()
    local code, out = run {"-e", [[
      sys.virtual_clock()
      local t0, w0 = task.now(), sys.time()
      task.sleep("24h")
      print(math.floor(task.now() - t0), math.floor(sys.time() - w0))
    ]]}
    assert.equal(0, code)
    assert.equal("86400\t86400\n", out)
  end)
end)
