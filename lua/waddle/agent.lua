-- The container agent: reads its configuration, runs the targets once or on their schedule, uploads
-- every result, and ends cleanly. scripts/agent.lua is its command line.
-- What must hold: logs go to stderr and results to stdout; no credential is in either; a signal ends it with 0, and what is
-- not delivered by then is said.

local config = require "waddle.config"
local confine = require "waddle.confine"
local core = require "waddle.core"
local device = require "waddle.device"
local json = require "waddle.json"
local pipeline = require "waddle.pipeline"
local redact = require "waddle.redact"
local reload = require "waddle.reload"
local rows = require "waddle.rows"
local runner = require "waddle.runner"
local show = require "waddle.show"
local site = require "waddle.site"
local swap = require "waddle.swap"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local agent = {}

local OK, FAILED, USAGE, UNDELIVERED = 0, 1, 2, 3
-- Docker kills ten seconds after its signal.
local GRACE_S = 2 -- for probes in flight when a signal comes
local SINKS_S = 1 -- for a site's own sinks then
local BREATH = 256 -- targets between two pauses
local FLUSH_S = 5 -- for results that are still unsent at the end

local function log(level, text, ...)
  sys.log(level, redact.text(text:format(...)))
end

local function fail(message)
  io.stderr:write("waddle: ", redact.text(message), "\n")
  return USAGE
end

-- Options that only the probe itself can judge; gives a message or nil.
local function check_targets(targets)
  for _, target in ipairs(targets) do
    local ok, err = pcall(runner.check, target)
    if not ok then
      return ("%s: target %s: %s"):format(target.place, target.target, (tostring(err):gsub("^[^:\n]+:%d+: ", "")))
    end
  end
end

local function control_commands(state)
  return {
    status = function()
      return {version = core.version, uptime_s = task.now() - state.started, targets = state.runner:size(), runs = state.runner.counts,
        running = state.runner.places.taken, upload = state.uploader:status(), reloads = state.reloads}
    end,
    stats = core.stats,
    spool = require("waddle.spool").commands(state.uploader.core),
    ps = function() return json.array(task.list()) end,
  }
end

-- A socket to ask a running agent; without a place for it the agent runs all the same and says so.
local function open_control(state)
  local control = require "waddle.control"
  local path = control.path()
  if not path then
    return nil
  end
  local server, err = control.open {path = path, commands = control_commands(state)}
  if server then
    log("info", "control socket: %s", path)
  else
    log("warning", "no control socket: %s", err)
  end
  return server
end

-- Notes the first signal that ends the agent; a second one ends the process at once (runtime/signals.c).
local function watch_signals(state)
  local owner = task.current()
  return task.spawn(function()
    local signal = sys.signal()
    while signal == "HUP" do
      if state.reloader then
        state.hangup = true
        task.wake(state.reloader)
      else
        log("warning", "SIGHUP: nothing to reload, the targets run once")
      end
      signal = sys.signal()
    end
    state.signal = signal
    task.wake(owner)
  end)
end

-- Gives whether the sinks had all results. They have a moment after a signal, else for as long as they get on.
local function drain(state)
  local left
  repeat
    left = state.runner.pipeline.pending
    if state.runner:drain(state.signal and SINKS_S or FLUSH_S) then
      return true
    end
  until state.signal or state.runner.pipeline.pending >= left
  log("error", "sink: %d results are still waiting for it, they are dropped", state.runner:discard())
  return false
end

-- Runs the targets until they are done or a signal comes; what is in flight then may finish for a moment. `follow` is called once those on a
-- schedule run. Gives whether the sinks had all
-- results.
local function work(state, scheduled, follow)
  local working = task.spawn(function()
    if scheduled then
      state.runner:forever()
    else
      state.runner:once()
    end
  end)
  if scheduled then
    follow()
  end
  task.wait {working, state.watcher}
  if state.signal then
    log("info", "SIG%s: stopping, %d probes in flight", state.signal, state.runner.places.taken)
    state.runner:stop()
    task.wait({working}, GRACE_S)
    state.runner:cancel()
    working:cancel()
  end
  local drained = drain(state)
  -- A failure of ours in the runner is not to be lost.
  if working:status() == "failed" then
    working:join()
  end
  return drained
end

-- Delivers what is unsent, to the manager and by the uploaders of the site.
local function deliver(state)
  local flushes, delivered = {}, true
  for _, uploader in ipairs(state.uploaders) do
    flushes[#flushes + 1] = task.spawn(function()
      delivered = (not uploader.flush or site.flush(uploader, FLUSH_S)) and delivered
    end)
  end
  for _, flush in ipairs(flushes) do
    flush:join()
  end
  return delivered
end

local function print_summary(state)
  table.sort(state.results, function(a, b)
    return a.place < b.place or a.place == b.place and a.number < b.number
  end)
  local results = {}
  for i, entry in ipairs(state.results) do
    results[i] = entry.result
  end
  io.write(show.summary(results, state.layout))
  io.flush()
