-- The other end: small honest servers to measure against. `waddle reflect` runs them on chosen ports,
-- the demo and scenarios on free ones.

local cert = require "waddle.core.cert"
local core = require "waddle.core"
local json = require "waddle.json"
local serve = require "waddle.serve"
local task = require "waddle.task"
local zone = require "waddle.core.zone"

local reflect = {}

--- The services, in the order they are shown, with their usual ports.
reflect.services = {
  {name = "http", port = 8088, help = "HTTP: / /status/N /bytes/N /delay/SECONDS /redirect/N /headers /echo"},
  {name = "https", port = 8443, help = "the same over TLS"},
  {name = "tcp", port = 7007, help = "TCP echo"},
  {name = "tls", port = 7443, help = "TLS echo"},
  {name = "ssh", port = 2222, help = "an SSH banner"},
  {name = "udp", port = 2000, help = "UDP echo"},
  {name = "dns", port = 5300, help = "DNS over UDP and TCP for the zone waddle.test"},
}

local LARGEST_BODY, LONGEST_DELAY, MOST_REDIRECTS = 16 << 30, 300, 50
local FREE_PORT_TRIES = 10

local zone_text = [[
$ORIGIN waddle.test.
$TTL 60
@       IN SOA   ns hostmaster 1 3600 600 86400 60
@       IN NS    ns
@       IN MX    10 mail
@       IN TXT   "v=waddle1"
@       IN CAA   0 issue "ca.waddle.test"
@       IN A     127.0.0.1
@       IN AAAA  ::1
ns      IN A     127.0.0.1
mail    IN A     127.0.0.1
www     IN CNAME @
_dns._udp IN SRV 0 0 53 ns
]]

-- Eighty records of fifty bytes do not fit into a datagram: an answer that is cut.
for i = 1, 80 do
  zone_text = zone_text .. ('large IN TXT "%02d %s"\n'):format(i, ("x"):rep(50))
end

local function bounded(text, most)
  local n = tonumber(text)
  return n and n >= 0 and n <= most and n or nil
end

-- What a path asks for; a handler gets the rest of the path and the request.
local pages = {
  [""] = function() return {body = "waddle " .. core.version .. " reflects\n"} end,
  status = function(rest)
    local n = math.tointeger(bounded(rest, 599))
    return n and n >= 200 and {status = n, body = ("%d\n"):format(n)}
  end,
  bytes = function(rest)
    local n = math.tointeger(bounded(rest, LARGEST_BODY))
    return n and {filler = n}
  end,
  delay = function(rest)
    local span = bounded(rest, LONGEST_DELAY)
    if span then
      task.sleep(span)
      return {body = "waited " .. rest .. " s\n"}
    end
  end,
  redirect = function(rest)
    local n = math.tointeger(bounded(rest, MOST_REDIRECTS))
    return n and {status = 302, headers = {Location = n > 1 and "/redirect/" .. n - 1 or "/"}, body = ""}
  end,
  headers = function(_, request)
    return {headers = {["Content-Type"] = "application/json"}, body = json.encode(request.headers) .. "\n"}
  end,
  echo = function(_, request) return {body = request.body} end,
}

local function answer_http(request)
  local name, rest = request.path:match("^/([^/]*)/?(.*)$")
  local page = pages[name or ""]
  return page and page(rest, request) or {status = 404, body = "no such page\n"}
end

local function echo(conn)
  while true do
    local bytes = conn:read(nil, LONGEST_DELAY)
    if not bytes or not conn:write(bytes, LONGEST_DELAY) then
      return
    end
  end
end

local function ssh_banner(conn)
  conn:write("SSH-2.0-waddle_" .. core.version .. "\r\n", 10)
  conn:read_line(10)
end

local function read_exactly(conn, n)
  local pieces, have = {}, 0
  while have < n do
    local bytes = conn:read(n - have, 10)
    if not bytes then
      return nil
    end
    pieces[#pieces + 1] = bytes
    have = have + #bytes
  end
  return table.concat(pieces)
end

-- DNS over TCP: each message behind its length in two bytes (RFC 1035 section 4.2.2).
local function dns_stream(names)
  return function(conn)
    while true do
      local head = read_exactly(conn, 2)
      local query = head and read_exactly(conn, (string.unpack(">I2", head)))
      local answer = query and names:answer(query, true)
      if not answer or not conn:write(string.pack(">s2", answer), 10) then
        return
      end
    end
  end
end

local starters = {}

function starters.http(at)
  return serve.http {address = at.address, port = at.port, deadline = 3600, handler = answer_http}
end

function starters.https(at)
  return serve.http {address = at.address, port = at.port, deadline = 3600, handler = answer_http, certificate = at.certificate, key = at.key}
end

function starters.tcp(at)
  return serve.tcp {address = at.address, port = at.port, deadline = 3600, handler = echo}
end

function starters.tls(at)
  return serve.tcp {address = at.address, port = at.port, deadline = 3600, certificate = at.certificate, key = at.key, handler = echo}
end

function starters.ssh(at)
  return serve.tcp {address = at.address, port = at.port, handler = ssh_banner}
end

function starters.udp(at)
  return serve.udp {address = at.address, port = at.port, handler = function(bytes) return bytes end}
end

-- UDP and TCP on one port: where any port will do, UDP takes the one that TCP was given.
local function start_dns(at, names)
  local stream, err = serve.tcp {address = at.address, port = at.port, handler = dns_stream(names)}
  if not stream then
    return nil, err
  end
  local datagrams
  datagrams, err = serve.udp {address = at.address, port = stream.port, handler = function(query) return names:answer(query) end}
  if not datagrams then
    stream:close()
    return nil, err
  end
  return {port = stream.port, close = function()
    stream:close()
    datagrams:close()
  end}
end

function starters.dns(at)
  local names = assert(zone.read(zone_text))
  local server, err
  for _ = 1, at.port == 0 and FREE_PORT_TRIES or 1 do -- another's UDP socket may have the port that was free for TCP
    server, err = start_dns(at, names)
    if server then
      break
    end
  end
  return server, err
end

local function close_all(self)
  for _, server in ipairs(self.servers) do
    server:close()
  end
end

--- start{address="127.0.0.1", ports={http=8088, dns=0, ...}} -> {address, http=port, ..., certificate=PEM,
-- fingerprint=, close=function} | nil, message. Raises for what is no IP address. `ports` names the services to run, 0 for any free port;
-- without it all run on free ports. The certificate is made at start and is its own CA.
function reflect.start(opts)
  opts = opts or {}
  local address = opts.address or "127.0.0.1"
  local self = {address = address, servers = {}, close = close_all}
  local names = {"localhost", "127.0.0.1", "::1"}
  if address ~= "127.0.0.1" and address ~= "::1" then
    names[4] = address
  end
  local certificate, key, fingerprint = cert.self_signed(names, 30)
  if not certificate then
    return nil, key
  end
  self.certificate, self.fingerprint = certificate, fingerprint
  for _, service in ipairs(reflect.services) do
    local port = not opts.ports and 0 or opts.ports[service.name]
    if port then
      local server, err = starters[service.name] {address = address, port = port, certificate = certificate, key = key}
      if not server then
        self:close()
        return nil, err
      end
      self.servers[#self.servers + 1] = server
      self[service.name] = server.port
    end
  end
  return self
end

return reflect
