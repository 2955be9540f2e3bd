-- The prompt as a person meets it: under tmux, keys in, screen out.

local program = os.getenv "WADDLE" or "build/waddle"
local json = require "waddle.json"
local spec = require "tests.support.spec"
local task = require "waddle.task"

local function shell(command)
  local pipe = io.popen(command .. " 2>&1")
  local out = pipe:read("a")
  return out, pipe:close()
end

local has_tmux = select(2, shell("command -v tmux"))
local socket = "waddle-spec-" .. tostring(math.random(1e9))
local home

local function tmux(words)
  return (shell("tmux -L " .. socket .. " " .. words))
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function type_line(text)
  tmux("send-keys -l " .. quoted(text))
  tmux("send-keys Enter")
end

-- Waits until the screen shows the text (plain); fails with the screen after five seconds.
local function expect_screen(text)
  local screen
  for _ = 1, 250 do
    screen = tmux("capture-pane -p -S -200")
    if screen:find(text, 1, true) then
      return screen
    end
    task.sleep(0.02)
  end
  error("the screen never showed " .. json.encode(text) .. ":\n" .. screen, 2)
end

-- `more` is set in the session's environment besides: NAME=VALUE words.
local function start(more)
  home = (shell("mktemp -d")):gsub("%s+$", "")
  shell("mkdir -p " .. home .. "/.local/state")
  tmux("new-session -d -x 100 -y 40 " .. quoted("env -u XDG_STATE_HOME HOME=" .. home .. " LANG=C.UTF-8 NO_COLOR=1 " .. (more or "") .. " " .. program .. " repl; echo code=$?; sleep 20"))
  expect_screen("waddle>")
end

local function leave()
  tmux("kill-server")
  shell("rm -rf " .. home)
end

-- Leaves the session as a person would, so that it ends before its terminal does.
local function stop()
  tmux("send-keys C-c")
  tmux("send-keys C-d")
  pcall(expect_screen, "code=")
  leave()
end

describe("the prompt", function()
  if not has_tmux then
    pending("tmux is not installed")
    return
  end

  before_each(function() start() end)
  after_each(stop)

  it("prints values, and keeps globals from line to line", function()
    type_line("x = {a_ms = 1.5}")
    type_line("x")
    expect_screen("a_ms  1.50ms")
    type_line("6 * 7")
    expect_screen("\n42\n")
  end)

  it("takes input of several lines", function()
    type_line("for i = 8, 9 do")
    expect_screen("     ..")
    type_line("print('line ' .. i)")
    type_line("end")
    expect_screen("line 8\nline 9\n")
  end)

  it("cancels what waits on Ctrl-C and keeps the session", function()
    type_line("task.sleep(1000)")
    task.sleep(0.1)
    tmux("send-keys C-c")
    expect_screen("interrupted")
    type_line("'still ' .. 'here'")
    expect_screen('"still here"')
  end)

  it("cancels pure Lua on Ctrl-C and keeps the session", function()
    type_line("while true do pcall(function() while true do end end) end")
    task.sleep(0.1)
    tmux("send-keys C-c")
    expect_screen("interrupted")
    type_line("'still ' .. 'here'")
    expect_screen('"still here"')
  end)

  it("throws a half-typed line away on Ctrl-C", function()
    tmux("send-keys -l 'nonsense('")
    expect_screen("nonsense(")
    tmux("send-keys C-c")
    type_line("1 + 1")
    expect_screen("\n2\n")
  end)

  it("completes names", function()
    tmux("send-keys -l 'task.sl'")
    tmux("send-keys Tab")
    expect_screen("task.sleep")
  end)

  it("prints what background tasks say above the prompt", function()
    type_line("do task.spawn(function() task.sleep(0.3) print('from behind') end) end")
    tmux("send-keys -l 'half typed'")
    local screen = expect_screen("\nfrom behind")
    assert.matches("from behind\nwaddle> half typed", screen, 1, true)
  end)

  it("tells errors with their place, and misspelt names the nearest", function()
    type_line("error('went wrong')")
    expect_screen("prompt:1: went wrong")
    type_line("tsak.sleep(1)")
    expect_screen("did you mean 'task'?")
  end)

  it("has help for probes, modules and functions", function()
    type_line("help task.map")
    expect_screen("{concurrency=16}")
    type_line("help tsak")
    expect_screen("did you mean 'task'?")
  end)

  it("leaves on Ctrl-D with 0, and remembers its lines", function()
    type_line("'remember me'")
    expect_screen('"remember me"')
    tmux("send-keys C-d")
    expect_screen("code=0")
    local file = assert(io.open(home .. "/.local/state/waddle_history"))
    assert.matches("remember", file:read("a"))
    file:close()
  end)
end)

describe("the prompt whose terminal goes away", function()
  it("ends", function()
    if not has_tmux then
      pending("tmux is not installed")
    end
    start("ASAN_OPTIONS=detect_leaks=0") -- its helper process would be hung up, too, and leave it waiting for ever
    type_line("'pid ' .. io.open('/proc/self/stat'):read('n') .. '.'")
    local pid = expect_screen('"pid '):match('"pid (%d+)')
    leave()
    spec.eventually(function() return not io.open("/proc/" .. pid .. "/stat") end)
  end)
end)

describe("help", function()
  local help = require "waddle.help"

  it("knows every name that completion offers", function()
    for _, name in ipairs(help.names()) do
      local text, err = help.about(name)
      assert.is_truthy(text, err)
    end
  end)

  it("lists what a module has, each with a line", function()
    local text = help.about "dns"
    assert.matches("dns.query +asks a name server", text)
    assert.matches("sys.exit +exit%(%[code%]%)", (help.about "sys"))
    assert.matches("method GET", (help.about "http.get"))
  end)
end)

describe("the prompt without a terminal", function()
  it("answers statements from a pipe, and fails when one of them did", function()
    local out, ok = shell("printf '1+1\\nfor i=1,2 do\\nprint(i)\\nend\\n' | timeout 20 " .. program .. " repl")
    assert.equal("2\n1\n2\n", out)
    assert.is_true(ok)
    out, ok = shell("printf 'error(\"x\")\\n2\\n' | timeout 20 " .. program .. " repl")
    assert.matches("prompt:1: x", out, 1, true)
    assert.matches("\n2\n", out, 1, true)
    assert.is_nil(ok)
  end)

  it("waits for the rest of an expression, too", function()
    local out, ok = shell("printf '1 +\\n2\\n' | timeout 20 " .. program .. " repl")
    assert.equal("3\n", out)
    assert.is_true(ok)
  end)

  it("tells a slip on the line itself without a traceback, and one in a function with it", function()
    local out = shell("printf 'icmp.ping(\"x\", {cuont = 1})\\n' | timeout 20 " .. program .. " repl")
    assert.equal("prompt:1: icmp.ping: unknown field 'cuont'; did you mean 'count'?\n", out)
    out = shell("printf 'function f() error(\"deep\") end\\nf()\\n' | timeout 20 " .. program .. " repl")
    assert.matches("prompt:1: deep\nstack traceback:", out, 1, true)
  end)

  it("takes help for a function that it is not", function()
    for _, line in ipairs {"help http.get", "help 'http.get'", "help(\"http.get\")"} do
      local out = shell("printf '%s\\n' " .. quoted(line) .. " | timeout 20 " .. program .. " repl")
      assert.matches("^get%(url", out)
    end
  end)

  it("takes /dev/null for an empty session", function()
    local out, ok = shell("timeout 20 " .. program .. " repl < /dev/null")
    assert.equal("", out)
    assert.is_true(ok)
  end)
end)
