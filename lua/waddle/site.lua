-- What a site file or script declares: targets, their defaults and groups, schedules, transforms, sinks.
-- What was declared runs when the file ends; nothing is sent before.

local budget = require "waddle.budget"
local nearest = require "waddle.nearest"
local pipeline = require "waddle.pipeline"
local rows = require "waddle.rows"
local runner = require "waddle.runner"
local schedule = require "waddle.schedule"
local sys = require "waddle.core.sys"
local target_grammar = require "waddle.target"
local task = require "waddle.core.task"

local site = {}

local BREATH = 256 -- targets declared before others get their turn
local FLUSH_S = 5 -- for what an uploader among the sinks has not sent when the targets have run

-- What has been declared so far, and the defaults and group names that hold at this place of the file.
local function nothing()
  return {targets = rows.new(), limits = {}, names = {}, transforms = {}, sinks = {}, uploaders = {}, on_change = {}, scope = {options = {}, path = nil}}
end
local declared = nothing()

local SETTINGS = {every = true, overlap = true, jitter = true, blackout = true, transform = true, isolate = true, labels = true}

local last_mistake

local function place(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and info.currentline > 0 and ("%s:%d"):format(info.source:match("^[@=](.*)") or info.short_src, info.currentline) or nil
end

-- Raises with the place of the declaration, `level` functions above the caller of this one (default 1: who called it).
local function fail(message, level)
  local where = place((level or 1) + 2)
  last_mistake = where and ("%s: %s"):format(where, message) or message
  error(last_mistake, 0)
end

--- is_mistake(err) -> whether the last declaration that was refused raised this: the file is wrong, not what it does.
function site.is_mistake(err)
  return err ~= nil and err == last_mistake
end

local known_options = {}

local function option_names(probe)
  local names = known_options[probe]
  if not names then
    names = {}
    for _, field in ipairs(require("waddle.core").describe(probe).options) do
      names[field.name] = true
    end
    known_options[probe] = names
  end
  return names
end

local function check_defaults(what, options)
  if type(options) ~= "table" then
    fail(("%s: expected a table of options, got %s"):format(what, type(options)), 2)
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
      fail(("%s: unknown field '%s'%s"):format(what, tostring(key), nearest.hint(key, known)), 2)
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

-- Everything about a target that can be wrong; gives a message.
local function mistake_in(parsed)
  local plan, message = runner.read(parsed)
  if not plan then
    return ("target %s: %s"):format(parsed.name, message)
  end
  local ok, err = pcall(runner.check, parsed)
  return not ok and ("target %s: %s"):format(parsed.name, (tostring(err):gsub("^[^:\n]+:%d+: ", ""))) or nil
end

--- target "https://intranet.test"
-- target{"tls://h:443", name=, every=, overlap="skip"|"queue"|"cancel", jitter=, blackout=, transform=fn,
-- isolate=false, labels=, <options of that scheme's probe>}: isolate=true runs the probe in a process of its own, which reads the file again
-- and is ended when it does not come back to its loop for ten seconds.
-- target{probe=function(t) return result end, name=, test_type="http"|"tcp"|"udp"|"icmp", ...}: t has the name and the other
-- fields; test_type is for results that have none, and only what has one is uploaded.
-- Two targets of one name are an error; everything is checked here, before anything runs.
function site.target(spec)
  local parsed, message = target_grammar.parse(spec)
  if not parsed then
    fail(message)
  elseif declared.names[parsed.name] then
    fail(("target: another target is named \"%s\" too, declared at %s; give one of them a name="):format(parsed.name, declared.names[parsed.name]))
  end
  with_defaults(parsed)
  message = mistake_in(parsed)
  if message then
    fail(message)
  end
  declared.names[parsed.name] = place(2) or "another place"
  declared.targets[#declared.targets + 1] = parsed
  if #declared.targets % BREATH == 0 and pcall(task.check, "target") then
    task.sleep(0) -- a file of very many targets is no runaway
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
  if type(name) ~= "string" or name == "" or type(fn) ~= "function" then
    fail("group: expected a name, a table of defaults and a function")
  end
  check_defaults("group", options)
  local outer = declared.scope
  declared.scope = {options = stacked(outer.options, options), path = outer.path and outer.path .. "/" .. name or name}
  local restore <close> = setmetatable({}, {__close = function() declared.scope = outer end}) -- luacheck: ignore 211
  fn()
end

local CONCURRENCY = {concurrency = true, concurrency_per_host = true}

--- limits{concurrency=256, concurrency_per_host=, cpu="1s", slice="2ms", memory="256MiB", block="8MiB", depth=20000, sockets=20000, output="64MiB"}
-- concurrency, concurrency_per_host: how many probes run at once at most, of all targets and to one host (default: no limit of its own);
-- what finds no place starts later, in order. The others are the budget of scripts, 0 for no limit: a task that has worked for `slice`
-- without waiting is set aside while others run; one that goes on like that for `cpu` of processor time ends with an error, as does one that
-- makes the script use more than `memory`, a text or table larger than `block`, more calls within calls than `depth`, or has
-- more probes under way than `sockets`, or prints and logs more than `output` without waiting.
function site.limits(options)
  if type(options) ~= "table" then
    fail(("limits: expected a table, got %s"):format(type(options)))
  end
  local known, of_budget = budget.names(), {}
  for name, value in pairs(options) do
    if known[name] then
      of_budget[name] = value
    elseif not CONCURRENCY[name] then
      fail(("limits: unknown field '%s'%s"):format(tostring(name), nearest.hint(name, merged(known, CONCURRENCY))))
    elseif math.type(value) ~= "integer" or value < 1 then
      fail(("limits: field '%s': expected an integer from 1, got %s"):format(name, tostring(value)))
    else
      declared.limits[name] = value
    end
  end
  local ok, message = pcall(budget.set, of_budget, "limits")
  if not ok then
    fail((tostring(message):gsub("^[^:\n]+:%d+: ", "")))
  end
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
    if type(fn) ~= "function" then
      fail(("%s: expected a function, got %s"):format(what, type(fn)))
    end
    table.insert(declared[list], fn)
  end
end

--- transform(function(result) return result end): every result goes through it; nil drops it, several
-- tables split it.
site.transform = collect("transform", "transforms")

--- on_change(function(result, before) end): called when a target begins to fail or to succeed.
site.on_change = collect("on_change", "on_change")

--- put_into(uploader, {skipped=}) -> sink, for a pipeline: puts the results of runs that took place, and with `skipped`, as it is when
-- they come, those of the others, too; logs what is not taken.
function site.put_into(uploader, options)
  local last
  local function put(results)
    local wanted, why = {}, nil
    for _, result in ipairs(results) do
      local asked_for = options.skipped or pipeline.took_place(result)
      if asked_for and result.test_type == nil then
        why = "not uploaded, the probe function's result has no test_type"
      elseif asked_for then
        wanted[#wanted + 1] = result
      end
    end
    local reason
    if #wanted > 0 then
      reason = select(2, uploader:put_all(wanted))
    end
    why = reason or why
    if why and why ~= last then
      local result = results[#results]
      sys.log("error", ("upload: %s: %s"):format(tostring(result.target_name or result.target), why))
    end
    last = why
  end
  return {put_all = put}
end

-- What sink takes besides an uploader.
local function sink_options(options, is_uploader)
  if options == nil then
    return {}
  elseif not is_uploader then
    fail("sink: only an uploader takes options", 2)
  elseif type(options) ~= "table" then
    fail(("sink: expected a table of options, got %s"):format(type(options)), 2)
  end
  for key, value in pairs(options) do
    if key ~= "skipped" then
      fail(("sink: unknown field '%s'%s"):format(tostring(key), nearest.hint(key, {skipped = true})), 2)
    elseif type(value) ~= "boolean" then
      fail(("sink: field 'skipped': expected a boolean, got %s"):format(type(value)), 2)
    end
  end
  return merged(options)
end

--- sink(function(result) end) or sink(uploader [, {skipped=false}]): where results go. What an uploader has not sent when the targets have run
-- gets five seconds. It gets the results of runs that took place; with skipped=true those of the others, too, whose error is "skipped" or
-- "cancelled".
function site.sink(to, options)
  local is_uploader = type(to) == "table" and type(to.put_all) == "function"
  options = sink_options(options, is_uploader)
  if is_uploader then
    declared.uploaders[#declared.uploaders + 1] = to
    to = site.put_into(to, options)
  elseif type(to) ~= "function" then
    fail(("sink: expected a function or an uploader, got %s"):format(type(to)))
  end
  declared.sinks[#declared.sinks + 1] = to
end

--- declared() -> {targets=, transforms=, sinks=, uploaders=, on_change=}: what the file has declared so far.
function site.declared()
  return declared
end

--- flush(uploader, seconds) -> whether all was delivered: a blocked queue gets no time. Says what was not.
function site.flush(uploader, seconds)
  if uploader:status().state ~= "blocked" then
    uploader:flush(seconds)
  end
  local status = uploader:status()
  local left = status.queued + status.in_flight
  if left > 0 then
    sys.log("error", ("upload: results not delivered: %d (%s)%s"):format(left, status.last_error or status.state,
      status.spool and not status.spool_error and ", they are kept in " .. status.spool or ""))
  end
  if status.rejected > 0 or status.dropped > 0 then
    sys.log("error", ("upload: results refused by the manager: %d, dropped: %d"):format(status.rejected, status.dropped))
  end
  return left == 0 and status.rejected == 0 and status.dropped == 0
end

local function print_line(result)
  io.write(require("waddle.show").line(result, require("waddle.cli").layout()), "\n")
  io.flush()
end

--- begin_anew([before]) -> what was declared until now: from here on nothing is, or what an earlier call gave.
function site.begin_anew(before)
  local old = declared
  declared = before or nothing()
  return old
end

--- forget(): the declared targets are no longer kept here, a runner has them.
function site.forget()
  declared.targets, declared.names = rows.new(), {}
end

local function add_targets(to)
  for _, parsed in ipairs(declared.targets) do
    assert(to:add(parsed))
  end
  site.forget()
end

--- run() -> whether all results were delivered to the uploaders among the sinks: runs the declared targets, once, or for ever
-- when one of them has a schedule. Without a sink results are printed as they come.
function site.run()
  if #declared.targets == 0 then
    return true
  end
  local sinks = table.move(declared.sinks, 1, #declared.sinks, 1, {})
  if #sinks == 0 then
    sinks[1] = print_line
  end
  sinks[#sinks + 1] = require("waddle.scenario").observe
  local r = runner.new {transforms = declared.transforms, sinks = sinks, on_change = declared.on_change,
    concurrency = declared.limits.concurrency, concurrency_per_host = declared.limits.concurrency_per_host}
  add_targets(r)
  if r:has_schedule() then
    r:forever()
  else
    r:once()
  end
  r:drain()
  local delivered = true
  for _, uploader in ipairs(declared.uploaders) do
    delivered = (not uploader.flush or site.flush(uploader, FLUSH_S)) and delivered
  end
  return delivered
end

return site
