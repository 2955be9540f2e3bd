-- What the command line means: which script runs, with which arguments, and how its end becomes an
-- exit code. Every command is a script; this file only finds it.

local budget = require "waddle.budget"
local core = require "waddle.core"
local run = require "waddle.run"
local sys = require "waddle.core.sys"

local USAGE = 2

local function complain(message)
  io.stderr:write("waddle: ", message, "\n")
  return USAGE
end

local function script_names()
  local names = {}
  for _, path in ipairs(core.files()) do
    names[#names + 1] = path:match("^scripts/([%w_-]+)%.lua$")
  end
  return names
end

--- Runs scripts/NAME.lua with its arguments.
local function run_command(name, argv)
  local path = "scripts/" .. name .. ".lua"
  local text = name:match("^[%w_-]+$") and core.source(path)
  if not text then
    local near = require("waddle.nearest").find(name, script_names())
    return complain(("no command '%s'%s; `waddle help` lists them"):format(name, near and (" (did you mean '" .. near .. "'?)") or ""))
  end
  return run.text(text, "=" .. path, name, argv)
end

-- Any user can read the command line of any process (ps): secrets in it are overwritten, now that we have them.
local function hide_secrets(words)
  if not table.concat(words, " "):find("[@:=]") then
    return -- there is none, as in most
  end
  for i, text in pairs(require("waddle.redact").arguments(words)) do
    require("waddle.core.confine").hide_argument(i, text)
  end
end

local isolated_targets -- the word, in a process of waddle.isolate, that stands in place of a command

local aliases = {["-h"] = "help", ["--help"] = "help", ["-V"] = "version", ["--version"] = "version"}

local function dispatch(first, ...)
  if first == nil then
    return run_command(sys.isatty(0) and sys.isatty(1) and "repl" or "agent", {})
  elseif first == "-e" then
    local code, rest = ..., {select(2, ...)}
    if not code then
      return complain("-e: expected a piece of Lua after it")
    end
    return run.script(code, "=(command line)", "-e", rest)
  elseif aliases[first] then
    return run_command(aliases[first], {...})
  elseif first == isolated_targets then
    return require("waddle.isolate").work(..., {select(2, ...)})
  elseif first:sub(1, 1) == "-" then
    return run_command("agent", {first, ...})
  end
  return run_command(first, {...})
end

-- The limits in front of the command, which win over those of the environment.
local function with_budget(first, ...)
  if first ~= "--budget" then
    return dispatch(first, ...)
  elseif not ... then
    return complain("--budget: expected a list such as cpu=5s,memory=1GiB after it")
  end
  local ok, message = budget.apply(..., "--budget")
  if not ok then
    return complain(message)
  end
  budget.flag = ...
  return dispatch(select(2, ...))
end

return function(_, first, ...)
  hide_secrets {first, ...}
  local set = sys.env "WADDLE_BUDGET"
  if set then
    local ok, message = budget.apply(set, "WADDLE_BUDGET")
    if not ok then
      return complain(message)
    end
  end
  if first == "--isolated" then -- what waddle.isolate starts
    isolated_targets = "--targets"
    return require("waddle.isolate").enter(with_budget, ...)
  end
  return with_budget(first, ...)
end
