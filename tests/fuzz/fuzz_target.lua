-- Target strings of any bytes, as each type of list reads them: a target whose parts fit together, or a reason. The first byte says how.

local address = require "waddle.address"
local redact = require "waddle.redact"
local runner = require "waddle.runner"
local target = require "waddle.target"

local TYPES = {"http", "tcp", "udp", "icmp", "tls", "ssh", "dns"} -- else nil: a scheme must be written
local PASSWORD = "h4rd-t0-g3ss"

local function check(text, kind)
  local found, message = target.parse(text, kind)
  if not found then
    assert(type(message) == "string" and message ~= "", "refused without a reason")
    return nil, message
  end
  assert(found.host ~= "" and found.name ~= "" and type(found.args) == "table", "a target without a part")
  assert(found.port == nil or math.type(found.port) == "integer" and found.port >= 1 and found.port <= 65535, "no port")
  if found.scheme ~= "dns" then
    assert(address.host(found.host) == found.host, "the host is none")
  end
  -- What the probe still finds wrong it says as a misuse of its own, never as a slip of ours.
  local ok, err = pcall(runner.check, found)
  assert(ok or tostring(err):find(found.probe, 1, true), err)
  return found
end

-- A password is in nothing that is shown, wherever the rest of the text goes wrong.
local function check_secret(scheme, behind, kind)
  local found, message = check(("%s://user:%s@%s"):format(scheme, PASSWORD, behind), kind)
  assert(not (message or found.target .. found.name):find(PASSWORD, 1, true), "a password is shown")
end

return function(input)
  local mode, text = input:byte(1) or 0, input:sub(2)
  local kind = TYPES[mode % 8 + 1]
  check(text, kind)
  address.host_port(text, 1)
  redact.text(text)
  if mode >= 128 and not text:lower():find(PASSWORD, 1, true) then
    check_secret(mode % 2 == 0 and "http" or "https", text, kind)
  end
end
