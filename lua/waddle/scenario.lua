-- Checks, thresholds and scenarios: how a script says what must hold, and how its exit code tells.
-- A failed check or threshold ends the program with 99 when the script is done.

local compare = require "waddle.compare"
local stats = require "waddle.stats"
local text = require "waddle.text"

local scenario = {}

local FAILED = 99

local state = {running = 0, watch = nil, thresholds = {}, checks = {}, passed = 0, failed = 0, used = false,
  seen = setmetatable({}, {__mode = "k"})} -- results the thresholds have had

local function layout()
  return require("waddle.cli").layout()
end

local function watch()
  state.watch = state.watch or stats.watch(state.thresholds)
  return state.watch
end

--- observe(result): the thresholds count this result, once.
function scenario.observe(result)
  if #state.thresholds > 0 and not state.seen[result] then
    state.seen[result] = true
    watch():add(result)
  end
end

local function mark(ok)
  return require("waddle.text").paint(ok and "✓" or "✗", ok and "green" or "red", layout().colour)
end

-- Judges one result; gives ok and the reason.
local function judge(result, name, spec)
  if type(result) ~= "table" then
    error(("check: expected a result, got %s"):format(type(result)), 3)
  end
  if type(name) == "table" and spec == nil then
    name, spec = nil, name
  end
  local ok, reason = rawget(result, "success") == true, nil
  if spec ~= nil then
    local checker, message = compare.compile(spec)
    if not checker then
      error("check: " .. message, 3)
    end
    ok, reason = compare.apply(checker, result)
  elseif not ok then
    reason = require("waddle.show").reason(result)
  end
  state.used = true
  scenario.observe(result)
  watch():value("checks", ok)
  state[ok and "passed" or "failed"] = state[ok and "passed" or "failed"] + 1
  local colour, latency = layout().colour, rawget(result, "latency_ms")
  local what = name or rawget(result, "target") or "check"
  local more = not ok and ": " .. text.printable(reason) or type(latency) == "number" and "  " .. text.paint(text.ms(latency), "dim", colour) or ""
  io.write(mark(ok), " ", what, more, "\n")
  io.flush()
  return ok, reason
end

--- check(result, "name", {status=200, latency_ms="< 300"}) -> ok, reason: prints a line; a failed check
-- makes the exit code 99, and the script goes on. Without a comparison the probe must have succeeded.
function scenario.check(result, name, spec)
  local ok, reason = judge(result, name, spec) -- no tail call: errors tell the caller's place
  return ok, reason
end

--- enter() -> leave: from here on a failed must raises, for somebody takes it, until leave() is called.
function scenario.enter()
  state.running = state.running + 1
  return function() state.running = state.running - 1 end
end

--- must(result, "name", {...}) -> result: as check, but a failure ends the scenario there, in a target's probe function that
-- run, elsewhere the script.
function scenario.must(result, name, spec)
  local ok, reason = judge(result, name, spec)
  if not ok and state.running == 0 then
    scenario.finish()
    require("waddle.core.sys").exit(FAILED)
  elseif not ok then
    error(setmetatable({must = true, reason = reason}, {__tostring = function(e) return "must: " .. e.reason end}), 2)
  end
  return result
end

--- threshold "p95(http.latency_ms) < 500": judged at the end of the run, over all results that were
-- checked and all of declared targets.
function scenario.threshold(figure)
  local read, message = stats.threshold(figure)
  if not read then
    error(message, 2)
  elseif state.watch then
    error("threshold: declare it before the first check", 2)
  end
  state.used = true
  state.thresholds[#state.thresholds + 1] = read
end

--- is_must(err) -> whether an error is a failed must, which is no error of the script.
function scenario.is_must(err)
  return type(err) == "table" and rawget(err, "must") == true
end

--- scenario("name", function() ... end) -> ok: runs the steps; a failed must ends it and the next one
-- goes on. An error that is no failed must is the script's.
function scenario.scenario(name, fn)
  if type(name) ~= "string" or type(fn) ~= "function" then
    error("scenario: expected a name and a function", 2)
  end
  io.write(text.paint(name, "bold", layout().colour), "\n")
  local failed, leave = state.failed, scenario.enter()
  local ok, err = xpcall(fn, function(e)
    return type(e) == "string" and debug.traceback(e, 2) or e
  end)
  leave()
  if not ok and not scenario.is_must(err) then
    error(err, 0)
  end
  return state.failed == failed
end

--- finish() -> exit code or nil when nothing was checked: judges the thresholds and prints the count.
function scenario.finish()
  if not state.used then
    return nil
  end
  local all_hold, judged = watch():judge()
  for _, one in ipairs(judged) do
    io.write(mark(one.ok), " ", one.text, one.ok and "" or ": " .. tostring(one.reason), "\n")
  end
  io.write(("%d checks passed, %d failed\n"):format(state.passed, state.failed))
  return (state.failed > 0 or not all_hold) and FAILED or 0
end

return scenario
