--- Who this machine is, as the manager stores it.

local sha256 = require "waddle.sha256"

local device = {}

-- The first that can be read decides; a machine that has not been set up has "uninitialized" in it (machine-id(5)).
local ID_FILES = { "/etc/machine-id", "/var/lib/dbus/machine-id" }

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local content = file:read(4096)
  file:close()
  return content
end

--- Finds out what device this is.
-- @param settings {serial=, hostname=}: DEVICE_SERIAL and DEVICE_HOSTNAME; nil or "" where they are not set.
-- @param sys table with uname() -> {sysname=, release=} and hostname() -> text (module waddle.sys has both).
-- @param read function(path) -> content or nil (default: the file system).
-- @return {serial=, hostname=, os=, os_version=}, all texts and none empty. Without any machine id the serial is the first
--   32 hexadecimal digits of the SHA-256 of the hostname.
function device.detect(settings, sys, read)
  read = read or read_file
  local own_name = sys.hostname()
  local serial = settings.serial
  for i = 1, #ID_FILES do
    if serial and serial ~= "" then
      break
    end
    local id = (read(ID_FILES[i]) or ""):match("^%s*([%w-]+)%s*$")
    serial = id ~= "uninitialized" and id or nil
  end
  local uname = sys.uname()
  return {
    serial = serial and serial ~= "" and serial or sha256(own_name):sub(1, 32),
    hostname = settings.hostname and settings.hostname ~= "" and settings.hostname or own_name,
    os = uname.sysname,
    os_version = uname.release,
  }
end

return device
