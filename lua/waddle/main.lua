-- What the command line means: which script runs, with which arguments, and how its end becomes an
-- exit code. Every command is a script; this file only finds it.

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

local aliases = {["-h"] = "help", ["--help"] = "help", ["-V"] = "version", ["--version"] = "version"}

return function(_, first, ...)
  hide_secrets {first, ...}
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
  elseif first:sub(1, 1) == "-" then
    return run_command("agent", {first, ...})
  end
  return run_command(first, {...})
end
