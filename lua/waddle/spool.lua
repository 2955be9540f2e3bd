--- Looking into a spool and putting it in order: of the running agent by its control socket, else the file itself.
-- What must hold: what belongs to a running agent is only touched by it; a file that is not there is an empty spool, and is not made.

local json = require "waddle.json"
local show = require "waddle.spool_show"
local sys = require "waddle.core.sys"

local spool = {}

local PAGE = 500 -- rows of one question; what is listed never is in memory as a whole
local ANSWER_S = 60 -- for one question to a running agent: it may have to look through a large file

local function absolute(path)
  return path:sub(1, 1) == "/" and path or (sys.env "PWD" or ".") .. "/" .. path
end

--- Where the agent's results wait when nobody says where: in the folder that systemd or the image gives (STATE_DIRECTORY), else in
-- the user's (XDG_STATE_HOME, else ~/.local/state).
-- @param env function(name) -> value or nil
-- @return path, or nil where there is no such folder
function spool.default_place(env)
  local function set(name)
    local value = env(name)
    return value and value:sub(1, 1) == "/" and value or nil
  end
  local given, state = set "STATE_DIRECTORY", set "XDG_STATE_HOME"
  if given then
    return given:match("^[^:]+"):gsub("/*$", "") .. "/waddle.db"
  end
  local home = set "HOME"
  state = state or home and home:gsub("/*$", "") .. "/.local/state"
  return state and state:gsub("/*$", "") .. "/waddle/waddle.db" or nil
end

--- The file that was asked for, as an absolute path; "none" stays.
function spool.place(given, env)
  if given == nil or given == "" then
    return spool.default_place(env)
  end
  return given == "none" and given or absolute(given)
end

--- What a running agent answers to "spool WORD..." on its control socket; `core` is its uploader's native part.
function spool.commands(core)
  local commands = {}

  local function checked(value, more)
    if value == nil then
      error(more, 0)
    end
    return value, more
  end

  function commands.list(which, after, id)
    local rows, more = checked(core:ask {request = "list", quarantine = which == "quarantine", after = math.tointeger(tonumber(after)),
      id = id, most = PAGE})
    return {rows = json.array(rows), more = more}
  end

  function commands.requeue(_, id)
    return {changed = checked(core:ask {request = "requeue", id = id})}
  end

  function commands.purge(which, id)
    return {changed = checked(core:ask {request = "purge", quarantine = which == "quarantine", id = id})}
  end

  function commands.flush(seconds)
    local left = core:flush(tonumber(seconds))
    local status = core:status()
    return {left = left, in_flight = status.in_flight, sent = status.sent, state = status.state, last_error = status.last_error}
  end

  return function(word, ...)
    local run = commands[word or ""]
    if not run then
      error(("spool: no such request '%s'"):format(tostring(word)), 0)
    end
    return run(...)
  end
end

-- Both kinds answer ask(word, ...) with a table, or nil and a message.

local live = {}
live.__index = live

function live:ask(word, ...)
  local words = {"spool", word, ...}
  return require("waddle.control").ask(self.path, table.concat(words, " "), ANSWER_S)
end

function live.close() end

local file = {}
file.__index = file

function file:ask(word, ...)
  local ok, value = pcall(self.commands, word, ...)
  if not ok then
    return nil, value
  end
  return value
end

function file:close()
  self.core:close()
end

-- A file that is not there.
local nothing = {}
nothing.__index = nothing

function nothing.ask(_, word)
  return word == "list" and {rows = {}, more = false} or {changed = 0}
end

function nothing.close() end

local function is_there(path)
  local found, message, code = io.open(path, "rb")
  if found then
    found:close()
  end
  return found ~= nil, code ~= 2 and message or nil -- 2: ENOENT
end

--- Finds the running agent whose results wait in this file.
-- @param given the file that was asked for, or nil: then any running agent's spool is meant
-- @return client, or nil where none answers: a socket that nobody listens on is none
function spool.find_agent(given)
  local control = require "waddle.control"
  local path = control.path()
  local status = path and control.ask(path, "status", 5)
  local upload = type(status) == "table" and status.upload
  if not upload or given and absolute(given) ~= upload.spool then
    return nil
  end
  return setmetatable({path = path, file = upload.spool or "the memory of the running agent"}, live)
end

--- Opens the file itself.
-- @param path its path
-- @return client, or nil and a message: it cannot be read, or another process has it
function spool.open_file(path)
  local there, message = is_there(path)
  if not there then
    return not message and setmetatable({file = path, empty = true}, nothing) or nil, message
  end
  local core = require("waddle.core.spool").open(path)
  local client = setmetatable({core = core, file = path, commands = spool.commands(core)}, file)
  local fine, why = core:ask {request = "list", most = 0}
  if not fine then
    core:close()
    return nil, ("%s: %s"):format(path, why)
  end
  return client
end

--- Walks through rows, page by page.
-- @param client of find_agent or open_file
-- @param quarantine whether those that were set aside are meant
-- @param id only those of this id, or nil
-- @param fn called with each row, without secrets: {id=, number=, body=, tries=, put_at=, not_before=, status=, answer=, at=}
-- @return how many, or nil and a message
function spool.each(client, quarantine, id, fn)
  local count, after, more = 0, 0, true
  while more do
    local page, message = client:ask("list", quarantine and "quarantine" or "queue", tostring(after), id)
    if not page then
      return nil, message
    end
    for _, row in ipairs(page.rows) do
      fn(show.row(row))
      after = row.number
    end
    count, more = count + #page.rows, page.more and #page.rows > 0
  end
  return count
end

return spool
