-- New targets for an agent that runs: on SIGHUP, or when a file of its configuration is another one.
-- What must hold: when something is wrong with the new ones the old ones go on, and it is counted and told with its place; a file is read once it
-- has stopped changing; of what an old site file began, tasks and uploaders, nothing outlives it.

local budget = require "waddle.budget"
local isolate = require "waddle.isolate"
local redact = require "waddle.redact"
local site = require "waddle.site"
local source = require "waddle.source"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local reload = {}

local LOOK_S = 1 -- between two looks at the files
local FLUSH_S = 5 -- for what an uploader of the old site file has not sent

local function log(level, text, ...)
  sys.log(level, redact.text(text:format(...)))
end

local function user_modules(before)
  local names = {}
  for name in pairs(package.loaded) do
    if not before[name] and not name:find "^waddle" then
      names[#names + 1] = name
    end
  end
  return names
end

local function message_of(failure)
  log("debug", "%s", debug.traceback(tostring(failure), 2))
  return tostring(failure)
end

--- run_site(home, path, text) -> {declared=, close=function()} | nil, message with file:line: runs the text of a site file, in a task under `home` that
-- lives, with all that it spawned, until it is closed. What it required is read anew by the next one.
function reload.run_site(home, path, text)
  local chunk, err = load(text, "@" .. path, "t", require("waddle.env").new())
  if not chunk then
    return nil, err
  end
  budget.enforce()
  source.declare(path, {})
  local before, loaded, caller = {}, {}, task.current()
  for name in pairs(package.loaded) do
    before[name] = true
  end
  local running = task.spawn_under(home, function()
    local ok, failure = xpcall(chunk, message_of)
    loaded.over, loaded.failure = true, not ok and failure or nil
    task.wake(caller)
    while ok do
      task.park()
    end
  end)
  while not loaded.over do
    task.park()
  end
  for _, name in ipairs(user_modules(before)) do
    package.loaded[name] = nil
  end
  if loaded.failure then
    return nil, loaded.failure
  end
  return {declared = site.declared(), close = function() running:cancel() end}
end

-- The old site's uploaders send what they have, beside what comes.
local function retire(home, uploaders)
  for _, uploader in ipairs(uploaders) do
    task.spawn_under(home, function()
      if uploader.flush then
        site.flush(uploader, FLUSH_S)
      end
      if uploader.close then
        uploader:close()
      end
    end)
  end
end

-- What the new configuration makes of the agent; nil and a message.
local function swap(agent)
  local settings, text = agent.read()
  if not settings then
    return nil, text
  end
  local before, new = site.begin_anew(), nil
  if text then
    local err
    new, err = reload.run_site(agent.home, settings.site, text)
    if not new then
      site.begin_anew(before)
      return nil, err
    end
  end
  local counts, message = agent.apply(settings, new and new.declared)
  if not counts then
    site.begin_anew(before)
    if new then
      new.close()
    end
    return nil, message
  end
  site.forget()
  isolate.renew()
  if agent.site then
    retire(agent.home, agent.site.declared.uploaders)
    agent.site.close()
  end
  agent.site = new
  sys.trim() -- what the reading of many targets left behind is large
  return counts
end

--- now(agent, why) -> whether the new configuration is in force; logs what came of it, and counts in agent.reloads.
function reload.now(agent, why)
  local counts, message = swap(agent)
  local reloads = agent.reloads
  if not counts then
    reloads.failed, reloads.last_error = reloads.failed + 1, redact.text(message)
    log("error", "reload (%s): the old configuration stays in force: %s", why, message)
    return false
  end
  reloads.done, reloads.last_error = reloads.done + 1, nil
  log("info", "reload (%s): targets unchanged: %d, changed: %d, added: %d, removed: %d", why, counts.kept, counts.changed, counts.added, counts.removed)
  return true
end

local function look(files)
  for _, file in ipairs(files) do
    file.last, file.now = file.now, sys.file_stamp(file.path) or ""
  end
end

--- files(paths) -> the files to watch, as they are now: to be called before they are read. "" is none.
function reload.files(paths)
  local files = {}
  for _, path in ipairs(paths) do
    if path ~= "" then
      local stamp = sys.file_stamp(path) or ""
      files[#files + 1] = {path = path, loaded = stamp, now = stamp}
    end
  end
  return files
end

-- A file that is another one than was loaded, and the same as at the last look.
local function settled(files)
  for _, file in ipairs(files) do
    if file.now ~= file.loaded and file.now == file.last then
      return file.path
    end
  end
end

--- watch(agent) -> task, under the calling one: reloads when a file of agent.files has changed, and when the task is woken with agent.hangup set.
-- agent: home = task; files = what reload.files gave; reloads = {done=, failed=, last_error=}; site = what run_site gave, or nil;
-- read() -> settings, text of the site file or nil, or nil and a message; apply(settings, declared or nil) -> counts, or nil and a message.
function reload.watch(agent)
  return task.spawn(function()
    while true do
      task.park(LOOK_S)
      look(agent.files)
      local why = agent.hangup and "SIGHUP" or settled(agent.files)
      if why then
        agent.hangup = nil
        for _, file in ipairs(agent.files) do
          file.loaded = file.now
        end
        reload.now(agent, why)
      end
    end
  end)
end

return reload
