-- The strict environment of scripts, site files and the REPL: waddle's names are predeclared and
-- loaded when first used; a name that was never set raises with the nearest one.

local sys = require "waddle.core.sys"

local env = {}

-- Name in a script -> module that is loaded when the name is first read.
env.modules = {
  task = "waddle.task",
  sys = "waddle.sys",
  json = "waddle.json",
  http = "waddle.http",
  tcp = "waddle.tcp",
  tls = "waddle.tls",
  ssh = "waddle.ssh",
  udp = "waddle.udp",
  dns = "waddle.dns",
  icmp = "waddle.icmp",
  upload = "waddle.upload",
  serve = "waddle.serve",
  log = "waddle.log",
}

-- Name in a script -> {module, field}: single functions that stand on their own.
env.functions = {
  target = {"waddle.site", "target"},
  defaults = {"waddle.site", "defaults"},
  group = {"waddle.site", "group"},
  limits = {"waddle.site", "limits"},
  every = {"waddle.site", "every"},
  cron = {"waddle.site", "cron"},
  blackout = {"waddle.site", "blackout"},
  transform = {"waddle.site", "transform"},
  sink = {"waddle.site", "sink"},
  on_change = {"waddle.site", "on_change"},
  check = {"waddle.scenario", "check"},
  must = {"waddle.scenario", "must"},
  threshold = {"waddle.scenario", "threshold"},
  scenario = {"waddle.scenario", "scenario"},
}

-- os.exit would leave sockets and tasks behind; sys.exit ends them first.
os.exit = sys.exit -- luacheck: ignore 122

local standard = {}
for name, value in pairs(_G) do
  standard[name] = value
end

local denied -- in a sandbox: by name, what it is that scripts do not have

--- restrict{standard=, modules=, denied=}: scripts have these names alone from here on, and copies of the modules. For waddle.sandbox.
function env.restrict(to)
  standard, env.modules, denied = to.standard, to.modules, to.denied
  for name in pairs(denied) do
    env.functions[name] = nil
  end
end

--- All names a script may use: the standard ones and ours, sorted.
function env.names()
  local names = {}
  for _, set in ipairs {standard, env.modules, env.functions} do
    for name in pairs(set) do
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

local function nearest(name, scope)
  local names = env.names()
  for own in pairs(scope) do
    names[#names + 1] = own
  end
  return require("waddle.nearest").find(name, names)
end

-- A module as scripts see it: a function it does not have is an error with the nearest name.
local function strict(module, name)
  if type(module) == "table" and not getmetatable(module) then
    setmetatable(module, {__index = function(_, key)
      local names = {}
      for own in next, module do
        names[#names + 1] = own
      end
      local near = type(key) == "string" and require("waddle.nearest").find(key, names)
      error(("%s has no '%s'%s"):format(name, tostring(key), near and ("; did you mean '" .. near .. "'?") or ""), 2)
    end})
  end
  return module
end

local function copied(module)
  local copy = {}
  for name, value in next, module do
    copy[name] = value
  end
  return copy
end

-- Chunks of waddle's own have names that budgets and tracebacks know them by: nobody else's may begin like that.
local function not_ours(name)
  return type(name) == "string" and (name:find "^=lua/" or name:find "^=scripts/" or name:find "^=%[C%]") and "=(load)" or name
end

-- The modules for a scope of a sandbox: each once, a copy of waddle's.
local function restricted_require(scope)
  return function(name)
    local short = type(name) == "string" and name:match "^waddle%.([%w_]+)$"
    if not short or not env.modules[short] then
      error(("require: a sandbox has the modules of its own names alone, not '%s'"):format(tostring(name)), 2)
    end
    return scope[short]
  end
end

-- load, loadfile and dofile for a scope: what a script loads sees the script's names, unless it says otherwise.
local function loaders(scope)
  function scope.load(chunk, name, mode, ...)
    mode = denied and "t" or mode
    if select("#", ...) > 0 then
      return load(chunk, not_ours(name), mode, ...)
    end
    return load(chunk, not_ours(name), mode, scope)
  end
  if denied then
    scope.require = restricted_require(scope)
    return
  end
  function scope.loadfile(name, mode, ...)
    if select("#", ...) > 0 then
      return loadfile(name, mode, ...)
    end
    return loadfile(name, mode, scope)
  end
  function scope.dofile(name)
    local chunk, err = loadfile(name, nil, scope)
    if not chunk then
      error(err, 0)
    end
    return chunk()
  end
end

--- A new environment. Globals that a script sets stay in it.
function env.new()
  local scope, declared = {}, {}
  for name, value in pairs(standard) do
    scope[name] = value
    declared[name] = true
  end
  scope._G = scope
  loaders(scope)
  return setmetatable(scope, {
    __newindex = function(t, name, value)
      declared[name] = true
      rawset(t, name, value)
    end,
    __index = function(t, name)
      local value
      if declared[name] then
        return nil
      elseif denied and denied[name] then
        error(("'%s': a sandbox does not have %s"):format(name, denied[name]), 2)
      elseif env.modules[name] then
        value = require(env.modules[name])
        value = strict(denied and copied(value) or value, name)
      elseif env.functions[name] then
        value = require(env.functions[name][1])[env.functions[name][2]]
      else
        local near = type(name) == "string" and nearest(name, t)
        error(("'%s' is not set anywhere%s"):format(tostring(name), near and ("; did you mean '" .. near .. "'?") or ""), 2)
      end
      declared[name] = true
      rawset(t, name, value)
      return value
    end,
  })
end

return env
