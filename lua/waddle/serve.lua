-- Listeners for scripts: TCP, UDP, Unix and HTTP servers whose handlers are tasks. A server ends with
-- the task that opened it, with server:close(), or as a to-be-closed variable.
-- Limits against slow and greedy clients: connections at once, in all and of one address, a time for
-- each, sizes.

local core = {
  listen = require "waddle.core.listen",
  datagram = require "waddle.core.datagram",
  httpd = require "waddle.core.httpd",
}
local duration = require "waddle.duration"
local task = require "waddle.core.task"

local serve = {}

local PAUSE_S = 0.1 -- before the next client, where one could not be taken
local FAULTS_IN_A_ROW = 100 -- then it is no misfortune any more

local server = {}
server.__index = server

--- server:close(): stops listening; connections and handlers end.
function server:close()
  self.listener:close()
  self.worker:cancel()
end

server.__close = server.close

local function log_error(what, err)
  require("waddle.core.sys").log("error", ("%s: handler failed: %s"):format(what, tostring(err)))
end

-- Integer options: least and most.
local RANGES = {port = {0, 65535}, connections = {1, 1000000}, per_client = {0, 1000000}, mode = {0, 511}}

-- Why a value cannot be an option whose default is `default`, or nil; `deadline` may be text.
local function misfit(key, value, default)
  if key == "deadline" then
    return select(2, duration.parse(value))
  elseif RANGES[key] then
    local least, most = table.unpack(RANGES[key])
    local n = math.type(value) == "integer" and value
    if not n or n < least or n > most then
      return ("expected an integer from %d to %d, got %s"):format(least, most, tostring(value))
    end
  elseif type(value) ~= type(default) then
    return ("expected a %s, got %s"):format(type(default), type(value))
  end
end

local function read_options(what, opts, known)
  if type(opts) ~= "table" then
    error(("%s: expected a table of options, got %s"):format(what, type(opts)), 3)
  end
  local o = {}
  for key, default in pairs(known) do
    o[key] = default
  end
  for key, value in pairs(opts) do
    if key ~= "handler" and known[key] == nil then
      local near = require("waddle.nearest").find(tostring(key), known)
      error(("%s: unknown field '%s'%s"):format(what, tostring(key), near and ("; did you mean '" .. near .. "'?") or ""), 3)
    end
    local why = key ~= "handler" and misfit(key, value, known[key])
    if why then
      error(("%s: field '%s': %s"):format(what, key, why), 3)
    end
    o[key] = value
  end
  o.deadline = o.deadline and duration.parse(o.deadline)
  if type(o.handler) ~= "function" then
    error(("%s: field 'handler': expected a function, got %s"):format(what, type(o.handler)), 3)
  end
  return o
end

-- `step(listener)` waits for one client and hands it on; it gives whether there may be more. One that fails (there was no memory) is one client's
-- misfortune.
local function start(listener, err, what, place, step)
  if not listener then
    return nil, ("%s: cannot listen on %s: %s"):format(what, place, err)
  end
  local self = setmetatable({listener = listener}, server)
  self.worker = task.spawn(function()
    local guard <close> = listener -- luacheck: ignore 211
    local faults = 0
    while true do
      local ok, more = pcall(step, listener)
      if ok and not more then
        return
      elseif ok then
        faults = 0
      else
        faults = faults + 1
        if faults == FAULTS_IN_A_ROW then
          error(more, 0)
        end
        pcall(log_error, what, more)
        pcall(task.sleep, PAUSE_S)
      end
    end
  end)
  return self
end

local function hold(held, deadline, fn, ...)
  task.spawn(function(...)
    local guard <close> = held -- luacheck: ignore 211
    task.wait({task.spawn(fn, ...)}, deadline)
  end, ...)
end

-- Runs fn(...) in a task of its own for at most `deadline` seconds; then, or when it ends, or cannot begin, lets go of `held`.
local function bounded(held, ...)
  local ok, err = pcall(hold, held, ...)
  if not ok then
    local guard <close> = held -- luacheck: ignore 211
    error(err, 0)
  end
end

-- Accepts until the listener closes; each connection gets a task and at most `deadline` seconds.
local function accept_loop(what, o)
  local open = {} -- connections by the client's address
  local function handle(conn, peer)
    local counted <close> = setmetatable({}, {__close = function() -- luacheck: ignore 211
      open[peer] = open[peer] > 1 and open[peer] - 1 or nil
    end})
    local ok, failure = xpcall(o.handler, debug.traceback, conn)
    if not ok then
      log_error(what, failure)
    end
  end
  return function(listener)
    local conn, err = listener:accept()
    if conn then
      local peer = conn:peer()
      local count = open[peer] or 0
      if o.per_client and o.per_client > 0 and count >= o.per_client then
        conn:close()
      else
        bounded(conn, o.deadline, handle, conn, peer)
        open[peer] = count + 1
      end
    elseif err ~= "closed" then
      require("waddle.core.sys").log("warning", ("%s: accept: %s"):format(what, err))
      task.sleep(PAUSE_S) -- out of descriptors: let some be closed
    end
    return err ~= "closed"
  end
