-- What the specs of the uploader share: a manager and an uploader that end with the spec, and a result to put.

local manager = require "waddle.manager"
local upload = require "waddle.upload"

local uploads = {}

uploads.device = {serial = "0123456789abcdef", hostname = "probe-1", os = "Linux", os_version = "6.1.0"}

-- A result as tcp.connect gives it; `more` adds fields.
function uploads.result(more)
  local result = {test_type = "tcp", protocol_detail = "raw_tcp", target = "tcp://db.test:5432", target_host = "db.test", target_ip = "192.0.2.7",
    target_port = 5432, success = true, latency_ms = 3.25, started_at = "2026-01-31T12:00:00.000000Z", timings = {connect_ms = 3.25}}
  for key, value in pairs(more or {}) do
    result[key] = value
  end
  return result
end

-- fn(manager, uploader): a manager with `manager_options` and an uploader to it; both are closed behind fn. `url` in
-- `uploader_options` takes the place of the manager's.
function uploads.with(manager_options, uploader_options, fn)
  local m <close> = assert(manager.start(manager_options))
  local options = {url = m.url, device = uploads.device}
  for key, value in pairs(uploader_options or {}) do
    options[key] = value
  end
  local u <close> = upload.open(options)
  return fn(m, u)
end

-- Puts n results, or the one that is given, n times 1.
function uploads.put(u, n, more)
  for _ = 1, n do
    assert(u:put(uploads.result(more)))
  end
end

return uploads
