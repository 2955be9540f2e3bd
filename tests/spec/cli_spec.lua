-- The commands seen from a shell: what goes to which stream, in which form, and how they end.

local core = require "waddle.core"
local json = require "waddle.json"
local program = require "tests.support.program"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"

-- Every script there is, and what it is to be called with when a server answers at HOST:PORT.
local commands = {}
for _, path in ipairs(core.files()) do
  commands[#commands + 1] = path:match("^scripts/([%w_-]+)%.lua$")
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = line
  end
  return list
end

describe("a probe command", function()
  local server, open, closed

  before_each(function()
    local other <close> = serve.tcp {handler = function() end}
    server = serve.tcp {handler = function(conn) conn:read(1, 10) end}
    open, closed = "127.0.0.1:" .. server.port, "127.0.0.1:" .. other.port
  end)

  after_each(function() server:close() end)

  it("ends with 0 when all succeed, 1 when one fails, 2 for bad usage", function()
    assert.equal(0, (program.run {"tcp", open}))
    assert.equal(0, (program.run {"tcp", open, open}))
    assert.equal(1, (program.run {"tcp", closed}))
    assert.equal(1, (program.run {"tcp", open, closed, open}))
    for _, words in ipairs {{"tcp"}, {"tcp", "--nonsense", open}, {"tcp", open, "--timeout", "soon"}, {"tcp", "nowhere:99999"}, {"tcp", open, "-4", "-6"},
      {"tcp", open, "--json", "--jsonl"}, {"tcp", open, "--insecure"}, {"ping", "-c", "many", "127.0.0.1"}, {"ping", "-c", "0", "127.0.0.1"},
      {"udp", open, "-s", "999999"}, {"dns", "example.test", "--type", "NONSENSE"}, {"completion", "csh"}, {"nonsense"}, {"help", "nonsense"}} do
      local code, out, err = program.run(words)
      local said = table.concat(words, " ")
      assert.equal(2, code, said)
      assert.equal("", out, said)
      assert.matches("^waddle", err, said)
      assert.is_nil(err:find("traceback", 1, true), said .. "\n" .. err)
      assert.is_nil(err:find("lua/waddle", 1, true), said .. "\n" .. err)
    end
  end)

  it("sends nothing when one of its targets is no target", function()
    local asked = false
    local counting <close> = serve.tcp {handler = function() asked = true end}
    local code, _, err = program.run {"tcp", "127.0.0.1:" .. counting.port, "127.0.0.1:port"}
    assert.equal(2, code)
    assert.matches("127.0.0.1:port", err, 1, true)
    assert.is_false(asked)
  end)

  it("prints one JSON document: an object for one target, a list for several", function()
    local code, out, err = program.run {"tcp", "--json", open}
    assert.equal(0, code)
    assert.equal("", err)
    local result = assert(json.decode(out))
    assert.equal(open, result.target)
    assert.is_true(result.success)
    code, out = program.run {"tcp", "--json", open, closed, open}
    assert.equal(1, code)
    local results = assert(json.decode(out))
    assert.equal(3, #results)
    assert.is_true(results[1].success)
    assert.equal("connection_refused", results[2].error)
    assert.is_nil(results[2].latency_ms)
    assert.equal(open, results[3].target)
  end)

  it("prints a line of JSON a target", function()
    local code, out = program.run {"tcp", "--jsonl", open, closed}
    assert.equal(1, code)
    local seen = {}
    for _, line in ipairs(lines(out)) do
      local result = assert(json.decode(line))
      seen[result.target] = result.success
    end
    assert.equal(2, #lines(out))
    assert.same({[open] = true, [closed] = false}, seen)
  end)

  it("prints each target once for people, and nothing on stderr", function()
    local code, out, err = program.run {"tcp", open, closed}
    assert.equal(1, code)
    assert.equal("", err)
    assert.equal(2, #lines(out))
    assert.matches("✓ " .. open, out, 1, true)
    assert.matches("✗ " .. closed, out, 1, true)
    assert.matches("connection refused", (out:gsub("_", " ")))
  end)

  it("takes the time, the family and the source it is given", function()
    local code, out = program.run {"tcp", "--json", "-6", "--timeout", "1s", open}
    assert.equal(1, code)
    assert.is_false(json.decode(out).success)
    code, out = program.run {"tcp", "--json", "--source", "127.0.0.9", open}
    assert.equal(0, code, out)
    local began = require("waddle.task").now()
    local silent <close> = serve.tcp {handler = function(conn) conn:read(1, 10) end}
    code, out = program.run {"ssh", "--json", "--timeout", "300ms", "127.0.0.1:" .. silent.port}
    assert.equal(1, code)
    assert.equal("timeout", json.decode(out).error)
    assert.is_true(require("waddle.task").now() - began < 5)
  end)

  it("ends with 130 on Ctrl-C", function()
    local asked = false
    local silent <close> = serve.tcp {handler = function(conn)
      asked = true
      conn:read(1, 10)
    end}
    local base = os.tmpname()
    local wait = program.start(("env --default-signal=INT %s ssh --timeout 10 127.0.0.1:%d & until [ -s %s ]; do sleep 0.01; done; kill -INT $!; wait $!")
      :format(program.path, silent.port, base))
    spec.eventually(function() return asked end)
    local file = io.open(base, "w")
    file:write("now")
    file:close()
    assert.equal(130, (wait()))
    os.remove(base)
  end)

  it("goes on where nobody reads what it prints", function()
    assert.equal(0, (program.sh(("%s tcp --jsonl %s | true"):format(program.path, open))))
  end)
end)

describe("colours", function()
  local server

  before_each(function() server = serve.tcp {handler = function(conn) conn:read(1, 10) end} end)
  after_each(function() server:close() end)

  -- What the command prints on a terminal, which script(1) makes.
  local function on_terminal(before)
    if program.sh("command -v script >/dev/null") ~= 0 then
      spec.skip("no script(1) on this machine: it makes the terminal")
    end
    local _, out = program.sh(("env -u NO_COLOR TERM=xterm %s script -qec '%s tcp 127.0.0.1:%d' /dev/null"):format(before, program.path, server.port))
    return out
  end

  it("are for terminals alone", function()
    assert.matches("\27[", on_terminal "", 1, true)
    local _, out = program.run({"tcp", "127.0.0.1:" .. server.port}, "env -u NO_COLOR TERM=xterm")
    assert.is_nil(out:find("\27", 1, true))
  end)

  it("are left out with NO_COLOR and on a dumb terminal", function()
    assert.is_nil(on_terminal("NO_COLOR=1"):find("\27[", 1, true))
    assert.is_truthy(on_terminal("NO_COLOR="):find("\27[", 1, true)) -- empty is as good as not set
    assert.is_nil(on_terminal("TERM=dumb"):find("\27[", 1, true))
  end)
end)

describe("every command", function()
  it("shows its usage and examples with --help, on stdout, ending with 0", function()
    assert.is_true(#commands >= 14)
    for _, name in ipairs(commands) do
      for _, flag in ipairs {"--help", "-h"} do
        local code, out, err = program.run {name, flag}
        assert.equal(0, code, name)
        assert.equal("", err, name)
        assert.matches("[Uu]sage: waddle " .. name, out)
        assert.matches("\nexamples:\n  [%w_=,:/. ]*waddle " .. name, out, name)
      end
    end
  end)

  it("names flags in its examples that it has", function()
    for _, name in ipairs(commands) do
      local _, out = program.run {name, "--help"}
      out = name == "run" and "\nexamples:" or out -- those of `run` are the script's
      local usage, examples = out:match("^(.*)\nexamples:(.*)$")
      for line in (usage:match "\nCommands:\n(.*)" or ""):gmatch "[^\n]+" do
        local sub = line:match "^   (%w+)"
        usage = sub and usage .. select(2, program.run {name, sub, "--help"}) or usage
      end
      for flag in examples:gmatch("%s(%-%-[%w-]+)") do
        assert.is_truthy(usage:find(flag, 1, true), ("waddle %s: the example's %s is no flag"):format(name, flag))
      end
    end
  end)

  it("is in the overview", function()
    local code, out = program.run {"help"}
    assert.equal(0, code)
    for _, name in ipairs(commands) do
      assert.matches(name, out, 1, true)
    end
    assert.equal(out, select(2, program.run {"--help"}))
  end)
end)

describe("waddle version", function()
  it("names the program, and with -v its libraries", function()
    local code, out = program.run {"version"}
    assert.equal(0, code)
    assert.equal("waddle " .. core.version .. "\n", out)
    assert.equal(out, select(2, program.run {"--version"}))
    code, out = program.run {"version", "-v"}
    assert.equal(0, code)
    for _, name in ipairs {"Lua", "libuv", "libcurl", "OpenSSL", "c%-ares", "ldns", "libmicrohttpd", "libedit", "SQLite"} do
      assert.matches("\n  " .. name .. " +[%w/]*%d+%.%d+", out)
    end
    assert.matches("\n  HTTP/3 +%l%l", out)
  end)
end)

describe("completion", function()
  local checks = {bash = "bash -n", zsh = "zsh -n", fish = "fish --no-execute"}

  for shell, check in pairs(checks) do
    it("of " .. shell .. " is a script that it can read", function()
      local code, out = program.run {"completion", shell}
      assert.equal(0, code)
      for _, name in ipairs(commands) do
        assert.matches(name, out, 1, true)
      end
      assert.matches("jsonl", out, 1, true)
      if program.sh("command -v " .. shell .. " >/dev/null") ~= 0 then
        spec.skip("no " .. shell .. " on this machine to read it with")
      end
      local name = os.tmpname()
      local file = io.open(name, "w")
      file:write(out)
      file:close()
      local status, _, err = program.sh(check .. " " .. name)
      os.remove(name)
      assert.equal(0, status, err)
    end)
  end

  it("of bash completes commands and flags", function()
    local name = os.tmpname()
    program.sh(("%s completion bash >%s"):format(program.path, name))
    local function complete(line, word)
      local _, out = program.sh(("exec bash -c 'source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _waddle; echo ${COMPREPLY[*]}'"):format(name, line, word))
      return out:gsub("\n", "")
    end
    assert.equal("reflect repl", (complete("waddle re", 1)))
    assert.equal("--json --jsonl", (complete("waddle tcp --js", 2)))
    assert.equal("--allow-net", (complete("waddle run --allow-n", 2)))
    assert.equal("--isolate", (complete("waddle run --iso", 2)))
    os.remove(name)
  end)
end)
