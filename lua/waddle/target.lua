--- The one target grammar, for the environment, flags, JSON, Lua and command lines.
-- A target is a URL-like text, or a table whose `[1]` (in JSON: `target`) is that text and whose other keys are
-- settings of the target and options of its probe. Nothing is looked up here, but whatever can be told to be wrong by
-- reading is an error here, with the place and the reason: a target never vanishes.
--
--   http://host[:port][/path]  https://...   a bare `host/path` under http is http://
--   tcp://host[:80]  tls://host[:443]  ssh://host[:22]
--   udp://host[:2000]  dns://name[:server[:port]]  dns://name@server[:port]?type=AAAA&transport=tcp
--   icmp://host
-- IPv6 addresses stand in brackets when a port follows: [::1]:443, or alone: ::1.

local address = require "waddle.address"
local nearest = require "waddle.nearest"
local redact = require "waddle.redact"
local trim = require "waddle.trim"

local target = {}

-- What a scheme means: its probe, the type its results are uploaded as, the port when none is written.
local SCHEMES = {
  http = { probe = "http.request", test_type = "http", port = 80 },
  https = { probe = "http.request", test_type = "http", port = 443 },
  tcp = { probe = "tcp.connect", test_type = "tcp", port = 80 },
  tls = { probe = "tls.connect", test_type = "tcp", port = 443 },
  ssh = { probe = "ssh.connect", test_type = "tcp", port = 22 },
  udp = { probe = "udp.ping", test_type = "udp", port = 2000 },
  dns = { probe = "dns.query", test_type = "udp", port = 53 },
  icmp = { probe = "icmp.ping", test_type = "icmp" },
}

-- The schemes that a list of one type may hold, for the message in the order people should read them.
local ALLOWED = {
  http = { "http", "https" },
  tcp = { "tcp", "tls", "ssh" },
  tls = { "tls" },
  ssh = { "ssh" },
  udp = { "udp", "dns" },
  dns = { "dns" },
  icmp = { "icmp" },
}

-- Keys of a target table that are about the target, not options of its probe.
local SETTINGS = { name = true, every = true, overlap = true, jitter = true, blackout = true, transform = true, isolate = true }

local DNS_TYPES = "A AAAA CNAME MX NS TXT SOA SRV PTR CAA ANY"
local MAX_BYTES = 8192

