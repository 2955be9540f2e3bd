-- Scripts in a process of their own: what no hook can stop in Lua (a pattern that backtracks for ever, a giant table.move, an endless __gc or
-- __close) is ended from outside, and the loop here never feels it.
-- What must hold: the other process is watched as long as it runs, and none outlives the task that started it. Over the pipe come empty
-- lines, each a round of its loop; "! TEXT", why it ends itself; and JSON, one line a result.

local core = require "waddle.core.isolate"
local budget = require "waddle.budget"
local json = require "waddle.json"
local source = require "waddle.source"
local sys = require "waddle.core.sys"
local task = require "waddle.core.task"

local isolate = {}

local ADDRESS_SPACE = 512 << 20
local STALL_S = 10 -- without coming back to its loop: then its own watchdog ends it, and tells the place
local GRACE_S = 3 -- for that watchdog; then it is killed
local LONGEST_LINE = 4 << 20
local FAILED = 1
local TARGETS = "--targets" -- in place of a command: runs the targets of a file

local pipe -- of an isolated process, to its parent

-- Starts this program again with the words, inside, under the same budget.
local function spawn(words)
  local all = budget.flag and {"--isolated", "--budget", budget.flag} or {"--isolated"}
  return core.spawn(table.move(words, 1, #words, #all + 1, all))
end

--- possible() -> whether targets declared now can run in a process of their own.
function isolate.possible()
  return source.file ~= nil or isolate.inside()
end

--- inside() -> whether this is such a process.
function isolate.inside()
  return pipe ~= nil
end

-- The lines that come over a connection; nil and why at its end. `patience` is the longest time without any.
local function lines(conn, patience)
  local rest = ""
  return function()
    while true do
      local line, after = rest:match "^([^\n]*)\n(.*)$"
      if line then
        rest = after
        return line
      elseif #rest > LONGEST_LINE then
        return nil, "a line is too long"
      end
      local bytes, why = conn:read(nil, patience)
      if not bytes then
        return nil, why
      end
      rest = rest .. bytes
    end
  end
end

-- Lines on their way out, in order; a task sends them. send(line) does not wait.
local function sender(conn)
  local queue, waiting = {}, nil
  local working = task.spawn(function()
    while true do
      while #queue > 0 do
        local batch = table.concat(queue, "\n") .. "\n"
        queue = {}
        if not conn:write(batch) then
          return
        end
      end
      waiting = task.current()
      task.park()
      waiting = nil
    end
  end)
  return function(line)
    queue[#queue + 1] = line
    if waiting then
      task.wake(waiting)
    end
  end, working
end

-- Hands each line that is not empty to `take`, until the process has ended, which is seen to; gives its exit code, or nil and what it ended for.
local function attend(process, conn, take)
  local next_line, why = lines(conn, STALL_S + GRACE_S), nil
  while true do
    local line, ended = next_line()
    if not line then
      why = why or ended ~= "closed" and ended ~= "connection_reset" and (ended == "timeout"
        and ("budget: the script has not come back to its loop for %d s, it was killed"):format(STALL_S + GRACE_S) or "budget: " .. ended)
      break
    elseif line:sub(1, 2) == "! " then
      why = line:sub(3)
    elseif line ~= "" then
      take(line)
    end
  end
  if why then
    process:kill "KILL"
  end
  local code, signal = process:wait()
  if why or code then
    return not why and code or nil, why
  elseif signal == "SIGXCPU" then
    return nil, ("budget: %d s of processor time without coming back to its loop, the kernel ended it"):format(STALL_S)
  end
  return nil, "the process was ended by " .. signal
end

-- Hands signals on to the process; it decides what becomes of them.
local function forward_signals(process)
  return task.spawn(function()
    while true do
      local signal = sys.signal()
      if signal ~= "HUP" then
        process:kill(signal)
      end
    end
  end)
end

--- run(words, name) -> exit code: a waddle command line in a process of its own, with this one's standard streams. 1 when it was ended, with
-- "budget" on standard error; `name` says whose.
function isolate.run(words, name)
  local process, conn = spawn(words)
  if not process then
    io.stderr:write("waddle: run: cannot start a process: ", conn, "\n")
    return FAILED
  end
  local guard <close> = process -- luacheck: ignore 211
  local forwarder = forward_signals(process)
  local code, why = attend(process, conn, function() end)
  forwarder:cancel()
  local told = why and why:find "^[^\n]-:%d+: budget: " -- by the process itself
  if not code and not told then
    io.stderr:write("waddle: ", name, ": ", why, "\n")
  end
  return code or FAILED
end

-- ---- targets ----

local workers = {} -- by a target's name: {process=, send=, waiting={[number]=run}, last=}, the process that runs it

local function answer(waiting, id, result, err, detail)
  local run = waiting[id]
  waiting[id] = nil
  if run then
    run.result, run.error, run.detail, run.done = result, err, detail, true
    task.wake(run.task)
  end
end

-- Watches over the process until it has ended; what still waits for it then has failed.
local function keep(process, conn, me, name)
  local guard <close> = process -- luacheck: ignore 211
  local code, why = attend(process, conn, function(line)
    local reply = json.decode(line)
    if reply then
      answer(me.waiting, reply.id, reply.result, "script", reply.failed)
    end
  end)
  if workers[name] == me then
    workers[name] = nil
  end
  local over = why and why:find("budget: ", 1, true)
  for id in pairs(me.waiting) do
    answer(me.waiting, id, nil, over and "budget" or "script", why or ("its process ended with exit code %d"):format(code))
  end
end

local function start(home, name)
  local process, conn = spawn {TARGETS, source.file, table.unpack(source.argv)}
  if not process then
    return nil, conn
  end
  local me = {process = process, waiting = {}, last = 0}
  task.spawn_under(home, function()
    local send = sender(conn)
    me.send = send
    for _, line in ipairs(me) do
      send(line)
    end
    keep(process, conn, me, name)
  end)
  me.send = function(line) me[#me + 1] = line end -- until that task runs
  return me
end

--- renew(): the file is another one: each target gets a new process for its next run.
function isolate.renew()
  for name, mine in pairs(workers) do
    workers[name] = nil
    mine.process:kill "TERM"
  end
end

--- call(target, planned, home) -> result | nil, error name, detail: one run of a target in the process that is its own; that is started where
-- there is none, reads the file again, and lives until the task `home` ends.
function isolate.call(target, planned, home)
  local mine = workers[target.name]
  if not mine then
    local err
    mine, err = start(home, target.name)
    if not mine then
      return nil, "local", "cannot start a process: " .. err
    end
    workers[target.name] = mine
  end
  local id, run = mine.last + 1, {task = task.current()}
  mine.last, mine.waiting[id] = id, run
  mine.send(json.encode {id = id, name = target.name, planned = planned})
  local forget <close> = setmetatable({}, {__close = function() -- luacheck: ignore 211
    if not run.done then
      mine.waiting[id] = nil
      mine.send(json.encode {id = id, cancel = true})
    end
  end})
  while not run.done do
    task.park()
  end
  return run.result, run.error, run.detail
end

-- One request of the parent: runs a target, or cancels that.
local function serve(request, targets, running, send)
  if request.cancel then
    if running[request.id] then
      running[request.id]:cancel()
    end
    return
  end
  running[request.id] = task.spawn(function()
    local forget <close> = setmetatable({}, {__close = function() running[request.id] = nil end}) -- luacheck: ignore 211
    local found = targets[request.name]
    if not found then
      send(json.encode {id = request.id, failed = "its file did not declare this target when read again"})
      return
    end
    local text, err = json.encode {id = request.id, result = require("waddle.runner").call(found, request.planned)}
    send(text or json.encode {id = request.id, failed = err})
  end)
end

--- work(file, argv) -> exit code: the life of a process that runs targets: reads the file, then does as it is told.
function isolate.work(file, argv)
  local run, site = require "waddle.run", require "waddle.site"
  local targets, running, send = {}, {}, sender(pipe)
  budget.enforce()
  source.only_targets()
  run.declare(file, argv)
  for _, parsed in ipairs(site.declared().targets) do
    targets[parsed.name] = parsed
  end
  for line in lines(pipe) do
    local request = json.decode(line)
    if request then
      serve(request, targets, running, send)
    end
  end
  return 0
end

--- enter(go_on, word...) -> what go_on(word...) gives: this process is an isolated one from here on.
function isolate.enter(go_on, ...)
  local conn, err = core.enter(ADDRESS_SPACE, STALL_S)
  if not conn then
    io.stderr:write("waddle: ", err, "\n")
    return FAILED
  end
  pipe = conn
  return go_on(...)
end

return isolate
