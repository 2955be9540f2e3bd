--- The agent's configuration: flag over environment over config file over default, every value with the place it came
-- from, so that each error names it. Pure: environment, flags and files come as arguments.
-- What must hold: a value that cannot be understood is an error (exit 2), never a default.

local json = require "waddle.json"
local nearest = require "waddle.nearest"
local redact = require "waddle.redact"
local rows = require "waddle.rows"
local schedule = require "waddle.schedule"
local spool = require "waddle.spool"
local target = require "waddle.target"
local kinds = require "waddle.config_values"
local trim = require "waddle.trim"

local config = {}

local TYPES = { "http", "tcp", "udp", "icmp" }
local DEFAULT_PERIOD_S = 60

-- Names of the config file's keys; the variables are the same in capitals, with WADDLE_ before those of the spool.
local DEFAULTS = {
  auth_type = "none", auth_jwt = "", auth_user = "", auth_pass = "", auth_apikey = "",
  manager_url = "http://localhost:8080", test_server_url = "http://localhost:8081", run_seconds = 0,
  enable_http_test = true, enable_tcp_test = true, enable_udp_test = true, enable_icmp_test = true,
  device_serial = "", device_hostname = "",
  concurrency = false, concurrency_per_host = false, -- not set
  drop_capabilities = "auto", no_new_privs = "auto", seccomp = "auto", landlock = "auto", programs = false, core_dumps = false, writable = {},
  spool = "", spool_rows = false, spool_bytes = false, spool_age = false, spool_full = false,
  upload_skipped = false,
  http_targets = { "https://www.google.com" }, tcp_targets = {}, udp_targets = {}, icmp_targets = { "8.8.8.8" },
}

-- What each AUTH_TYPE needs, and the uploader's name for it.
local SECRETS = {
  none = {}, jwt = { auth_jwt = "token" }, apikey = { auth_apikey = "key" },
  userpass = { auth_user = "user", auth_pass = "password" },
}

-- Settings whose values are secrets: NAME_FILE in the environment and a file of the name in $CREDENTIALS_DIRECTORY (systemd) may hold them, too.
local IN_FILES = { "auth_jwt", "auth_user", "auth_pass", "auth_apikey" }
local NOT_THERE = 2 -- ENOENT

-- What waddle.confine is told; each has a flag of its name.
local CONFINEMENT = { "drop_capabilities", "no_new_privs", "seccomp", "landlock", "programs", "core_dumps", "writable" }

local read, fail, shown = kinds.read, kinds.fail, kinds.shown

-- The settings of the spool, and the uploader's names for them.
local SPOOL = { spool_rows = "max_rows", spool_bytes = "max_bytes", spool_age = "max_age", spool_full = "full" }

local LEVELS = { debug = true, info = true, warning = true, error = true }

