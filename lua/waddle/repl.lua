-- The prompt: reads Lua, runs it as a task in one environment that lasts, prints what comes back.
-- Ctrl-C ends what runs and keeps the session; Ctrl-D at an empty prompt leaves.

local budget = require "waddle.budget"
local cli = require "waddle.cli"
local core = require "waddle.core"
local env = require "waddle.env"
local help = require "waddle.help"
local inspect = require "waddle.inspect"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local repl = {}

local PROMPT, MORE = "waddle> ", "     .. "
local LONGEST_QUESTION = 200 -- for help; the patterns that tell one take cubic time on blanks

--- compile(source, scope) -> function | nil, message, incomplete: a piece of input as an expression
-- whose values are printed, else as statements; `incomplete` when more lines may complete it.
function repl.compile(source, scope)
  local chunk, wrong = load("return " .. source, "=prompt", "t", scope)
  if chunk then
    return chunk
  end
  local statements, err = load(source, "=prompt", "t", scope)
  return statements, err, err and (wrong:sub(-5) == "<eof>" or err:sub(-5) == "<eof>")
end

--- failure(text) -> what to show of an error with its traceback: nothing of waddle's own frames, and no traceback at all where
-- everything happened on the line that was typed.
function repl.failure(text)
  local message, trace = text:match("^(.-)\nstack traceback:\n(.*)$")
  if not message then
    return text
  end
  trace = trace:gsub("\n?%s*%[C%]: in function 'xpcall'.*$", "")
  for line in trace:gmatch("[^\n]+") do
    if not line:match("^%s*%[C%]:") and not line:match("^%s*lua/waddle/") and not line:match("^%s*prompt:%d+: in main chunk") then
      return message .. "\nstack traceback:\n" .. trace
    end
  end
  return message
end

