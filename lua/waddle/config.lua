--- The agent's configuration: flag over environment over config file over default, every value with the place it came
-- from, so that each error names it. Pure: environment, flags and files come as arguments.
-- What must hold: a value that cannot be understood is an error (exit 2), never a default.

local duration = require "waddle.duration"
local json = require "waddle.json"
local nearest = require "waddle.nearest"
local redact = require "waddle.redact"
local rows = require "waddle.rows"
local schedule = require "waddle.schedule"
local target = require "waddle.target"

local config = {}

local TYPES = { "http", "tcp", "udp", "icmp" }
local DEFAULT_PERIOD_S = 60

-- Names of the config file's keys; the variables are the same in capitals.
local DEFAULTS = {
  auth_type = "none", auth_jwt = "", auth_user = "", auth_pass = "", auth_apikey = "",
  manager_url = "http://localhost:8080", test_server_url = "http://localhost:8081", run_seconds = 0,
  enable_http_test = true, enable_tcp_test = true, enable_udp_test = true, enable_icmp_test = true,
  device_serial = "", device_hostname = "",
  concurrency = false, concurrency_per_host = false, -- not set
  http_targets = { "https://www.google.com" }, tcp_targets = {}, udp_targets = {}, icmp_targets = { "8.8.8.8" },
}

-- What each AUTH_TYPE needs, and the uploader's name for it.
local SECRETS = {
  none = {}, jwt = { auth_jwt = "token" }, apikey = { auth_apikey = "key" },
  userpass = { auth_user = "user", auth_pass = "password" },
}

local WORDS = {
  ["true"] = true, yes = true, on = true, ["1"] = true, y = true, t = true,
  ["false"] = false, no = false, off = false, ["0"] = false, n = false, f = false,
}

local LEVELS = { debug = true, info = true, warning = true, error = true }

