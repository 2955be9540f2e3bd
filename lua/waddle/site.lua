-- What a site file or script declares: targets, their defaults and groups, schedules, transforms, sinks.
-- What was declared runs when the file ends; nothing is sent before.

local nearest = require "waddle.nearest"
local runner = require "waddle.runner"
local schedule = require "waddle.schedule"
local target_grammar = require "waddle.target"

local site = {}

-- What has been declared so far, and the defaults and group names that hold at this place of the file.
local declared = {targets = {}, names = {}, transforms = {}, sinks = {}, on_change = {}, scope = {options = {}, path = nil}}

local SETTINGS = {every = true, overlap = true, jitter = true, blackout = true, transform = true, labels = true}

local function fail(message, level)
  error(message, (level or 2) + 1)
end

local function option_names(probe)
  local names = {}
  for _, field in ipairs(require("waddle.core").describe(probe).options) do
    names[field.name] = true
  end
  return names
end

local function check_defaults(what, options)
  if type(options) ~= "table" then
    fail(("%s: expected a table of options, got %s"):format(what, type(options)), 3)
  end
  local known = {}
  for name in pairs(SETTINGS) do
    known[name] = true
  end
  for _, probe in ipairs(require("waddle.core").probes()) do
    for name in pairs(option_names(probe)) do
      known[name] = true
    end
  end
  for key in pairs(options) do
    if not known[key] then
      fail(("%s: unknown field '%s'%s"):format(what, tostring(key), nearest.hint(key, known)), 3)
    end
  end
end

local function merged(...)
  local out = {}
  for _, set in ipairs {...} do
    for key, value in pairs(set) do
      out[key] = value
    end
  end
  return out
end

-- Options under others; labels are put together one by one.
local function stacked(outer, inner)
  local out = merged(outer, inner)
  out.labels = (outer.labels or inner.labels) and merged(outer.labels or {}, inner.labels or {}) or nil
  return out
end

-- Puts the defaults that a target's probe knows under what the target says itself.
local function with_defaults(parsed)
  local options = parsed.args[#parsed.args]
  local known = type(parsed.probe) == "string" and option_names(parsed.probe) or {labels = true}
  for key, value in pairs(declared.scope.options) do
    if key == "labels" then
      options.labels = merged(value, options.labels or {})
    elseif SETTINGS[key] then
      if parsed.settings[key] == nil then
        parsed.settings[key] = value
      end
    elseif known[key] and options[key] == nil then
      options[key] = value
    end
  end
  if declared.scope.path then
    options.labels = merged({group = declared.scope.path}, options.labels or {})
  end
end

--- target "https://intranet.test"
-- target{"tls://h:443", name=, every=, overlap="skip"|"queue"|"cancel", jitter=, blackout=, transform=fn,
-- labels=, <options of that scheme's probe>}
-- target{probe=function(t) return result end, name=, ...}
-- Two targets of one name are an error; everything is checked here, before anything runs.
function site.target(spec)
  local parsed, message = target_grammar.parse(spec)
  if not parsed then
    fail(message)
  elseif declared.names[parsed.name] then
    fail(("target: another target is named \"%s\" too, declared at %s; give one of them a name="):format(parsed.name, declared.names[parsed.name]))
  end
  with_defaults(parsed)
  local ok, err = pcall(runner.check, parsed)
  if not ok then
    fail((tostring(err):gsub("^[^:\n]+:%d+: ", "")))
  end
  local info = debug.getinfo(2, "Sl")
  declared.names[parsed.name] = ("%s:%d"):format(info.short_src, info.currentline)
  declared.targets[#declared.targets + 1] = parsed
  local trial, why = runner.new({}):add(parsed)
  if not trial then
    fail(why)
  end
end

--- defaults{every=, timeout=, labels=, ...}: for the targets that follow, in this group or file; options
-- that a target's probe does not know are left out of it.
function site.defaults(options)
  check_defaults("defaults", options)
  declared.scope.options = stacked(declared.scope.options, options)
end

--- group(name, {defaults...}, function() ... end): targets declared inside get the defaults and the
-- label group=name; groups nest as "outer/inner".
function site.group(name, options, fn)
  if type(options) == "function" and fn == nil then
    options, fn = {}, options
  end
  if type(name) ~= "string" or type(fn) ~= "function" then
    fail("group: expected a name, a table of defaults and a function")
  end
  check_defaults("group", options)
  local outer = declared.scope
  declared.scope = {options = stacked(outer.options, options), path = outer.path and outer.path .. "/" .. name or name}
  local restore <close> = setmetatable({}, {__close = function() declared.scope = outer end}) -- luacheck: ignore 211
  fn()
end

local function schedule_value(read)
  return function(...)
    local value, message = read(...)
    if not value then
      fail(message)
    end
    return value
  end
end

--- every "30s" -> a schedule for target{every=} and defaults{every=}.
site.every = schedule_value(schedule.every)

--- cron "*/5 8-18 * * mon-fri" [, {tz=}] -> a schedule for target{every=} and defaults{every=}.
site.cron = schedule_value(schedule.cron)

--- blackout "sun 02:00-04:00" -> a window for target{blackout=}, in which runs are skipped.
site.blackout = schedule_value(schedule.blackout)

local function collect(what, list)
  return function(fn)
    if type(fn) == "table" and type(fn.put) == "function" then
      local object = fn
      fn = function(result) return object:put(result) end
    elseif type(fn) ~= "function" then
      fail(("%s: expected a function, got %s"):format(what, type(fn)))
    end
    list[#list + 1] = fn
  end
end

--- transform(function(result) return result end): every result goes through it; nil drops it, several
-- tables split it.
site.transform = collect("transform", declared.transforms)

--- sink(function(result) end) or sink(uploader): where results go.
site.sink = collect("sink", declared.sinks)

--- on_change(function(result, before) end): called when a target begins to fail or to succeed.
site.on_change = collect("on_change", declared.on_change)

--- declared() -> {targets=, transforms=, sinks=, on_change=}: what the files have declared so far.
function site.declared()
  return declared
end

--- run(print_summary) -> whether anything was declared: runs the declared targets, once, or for ever when
-- one of them has a schedule. Results without a sink are printed as they come.
function site.run()
  if #declared.targets == 0 then
    return false
  end
  local layout = require("waddle.cli").layout()
  local sinks = declared.sinks
  if #sinks == 0 then
    sinks = {function(result) io.write(require("waddle.show").line(result, layout), "\n") io.flush() end}
  end
  local r = runner.new {transforms = declared.transforms, sinks = sinks, on_change = declared.on_change}
  for _, parsed in ipairs(declared.targets) do
    assert(r:add(parsed))
  end
  if r:has_schedule() then
    r:forever()
  else
    r:once()
  end
  return true
end

return site
