-- The control socket of a running waddle: a Unix socket, one line in, one line of JSON out.
-- A line is a command's name and its words: "status", "ps", "help". The answer is
-- {"ok":true,"value":...} or {"ok":false,"error":"..."}; the connection may ask again.

local core = require "waddle.core.listen"
local json = require "waddle.json"
local serve = require "waddle.serve"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"
local text = require "waddle.text"

local control = {}

local LONGEST_SILENCE = 30 -- seconds between two questions on one connection
local LARGEST_ANSWER = 64 << 20

--- Where the socket goes: WADDLE_CONTROL ("none" for no socket), else the runtime directory that
-- systemd or the session gives, else /run/waddle. nil for none.
function control.path()
  local set = sys.env "WADDLE_CONTROL"
  if set then
    return set ~= "none" and set ~= "" and set or nil
  end
  local systemd, session = sys.env "RUNTIME_DIRECTORY", sys.env "XDG_RUNTIME_DIR"
  local folder = systemd and systemd:match("^[^:]+") or session or "/run/waddle"
  return folder .. (systemd and "/control.sock" or session and "/waddle.sock" or "/control.sock")
end

local function answer(commands, line)
  local words = {}
  for word in line:gmatch("%S+") do
    words[#words + 1] = word
  end
  local name = table.remove(words, 1)
  if not name then
    return {ok = false, error = "an empty line; \"help\" lists the commands"}
  elseif not commands[name] then
    local near = require("waddle.nearest").find(name, commands)
    return {ok = false, error = ("no command '%s'%s"):format(name, near and ("; did you mean '" .. near .. "'?") or "")}
  end
  local ok, value = pcall(commands[name], table.unpack(words))
  if not ok then
    return {ok = false, error = tostring(value)}
  end
  return {ok = true, value = value}
end

--- commands(own) -> table of commands by name: `own`, and `version` and `help`, which every socket has.
function control.commands(own)
  local commands = {}
  for name, fn in pairs(own) do
    commands[name] = fn
  end
  commands.version = function() return require("waddle.core").version end
  commands.help = function()
    local names = {}
    for name in pairs(commands) do
      names[#names + 1] = name
    end
    table.sort(names)
    return names
  end
  return commands
end

--- answer(commands, line) -> the line of JSON that answers a line of any bytes, in UTF-8, without its end.
function control.answer(commands, line)
  local reply, err = json.encode(answer(commands, line))
  return text.utf8(reply or json.encode {ok = false, error = "the answer cannot be said in JSON: " .. err})
end

--- open{path=, commands={name=function(word...) return value end}} -> server | nil, message. The value
-- of a command is anything JSON can say; a command that raises answers with its message.
function control.open(opts)
  local commands = control.commands(opts.commands)
  return serve.unix {path = opts.path, deadline = 3600, handler = function(conn)
    while true do
      local line, why = conn:read_line(LONGEST_SILENCE)
      if not line then
        if why == "line too long" then
          conn:write(json.encode {ok = false, error = why} .. "\n", LONGEST_SILENCE)
        end
        return
      end
      if not conn:write(control.answer(commands, line) .. "\n", LONGEST_SILENCE) then
        return
      end
    end
  end}
end

-- A line of any length up to LARGEST_ANSWER, by `deadline` (task.now()).
local function read_answer(conn, deadline)
  local pieces, size = {}, 0
  repeat
    local bytes, why = conn:read(nil, math.max(0, deadline - task.now()))
    if not bytes then
      return nil, why
    end
    pieces[#pieces + 1] = bytes
    size = size + #bytes
    if size > LARGEST_ANSWER then
      return nil, "answer too long"
    end
  until bytes:find("\n", 1, true)
  return (table.concat(pieces):match("^[^\n]*"))
end

--- ask(path, line [, timeout]) -> value | nil, message: one question to a running waddle. `timeout` is
-- in seconds, 30 by default. Raises for more than one line.
function control.ask(path, line, timeout)
  if line:find("\n", 1, true) then
    error("control.ask: expected one line", 2)
  end
  local conn, err = core.dial_unix(path)
  if not conn then
    return nil, ("%s: %s"):format(path, err)
  end
  local guard <close> = conn -- luacheck: ignore 211
  local deadline = task.now() + (timeout or LONGEST_SILENCE)
  conn:write(line .. "\n", timeout or LONGEST_SILENCE) -- one that cannot be said may be refused in words: read on
  local line_back, why = read_answer(conn, deadline)
  if not line_back then
    return nil, ("%s: %s"):format(path, why)
  end
  local reply, bad = json.decode(line_back)
  if not reply then
    return nil, ("%s: %s"):format(path, bad)
  elseif not reply.ok then
    return nil, reply.error
  end
  return reply.value
end

return control