-- A list of the environment: commas, blanks trimmed, empty items skipped.
local function split_list(value)
  local items = {}
  for item in value:gmatch("[^,]+") do
    item = trim(item)
    if item ~= "" then
      items[#items + 1] = item
    end
  end
  return items
end

local READERS = {
  auth_type = read.text, auth_jwt = read.text, auth_user = read.text, auth_pass = read.text, auth_apikey = read.text,
  manager_url = read.url, test_server_url = read.text, run_seconds = read.seconds,
  enable_http_test = read.boolean, enable_tcp_test = read.boolean, enable_udp_test = read.boolean,
  enable_icmp_test = read.boolean, concurrency = read.count, concurrency_per_host = read.count, device_serial = read.text, device_hostname = read.text,
  drop_capabilities = read.defence, no_new_privs = read.defence, seccomp = read.defence, landlock = read.defence, programs = read.boolean,
  core_dumps = read.boolean, writable = read.paths,
  spool = read.text, spool_rows = read.count, spool_bytes = read.size, spool_age = read.seconds, spool_full = read.full,
  upload_skipped = read.boolean,
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

-- A secret that stands in a file: its text without the line break at the end.
local function put_from_file(settings, name, place, source, path, content, message)
  if not content then
    fail(place, "%s", message or path)
  end
  put(settings, name, place, source, (content:gsub("\r?\n$", "")))
end

-- The files that systemd gives a service (LoadCredential=auth_apikey:...), named as the settings.
local function add_credentials(settings, env, read_file)
  local folder = env("CREDENTIALS_DIRECTORY")
  if not folder or folder == "" then
    return
  end
  for _, name in ipairs(IN_FILES) do
    local path = ("%s/%s"):format(folder, name)
    local content, message, code = read_file(path)
    if content or code ~= NOT_THERE then
      put_from_file(settings, name, "credential " .. name, "environment", path, content, message)
    end
  end
end

local function add_secret_files(settings, env, read_file)
  for _, name in ipairs(IN_FILES) do
    local variable = name:upper() .. "_FILE"
    local path = env(variable)
    if path and path:find("%S") then
      if (env(name:upper()) or ""):find("%S") then
        fail(variable, "%s is set, too: give the secret in one way", name:upper())
      end
      put_from_file(settings, name, variable, "environment", path, read_file(path))
    end
  end
end

local function variable_of(name)
  return (name:find("^spool") and "WADDLE_" or "") .. name:upper()
end

local function add_environment(settings, env, names)
  for name in pairs(names) do
    local variable = variable_of(name)
    local value = env(variable)
    if value and type(DEFAULTS[name]) == "table" then
      -- Set to empty is an empty list.
      put(settings, name, variable, "environment", split_list(value))
    elseif value and value:find("%S") then
      put(settings, name, variable, "environment", value)
    end
  end
end

local function add_confinement_flags(settings, flags)
  for _, name in ipairs(CONFINEMENT) do
    if flags[name] ~= nil then
      put(settings, name, "--" .. name:gsub("_", "-"), "flag", flags[name])
    end
  end
end

local function add_flags(settings, flags, warn)
  if flags.spool ~= nil then
    put(settings, "spool", "--spool", "flag", flags.spool)
  end
  if flags.upload_skipped then
    put(settings, "upload_skipped", "--upload-skipped", "flag", true)
  end
  for _, kind in ipairs(TYPES) do
    local given = flags[kind .. "_target"]
    if given ~= nil then
      local place = ("--%s-target"):format(kind)
      given = type(given) == "table" and given or { given }
      for _, item in ipairs(given) do
        if type(item) == "string" and redact.target(item) ~= item then
          warn("%s: a secret on the command line was visible to every user of this machine until it was hidden; %s_TARGETS keeps it private",
            place, kind:upper())
        end
      end
      put(settings, kind .. "_targets", place, "flag", given)
      settings["enable_" .. kind .. "_test"] = { value = true, place = place, source = "flag" }
    end
  end
  add_confinement_flags(settings, flags)
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
      local from = settings[name]
      fail(from.source == "default" and name:upper() or from.place, "is empty, %s needs it (%s)", kind, given.place)
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

-- Where results wait, for the uploader; `places` by the uploader's names.
local function read_spool(settings, env)
  local found = { spool = spool.place(settings.spool.value, env) }
  local places = { spool = settings.spool.place }
  for name, option in pairs(SPOOL) do
    found[option] = settings[name].value or nil
    places[option] = settings[name].place
  end
  return found, places
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
        local name = found.name
        repeat -- somebody may have named a target so
          found.name, count = ("%s #%d"):format(name, count), count + 1
        until not by_name[found.name]
        by_name[found.name] = 1
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

local function read_confinement(settings)
  local confinement = {}
  for _, name in ipairs(CONFINEMENT) do
    confinement[name] = settings[name].value
  end
  return confinement
end

local function load(input, warn)
  local settings, flags, read_file = {}, input.flags or {}, input.read_file or config.read_file
  add_defaults(settings)
  local site = add_config_file(settings, flags, input.env, read_file, warn)
  add_credentials(settings, input.env, read_file)
  add_environment(settings, input.env, DEFAULTS)
  add_secret_files(settings, input.env, read_file)
  add_flags(settings, flags, warn)
  apply_test_type(settings, flags, warn)
  local period = read_period(settings, flags, warn)
  local spooling, spool_places = read_spool(settings, input.env)
  local loaded = {
    auth = read_auth(settings),
    spool = spooling,
    spool_places = spool_places,
    manager_url = settings.manager_url.value,
    upload_skipped = settings.upload_skipped.value,
    period = period,
    concurrency = settings.concurrency.value or nil,
    concurrency_per_host = settings.concurrency_per_host.value or nil,
    targets = read_targets(settings, site),
    types = read_types(settings),
    device = { serial = settings.device_serial.value, hostname = settings.device_hostname.value },
    site = site,
    confinement = read_confinement(settings),
    log_level = read_log_level(flags),
  }
  if #loaded.targets == 0 and not site then
    warn("nothing to probe: no test that is on has a target")
  end
  return loaded
end

--- The variables that hold secrets.
config.SECRET_VARIABLES = { "AUTH_JWT", "AUTH_PASS", "AUTH_APIKEY" }

--- Reads a whole file. @return content, or nil, a message and the errno.
function config.read_file(path)
  local file, message, code = io.open(path, "rb")
  if not file then
    return nil, message, code
  end
  local content, reason = file:read("a")
  file:close()
  if not content then
    return nil, ("%s: %s"):format(path, reason)
  end
  return content
end

-- What fn gives; nil and the message of what fail said.
local function caught(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" then
    return nil, result.message
  end
  error(result, 0)
end

--- Puts the configuration together.
-- @param input table:
--   env        function(name) -> value or nil
--   flags      table of parsed flags, or nil: test_type, http_target, tcp_target, udp_target, icmp_target (text or list of
--              texts), config_file, schedule (boolean), log_level, spool, upload_skipped (boolean), and those of confinement
--   read_file  function(path) -> content, or nil, a message and the errno (default: config.read_file)
-- @return config, warnings (list of texts); or nil and a message with the place and the reason, which is exit 2.
--   config.auth        for the uploader: {type="none"|"jwt"|"apikey"|"userpass", token=, key=, user=, password=}
--   config.manager_url as written
--   config.spool       for the uploader: {spool = file or "none", max_rows=, max_bytes=, max_age=, full=}, nil where not set, and
--                      no `spool` where no folder for one is known; config.spool_places says where each was written
--   config.upload_skipped  whether runs that did not take place are uploaded, too
--   config.period      seconds between rounds, nil for a single round
--   config.concurrency, config.concurrency_per_host  most probes at once, of all and to one host; nil where not set
--   config.targets     list of what `target.parse` returns, in the order http, tcp, udp, icmp; each `name` is unique, `place`
--                      says where it was written. The default targets are left out where there is a site file
--   config.types       {http=, tcp=, udp=, icmp=}: which tests are on
--   config.device      {serial=, hostname=}, "" where not set: for `device.detect`
--   config.confinement for waddle.confine, as config.confinement gives it
--   config.site        path of the site file, or nil
--   config.log_level   "debug" "info" "warning" "error"
function config.load(input)
  local warnings = {}
  local function warn(text, ...)
    warnings[#warnings + 1] = text:format(...)
  end
  local loaded, message = caught(load, input, warn)
  return loaded, loaded and warnings or message
end

--- The part of it that waddle.confine takes, for a script that has no other configuration: of flags, else of the environment.
-- @param input {env=, flags= with the names in small letters, as the keys of the file}
-- @return {drop_capabilities=, no_new_privs=, seccomp=, landlock=, programs=, core_dumps=, writable=}; or nil and a message
function config.confinement(input)
  return caught(function()
    local settings, names = {}, {}
    for _, name in ipairs(CONFINEMENT) do
      names[name] = true
    end
    add_defaults(settings)
    add_environment(settings, input.env, names)
    add_confinement_flags(settings, input.flags)
    return read_confinement(settings)
  end)
end

return config
