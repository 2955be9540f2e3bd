--- The manager's body: the only place where a result becomes what is uploaded.
-- In: the flat result of a probe (or of a script). Out: one JSON text the manager stores. The manager refuses a body it
-- does not like for ever and drops unknown top-level keys without a word; so everything is validated here before it is
-- sent, and whatever must survive is also in `raw_results`.
-- What must hold: no body built here is refused for its form; a number in it is right or null; no credential is in it.

local json = require "waddle.json"
local redact = require "waddle.redact"
local sys = require "waddle.core.sys"
local target = require "waddle.target"
local get = require("waddle.fields").get
local text = require "waddle.text"

local contract = {}

-- Characters each required text may have, and the value each number must stay under.
local LENGTHS = {
  device_serial = 255, device_hostname = 255, device_os = 100, device_os_version = 100, target_host = 255,
}
local PROTOCOL_DETAIL_LENGTH, TARGET_IP_LENGTH = 50, 45
local LIMITS = { latency_ms = 1e6, jitter_ms = 1e6, throughput_mbps = 1e8, packet_loss_percent = 1000 }

-- The manager takes 31 levels and about 15.9 MB; both are kept well clear of.
local MAX_DEPTH = 30
local MAX_RAW_BYTES = 15 * 1000 * 1000
local MAX_NODES = 1000000

-- An idempotency key travels in a header.
local MAX_ID = 63

-- What a probe's own type is uploaded as, and its protocol where the result names none.
local TYPES = {
  http = { "http", "http/1.1" }, tcp = { "tcp", "raw_tcp" }, tls = { "tcp", "tcp_tls" }, ssh = { "tcp", "ssh" },
  udp = { "udp", "raw_udp" }, dns = { "udp", "dns" }, icmp = { "icmp", "ping" }, speedtest = { "speedtest", "speedtest" },
}

-- A body is counted, not kept: a script that wants some of it stored says so in a field of its own. Cookies are secrets,
-- and the id is stored as idempotency_key.
local NOT_STORED = { body = true, cookies = true, id = true }

local function clean_text(s)
  return (redact.text(text.utf8(s)):gsub("%z", "\u{fffd}"))
end

local function finite(value)
  return type(value) == "number" and value == value and value > -math.huge and value < math.huge
end

-- A copy with nothing in it that JSON or the manager cannot take: functions go, cycles and depth end in nothing,
-- texts are cleaned.
local function clean(value, name, depth, state)
  state.nodes = state.nodes + 1
  local kind = type(value)
  if kind == "string" then
    return clean_text(value)
  elseif kind == "number" then
    return finite(value) and value or nil
  elseif kind == "boolean" or value == json.null then
    return value
  elseif kind ~= "table" or depth > MAX_DEPTH or state.open[value] or state.nodes > MAX_NODES then
    return nil
  end
  state.open[value] = true
  local copy = {}
  for key, item in next, name == "headers" and redact.headers(value) or value do
    if type(key) == "string" or finite(key) then
      copy[type(key) == "string" and clean_text(key) or key] = clean(item, key, depth + 1, state)
    end
  end
  state.open[value] = nil
  if json.is_array(value) then
    json.array(copy)
  end
  return copy
end

local function cut(value, characters)
  local s = text.utf8(tostring(value)):gsub("%c", " ")
  local over = utf8.offset(s, characters + 1)
  return over and s:sub(1, over - 1) or s
end

local function address_text(value)
  if type(value) ~= "string" then
    return ""
  end
  value = #value > TARGET_IP_LENGTH and value:gsub("%%.*$", "") or value
  return #value <= TARGET_IP_LENGTH and cut(value, TARGET_IP_LENGTH) or ""
end

-- Host alone: of the final URL for http, else as the probe says, else read from the target as written.
local function host_of(result)
  local url = get(result, "url_effective")
  local final = type(url) == "string" and target.parse(url)
  local host = final and final.host or get(result, "target_host")
  if not host and type(get(result, "target")) == "string" then
    local parsed = target.parse(result.target)
    host = parsed and parsed.host or redact.target(result.target)
  end
  return host
end

