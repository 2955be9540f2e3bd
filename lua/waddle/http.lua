--- HTTP requests: http.request and its short forms, JSON, forms and queries, sessions.
-- The work is done by the native probe (`help "http.request"` lists its options and its result); here is what is
-- easier said in Lua. What must hold: no credential of a URL is left in a result.

local core = require "waddle.core.http"
local json = require "waddle.json"
local redact = require "waddle.redact"

local http = {}

-- Bytes of a body that are kept where somebody is going to look at it and said no number.
local KEEP = 1024 * 1024

-- Percent-encoding of all but the unreserved characters (RFC 3986 section 2.3).
local function escape(text)
  return (tostring(text):gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- {a = 1, b = {2, 3}} -> "a=1&b=2&b=3", in order of name.
local function encode_pairs(what, value)
  if type(value) ~= "table" then
    error(("http.request: field '%s': expected a table of names and values, got %s"):format(what, type(value)), 0)
  end
  local names, out = {}, {}
  for name, entry in pairs(value) do
    if type(name) ~= "string" or not ({string = 1, number = 1, boolean = 1, table = 1})[type(entry)] then
      error(("http.request: field '%s': expected names with texts, numbers or lists of them"):format(what), 0)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    for _, entry in ipairs(type(value[name]) == "table" and value[name] or {value[name]}) do
      out[#out + 1] = escape(name) .. "=" .. escape(entry)
    end
  end
  return table.concat(out, "&")
end

local function with_query(url, query)
  local text = encode_pairs("query", query)
  local front, fragment = url:match("^([^#]*)(.*)$")
  if text == "" then
    return url
  end
  return front .. (front:find("?", 1, true) and "&" or "?") .. text .. fragment
end

-- A copy of the headers with one more, unless it is there in any case of letters.
local function with_header(headers, name, value)
  local out = {}
  for key, own in pairs(headers or {}) do
    out[key] = own
    if tostring(key):lower() == name:lower() then
      value = nil
    end
  end
  out[name] = value
  return out
end

local function set_body(o, field, body, kind)
  if o.body ~= nil then
    error(("http.request: field '%s': there is a body already; give one of body, json and form"):format(field), 0)
  end
  o[field], o.body = nil, body
  o.headers = with_header(o.headers, "Content-Type", kind)
  o.method = o.method or "POST"
end

-- The options as the native probe takes them, in a table of its own.
local function native_options(url, opts)
  local o = {}
  if type(url) == "table" and opts == nil then
    url, opts = nil, url
  end
  if opts ~= nil and type(opts) ~= "table" then
    return url, opts
  end
  for key, value in pairs(opts or {}) do
    o[key] = value
  end
  o.url = url or o.url or o[1]
  o[1] = nil
  if o.query ~= nil and type(o.url) == "string" then
    o.url, o.query = with_query(o.url, o.query), nil
  end
  if o.form ~= nil then
    set_body(o, "form", encode_pairs("form", o.form), "application/x-www-form-urlencoded")
  end
  if o.json ~= nil then
    local text, message = json.encode(o.json, {invalid = "error"})
    if not text then
      error(("http.request: field 'json': %s"):format(message), 0)
    end
    set_body(o, "json", text, "application/json")
  end
  if type(o.expect) == "table" and o.expect.body ~= nil and o.keep_body == nil then
    o.keep_body = KEEP
  end
  return o
end

--- r:json() -> the body as a value | nil, message: of a result whose body was kept in whole.
local function decode_body(r)
  local body = rawget(r, "body")
  if body == nil then
    return nil, "no body was kept; keep_body says how many bytes to keep"
  elseif rawget(r, "body_truncated") then
    return nil, ("body_too_large: of %d bytes %d were kept"):format(r.body_bytes, #body)
  end
  return json.decode(body)
end

-- Lets the results of this probe answer r:json(); they share one metatable.
local function teach(r)
  local meta = getmetatable(r)
  if not meta.json then
    local plain = meta.__index
    meta.json = decode_body
    meta.__index = function(t, key)
      if key == "json" then
        return decode_body
      end
      return plain(t, key)
    end
  end
  return r
end

local function finish(r, o)
  r.target = redact.text(rawget(r, "target"))
  r.url_effective = redact.text(rawget(r, "url_effective"))
  for _, hop in ipairs(rawget(r, "redirects") or {}) do
    hop.url = redact.text(hop.url)
  end
  -- What was not kept cannot be compared: the expectation did not fail, it could not be judged.
  if rawget(r, "error") == "assertion" and rawget(r, "body_truncated") and type(o.expect) == "table" and o.expect.body ~= nil then
    r.error = "body_too_large"
    r.error_detail = ("the body has %d bytes, of which %d were kept to be compared; keep_body says how many"):format(r.body_bytes, #r.body)
  end
  return teach(r)
end

--- request(url [, opts]) or request{url=, ...} -> result. Options besides those of `help "http.request"`:
--   json   any value: sent as the body, with its Content-Type (POST unless `method` says otherwise)
--   form   {name = value | {values}}: sent as a URL-encoded body, likewise
--   query  {name = value | {values}}: put behind the URL, encoded
-- Raises on misuse; what the network does is in the result. With `expect.body` 1 MiB of the body is kept.
function http.request(url, opts)
  local ok, o, wrong = pcall(native_options, url, opts)
  if not ok then
    error(o, 2)
  elseif wrong ~= nil then
    return core.request(o, wrong)
  end
  return finish(core.request(o), o)
end

local function verb(name, method)
  return function(url, opts)
    if type(url) == "table" and opts == nil then
      url, opts = nil, url
    end
    if opts ~= nil and type(opts) ~= "table" then
      return http.request(url, opts)
    end
    local o = {}
    for key, value in pairs(opts or {}) do
      o[key] = value
    end
    if o.method ~= nil and o.method ~= method then
      error(("http.%s: field 'method': this is always %s; http.request takes any"):format(name, method), 2)
    end
    o.method = method
    if url ~= nil then
      o.url, o[1] = url, nil
    end
    return http.request(o)
  end
end

--- get(url [, opts]) or get{url=, ...} -> result: http.request with method GET; help "http.request" lists the options.
http.get = verb("get", "GET")

--- post(url [, opts]) or post{url=, json=, ...} -> result: http.request with method POST.
http.post = verb("post", "POST")

--- put(url [, opts]) or put{url=, json=, ...} -> result: http.request with method PUT.
http.put = verb("put", "PUT")

--- delete(url [, opts]) or delete{url=, ...} -> result: http.request with method DELETE.
http.delete = verb("delete", "DELETE")

--- head(url [, opts]) or head{url=, ...} -> result: http.request with method HEAD.
http.head = verb("head", "HEAD")

--- patch(url [, opts]) or patch{url=, json=, ...} -> result: http.request with method PATCH.
http.patch = verb("patch", "PATCH")

--- options(url [, opts]) or options{url=, ...} -> result: http.request with method OPTIONS.
http.options = verb("options", "OPTIONS")

--- session{base=, any option of request} -> a session: what it is given goes into each of its requests, cookies are
-- kept, bodies are kept to 1 MiB. See waddle.session.
function http.session(opts)
  return require("waddle.session").new(opts, 2)
end

return http