-- Runs a chunk as a foreground task and gives the text to print and whether it succeeded.
local function evaluate(session, chunk)
  local running = task.spawn(function() return table.pack(xpcall(chunk, debug.traceback)) end)
  task.foreground(running)
  session.running = running
  local joined, values = pcall(running.join, running)
  session.running = nil
  if not joined then
    return (budget.is_over(values) and values or "interrupted") .. "\n", false
  elseif not values[1] then
    return repl.failure(tostring(values[2])) .. "\n", false
  end
  local out = {}
  for i = 2, values.n do
    out[#out + 1] = inspect.value(values[i], cli.layout())
  end
  return table.concat(out), true
end

--- help(line) -> text | nil where the line is no question for help: "help", "help NAME", "help 'NAME'" and "help('NAME')" are what people
-- type, Lua or not.
function repl.help(line)
  if #line > LONGEST_QUESTION then
    return nil
  end
  local name = line:match("^%s*help%s*%(?%s*%)?%s*$") and "" or line:match("^%s*help%s+[\"']?([%w_.]+)[\"']?%s*$")
    or line:match("^%s*help%s*%(?%s*[\"']([%w_.]+)[\"']%s*%)?%s*$")
  if name then
    local found, err = help.about(name, cli.layout())
    return found or err .. "\n"
  end
end

local function history_file()
  local home = sys.env "XDG_STATE_HOME" or sys.env "HOME" and sys.env "HOME" .. "/.local/state"
  if not home or home:sub(1, 1) ~= "/" then
    return nil
  end
  local name = home .. "/waddle_history"
  local file = io.open(name, "a") -- where this fails the session simply has no history
  return file and file:close() and name
end

local function word_list(scope)
  local words = help.names()
  for name in pairs(scope) do
    words[#words + 1] = tostring(name)
  end
  for _, word in ipairs {"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "help", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"} do
    words[#words + 1] = word
  end
  for _, name in ipairs {"string", "table", "math", "os", "io", "coroutine", "utf8"} do
    for key in pairs(_G[name]) do
      words[#words + 1] = name .. "." .. key
    end
  end
  table.sort(words)
  return words
end

-- In a session a spawned task outlives the line that spawned it; its failure is told above the prompt.
local function session_tasks(session, tell)
  local names = setmetatable({}, {__index = require "waddle.task"})
  function names.spawn(fn, ...)
    return task.spawn_under(session.root, function(...)
      local values = table.pack(xpcall(fn, debug.traceback, ...))
      if not values[1] then
        tell("a task failed: " .. tostring(values[2]) .. "\n")
        error(values[2], 0)
      end
      return table.unpack(values, 2, values.n)
    end, ...)
  end
  return names
end

-- Signals go to what runs; SIGTERM ends the session.
local function watch_signals(session)
  while true do
    local name = sys.signal()
    if name == "TERM" then
      return sys.exit(130)
    elseif name == "INT" and session.running then
      session.running:cancel()
    elseif name == "INT" and session.reader then
      session.interrupted = true
      session.reader:cancel()
    end
  end
end

-- Reads one line as a task of its own, so that Ctrl-C can throw it away. nil at the end of input,
-- false when interrupted.
local function read_line(session, edit, prompt)
  session.interrupted = false
  session.reader = task.spawn(edit.line, prompt)
  local ok, line = pcall(session.reader.join, session.reader)
  session.reader = nil
  if not ok and not session.interrupted then
    error(line, 0)
  end
  if ok then
    return line
  end
  return false
end

local function prompt_loop(session, scope)
  local edit = require "waddle.core.edit"
  local history = history_file()
  if history then
    edit.recall(history)
  end
  edit.log_above()
  scope.print = function(...)
    local words = table.pack(...)
    for i = 1, words.n do
      words[i] = tostring(words[i])
    end
    edit.above(table.concat(words, "\t") .. "\n")
  end
  scope.task = session_tasks(session, edit.above)
  task.spawn(watch_signals, session)
  edit.above(("waddle %s, %s; help for help, Ctrl-D to leave"):format(core.version, _VERSION))
  local pending
  while true do
    edit.words(word_list(scope))
    local line = read_line(session, edit, pending and MORE or PROMPT)
    if line == nil then
      return 0
    elseif line == false then
      pending = nil
    elseif pending or line:match("%S") then
      local source = pending and pending .. "\n" .. line or line
      local helped = not pending and repl.help(line)
      local chunk, err, incomplete
      if not helped then
        chunk, err, incomplete = repl.compile(source, scope)
      end
      pending = incomplete and source or nil
      if not incomplete then
        edit.remember((source:gsub("\n", " ")), history)
        edit.above(helped or chunk and evaluate(session, chunk) or err .. "\n")
      end
    end
  end
end

-- Without a terminal: statements from a pipe or a file, the same answers, 1 when one of them failed.
local function pipe_loop(session, scope)
  local pending, code = nil, 0
  scope.task = session_tasks(session, function(message)
    io.stderr:write(message)
    code = 1
  end)
  for line in io.lines() do
    local source = pending and pending .. "\n" .. line or line
    local helped = not pending and repl.help(line)
    local chunk, err, incomplete
    if not helped then
      chunk, err, incomplete = repl.compile(source, scope)
    end
    pending = incomplete and source or nil
    if helped then
      io.write(helped)
    elseif chunk then
      local out, ok = evaluate(session, chunk)
      code = ok and code or 1
      io[ok and "stdout" or "stderr"]:write(out)
    elseif not incomplete then
      io.stderr:write(err, "\n")
      code = 1
    end
    io.flush()
  end
  if pending then
    io.stderr:write("the last statement is not complete\n")
    code = 1
  end
  return code
end

--- run(): a session on standard input and output.
function repl.run()
  budget.enforce()
  local session, scope = {root = task.current()}, env.new()
  local loop = sys.isatty(0) and sys.isatty(1) and prompt_loop or pipe_loop
  sys.exit(loop(session, scope)) -- background tasks that failed have been told of: they do not fail the session
end

return repl
