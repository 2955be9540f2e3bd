--- Delivery of results to the manager: `upload.open` gives an uploader, which keeps what is put into it until the manager
-- has stored it. The native part sends, waits and tries again; bodies are built by waddle.contract.

local contract = require "waddle.contract"
local core = require "waddle.core.upload"
local device = require "waddle.device"
local source = require "waddle.source"
local sys = require "waddle.core.sys"

local upload = {}

local uploader = {}
uploader.__index = uploader
uploader.__name = "uploader"

-- The row of a result, or nil and why there is none.
local function row_of(self, result, level)
  if type(result) ~= "table" then
    error(("upload.put: expected a result table, got %s"):format(type(result)), level + 1)
  end
  local row, why = contract.build(result, self.device)
  if not row then
    self.invalid = self.invalid + 1
  end
  return row, why
end

--- Takes a result in. Yields until it is stored, which does not wait for the manager: in a spool it is on the disk then.
-- @param result table as a probe returns it; its `id`, if it is a text, becomes the idempotency key.
-- @return true; nil, "full" when there is no room (the result is dropped and counted); nil, "invalid: reason" for what the
--   manager could never store (dropped and counted, too).
function uploader:put(result)
  local row, why = row_of(self, result, 2)
  if not row then
    return nil, why
  end
  local taken, reason = self.core:put(row.id, row.body)
  return taken == 1 or nil, reason
end

--- Takes several results in, which a spool writes to the disk at once: far cheaper than one after the other.
-- @param results list of up to 1000 results
-- @return how many were taken; why the last one of those that were not was not, or nil
function uploader:put_all(results)
  local rows, why = {}, nil
  for _, result in ipairs(results) do
    local row, reason = row_of(self, result, 2)
    why = reason or why
    if row then
      rows[#rows + 1], rows[#rows + 2] = row.id, row.body
    end
  end
  if #rows == 0 then
    return 0, why
  end
  local taken, reason = self.core:put(table.unpack(rows))
  return taken, reason or why
end

--- Waits until it is known how things stand with the spool: its file is open, which another process may have to let go of first,
-- or cannot be opened.
-- @return true; or nil and why results do not wait in the file
function uploader:opened()
  local rows, message = self.core:ask {request = "list", most = 0}
  local reason = not rows and message or self.core:status().spool_error
  return reason == nil or nil, reason
end

--- Tries at once, whatever the back-off says, and waits until nothing is left or until the queue turns out to be blocked.
-- @param duration how long to wait, seconds or text (default 30 s; 0 only tries).
-- @return how many results are left.
function uploader:flush(duration)
  return self.core:flush(duration)
end

--- How delivery stands.
-- @return {state = "ok" | "backoff" (a fault that will pass) | "blocked" (address or credentials are wrong; nothing is thrown
--   away, the next try is minutes away or at a flush), queued = waiting, in_flight = being sent, sent, retried, rejected =
--   refused for good, quarantined = of these still kept, dropped = queue full, too old or invalid, oldest_s = age of the oldest
--   undelivered result or nil, last_error = text or nil, spool = its file or nil, spool_error = why results are not there or nil}
function uploader:status()
  local status = self.core:status()
  status.dropped = status.dropped + self.invalid
  return status
end

--- The results that the manager refused for good, oldest first; of those in memory the newest 1000 are kept, of those in a spool
-- the newest 10,000.
-- @return list of {id = idempotency key, status = HTTP status, answer = what the manager said, body = JSON text, at = RFC 3339,
--   put_at, tries, number}
function uploader:rejected()
  local all, after, more = {}, 0, true
  while more do
    local rows
    rows, more = self.core:ask {request = "list", quarantine = true, after = after}
    if not rows then
      error("upload.rejected: " .. more, 2)
    end
    table.move(rows, 1, #rows, #all + 1, all)
    after = rows[1] and rows[#rows].number
  end
  return all
end

--- Ends it; what is not delivered by then stays in the spool, or is gone where there is none, which is logged. More than once
-- does no harm. Waits for the disk.
function uploader:close()
  self.core:close()
end

uploader.__close = uploader.close

local function check_url(url)
  if type(url) == "string" and url:find("[?#]") then
    error("upload.open: field 'url': expected the manager's address without query and fragment", 3)
  end
end

--- Opens an uploader. It goes on sending until it is closed.
-- @param options table:
--   url          address of the manager; may end in a slash or carry a path
--   auth         {type="none" (default) | "jwt" | "apikey" | "userpass", token=, key=, user=, password=, mfa_code=}
--   spool        the file that results wait in, made with its folder where it is not there; what was put is on the disk.
--                "none" (default): results wait in memory. One process at a time has a file: another one's `put` waits for it to
--                end. Where the file cannot be written, results wait in memory, and the log says so
--   max_rows     most results that wait (default 10,000 in memory, 10,000,000 in a spool)
--   max_bytes    most bytes of results that wait (default "64MiB" in memory, "1GiB" in a spool)
--   max_age      results older than this are dropped and counted (default: none are)
--   full         which are dropped and counted when there is no room: "newest" (default), put then gives nil, "full"; or
--                "oldest", those being sent excepted
--   concurrency  most requests at once, 1 to 64 (default 4)
--   timeout      for one request (default 30 s, of which connecting gets 10)
--   tls          {ca=, cert=, key=, verify=, server_name=} for https
--   device       {serial=, hostname=, os=, os_version=} (default: DEVICE_SERIAL, DEVICE_HOSTNAME and the machine's own)
-- @return uploader. Raises for wrong options.
function upload.open(options)
  if type(options) ~= "table" then
    error(("upload.open: expected a table of options, got %s"):format(type(options)), 2)
  end
  local settings = {}
  for key, value in pairs(options) do
    settings[key] = key ~= "device" and value or nil
  end
  if source.results_elsewhere then
    settings.spool = "none" -- the process that runs the file has it
  end
  check_url(options.url)
  if type(options.url) == "string" then
    settings.url = contract.url(options.url, "results/upload")
    settings.login_url = contract.url(options.url, "auth/login")
  end
  return setmetatable({
    core = core.open(settings),
    device = options.device or device.detect({serial = os.getenv("DEVICE_SERIAL"), hostname = os.getenv("DEVICE_HOSTNAME")}, sys),
    invalid = 0,
  }, uploader)
end

return upload