end

-- What becomes of each result besides its upload: a line in the log on a schedule, else one in the summary.
local function reporter(state, scheduled)
  if scheduled then
    return function(result)
      local fine = result.success or not pipeline.took_place(result)
      log(fine and "info" or "warning", "%s", show.line(result))
    end
  end
  return function(result, row)
    state.results[#state.results + 1] = {place = row.place, number = #state.results, result = show.brief(result)}
  end
end

local function describe_period(settings, scheduled)
  return settings.period and ("every %g s"):format(settings.period) or scheduled and "on their schedules" or "once"
end

local NOTHING = {targets = {}, limits = {}, transforms = {}, sinks = {}, uploaders = {}, on_change = {}}

-- The configured targets, and those of the site that are of a type that runs (a probe function is of no type).
local function wanted_targets(settings, declared)
  local wanted = rows.new()
  for _, target in ipairs(settings.targets) do
    wanted[#wanted + 1] = target
  end
  for i, target in ipairs(declared.targets) do
    if i % BREATH == 0 then
      task.sleep(0) -- in a reload others run meanwhile
    end
    if not target.test_type or settings.types[target.test_type] then
      wanted[#wanted + 1] = target
    end
  end
  return wanted
end

-- What a runner is made with. Our own sinks are the same all along: the manager's first, then those of the site, then the others.
local function runner_options(state, settings, declared)
  local sinks = {state.own_sinks[1]}
  table.move(declared.sinks, 1, #declared.sinks, 2, sinks)
  table.move(state.own_sinks, 2, #state.own_sinks, #sinks + 1, sinks)
  return {transforms = declared.transforms, on_change = declared.on_change, sinks = sinks,
    concurrency = settings.concurrency or declared.limits.concurrency,
    concurrency_per_host = settings.concurrency_per_host or declared.limits.concurrency_per_host}
end

-- The runner with its targets; nil and a message for what cannot be run.
local function build_runner(state, settings, declared)
  state.sent = {skipped = settings.upload_skipped}
  state.own_sinks = {site.put_into(state.uploader, state.sent)}
  state.runner = runner.new(runner_options(state, settings, declared))
  for _, target in ipairs(wanted_targets(settings, declared)) do
    local added, message = state.runner:add(target, settings.period)
    if not added then
      return nil, ("%s: target %s: %s"):format(target.place or settings.site, target.target, message)
    end
  end
  settings.targets = nil -- the runner has them
  site.forget()
  local scheduled = settings.period ~= nil or state.runner:has_schedule()
  table.insert(state.own_sinks, reporter(state, scheduled))
  table.insert(state.own_sinks, require("waddle.scenario").observe)
  state.runner.pipeline:replace(runner_options(state, settings, declared))
  return state.runner, scheduled
end

-- Whether a target pings, and whether by a socket of its own; a site file may do both.
local function icmp_needs(settings, site_text)
  local pings = site_text ~= nil and confine.may_ping(site_text)
  local needs = {icmp = pings, own_sockets = pings}
  for _, target in ipairs(settings.targets) do
    if target.test_type == "icmp" then
      local options = target.args[2] or {}
      needs.icmp = true
      needs.own_sockets = needs.own_sockets or options.source ~= nil or options.dont_fragment ~= nil
    end
  end
  return needs
end

-- Gives up what the agent does not need; before anything of the site file runs. nil and a message when that is not possible as configured.
local function give_up(settings, site_text)
  for _, name in ipairs(config.SECRET_VARIABLES) do
    require("waddle.core.confine").hide_variable(name)
  end
  local needs = icmp_needs(settings, site_text)
  needs.isolated = site_text ~= nil -- only a site file declares isolated targets, and after a reload it may
  local socket = require("waddle.control").path()
  needs.writable = {socket and socket:match("^(.*)/[^/]*$")}
  local file = settings.spool.spool
  if file and file ~= "none" and require("waddle.core.spool").make_folder(file) then
    needs.writable[#needs.writable + 1] = file:match("^(.*)/[^/]*$")
  end
  local said, message = confine.apply(settings.confinement, needs)
  if said then
    log("info", "%s", said)
  end
  return said, message
end

-- The uploader; nil and a message with the setting that it does not like.
local function open_uploader(settings)
  local options = {url = settings.manager_url, auth = settings.auth, device = device.detect(settings.device, sys)}
  for name, value in pairs(settings.spool) do
    options[name] = value
  end
  if not options.spool then
    log("warning", "no folder for a spool is known (STATE_DIRECTORY, XDG_STATE_HOME, HOME): results wait in memory; --spool FILE names a file")
  end
  local ok, uploader = pcall(require("waddle.upload").open, options)
  if ok then
    return uploader
  end
  local message = tostring(uploader):gsub("^[^:\n]+:%d+: ", "")
  local field = message:match("field '([%w_]+)'")
  return nil, ("%s: %s"):format(settings.spool_places[field] or "MANAGER_URL", message)
end

-- Waits until the spool is open, which another agent may have to let go of first. A signal ends the wait.
local function wait_for_spool(state)
  local opening = task.spawn(function() state.uploader:opened() end)
  task.wait {opening, state.watcher}
  opening:cancel()
end

-- Reads the configuration, and the text of the site file where there is one; nil and a message.
local function read(input)
  local settings, warnings = config.load(input)
  if not settings then
    return nil, warnings
  end
  sys.log_level(settings.log_level)
  for _, warning in ipairs(warnings) do
    log("warning", "%s", warning)
  end
  local wrong = check_targets(settings.targets)
  if wrong then
    return nil, wrong
  elseif not settings.site then
    return settings
  end
  local text, err = config.read_file(settings.site) -- who owns it may keep it from a process without rights
  return text and settings, text or err
end

-- Secrets are hidden once they were read: what was asked for once is remembered.
local function remembering(env)
  local known = {}
  return function(name)
    if known[name] == nil then
      known[name] = env(name) or false
    end
    return known[name] or nil
  end
end

-- Reads everything that can be wrong; gives the settings and whether there is a schedule, or nil and a message.
local function prepare(input, state)
  local settings, text = read(input)
  if not settings then
    return nil, text
  end
  local confined, obstacle = give_up(settings, text)
  if not confined then
    return nil, obstacle
  end
  local declared, err = NOTHING
  if text then
    state.site, err = reload.run_site(state.home, settings.site, text)
    if not state.site then
      return nil, err
    end
    declared = state.site.declared
  end
  local uploader
  uploader, err = open_uploader(settings)
  if not uploader then
    return nil, err
  end
  state.uploader = uploader
  state.uploaders = table.move(declared.uploaders, 1, #declared.uploaders, 2, {uploader})
  local built, scheduled = build_runner(state, settings, declared)
  if not built then
    return nil, scheduled
  end
  return settings, scheduled
end

-- Where the uploads go and what the process may do is settled for its life.
local FIXED = {MANAGER_URL = "manager_url", ["the credentials"] = "auth", ["the device's names"] = "device", ["what the agent gives up"] = "confinement",
  ["the spool"] = "spool"}

local function warn_of_fixed(old, new)
  for what, field in pairs(FIXED) do
    if not swap.same(old[field], new[field]) then
      log("warning", "reload: %s changed: that needs a restart", what)
    end
  end
end

-- Follows the configuration while the agent runs on a schedule.
local function watch_configuration(state, input, settings)
  state.read = function() return read(input) end
  state.apply = function(new, declared)
    declared = declared or NOTHING
    local options = runner_options(state, new, declared)
    options.targets, options.every = wanted_targets(new, declared), new.period
    local counts, message = state.runner:reload(options)
    if counts then
      warn_of_fixed(settings, new)
      state.sent.skipped = new.upload_skipped
      state.uploaders = table.move(declared.uploaders, 1, #declared.uploaders, 2, {state.uploader})
    end
    return counts, message
  end
  state.reloader = reload.watch(state)
end

--- run{flags=, env=function(name), layout=} -> exit code. `flags` as config.load takes them.
function agent.run(input)
  local state = {results = {}, layout = input.layout, started = task.now(), home = task.current(), reloads = {done = 0, failed = 0}}
  input = {env = remembering(input.env), flags = input.flags}
  state.files = reload.files {input.flags.config_file or "", input.env "WADDLE_SITE" or ""}
  state.watcher = watch_signals(state)
  task.sleep(0) -- lets it begin to wait: from here on a signal is a clean stop, also while the site file is read
  local watching <close> = setmetatable({}, {__close = function() -- luacheck: ignore 211
    state.watcher:cancel()
    if state.reloader then
      state.reloader:cancel()
    end
    if state.site then
      state.site.close()
    end
  end})
  local settings, scheduled = prepare(input, state)
  local uploader <close> = state.uploader -- luacheck: ignore 211
  if not settings then
    return fail(scheduled)
  end
  log("info", "waddle %s: %d targets, %s, uploading to %s", core.version, state.runner:size(), describe_period(settings, scheduled),
    settings.manager_url)
  local control <close> = scheduled and open_control(state) or nil -- luacheck: ignore 211
  wait_for_spool(state)
  local drained = work(state, scheduled, function() watch_configuration(state, input, settings) end)
  if not scheduled then
    print_summary(state)
  end
  local delivered = deliver(state) and drained
  local checks = not scheduled and require("waddle.scenario").finish() or 0
  if state.signal then
    return OK
  elseif not delivered then
    return UNDELIVERED
  end
  return (state.runner.counts.failed > 0 or checks > 0) and FAILED or OK
end

return agent