local function round_trips(result)
  local rtts, samples = json.array(), get(result, "samples")
  for i = 1, type(samples) == "table" and #samples or 0 do
    if get(samples[i], "status") == "ok" and finite(get(samples[i], "rtt_ms")) then
      rtts[#rtts + 1] = samples[i].rtt_ms
    end
  end
  return rtts
end

-- Fill the fields that one type has besides the common ones. `body` and `raw` use the reference's names.
local fill = {}

function fill.http(result, body, raw)
  local timings, redirects = get(result, "timings"), get(result, "redirects")
  body.http_code = get(result, "status")
  body.content_length = get(result, "body_bytes")
  body.throughput_mbps = get(result, "throughput_mbps")
  body.time_namelookup = get(timings, "dns_ms")
  body.time_connect = get(timings, "connect_ms")
  body.time_transfer = get(timings, "transfer_ms")
  raw.http_code = body.http_code
  raw.redirect_count = type(redirects) == "table" and #redirects or nil
  raw.timing_breakdown = timings
end

function fill.tcp(result, body, raw)
  local tls = get(result, "tls")
  body.connection_time_ms = get(result, "timings", "connect_ms")
  raw.connection_established = body.connection_time_ms ~= nil
  raw.connect_time_ms = body.connection_time_ms
  raw.tls_version = get(tls, "version")
  if get(tls, "cipher") then
    raw.cipher = { n = 3, tls.cipher, get(tls, "version"), get(tls, "bits") }
  end
  raw.ssh_banner = get(result, "banner")
end

local function fill_packets(result, body, raw)
  for _, name in ipairs { "jitter_ms", "packet_loss_percent", "packets_sent", "packets_received" } do
    body[name] = get(result, name)
  end
  raw.rtts = round_trips(result)
  raw.min_rtt, raw.max_rtt, raw.avg_rtt = get(result, "rtt_min_ms"), get(result, "rtt_max_ms"), get(result, "rtt_avg_ms")
end

fill.icmp = fill_packets

function fill.udp(result, body, raw)
  if body.protocol_detail ~= "dns" then
    return fill_packets(result, body, raw)
  end
  raw.query_host = get(result, "name") or get(result, "target_host")
  raw.dns_server = get(result, "server")
  raw.query_time_ms = get(result, "latency_ms")
end

function fill.speedtest(result, body)
  body.throughput_mbps, body.jitter_ms = get(result, "throughput_mbps"), get(result, "jitter_ms")
end

-- Numbers the manager would refuse become null; raw_results has them under the same names, where they are not judged.
local function check_numbers(body)
  for name, limit in pairs(LIMITS) do
    local value = body[name]
    if value ~= nil and not (finite(value) and value >= 0 and value < limit) then
      body[name] = nil
    end
  end
end

local function timestamp(result)
  local started = get(result, "started_at")
  if type(started) == "string" and started:match("^%d%d%d%d%-%d%d%-%d%dT") then
    return (started:gsub("Z$", "+00:00"))
  end
  return os.date("!%Y-%m-%dT%H:%M:%S+00:00")
end

-- Writes raw_results; where it is too large its largest parts go, and their names are told.
local function encode_raw(raw)
  local encoded, message = json.encode(raw)
  if encoded and #encoded > MAX_RAW_BYTES then
    local sizes, names, left = {}, {}, #encoded
    for name, value in next, raw do
      sizes[name], names[#names + 1] = #json.encode(value), name
    end
    table.sort(names, function(a, b)
      return sizes[a] > sizes[b]
    end)
    local omitted = json.array()
    for _, name in ipairs(names) do
      if left <= MAX_RAW_BYTES then
        break
      end
      omitted[#omitted + 1], raw[name], left = name, nil, left - sizes[name]
    end
    raw.omitted = omitted
    encoded, message = json.encode(raw)
  end
  return encoded, message
end

--- A random UUID (RFC 9562 version 4).
function contract.uuid()
  local a, b = (">I8I8"):unpack(sys.random(16)) -- not math.random, which a script may seed
  return ("%08x-%04x-4%03x-%04x-%012x"):format(
    a >> 32, a >> 16 & 0xffff, a & 0xfff, b >> 48 & 0x3fff | 0x8000, b & 0xffffffffffff)
end

-- The common part of the body; numbers and the type's own fields come later.
local function common_body(result, device, kind, host)
  local body = {
    test_type = kind[1],
    protocol_detail = cut(get(result, "protocol_detail") or kind[2], PROTOCOL_DETAIL_LENGTH),
    target_ip = address_text(get(result, "target_ip")),
    target_port = get(result, "target_port"),
    success = get(result, "success") == true,
    timestamp = timestamp(result),
  }
  local named = {
    device_serial = device.serial, device_hostname = device.hostname, device_os = device.os,
    device_os_version = device.os_version, target_host = host,
  }
  for name, length in pairs(LENGTHS) do
    local value = named[name]
    body[name] = cut(value ~= nil and value ~= "" and value or "unknown", length)
  end
  if body.success then
    body.latency_ms = get(result, "latency_ms")
  else
    body.error = clean_text(tostring(get(result, "error") or "failed"))
  end
  return body
end

-- The whole result and the type's own fields, cleaned; nil and a message when it is beyond all bounds.
local function raw_results(result, extra, body, id)
  local state, raw = { nodes = 0, open = {} }, {}
  for key, value in next, result do
    if type(key) == "string" and not NOT_STORED[key] then
      raw[clean_text(key)] = clean(value, key, 2, state)
    end
  end
  for key, value in pairs(extra) do
    raw[key] = clean(value, key, 2, state)
  end
  if state.nodes > MAX_NODES then
    return nil, ("more than %d values in one result"):format(MAX_NODES)
  end
  raw.idempotency_key, raw.timestamp, raw.success, raw.error = id, body.timestamp, body.success, body.error
  if not body.success then
    raw.latency_ms = nil
  end
  return raw
end

-- A mask may be longer than the secret it hides, and a text with it longer than it was cut to.
local function fitted(body)
  for name, length in pairs(LENGTHS) do
    body[name] = cut(body[name], length)
  end
  body.protocol_detail, body.target_ip = cut(body.protocol_detail, PROTOCOL_DETAIL_LENGTH), cut(body.target_ip, TARGET_IP_LENGTH)
  return body
end

--- Builds the upload of one result.
-- @param result flat result table; strict ones are read raw. Its `id`, if it is a text, becomes the idempotency key.
-- @param device {serial=, hostname=, os=, os_version=}.
-- @return a table {body = JSON text, id = idempotency key (also in raw_results), test_type =}, or nil and
--   "invalid: reason" for what the manager can never store.
function contract.build(result, device)
  local own_type = get(result, "test_type")
  local kind = TYPES[own_type]
  if not kind then
    return nil, ("invalid: test_type %s, the manager stores http, tcp, udp, icmp and speedtest"):format(
      own_type == nil and "is missing" or ("'%s'"):format(tostring(own_type)))
  end
  local host = host_of(result)
  if type(host) ~= "string" or host == "" then
    return nil, "invalid: neither target_host nor target says what was probed"
  end
  local id = get(result, "id")
  id = type(id) == "string" and id or contract.uuid()
  if #id > MAX_ID or not id:find("^[%w_.:-]+$") then
    return nil, ("invalid: id %q, expected up to %d letters, digits and any of - _ . :"):format(id:sub(1, 100), MAX_ID)
  end
  local body, extra = common_body(result, device, kind, host), {}
  fill[kind[1]](result, body, extra)
  check_numbers(body)
  local raw, message = raw_results(result, extra, body, id)
  if not raw then
    return nil, "invalid: " .. message
  end
  local raw_text
  raw_text, message = encode_raw(raw)
  if not raw_text then
    return nil, "invalid: " .. message
  end
  body.latency_ms, body.error = body.latency_ms or json.null, body.error or json.null
  local head = assert(json.encode(fitted(clean(body, nil, 1, { nodes = 0, open = {} })), { sorted = true }))
  return { body = head:sub(1, -2) .. ',"raw_results":' .. raw_text .. "}", id = id, test_type = kind[1] }
end

--- An address of the manager: one slash between, whether its URL ends in one or carries a path.
-- @param manager_url MANAGER_URL. @param route "results/upload" or "auth/login".
function contract.url(manager_url, route)
  return (manager_url:gsub("/+$", "")) .. "/api/v1/" .. route
end

return contract
