--- Running a script that nobody vouches for: `waddle run --sandbox`. It comes on top of a process of its own (waddle.isolate) and of what
-- waddle.confine gives up, and takes away what they leave: files, the environment, programs, other modules, and the network but for a list.
-- What must hold: who may be talked to, and how much, is decided in C (runtime/policy.h) and by the kernel, whatever a script makes of Lua;
-- nothing that a script reaches lets it change what waddle's own Lua files use.

local core = require "waddle.core.confine"
local env = require "waddle.env"
local nearest = require "waddle.nearest"
local sys = require "waddle.core.sys"

local sandbox = {}

--- The flags of its list of capabilities: {name=, word=, value=, help=, many=}, as waddle.confine has its own.
sandbox.FLAGS = {
  {name = "net", word = "--allow-net", value = "NET[:PORTS]", many = true, help = "Talk to this network (ports: 443 or 8000-8099) and to no other."},
  {name = "modules", word = "--allow-module", value = "NAME", many = true, help = "Use one of sys, upload and serve, which it has not otherwise."},
  {name = "rate", word = "--max-rate", value = "N", help = "Send so many packets a second, connection requests among them."},
  {name = "bandwidth", word = "--max-bandwidth", value = "RATE", help = "Send and receive as much, such as 500kbit/s or 10Mbit/s."},
}

-- Names that a script has; of these libraries the functions named, true for all that are left.
local STANDARD = {
  "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "select",
  "tonumber", "tostring", "type", "warn", "xpcall",
}
local LIBRARIES = {
  coroutine = true, math = true, string = true, table = true, utf8 = true, os = {"clock", "date", "difftime", "time"},
}
local ASKED_FOR = {sys = true, upload = true, serve = true} -- they tell secrets, send to anybody who is allowed, listen
local DENIED = {
  io = "files", package = "modules of others", debug = "the debugger", dofile = "files", loadfile = "files", limits = "a change of its own limits",
}
local RATE_UNITS = {bit = 1 / 8, kbit = 1e3 / 8, mbit = 1e6 / 8, gbit = 1e9 / 8, b = 1, kb = 1e3, mb = 1e6, gb = 1e9}
local MOST_RATE = 1e9 -- packets, or bytes, a second

local function read_rate(text)
  local n = tonumber(text)
  if not n or n ~= n or n <= 0 or n > MOST_RATE then
    return nil, ("--max-rate: expected packets a second, got '%s'"):format(text)
  end
  return n
end

local function read_bandwidth(text)
  local n, unit = text:match "^(%d+%.?%d*)%s*(%a+)/s$"
  local factor = n and RATE_UNITS[unit == "B" and "b" or unit:lower():gsub("bps$", "bit")]
  local bytes = factor and tonumber(n) * factor
  if not bytes or bytes <= 0 or bytes > MOST_RATE then
    return nil, ("--max-bandwidth: expected a number with bit/s, kbit/s, Mbit/s, Gbit/s, kB/s or MB/s, got '%s'"):format(text)
  end
  return bytes
end

-- Each item of a list of texts that may hold several, with commas.
local function each(list)
  return table.concat(list or {}, ","):gmatch "[^,%s]+"
end

--- read(flags) -> settings | nil, message: {net = {text}, modules = {text}, rate = text, bandwidth = text} as the flags gave them.
function sandbox.read(flags)
  local settings = {net = {}, modules = {}, rate = 0, bandwidth = 0}
  for network in each(flags.net) do
    table.insert(settings.net, network)
  end
  for name in each(flags.modules) do
    if not env.modules[name] then
      return nil, ("--allow-module: no module '%s'%s"):format(name, nearest.hint(name, env.modules))
    end
    settings.modules[name] = true
  end
  local message
  if flags.rate then
    settings.rate, message = read_rate(flags.rate)
  end
  if flags.bandwidth and not message then
    settings.bandwidth, message = read_bandwidth(flags.bandwidth)
  end
  if message then
    return nil, message
  end
  return settings
end

