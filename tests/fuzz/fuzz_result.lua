-- What servers say, in results: header facts, banners, records, certificates, details, a body. A line of the input is a text of theirs. The upload made of
-- it is one the manager takes and has no secret of a header in it; what is shown of it has no control character.

local contract = require "waddle.contract"
local inspect = require "waddle.inspect"
local json = require "waddle.json"
local redact = require "waddle.redact"
local rules = require "waddle.manager_rules"
local show = require "waddle.show"
local text = require "waddle.text"

local DEVICE = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}
local SECRET = "h4rd-t0-g3ss"

local OTHERS = 1000 -- bytes of all texts of a result but two, so that the time of long ones is not theirs times twenty

local make = {}

function make.http(next_text)
  local headers = {[next_text()] = next_text(), [next_text():lower()] = next_text(), ["set-cookie"] = "sid=" .. SECRET .. next_text(), location = next_text()}
  return {test_type = "http", target = "https://a.test/", url_effective = next_text(), status = 200, headers = headers,
    redirects = {{url = next_text(), status = 302}}, timings = {dns_ms = 1, connect_ms = 2}, protocol_detail = next_text()}
end

function make.tls(next_text)
  return {test_type = "tls", target = "tls://a.test:443", tls = {verify = next_text(), version = "TLSv1.3", cipher = next_text(), bits = 256,
    chain = {{subject = next_text(), issuer = next_text(), names = {next_text()}, not_before = next_text(), not_after = next_text(), days_left = 3}}}}
end

function make.ssh(next_text)
  return {test_type = "ssh", target = "ssh://a.test:22", banner = next_text(), software = next_text(), protocol = next_text()}
end

function make.dns(next_text)
  return {test_type = "dns", target = "dns://a.test", name = "a.test", rcode = "NOERROR", server = next_text(),
    answers = {{name = next_text(), ttl = 3, type = "TXT", data = next_text(), text = next_text()}}}
end

function make.icmp(next_text)
  return {test_type = "icmp", target = "icmp://a.test", target_ip = next_text(), packets_sent = 1, packets_received = 0,
    samples = {{status = "error", from = next_text(), detail = next_text()}}}
end

local KINDS = {"http", "tls", "ssh", "dns", "icmp"}

local function check_shown(shown)
  assert(not shown:gsub("\n", ""):find("%c") and not shown:find("\xc2[\x80-\x9f]"), "a control character is shown")
  assert(utf8.len(shown), "what is shown is not UTF-8")
end

return function(input)
  local lines, at = {}, 0
  for line in input:sub(2):gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  local function next_text()
    at = at + 1
    return #lines > 0 and lines[(at - 1) % #lines + 1]:sub(1, at > 2 and OTHERS or -1) or ""
  end
  local mode = input:byte(1) or 0
  local result = make[KINDS[mode % #KINDS + 1]](next_text)
  result.started_at, result.latency_ms = "2026-01-01T00:00:00.000000Z", 1.5
  result.success = mode < 128
  if not result.success then
    result.error, result.error_detail = "protocol_error", next_text()
  end
  local built = assert(contract.build(result, DEVICE))
  local status, message = rules.check(built.body)
  assert(status == 201, message)
  assert(input:lower():find(SECRET, 1, true) or not built.body:find(SECRET, 1, true), "a cookie is uploaded")
  check_shown(show.line(result))
  check_shown(show.result(result))
  check_shown(inspect.value(result))
  check_shown(inspect.value({result.headers or result.answers or result.tls}))
  local whole = input:sub(2)
  check_shown(text.printable(whole))
  assert(utf8.len(text.utf8(whole)), "not UTF-8")
  redact.text(whole)
  redact.target(whole)
  text.wrap(text.printable(whole), 40)
  json.decode(whole)
end
