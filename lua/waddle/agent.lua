-- The container agent: reads its configuration, runs the targets once or on their schedule, uploads
-- every result, and ends cleanly. scripts/agent.lua is its command line.

local config = require "waddle.config"
local core = require "waddle.core"
local device = require "waddle.device"
local runner = require "waddle.runner"
local show = require "waddle.show"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local agent = {}

local OK, FAILED, USAGE, UNDELIVERED = 0, 1, 2, 3
local FLUSH_S = 5 -- for results that are still unsent at the end; Docker kills after ten
local GRACE_S = 2 -- for probes in flight when a signal comes

local function log(level, text, ...)
  sys.log(level, text:format(...))
end

local function fail(message)
  io.stderr:write("waddle: ", message, "\n")
  return USAGE
end

-- Options that only the probe itself can judge; gives a message or nil.
local function check_targets(targets)
  for _, target in ipairs(targets) do
    local ok, err = pcall(runner.check, target)
    if not ok then
      return ("target %s: %s"):format(target.target, (tostring(err):gsub("^[^:\n]+:%d+: ", "")))
    end
  end
end

-- Runs the site file, which declares targets, transforms and sinks. nil and a message when it fails.
local function load_site(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local text = file:read("a")
  file:close()
  local chunk
  chunk, err = load(text, "@" .. path, "t", require("waddle.env").new())
  if not chunk then
    return nil, err
  end
  local ok, failure = xpcall(chunk, function(e) return sys.env "WADDLE_TRACE" and debug.traceback(e, 2) or tostring(e) end)
  if not ok then
    return nil, failure
  end
  return require("waddle.site").declared()
end

-- Skipped and cancelled runs are no measurements: the manager's rows could not show what they are.
local function uploads(result)
  return result.error ~= "skipped" and result.error ~= "cancelled"
end

local function open_uploader(settings, who)
  return require("waddle.upload").open {url = settings.manager_url, auth = settings.auth, device = who, spool = "none"}
end

local function put_into(uploader)
  local full = false
  return function(result)
    if not uploads(result) then
      return
    end
    local ok, why = uploader:put(result)
    if not ok and (why ~= "full" or not full) then
      log("error", "upload: %s: %s", tostring(result.target), why)
    end
    full = not ok and why == "full"
  end
end

local function control_commands(state)
  return {
    status = function()
      return {version = core.version, uptime_s = task.now() - state.started, targets = #state.runner.rows, runs = state.runner.counts,
        running = state.runner.running, upload = state.uploader:status()}
    end,
    stats = core.stats,
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

-- Waits for what is unsent and says how delivery stands; gives whether all was delivered.
local function deliver_rest(uploader)
  -- A blocked queue gets no time: what blocks it will not pass in a few seconds.
  local left = uploader:flush(uploader:status().state == "blocked" and 0 or FLUSH_S)
  local status = uploader:status()
  if left > 0 then
    log("error", "upload: %d results could not be delivered: %s", left, status.last_error or status.state)
  end
  if status.rejected > 0 or status.dropped > 0 then
    log("error", "upload: %d results were refused by the manager, %d were dropped", status.rejected, status.dropped)
  end
  return left == 0 and status.rejected == 0 and status.dropped == 0
end

-- Every target once, a summary on stdout.
local function single_round(state)
  state.runner:once()
  local rounds = state.results
  table.sort(rounds, function(a, b) return a.place < b.place end)
  local results = {}
  for i, entry in ipairs(rounds) do
    results[i] = entry.result
  end
  io.write(show.summary(results, state.layout))
  io.flush()
  local delivered = deliver_rest(state.uploader)
  if not delivered then
    return UNDELIVERED
  end
  return state.runner.counts.failed > 0 and FAILED or OK
end

-- On the schedule, until a signal. What is in flight may finish for a moment, what is unsent is sent.
local function on_schedule(state)
  local working = task.spawn(function() state.runner:forever() end)
  local signal
  repeat
    signal = sys.signal()
    if signal == "HUP" then
      log("info", "SIGHUP: nothing to reload yet")
    end
  until signal ~= "HUP"
  log("info", "SIG%s: stopping, %d probes in flight", signal, state.runner.running)
  state.runner:stop()
  task.wait({working}, GRACE_S)
  working:cancel()
  deliver_rest(state.uploader)
  return OK
end

--- run{flags=, env=function(name), layout=} -> exit code. `flags` as config.load takes them.
function agent.run(input)
  local settings, warnings = config.load(input)
  if not settings then
    return fail(warnings)
  end
  sys.log_level(settings.log_level)
  for _, warning in ipairs(warnings) do
    log("warning", "%s", warning)
  end
  local targets, site = settings.targets, nil
  local wrong = check_targets(targets)
  if wrong then
    return fail(wrong)
  end
  if settings.site then
    local err
    site, err = load_site(settings.site)
    if not site then
      return fail(err)
    end
  end
  local uploader <close> = open_uploader(settings, device.detect(settings.device, sys))
  local state = {uploader = uploader, results = {}, layout = input.layout, started = task.now()}
  state.runner = runner.new {transforms = site and site.transforms, on_change = site and site.on_change,
    sinks = table.move(site and site.sinks or {}, 1, site and #site.sinks or 0, 2, {put_into(uploader)})}
  for _, target in ipairs(targets) do
    assert(state.runner:add(target, settings.period))
  end
  for _, target in ipairs(site and site.targets or {}) do
    assert(state.runner:add(target, settings.period))
  end
  local scheduled = state.runner:has_schedule()
  state.runner.sinks[#state.runner.sinks + 1] = scheduled and function(result)
    log(result.success and "info" or "warning", "%s", show.line(result))
  end or function(result, row)
    state.results[#state.results + 1] = {place = row.place, result = result}
  end
  log("info", "waddle %s: %d targets, %s, uploading to %s", core.version, #state.runner.rows,
    settings.period and ("every %g s"):format(settings.period) or scheduled and "on their schedules" or "once",
    require("waddle.redact").text(settings.manager_url))
  if not scheduled then
    return single_round(state)
  end
  open_control(state)
  return on_schedule(state)
end

return agent