local function is_member(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end

-- Each reader takes what follows "://" and returns host, port, positional argument, options; or nil and a message.
local readers = {}

local function no_user(scheme, rest)
  if rest:find("@", 1, true) then
    return nil, ("%s:// takes no user name"):format(scheme)
  end
  local plain, path = rest:match("^([^/?#]*)(.*)$")
  if path ~= "" and path ~= "/" then
    return nil, ("%s:// takes no path, got '%s'"):format(scheme, path)
  end
  return plain
end

local function read_host_port(scheme, rest)
  local plain, message = no_user(scheme, rest)
  if not plain then
    return nil, message
  end
  local host, port = address.host_port(plain, SCHEMES[scheme].port)
  if not host then
    return nil, port
  end
  return host, port, address.join(host, port), {}
end

readers.tcp, readers.tls, readers.ssh, readers.udp = read_host_port, read_host_port, read_host_port, read_host_port

function readers.icmp(scheme, rest)
  local plain, message = no_user(scheme, rest)
  if not plain then
    return nil, message
  end
  local host, port = address.host_port(plain)
  if not host then
    return nil, port
  elseif port then
    return nil, ("icmp has no ports, leave out ':%d'"):format(port)
  end
  return host, nil, host, {}
end

function readers.http(scheme, rest)
  local authority, path = rest:match("^([^/?#]*)(.*)$")
  local host, port = address.host_port((authority:gsub("^.*@", "")), SCHEMES[scheme].port)
  if not host and path:find("@", 1, true) and not authority:find("@", 1, true) then
    -- What host_port found wrong may be part of a password.
    return nil, "the part before '@' has a '/', '?' or '#', write it percent-encoded"
  elseif not host then
    return nil, port
  end
  return host, port, scheme .. "://" .. authority .. path, {}
end

readers.https = readers.http

local function check_dns_name(name)
  if name == "" then
    return nil, "the name to ask for is empty"
  elseif #name > 254 then
    return nil, "a name of more than 254 characters"
  elseif name:find("[/#]") then
    return nil, ("'%s' is not a domain name, write dns://name@server?type=AAAA"):format(name)
  end
  for label in (name:gsub("%.$", "") .. "."):gmatch("([^.]*)%.") do
    if name ~= "." and (label == "" or #label > 63) then
      return nil, ("'%s' has a part that is empty or of more than 63 characters"):format(name)
    end
  end
  return name
end

local function read_dns_query(query)
  local options = {}
  for pair in query:gmatch("[^&]+") do
    local key, value = pair:match("^([^=]+)=(.+)$")
    if key == "type" then
      options.type = value:upper()
      if not (" " .. DNS_TYPES .. " "):find(" " .. options.type .. " ", 1, true) then
        return nil, ("unknown record type '%s', expected one of %s"):format(value, DNS_TYPES)
      end
    elseif key == "transport" then
      options.transport = value:lower()
      if options.transport ~= "udp" and options.transport ~= "tcp" then
        return nil, ("unknown transport '%s', expected udp or tcp"):format(value)
      end
    else
      local hint = nearest.hint(key, { "type", "transport" })
      return nil, ("unknown '%s' behind '?', expected type= or transport=%s"):format(pair, hint)
    end
  end
  return options
end

function readers.dns(_, rest)
  local subject, query = rest:match("^([^?]*)%??(.*)$")
  subject = subject:gsub("/$", "")
  local options, message = read_dns_query(query)
  if not options then
    return nil, message
  end
  local name, server = subject:match("^(.-)@(.*)$")
  if not name then
    name, server = subject:match("^([^:]*):(.*)$")
  end
  name, message = check_dns_name(name or subject)
  if not name then
    return nil, message
  end
  if server then
    if server:match("^%d+$") then
      return nil, ("'%s' stands where the server belongs, write dns://name@server:port"):format(server)
    end
    local host, port = address.host_port(server, SCHEMES.dns.port)
    if not host then
      return nil, "the server: " .. port
    end
    options.server = address.join(host, port)
    return name, port, name, options
  end
  return name, nil, name, options
end

-- Splits "scheme://rest", or takes the default type's scheme. Returns scheme, rest, or nil and a message.
local function split_scheme(text, default_type)
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then
    if text:find("://", 1, true) and not text:find("^[^?#/]+[/?#].*://") then
      return nil, "the scheme before '://' cannot be read"
    elseif not default_type then
      return nil, "no scheme, write for example https://, tcp:// or icmp:// before it"
    end
    return default_type, text
  end
  scheme = scheme:lower()
  if not SCHEMES[scheme] then
    return nil, ("unknown scheme '%s'%s"):format(scheme, nearest.hint(scheme, SCHEMES))
  end
  local allowed = default_type and ALLOWED[default_type]
  if allowed and not is_member(allowed, scheme) then
    local taken = table.concat(allowed, ", ")
    return nil, ("%s:// is not a target of type %s, which takes %s"):format(scheme, default_type, taken)
  end
  return scheme, rest
end

local function read_text(text, default_type)
  if #text > MAX_BYTES then
    return nil, ("longer than %d bytes"):format(MAX_BYTES)
  end
  text = trim(text)
  if text == "" then
    return nil, "it is empty"
  elseif text:find("%c") or text:find(" ", 1, true) then
    return nil, "it has a blank or a control character inside"
  end
  local scheme, rest = split_scheme(text, default_type)
  if not scheme then
    return nil, rest
  end
  local host, port, subject, options = readers[scheme](scheme, rest)
  if not host then
    return nil, port
  end
  return {
    scheme = scheme,
    probe = SCHEMES[scheme].probe,
    test_type = SCHEMES[scheme].test_type,
    host = host,
    port = port,
    subject = subject,
    options = options,
    target = redact.target(text),
  }
end

local function fail(text, reason)
  local shown = redact.target(text)
  return nil, ("target \"%s\": %s"):format(#shown > 200 and shown:sub(1, 200) .. "..." or shown, reason)
end

local function read_function(spec)
  if type(rawget(spec, "name")) ~= "string" then
    return nil, "target with a probe function: it needs a name"
  end
  local settings, options = {}, {}
  for key, value in next, spec do
    if SETTINGS[key] then
      settings[key] = value
    elseif key ~= "probe" then
      options[key] = value
    end
  end
  local name = settings.name
  return { scheme = "lua", probe = spec.probe, args = { options }, target = name, name = name, settings = settings }
end

-- The text of a target table and its remaining keys.
local function split_table(spec)
  local text = rawget(spec, 1)
  if text ~= nil and rawget(spec, "target") ~= nil then
    return nil, "target table: give the target once, as the first element or as 'target'"
  end
  text = text == nil and rawget(spec, "target") or text
  if type(text) ~= "string" then
    return nil, ("target table: expected the target's text as the first element or as 'target', got %s"):format(
      text == nil and "nothing" or "a " .. type(text))
  end
  local settings, options = {}, {}
  for key, value in next, spec do
    if type(key) == "string" and key ~= "target" then
      if SETTINGS[key] then
        settings[key] = value
      else
        options[key] = value
      end
    elseif key ~= 1 and key ~= "target" then
      return nil, ("target table: one target each, got another element [%s]"):format(key)
    end
  end
  return text, settings, options
end

--- Reads a target.
-- @param spec text, or a table `{"text", name=, every=, overlap=, jitter=, blackout=, transform=, isolate=, <options of the
--   probe>}` (JSON: `{"target": "text", ...}`), or `{probe=function, name=, ...}`.
-- @param default_type what a text without a scheme is, and what other schemes may stand in its list: "http" (http,
--   https), "tcp" (tcp, tls, ssh), "udp" (udp, dns), "icmp", or one of "tls" "ssh" "dns"; nil when a scheme must be
--   written.
-- @return a table, or nil and a message with the target (credentials redacted) and the reason:
--   scheme     "http" "https" "tcp" "tls" "ssh" "udp" "dns" "icmp", "lua" for a function
--   probe      "http.request" and so on, or the function
--   args       the probe's arguments, for table.unpack: {{url=, ...}} for http, {"host:443", {...}} for the others
--   test_type  "http" "tcp" "udp" "icmp": what it is uploaded as (nil for a function)
--   target     as written, credentials redacted: for people, results and logs
--   name       its identity over reloads: `name`, else `target`
--   host, port what will be contacted (dns: the name that is asked for, the server's port)
--   settings   name, every, overlap, jitter, blackout, transform, isolate as given
function target.parse(spec, default_type)
  if type(spec) ~= "string" and type(spec) ~= "table" then
    return nil, ("expected a target as text or table, got %s"):format(spec == nil and "nothing" or "a " .. type(spec))
  end
  local text, settings, extra = spec, {}, {}
  if type(spec) == "table" then
    if type(rawget(spec, "probe")) == "function" then
      return read_function(spec)
    end
    text, settings, extra = split_table(spec)
    if not text then
      return nil, settings
    end
  end
  local found, reason = read_text(text, default_type)
  if not found then
    return fail(text, reason)
  end
  local name = rawget(settings, "name")
  if name ~= nil and (type(name) ~= "string" or name == "") then
    return fail(text, "'name' must be a text that is not empty")
  end
  local options = found.options
  for key, value in next, extra do
    if options[key] ~= nil then
      return fail(text, ("'%s' is given twice, in the text and as an option"):format(key))
    end
    options[key] = value
  end
  if found.probe == "http.request" then
    if options.url ~= nil then
      return fail(text, "'url' is the target's text, leave it out")
    end
    options.url = found.subject
    found.args = { options }
  else
    found.args = { found.subject, options }
  end
  found.subject, found.options = nil, nil
  found.settings = settings
  found.name = name or found.target
  return found
end

return target
