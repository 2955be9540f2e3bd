--- HTTP sessions: options given once, cookies kept between requests.
-- What must hold: what proves who one is (auth, bearer, client certificate, Authorization and Cookie headers) goes to
-- the origin of `base` alone; cookies go where their domain, path and `Secure` let them.

local session = {}
session.__index = session
session.__name = "http.session"

local KEEP = 1024 * 1024
local PERSONAL_OPTIONS = {auth = true, bearer = true, tls = true, address = true}
local PERSONAL_HEADERS = {authorization = true, cookie = true, ["proxy-authorization"] = true}

-- Scheme, host and port, in small letters and without the user part.
local function origin(url)
  local scheme, authority = url:match("^(%a[%w+.-]*)://([^/?#]*)")
  return scheme and (scheme .. "://" .. authority:gsub("^.*@", "")):lower()
end

-- base .. path with one slash between; a path that is a URL stands for itself.
local function absolute(base, path)
  if not base or path:find("^%a[%w+.-]*://") then
    return path
  elseif path == "" or path:find("^[?#]") then
    return base .. path
  end
  return (base:gsub("/+$", "")) .. "/" .. (path:gsub("^/+", ""))
end

-- The options of one request: the session's, then its own over them; headers name by name.
local function merged(self, own, foreign)
  local out, headers = {}, {}
  for key, value in pairs(self.given) do
    if not (foreign and PERSONAL_OPTIONS[key]) then
      out[key] = value
    end
  end
  for name, value in pairs(self.given.headers or {}) do
    if not (foreign and PERSONAL_HEADERS[name:lower()]) then
      headers[name:lower()] = {name, value}
    end
  end
  for key, value in pairs(own) do
    out[key] = value
  end
  for name, value in pairs(own.headers or {}) do
    headers[tostring(name):lower()] = {name, value}
  end
  out.headers = {}
  for _, pair in pairs(headers) do
    out.headers[pair[1]] = pair[2]
  end
  return out
end

-- A cookie's domain, path and name, from a line of libcurl's cookie file format.
local function identity(line)
  local domain, path, name = line:match("^([^\t]*)\t[^\t]*\t([^\t]*)\t[^\t]*\t[^\t]*\t([^\t]*)")
  return domain and domain .. "\t" .. path .. "\t" .. name
end

local function lines_of(jar)
  local lines = {}
  for _, line in pairs(jar) do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return lines
end

-- What the request made of the cookies it was given; what other requests did meanwhile stays.
local function take_cookies(jar, given, after)
  for _, line in ipairs(given) do
    jar[identity(line) or line] = nil
  end
  for _, line in ipairs(after) do
    jar[identity(line) or line] = line
  end
end

--- new{base=, ...} -> session. `base` is put in front of every path; all else is as for http.request and goes into
-- every request. Raises on misuse, at `level` of the caller.
function session.new(opts, level)
  if opts ~= nil and type(opts) ~= "table" then
    error(("http.session: expected a table of options, got %s"):format(type(opts)), level + 1)
  end
  local self = {given = {}, jar = {}}
  for key, value in pairs(opts or {}) do
    self.given[key] = value
  end
  self.base, self.given.base = self.given.base, nil
  if self.base ~= nil and not (type(self.base) == "string" and self.base:find("^https?://")) then
    error("http.session: field 'base': expected an http:// or https:// URL", level + 1)
  elseif self.given.headers ~= nil and type(self.given.headers) ~= "table" then
    error("http.session: field 'headers': expected a table of names and values", level + 1)
  end
  self.given.keep_body = self.given.keep_body or KEEP
  return setmetatable(self, session)
end

--- s:request(path [, opts]) -> result, whose body r:json() reads.
function session:request(path, opts)
  local http = require "waddle.http"
  if type(path) ~= "string" or (opts ~= nil and type(opts) ~= "table") then
    error(("http.session: expected a path and a table of options, got %s and %s"):format(type(path), type(opts)), 2)
  end
  local url = absolute(self.base, path)
  local o = merged(self, opts or {}, self.base ~= nil and origin(url) ~= origin(self.base))
  local given = lines_of(self.jar)
  o.url, o.cookies = url, given
  local r = http.request(o)
  take_cookies(self.jar, given, rawget(r, "cookies") or given)
  rawset(r, "cookies", nil)
  return r
end

--- s:cookie(name) -> its value | nil, of any domain and path.
function session:cookie(name)
  for key, line in pairs(self.jar) do
    if key:match("\t([^\t]*)$") == name then
      return line:match("([^\t]*)$")
    end
  end
end

--- s:get(path [, opts]), s:post(path [, opts]) and so on: request with that method.
for name, method in pairs {get = "GET", post = "POST", put = "PUT", delete = "DELETE", head = "HEAD", patch = "PATCH", options = "OPTIONS"} do
  session[name] = function(self, path, opts)
    local o = {}
    for key, value in pairs(opts or {}) do
      o[key] = value
    end
    o.method = method
    return self:request(path, o)
  end
end

return session
