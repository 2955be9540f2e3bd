--- A manager to upload to: it answers as the real one does, for the demo, for trying things out and for specs. It keeps
-- what it stores in memory, and misbehaves where it is told to.

local json = require "waddle.json"
local rules = require "waddle.manager_rules"
local serve = require "waddle.serve"
local task = require "waddle.core.task"

local manager = {}

local UPLOAD, LOGIN = "/api/v1/results/upload", "/api/v1/auth/login"
local TOKEN_LIFE_S = 86400
local FOR_EVER_S = 86400

local methods = {}
methods.__index = methods

-- Base64 (RFC 4648 section 4).
local function base64(text)
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local coded = text:gsub("..?.?", function(part)
    local a, b, c = part:byte(1, 3)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    local out = ""
    for i = 0, #part do
      local at = (bits >> (18 - 6 * i) & 63) + 1
      out = out .. alphabet:sub(at, at)
    end
    return out .. ("="):rep(3 - #part)
  end)
  return coded
end

local function answer(status, value, headers)
  headers = headers or {}
  headers["content-type"] = headers["content-type"] or "application/json"
  return {status = status, headers = headers, body = type(value) == "string" and value or json.encode(value, {sorted = true})}
end

local function html(status, text)
  return answer(status, "<!doctype html><title>" .. status .. "</title><p>" .. text .. "</p>", {["content-type"] = "text/html"})
end

local function unauthorized(text)
  return answer(401, {error = text})
end

-- nil where the request may pass. The scheme word is taken in exactly this case, with one space after it.
local function check_auth(self, headers)
  local auth = self.auth
  if auth.type == "none" then
    return nil
  elseif auth.type == "apikey" then
    return headers["x-api-key"] ~= auth.key and unauthorized("Invalid API key") or nil
  end
  local token = (headers.authorization or ""):match("^Bearer ([^ ]+)$")
  if auth.type == "jwt" then
    return token ~= auth.token and unauthorized("Invalid token") or nil
  elseif not self.login_route then
    return headers.authorization ~= self.basic and unauthorized("Invalid credentials") or nil
  end
  local dies_at = token and self.tokens[token]
  if not dies_at or task.now() >= dies_at then
    return unauthorized("Invalid or expired token")
  end
  return nil
end

local function upload(self, request)
  local refused = check_auth(self, request.headers)
  if refused then
    return refused
  elseif not (request.headers["content-type"] or ""):find("^application/json") or request.headers["content-encoding"] then
    return html(400, "expected JSON")
  end
  local status, message, row = rules.check(request.body)
  if status ~= 201 then
    return message:find("^not ") and html(status, message) or answer(status, {error = message})
  end
  self.stored = self.stored + 1
  if self.keep then
    self.rows[#self.rows + 1] = row
  end
  return answer(201, {id = self.stored, message = "stored"})
end

local function login(self, request)
  if not self.login_route then
    return html(404, "not found")
  end
  local body, auth = json.decode(request.body), self.auth
  if type(body) ~= "table" then
    return html(400, "expected JSON")
  elseif body.username ~= auth.user or body.password ~= auth.password then
    return unauthorized("Invalid credentials")
  elseif auth.mfa_code and body.mfa_code ~= auth.mfa_code then
    return answer(401, {error = "MFA code required", mfa_required = true})
  end
  self.logins = self.logins + 1
  local token = ("token-%d-%08x"):format(self.logins, math.random(0, 0xffffffff))
  self.tokens[token] = task.now() + self.token_life
  return answer(200, {token = token, expires_in = self.token_life, user = {username = auth.user}})
end

-- What the plan says for this request: nil to answer as a manager does.
local function planned(self, request)
  local step = table.remove(self.plan, 1)
  if step == nil then
    step = self.always
  end
  if type(step) == "function" then
    step = step(request)
  end
  if step == nil or step == "ok" then
    return nil
  elseif step == "hang" then
    task.sleep(FOR_EVER_S)
  elseif type(step) == "number" then
    return answer(step, {error = "planned"}, step // 100 == 3 and {location = "/elsewhere"} or nil)
  end
  if step.delay then
    task.sleep(step.delay)
  end
  return step.status and answer(step.status, step.body or "", step.headers) or nil
end

local function route(self, request)
  local path = request.path:sub(1, #self.prefix) == self.prefix and request.path:sub(#self.prefix + 1)
  local known = path == UPLOAD and upload or path == LOGIN and login
  if not known then
    return html(404, "not found")
  elseif request.method ~= "POST" then
    return html(405, "method not allowed")
  elseif known == upload then
    local misbehaviour = planned(self, request)
    if misbehaviour then
      return misbehaviour
    end
  end
  return known(self, request)
end

local function handle(self, request)
  self.count = self.count + 1
  self.running = self.running + 1
  self.most_at_once = math.max(self.most_at_once, self.running)
  if self.keep then
    self.requests[#self.requests + 1] = {method = request.method, path = request.path, headers = request.headers, body = request.body,
      peer = request.peer, at = task.now()}
  end
  local done <close> = setmetatable({}, {__close = function() self.running = self.running - 1 end}) -- luacheck: ignore 211
  return route(self, request)
end

--- Forgets every token it has given out: the next upload is answered with 401.
function methods:revoke()
  self.tokens = {}
end

--- Stops it; requests without an answer are cut off.
function methods:close()
  self.server:close()
end

methods.__close = methods.close

local KNOWN = {address = true, port = true, certificate = true, key = true, auth = true, login_route = true, token_life = true,
  prefix = true, plan = true, always = true, keep = true}

--- Starts a manager. It ends with the task that started it, or with `m:close()`, or as a to-be-closed variable.
-- @param options table or nil:
--   address, port      where to listen (default 127.0.0.1 and any free port)
--   certificate, key   PEM texts, for https
--   auth               what uploads must prove, in the uploader's words: {type="none"|"jwt"|"apikey"|"userpass", token=, key=,
--                      user=, password=, mfa_code=} (default none)
--   login_route        false: there is none, userpass is taken as Basic (default true)
--   token_life         seconds that a token lives (default 86400)
--   prefix             path before /api/v1 (default "")
--   keep               false: rows and requests are only counted (default true)
--   plan               list of what to do with the next uploads, one each, before it behaves again: "ok", "hang" (no answer),
--                      a status, {status=, headers=, body=, delay=seconds}, or function(request) that returns one of these
--   always             the same for every upload once the plan is empty
-- @return manager {url, port, rows = stored bodies decoded, requests = {method, path, headers, body, peer, at}, stored, logins,
--   count = requests, most_at_once; plan and always may be changed at any time}; or nil and a message.
function manager.start(options)
  options = options or {}
  for key in pairs(options) do
    if not KNOWN[key] then
      local near = require("waddle.nearest").find(tostring(key), KNOWN)
      error(("manager.start: unknown field '%s'%s"):format(tostring(key), near and ("; did you mean '" .. near .. "'?") or ""), 2)
    end
  end
  local self = setmetatable({
    auth = options.auth or {type = "none"}, login_route = options.login_route ~= false, token_life = options.token_life or TOKEN_LIFE_S,
    prefix = options.prefix or "", keep = options.keep ~= false, plan = options.plan or {}, always = options.always,
    rows = {}, requests = {}, tokens = {}, stored = 0, logins = 0, count = 0, running = 0, most_at_once = 0,
  }, methods)
  if self.auth.type == "userpass" then
    self.basic = "Basic " .. base64(self.auth.user .. ":" .. self.auth.password)
  end
  local server, message = serve.http {
    address = options.address, port = options.port, certificate = options.certificate, key = options.key, body_most = "17MiB",
    handler = function(request) return handle(self, request) end,
  }
  if not server then
    return nil, message
  end
  self.server, self.port = server, server.port
  self.url = ("%s://%s:%d%s"):format(options.certificate and "https" or "http", server.address, server.port, self.prefix)
  return self
end

return manager