end

--- serve.tcp{address="127.0.0.1", port=0, connections=1000, per_client=0 (no limit of its own),
-- deadline=60, certificate=, key= (PEM: TLS), handler=function(conn) end} -> server {address, port} | nil,
-- message. Each connection is handled in a task of its own and closed when the handler returns or after
-- `deadline` seconds. More connections than `connections` wait; more of one address are closed. conn:read([most [, timeout]]) -> bytes | nil, why;
-- conn:read_line([timeout]); conn:write(bytes [, timeout]); conn:finish() sends our end; conn:close();
-- conn:reset() closes with an RST; conn:peer() -> address, port.
function serve.tcp(opts)
  local o = read_options("serve.tcp", opts,
    {address = "127.0.0.1", port = 0, connections = 1000, per_client = 0, deadline = 60, certificate = "", key = ""})
  if (o.certificate == "") ~= (o.key == "") then
    error("serve.tcp: certificate and key go together", 2)
  end
  local secure = o.certificate ~= ""
  local listener, err = core.listen.tcp(o.address, o.port, o.connections, secure and o.certificate or nil, secure and o.key or nil)
  local self, message = start(listener, err, "serve.tcp", o.address .. " port " .. o.port, accept_loop("serve.tcp", o))
  if not self then
    return nil, message
  end
  self.address, self.port = listener:address()
  return self
end

--- serve.unix{path=, mode=384, connections=16, deadline=60, handler=function(conn) end}: a Unix socket
-- with the given permission bits (0600 unless said otherwise); a left-over socket file is replaced.
function serve.unix(opts)
  local o = read_options("serve.unix", opts, {path = "", mode = 384, connections = 16, deadline = 60})
  local listener, err = core.listen.unix(o.path, o.mode, o.connections)
  local self, message = start(listener, err, "serve.unix", o.path, accept_loop("serve.unix", o))
  if not self then
    return nil, message
  end
  self.path = o.path
  return self
end

--- serve.udp{address="127.0.0.1", port=0, handler=function(bytes, address, port) return answer end}
-- -> server {address, port, send=} | nil, message. What the handler returns goes back to the sender;
-- server:send(bytes, address, port) sends anything else. One datagram is handled after the other.
function serve.udp(opts)
  local o = read_options("serve.udp", opts, {address = "127.0.0.1", port = 0})
  local socket, err = core.datagram.open(o.address, o.port)
  local self, message = start(socket, err, "serve.udp", o.address .. " port " .. o.port, function()
    local bytes, from, port = socket:receive()
    if bytes then
      local ok, answer = xpcall(o.handler, debug.traceback, bytes, from, port)
      if not ok then
        log_error("serve.udp", answer)
      elseif answer then
        socket:send(answer, from, port)
      end
    end
    return bytes or from ~= "closed"
  end)
  if not self then
    return nil, message
  end
  self.address, self.port = socket:address()
  function self.send(_, ...)
    return socket:send(...)
  end
  return self
end

local function answer_request(handler, request)
  local ok, failure = xpcall(function()
    local answer = handler(request)
    if type(answer) == "table" then
      request.handle:respond(answer.status or 200, answer.headers, answer.body, answer.filler)
    else
      request.handle:respond(answer and 200 or 404, nil, answer and tostring(answer) or "not found\n")
    end
  end, debug.traceback)
  if not ok then
    log_error("serve.http", failure)
    request.handle:respond(500, nil, "internal error\n")
  end
end

--- serve.http{address="127.0.0.1", port=0, certificate=, key= (PEM: HTTPS), connections=1000,
-- per_client=0, body_most="1MiB", deadline=60 (seconds for one request and its answer),
-- handler=function(request) return answer end} -> server {address, port} | nil, message. request = {method, path, version, peer, headers (lower case),
-- query, body}; answer = {status=200, headers={}, body="" | filler=bytes}, a string (200), or nil (404).
-- Each request is handled in a task of its own; one without an answer in time becomes a 500.
function serve.http(opts)
  if type(opts) ~= "table" or type(opts.handler) ~= "function" then
    error("serve.http: field 'handler': expected a function", 2)
  end
  local settings = {}
  for key, value in pairs(opts) do
    settings[key] = key ~= "handler" and value or nil
  end
  local listener, err = core.httpd.open(settings)
  local deadline = duration.parse(opts.deadline or 60)
  local place = ("%s port %s"):format(opts.address or "127.0.0.1", opts.port or 0)
  local self, message = start(listener, err, "serve.http", place, function()
    local request, why = listener:next()
    if request then
      bounded(request.handle, deadline, answer_request, opts.handler, request)
    end
    return why ~= "closed"
  end)
  if not self then
    return nil, message
  end
  self.address, self.port = opts.address or "127.0.0.1", listener:port()
  return self
end

return serve
