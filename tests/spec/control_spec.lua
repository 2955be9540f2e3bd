-- The control socket: one line in, one line of JSON out, whatever the client does in between.

local control = require "waddle.control"
local json = require "waddle.json"
local listen = require "waddle.core.listen"
local program = require "tests.support.program"
local task = require "waddle.task"

describe("the control socket", function()
  local path, server

  before_each(function()
    path = os.tmpname()
    os.remove(path)
    server = assert(control.open {path = path, commands = {
      echo = function(...) return {...} end,
      slow = function()
        task.sleep(0.2)
        return "at last"
      end,
      raise = function() error("no such luck", 0) end,
      large = function() return ("x"):rep(1 << 20) end,
      odd = function() return function() end end,
    }})
  end)

  after_each(function() server:close() end)

  local function dial()
    return assert(listen.dial_unix(path))
  end

  local function ask_raw(conn)
    return json.decode((assert(conn:read_line(5))))
  end

  it("answers a command with what it returns", function()
    assert.same({"a", "b"}, control.ask(path, "echo a  b"))
    assert.equal(require("waddle.core").version, control.ask(path, "version"))
    assert.same({"echo", "help", "large", "odd", "raise", "slow", "version"}, control.ask(path, "help"))
  end)

  it("answers what went wrong in words", function()
    local function message_of(line)
      local value, message = control.ask(path, line)
      assert.is_nil(value)
      return message
    end
    assert.equal("no command 'ecoh'; did you mean 'echo'?", message_of "ecoh")
    assert.equal("an empty line; \"help\" lists the commands", message_of "")
    assert.equal("no such luck", message_of "raise")
    assert.matches("the answer cannot be said in JSON", message_of "odd", 1, true)
    assert.equal("no command 'constructor'", message_of "constructor")
  end)

  it("takes a line in as many writes as it comes in", function()
    local conn <close> = dial()
    for piece in ("echo in pieces\r\n"):gmatch(".") do
      assert(conn:write(piece))
      task.sleep(0)
    end
    assert.same({ok = true, value = {"in", "pieces"}}, ask_raw(conn))
  end)

  it("answers two questions of one write in their order", function()
    local conn <close> = dial()
    conn:write("slow\necho second\n")
    assert.equal("at last", ask_raw(conn).value)
    assert.same({"second"}, ask_raw(conn).value)
  end)

  it("serves clients side by side", function()
    local slow = task.spawn(control.ask, path, "slow")
    assert.same({"quick"}, control.ask(path, "echo quick"))
    assert.equal("waiting", slow:status())
    assert.equal("at last", slow:join())
  end)

  it("forgets a client that goes in the middle of a command, or before the answer", function()
    local conn = dial()
    conn:write("echo half a comm")
    conn:close()
    conn = dial()
    conn:write("slow\n")
    conn:close()
    conn = dial()
    conn:write("large\n")
    conn:close()
    assert.same({"still", "here"}, control.ask(path, "echo still here"))
  end)

  it("refuses a line of 10 MB without keeping it", function()
    local value, message = control.ask(path, "echo " .. ("x"):rep(10 << 20))
    assert.is_nil(value)
    assert.equal("line too long", message)
    assert.same({"on"}, control.ask(path, "echo on"))
  end)

  it("gives answers longer than its buffer", function()
    assert.equal(1 << 20, #control.ask(path, "large"))
  end)

  it("is not held up by clients that never read", function()
    local conn <close> = dial()
    conn:write("large\nlarge\nlarge\n")
    assert.same({"on"}, control.ask(path, "echo on"))
    assert.is_truthy(conn)
  end)

  it("lets a question have its time and no more", function()
    local value, message = control.ask(path, "slow", 0.05)
    assert.is_nil(value)
    assert.equal(path .. ": timeout", message)
    assert.error_matches(function() control.ask(path, "echo a\necho b") end, "expected one line")
  end)

  it("belongs to its owner alone and goes with its server", function()
    local _, out = program.sh("stat -c %a " .. path)
    assert.equal("600\n", out)
    server:close()
    assert.is_nil(io.open(path))
    local value, message = control.ask(path, "version")
    assert.is_nil(value)
    assert.equal(path .. ": No such file or directory", message)
  end)

  it("replaces the file that a killed program left, and no living one", function()
    local none, message = control.open {path = path, commands = {}}
    assert.is_nil(none)
    assert.matches("Address already in use", message, 1, true)
    server:close()
    local code = program.sh(("%s -e 'assert(require(\"waddle.control\").open {path = \"%s\", commands = {}}) task.sleep(1000)' & " ..
      "until [ -S %s ]; do sleep 0.01; done; kill -KILL $!; wait $! 2>/dev/null; test -S %s"):format(program.path, path, path, path))
    assert.equal(0, code)
    server = assert(control.open {path = path, commands = {}})
    assert.is_string(control.ask(path, "version"))
  end)
end)

describe("control.path", function()
  local function path(environment)
    local _, out = program.run({"-e", "print(require('waddle.control').path())"},
      "env -u WADDLE_CONTROL -u RUNTIME_DIRECTORY -u XDG_RUNTIME_DIR " .. environment)
    return (out:gsub("\n", ""))
  end

  it("is where the environment says", function()
    assert.equal("/run/waddle/control.sock", path "")
    assert.equal("/run/user/7/waddle.sock", path "XDG_RUNTIME_DIR=/run/user/7")
    assert.equal("/run/a/control.sock", path "RUNTIME_DIRECTORY=/run/a:/run/b XDG_RUNTIME_DIR=/run/user/7")
    assert.equal("/tmp/x", path "WADDLE_CONTROL=/tmp/x RUNTIME_DIRECTORY=/run/a")
    assert.equal("nil", path "WADDLE_CONTROL=none")
    assert.equal("nil", path "WADDLE_CONTROL=")
  end)
end)