local function copy(from, names)
  local to = {}
  if names == true then
    for name, value in pairs(from) do
      to[name] = value
    end
  else
    for _, name in ipairs(names) do
      to[name] = from[name]
    end
  end
  return to
end

-- setmetatable without finalizers, and getmetatable that gives those alone that the script has set: with one of ours it could change what a
-- string or a result does, also for waddle.
local function metatables()
  local own = setmetatable({}, {__mode = "k"})
  local function set(value, mt, ...)
    if type(mt) == "table" then
      if rawget(mt, "__gc") ~= nil then
        error("setmetatable: a sandbox has no finalizers (__gc)", 2)
      elseif type(value) == "table" and getmetatable(value) ~= nil and not own[getmetatable(value)] then
        error("setmetatable: this metatable is not the script's to change", 2)
      end
      own[mt] = true
    end
    return setmetatable(value, mt, ...)
  end
  local function get(value)
    local mt = getmetatable(value)
    return type(mt) == "table" and not own[mt] and "protected" or mt
  end
  return set, get
end

local function count_garbage(what)
  if what ~= "count" then
    error(("collectgarbage: a sandbox has only 'count', got '%s'"):format(tostring(what)), 2)
  end
  return collectgarbage "count"
end

-- The names of scripts: copies, so that changing one changes nothing of waddle's.
local function names()
  local standard = copy(_G, STANDARD)
  for name, functions in pairs(LIBRARIES) do
    standard[name] = copy(_G[name], functions)
  end
  standard.string.dump = nil
  for _, library in ipairs {"os", "string"} do
    setmetatable(standard[library], {__index = function(_, name)
      error(("%s.%s: a sandbox does not have it"):format(library, tostring(name)), 2)
    end})
  end
  standard.setmetatable, standard.getmetatable = metatables()
  standard.collectgarbage = count_garbage
  return standard
end

-- What waddle's own files may not use either, should a script get hold of it.
local function strip()
  local function no_files()
    return nil, "a sandbox has no files"
  end
  for _, name in ipairs {"open", "popen", "lines", "tmpfile", "input", "output"} do
    io[name] = no_files -- luacheck: ignore 122
  end
  for _, name in ipairs {"execute", "remove", "rename", "tmpname"} do
    os[name] = no_files -- luacheck: ignore 122
  end
  os.getenv = function() end -- luacheck: ignore 122
  sys.env = function(name)
    return name == nil and {} or nil
  end
  for _, name in ipairs {"loadlib", "searchpath"} do
    package[name] = nil
  end
  package.searchers = {package.searchers[1], package.searchers[2]} -- what is built in; not files
  for name in pairs(debug) do
    if name ~= "traceback" and name ~= "getinfo" then
      debug[name] = nil -- luacheck: ignore 122
    end
  end
  string.dump = nil -- luacheck: ignore 122
end

--- begin(settings) -> a line for the log | nil, message: from here on this process, which runs nothing else, is a sandbox.
function sandbox.begin(settings)
  local ok, message = core.policy(settings.net, settings.rate, settings.bandwidth, settings.modules.serve or false)
  if not ok then
    return nil, "--allow-net: " .. message
  end
  local denied, modules = copy(DENIED, true), {}
  for name, module in pairs(env.modules) do
    if ASKED_FOR[name] and not settings.modules[name] then
      denied[name] = ("%s; --allow-module %s allows it"):format(name, name)
    else
      modules[name] = module
    end
  end
  for name in pairs(modules) do
    require(modules[name])
  end
  env.restrict {standard = names(), modules = modules, denied = denied}
  strip()
  return ("sandbox: network %s; packets %s; bandwidth %s"):format(
    #settings.net > 0 and table.concat(settings.net, ", ") or "all but link-local and metadata addresses",
    settings.rate > 0 and ("%g/s"):format(settings.rate) or "unlimited",
    settings.bandwidth > 0 and ("%g kB/s"):format(settings.bandwidth / 1e3) or "unlimited")
end

return sandbox