local function shown(value)
  if type(value) == "string" then
    value = redact.target(value)
    return ("%q"):format(#value > 60 and value:sub(1, 60) .. "..." or value)
  elseif type(value) == "table" then
    return "a table"
  end
  return value == json.null and "null" or tostring(value)
end

-- Errors go up by error() with a table, so that the first one ends the reading wherever it is found.
local function fail(place, reason, ...)
  error({ message = ("%s: %s"):format(place, reason:format(...)) }, 0)
end

-- Readers: each turns what was found at a place into the setting's value or fails.
local read = {}

function read.text(place, value)
  if type(value) ~= "string" then
    fail(place, "expected a text, got %s", shown(value))
  end
  value = value:match("^%s*(.-)%s*$")
  if value:find("%c") then
    fail(place, "has a line break or another control character inside")
  end
  return value
end

function read.boolean(place, value)
  if type(value) == "boolean" then
    return value
  end
  local word = WORDS[tostring(value):lower():match("^%s*(.-)%s*$")]
  if word == nil then
    fail(place, "expected true or false (1, yes, on, 0, no, off), got %s", shown(value))
  end
  return word
end

function read.seconds(place, value)
  local seconds, message = duration.parse(value)
  if not seconds then
    fail(place, "%s", message)
  end
  return seconds
end

function read.count(place, value)
  local number = value
  if type(value) == "string" then
    number = tonumber(value:match("^%s*(%d+)%s*$") or "")
  end
  number = math.tointeger(number)
  if not number or number < 1 then
    fail(place, "expected a whole number from 1, got %s", shown(value))
  end
  return number
end

function read.url(place, value)
  local url = read.text(place, value)
  if not url:match("^%a[%w+.-]*://") then
    fail(place, "expected a URL such as http://manager:8080, got %s", shown(value))
  end
  local parsed, message = target.parse(url, "http")
  if not parsed then
    fail(place, "%s", message)
  end
  return url
end

-- A list of the environment: commas, blanks trimmed, empty items skipped.
local function split_list(value)
  local items = {}
  for item in value:gmatch("[^,]+") do
    item = item:match("^%s*(.-)%s*$")
    if item ~= "" then
      items[#items + 1] = item
    end
  end
  return items
end

function read.list(place, value)
  if type(value) ~= "table" or (#value == 0 and next(value) ~= nil) then
    fail(place, 'expected a list such as ["host:443"], got %s', type(value) == "table" and "an object" or shown(value))
  end
  for i, item in ipairs(value) do
    if type(item) ~= "string" and (type(item) ~= "table" or #item > 0) then
      fail(("%s, item %d"):format(place, i), "expected a target as text or as an object, got %s",
        type(item) == "table" and "a list" or shown(item))
    end
  end
  return value
end

local READERS = {
  auth_type = read.text, auth_jwt = read.text, auth_user = read.text, auth_pass = read.text, auth_apikey = read.text,
  manager_url = read.url, test_server_url = read.text, run_seconds = read.seconds,
  enable_http_test = read.boolean, enable_tcp_test = read.boolean, enable_udp_test = read.boolean,
  enable_icmp_test = read.boolean, concurrency = read.count, concurrency_per_host = read.count, device_serial = read.text, device_hostname = read.text,
  http_targets = read.list, tcp_targets = read.list, udp_targets = read.list, icmp_targets = read.list,
}

-- settings[name] = {value=, place=, source="default"|"file"|"environment"|"flag"}; a later source overwrites.
local function put(settings, name, place, source, value)
  settings[name] = { value = READERS[name](place, value), place = place, source = source }
end

local function add_defaults(settings)
  for name, value in pairs(DEFAULTS) do
    settings[name] = { value = value, place = "default of " .. name, source = "default" }
  end
end

-- The line of a key, or nil where it is written in another way (with \\u escapes).
local function line_of_key(content, key)
  local at = content:find('"' .. key:gsub("%p", "%%%0") .. '"%s*:')
  return at and select(2, content:sub(1, at):gsub("\n", "")) + 1
end

local function add_file(settings, path, content)
  local values, message = json.decode(content)
  if values == nil then
    local line = json.error_line(content, message)
    fail(line and ("%s:%d"):format(path, line) or path, "not JSON: %s", message)
  elseif type(values) ~= "table" or #values > 0 then
    fail(path, "expected an object of settings, got %s", type(values) == "table" and "a list" or shown(values))
  end
  local twice, line = json.duplicate_key(content)
  if twice then
    fail(("%s:%d"):format(path, line), "the key '%s' is there twice", twice)
  end
  for key, value in pairs(values) do
    if DEFAULTS[key] == nil then
      local at = line_of_key(content, tostring(key))
      fail(at and ("%s:%d"):format(path, at) or path, "unknown key '%s'%s", tostring(key), nearest.hint(key, DEFAULTS))
    end
    put(settings, key, ("%s: %s"):format(path, key), "file", value)
  end
end

local function add_environment(settings, env)
  for name in pairs(DEFAULTS) do
    local variable = name:upper()
    local value = env(variable)
    if value and READERS[name] == read.list then
      -- Set to empty is an empty list.
      put(settings, name, variable, "environment", split_list(value))
    elseif value and value:find("%S") then
      put(settings, name, variable, "environment", value)
    end
  end
end

local function add_flags(settings, flags)
  for _, kind in ipairs(TYPES) do
    local given = flags[kind .. "_target"]
    if given ~= nil then
      local place = ("--%s-target"):format(kind)
      put(settings, kind .. "_targets", place, "flag", type(given) == "table" and given or { given })
      settings["enable_" .. kind .. "_test"] = { value = true, place = place, source = "flag" }
    end
  end
end

-- --test-type wins over everything that enables or disables; where that contradicts somebody, it says so.
local function apply_test_type(settings, flags, warn)
  local chosen = flags.test_type
  if chosen == nil then
    return
  end
  chosen = read.text("--test-type", chosen):lower()
  if chosen ~= "all" and not DEFAULTS["enable_" .. chosen .. "_test"] then
    fail("--test-type", "expected http, tcp, udp, icmp or all, got %s", shown(flags.test_type))
  end
  for _, kind in ipairs(TYPES) do
    local setting = settings["enable_" .. kind .. "_test"]
    local wanted = chosen == "all" or chosen == kind
    if setting.value ~= wanted and setting.source ~= "default" then
      warn("--test-type %s wins over %s: %s tests are %s", chosen, setting.place, kind, wanted and "on" or "off")
    end
    setting.value = wanted
  end
end

local function read_auth(settings)
  local given = settings.auth_type
  local kind = given.value:lower()
  local secrets = SECRETS[kind]
  if not secrets then
    fail(given.place, "expected none, jwt, apikey or userpass, got %s%s", shown(given.value), nearest.hint(kind, SECRETS))
  end
  local auth = { type = kind }
  for name, field in pairs(secrets) do
    auth[field] = settings[name].value
    if auth[field] == "" then
      fail(name:upper(), "is empty, %s needs it (%s)", kind, given.place)
    end
  end
  return auth
end

local function check_settings(place, settings)
  local spec, message = schedule.read(settings.every or 1, { jitter = settings.jitter })
  if not spec then
    fail(place, "%s", message)
  end
  local overlap, reason = schedule.overlap(settings.overlap)
  if not overlap then
    fail(place, "%s", reason)
  end
end

-- The targets of the types that are on. The same text twice is two targets, told apart by a number; a name that was
-- given must be the only one.
-- Where a site file says what to probe, the default targets are not wanted.
local function read_targets(settings, site)
  local all, by_name = rows.new(), {}
  for _, kind in ipairs(TYPES) do
    local list, enabled = settings[kind .. "_targets"], settings["enable_" .. kind .. "_test"].value
    local wanted = enabled and not (site and list.source == "default")
    for i, item in ipairs(wanted and list.value or {}) do
      local place = list.source == "flag" and list.place or ("%s, item %d"):format(list.place, i)
      local found, message = target.parse(item, kind)
      if not found then
        fail(place, "%s", message)
      end
      check_settings(place, found.settings)
      found.place = place
      local count = (by_name[found.name] or 0) + 1
      by_name[found.name] = count
      if count > 1 and found.settings.name then
        fail(place, "another target is named %s too", shown(found.name))
      elseif count > 1 then
        found.name = ("%s #%d"):format(found.name, count)
      end
      all[#all + 1] = found
    end
  end
  return all
end

local function read_types(settings)
  local types = {}
  for _, kind in ipairs(TYPES) do
    types[kind] = settings["enable_" .. kind .. "_test"].value
  end
  return types
end

local function read_period(settings, flags, warn)
  local given = settings.run_seconds
  if given.value > 0 then
    return given.value
  elseif flags.schedule then
    warn("RUN_SECONDS is 0: --schedule runs every %d s", DEFAULT_PERIOD_S)
    return DEFAULT_PERIOD_S
  end
end

local function read_log_level(flags)
  if flags.log_level == nil then
    return "info"
  end
  local level = tostring(flags.log_level):lower()
  if not LEVELS[level] then
    fail("--log-level", "expected DEBUG, INFO, WARNING or ERROR, got %s", shown(flags.log_level))
  end
  return level
end

-- Reads the file that --config-file names into the settings; a .lua file is a site, run later. Returns the site's path.
local function add_config_file(settings, flags, env, read_file, warn)
  local site = env("WADDLE_SITE")
  site = site ~= "" and site or nil
  local path = flags.config_file
  if path == nil then
    return site
  elseif path:match("%.lua$") then
    if site then
      warn("--config-file %s wins over WADDLE_SITE", path)
    end
    return path
  end
  local content, message = read_file(path)
  if not content then
    fail("--config-file", "%s", message or path)
  end
  add_file(settings, path, content)
  return site
end

local function load(input, warn)
  local settings, flags = {}, input.flags or {}
  add_defaults(settings)
  local site = add_config_file(settings, flags, input.env, input.read_file or config.read_file, warn)
  add_environment(settings, input.env)
  add_flags(settings, flags)
  apply_test_type(settings, flags, warn)
  local period = read_period(settings, flags, warn)
  local loaded = {
    auth = read_auth(settings),
    manager_url = settings.manager_url.value,
    period = period,
    concurrency = settings.concurrency.value or nil,
    concurrency_per_host = settings.concurrency_per_host.value or nil,
    targets = read_targets(settings, site),
    types = read_types(settings),
    device = { serial = settings.device_serial.value, hostname = settings.device_hostname.value },
    site = site,
    log_level = read_log_level(flags),
  }
  if #loaded.targets == 0 and not site then
    warn("nothing to probe: no test that is on has a target")
  end
  return loaded
end

--- Reads a whole file. @return content, or nil and a message.
function config.read_file(path)
  local file, message = io.open(path, "rb")
  if not file then
    return nil, message
  end
  local content, reason = file:read("a")
  file:close()
  if not content then
    return nil, ("%s: %s"):format(path, reason)
  end
  return content
end

--- Puts the configuration together.
-- @param input table:
--   env        function(name) -> value or nil
--   flags      table of parsed flags, or nil: test_type, http_target, tcp_target, udp_target, icmp_target (text or list of
--              texts), config_file, schedule (boolean), log_level
--   read_file  function(path) -> content, or nil and a message (default: config.read_file)
-- @return config, warnings (list of texts); or nil and a message with the place and the reason, which is exit 2.
--   config.auth        for the uploader: {type="none"|"jwt"|"apikey"|"userpass", token=, key=, user=, password=}
--   config.manager_url as written
--   config.period      seconds between rounds, nil for a single round
--   config.concurrency, config.concurrency_per_host  most probes at once, of all and to one host; nil where not set
--   config.targets     list of what `target.parse` returns, in the order http, tcp, udp, icmp; each `name` is unique, `place`
--                      says where it was written. The default targets are left out where there is a site file
--   config.types       {http=, tcp=, udp=, icmp=}: which tests are on
--   config.device      {serial=, hostname=}, "" where not set: for `device.detect`
--   config.site        path of the site file, or nil
--   config.log_level   "debug" "info" "warning" "error"
function config.load(input)
  local warnings = {}
  local function warn(text, ...)
    warnings[#warnings + 1] = text:format(...)
  end
  local ok, loaded = pcall(load, input, warn)
  if ok then
    return loaded, warnings
  elseif type(loaded) == "table" then
    return nil, loaded.message
  end
  error(loaded, 0)
end

return config
