--- The manager's own checks of an uploaded body, as observed: what it refuses and with which status.
-- Shared by the specs of the contract and by test managers. Knows nothing of how waddle builds a body.

local cjson = require "cjson"

-- A lone surrogate, which the manager cannot store, is refused by cjson as \u escape and by utf8.len as bytes.
local rules = {}

local REQUIRED = { device_serial = 255, device_hostname = 255, device_os = 100, device_os_version = 100, test_type = 50, target_host = 255, target_ip = 45 }
local TYPES = { http = true, tcp = true, udp = true, icmp = true, speedtest = true }
local UNDER = { latency_ms = 1e6, jitter_ms = 1e6, throughput_mbps = 1e8, packet_loss_percent = 1000 }

local function depth(value)
  if type(value) ~= "table" then
    return 0
  end
  local deepest = 0
  for _, item in pairs(value) do
    deepest = math.max(deepest, depth(item))
  end
  return deepest + 1
end

local function raw_bytes(text)
  local at = text:find('"raw_results":', 1, true)
  return at and #text - at or 0
end

--- @return status (201, 400 or 500), message, the stored row (decoded).
function rules.check(text)
  local decoder = cjson.new()
  decoder.decode_invalid_numbers(false)
  local ok, body = pcall(decoder.decode, text)
  if not ok or type(body) ~= "table" then
    return 400, "not JSON: " .. tostring(body)
  elseif not utf8.len(text) then
    return 400, "not UTF-8"
  end
  for name, length in pairs(REQUIRED) do
    local value = body[name]
    if value == nil then
      return 400, "missing " .. name
    elseif type(value) ~= "string" then
      return 500, name .. " is null or no text"
    elseif utf8.len(value) > length then
      return 500, name .. " is too long"
    elseif value == "" and name ~= "target_ip" then
      return 400, name .. " is empty"
    end
  end
  if not TYPES[body.test_type] then
    return 500, "test_type " .. body.test_type
  elseif type(body.protocol_detail) == "string" and utf8.len(body.protocol_detail) > 50 then
    return 500, "protocol_detail is too long"
  end
  for name, limit in pairs(UNDER) do
    local value = body[name]
    if value ~= nil and value ~= cjson.null and (type(value) ~= "number" or value ~= value or value >= limit) then
      return 500, name .. " is out of range"
    end
  end
  if depth(body.raw_results) > 31 then
    return 500, "raw_results is nested too deep"
  elseif raw_bytes(text) > 15900000 then
    return 500, "raw_results is too large"
  end
  return 201, "stored", body
end

return rules
