-- Running a piece of Lua as a script: a fresh strict environment, `arg` and `...` as lua(1) sets
-- them, exit code 2 for a syntax error.

local budget = require "waddle.budget"
local env = require "waddle.env"
local source = require "waddle.source"
local sys = require "waddle.core.sys"

local run = {}

local USAGE, UNDELIVERED = 2, 3

--- text(text, chunk_name, name, argv) -> what the chunk returns. A syntax error is printed and
-- gives 2. `chunk_name` is as load takes it ("@file"), `name` becomes arg[0]. A chunk that returns a
-- command (waddle.cli) is run as one, so that a copied command runs like any script.
function run.text(text, chunk_name, name, argv)
  local names = env.new()
  names.arg = table.move(argv, 1, #argv, 1, {[0] = name})
  local chunk, err = load(text, chunk_name, "t", names)
  if not chunk then
    io.stderr:write("waddle: ", err, "\n")
    return USAGE
  end
  local value = chunk(table.unpack(argv))
  if type(value) == "table" and require("waddle.cli").is_command(value) then
    return value:main(argv)
  end
  return value
end

-- Told when the script ends by an error that nobody took. A wrong declaration is a message and another exit code; all else goes
-- on to become a traceback of the script.
local function explain_mistake(_, err)
  local site = package.loaded["waddle.site"]
  if site and site.is_mistake(err) then
    io.stderr:write("waddle: ", err, "\n")
    pcall(sys.exit, USAGE) -- sets the code; where the script has ended already it can do no more, and says so by an error
  end
end

--- script(text, chunk_name, name, argv) -> exit code: as text, for people's own scripts: then what they declared runs, and their
-- checks and thresholds decide. 2 for a wrong declaration, 3 for results that an uploader among the sinks could not deliver, 99
-- for a failed check or threshold. Raises what the script raised.
function run.script(text, chunk_name, name, argv)
  local guard <close> = setmetatable({}, {__close = explain_mistake}) -- luacheck: ignore 211
  budget.enforce()
  local value = run.text(text, chunk_name, name, argv)
  local site, scenario = package.loaded["waddle.site"], package.loaded["waddle.scenario"]
  local delivered = not site or site.run()
  local code = scenario and scenario.finish()
  if code and code > 0 then
    return code
  elseif not delivered then
    return UNDELIVERED
  end
  return value
end

-- Gives up what the settings say; false when that cannot be done as asked for, which is said.
local function confined(settings, text)
  local confine = require "waddle.confine"
  local pings = confine.may_ping(text)
  local said, message
  if settings.confine then
    local isolated = not settings.sandbox and text:find("isolate", 1, true) ~= nil and not require("waddle.isolate").inside()
    said, message = confine.apply(settings.confine, {icmp = pings, own_sockets = pings, isolated = isolated})
  end
  if settings.sandbox and not message then
    sys.log("info", said)
    said, message = require("waddle.sandbox").begin(settings.sandbox)
  end
  if message then
    io.stderr:write("waddle: run: ", message, "\n")
  elseif said then
    sys.log("info", said)
  end
  return not message
end

-- The text of a script; nil and a message when it cannot be read.
local function read(name)
  local file, err = io.stdin, nil
  if name ~= "-" then
    file, err = io.open(name, "rb")
  end
  local text
  if file then
    text, err = file:read("a")
  end
  if not text then
    local place = tostring(err):find(name, 1, true) == 1 and "" or (name == "-" and "standard input" or name) .. ": "
    return nil, place .. err
  end
  if name ~= "-" then
    file:close()
  end
  return text
end

-- A first line that begins with # is for the shell.
local function without_shebang(text)
  return (text:gsub("^#[^\n]*", "", 1))
end

--- file(name, argv [, settings]) -> exit code as script, 2 when it cannot be read. "-" is standard input. A first
-- line that begins with # is for the shell. `settings`: {confine=, sandbox=}, what these modules take, applied once the file is read.
function run.file(name, argv, settings)
  local text, err = read(name)
  if not text then
    io.stderr:write("waddle: run: ", err, "\n")
    return USAGE
  elseif settings and not confined(settings, text) then
    return USAGE
  elseif name ~= "-" then
    source.declare(name, argv)
  end
  return run.script(without_shebang(text), name == "-" and "=stdin" or "@" .. name, name, argv)
end

--- declare(name, argv): runs a file for what it declares, and runs nothing of that. Raises what it raises.
function run.declare(name, argv)
  local text, err = read(name)
  if not text then
    error(err, 0)
  end
  run.text(without_shebang(text), "@" .. name, name, argv)
end

return run
