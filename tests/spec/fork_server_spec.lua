-- Isolated targets where no program may be started, as in the agent: a fork server starts their processes. It has given up what the agent has, and
-- ends with it.

local process = require "tests.support.process"
local spec = require "tests.support.spec"
local task = require "waddle.task"

after_each(process.clean)

local BACKTRACKS = '(("a"):rep(60)):find(("a*"):rep(40) .. "b")' -- for ever, and no hook stops it
local ENV = {HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1", WADDLE_CONTROL = "none", WADDLE_SPOOL = "none", MANAGER_URL = "http://127.0.0.1:9"}

local function with(more)
  local all = {}
  for _, set in ipairs {ENV, more or {}} do
    for name, value in pairs(set) do
      all[name] = value
    end
  end
  return all
end

-- An agent with this site file, which runs until it is stopped.
local function start(site, env)
  local file = process.file("site.lua", site)
  local all = with(env)
  all.WADDLE_SITE = file
  return process.start({"agent"}, all), file
end

local function stop(agent)
  agent:kill "TERM"
  return agent:wait()
end

local function command(line)
  local pipe = io.popen(line .. " 2>/dev/null")
  local text = pipe:read("a")
  pipe:close()
  return text
end

local function children(pid)
  local found = {}
  for child in command("pgrep -P " .. pid):gmatch("%d+") do
    found[#found + 1] = math.tointeger(child)
  end
  return found
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("a")
  if file then file:close() end
  return text or ""
end

local function is_server(pid)
  return read(("/proc/%d/cmdline"):format(pid)) == "waddle\0--fork-server\0"
end

-- In hundredths of a second since the machine was; numbers of processes begin again at some time.
local function started(pid)
  local n = 2
  for field in (read(("/proc/%d/stat"):format(pid)):match "%)(.*)" or ""):gmatch "%S+" do
    n = n + 1
    if n == 22 then
      return tonumber(field)
    end
  end
  return math.huge
end

-- The agent, below the timeout(1) that process.start runs it by, its fork server, and the server's heir. While a copy is made it has the server's name.
local function pids_now(agent)
  local own = children(agent.pid)[1]
  local servers, since = {}, {}
  for _, pid in ipairs(own and children(own) or {}) do
    if is_server(pid) then
      servers[#servers + 1] = pid
      since[pid] = started(pid)
    end
  end
  table.sort(servers, function(a, b)
    if since[a] == since[b] then
      return a < b
    end
    return since[a] < since[b]
  end)
  return own, table.unpack(servers)
end

-- The same, once no copy is about to be made: each has its own name after a moment.
local function pids(agent)
  return table.unpack(spec.eventually(function()
    local before = {pids_now(agent)}
    task.sleep(0.05)
    local now = {pids_now(agent)}
    return #now <= 3 and table.concat(before, " ") == table.concat(now, " ") and now
  end, 5))
end

local function is_gone(pid)
  local state = read(("/proc/%d/stat"):format(pid)):match "%) (%a)"
  return not state or state == "Z"
end

local APART = [[
target {name = "apart", every = "200ms", isolate = true, probe = function() return {pid = sys.pid(), success = true} end}
sink(function(r) print(r.target_name, r.pid, r.pid ~= sys.pid(), r.error, r.error_detail) io.stdout:flush() end)
]]

describe("an isolated target of a confined agent", function()
  it("runs in a process that has given up the same", function()
    local agent = start [[
target {name = "apart", every = "200ms", isolate = true, probe = function()
  local status, said = io.open "/proc/self/status":read "a", {}
  for _, key in ipairs {"CapPrm", "CapEff", "NoNewPrivs", "Seccomp"} do
    said[#said + 1] = key .. "=" .. status:match(key .. ":%s+(%x+)")
  end
  return {said = table.concat(said, " "), pid = sys.pid(), success = true}
end}
sink(function(r)
  local own = io.open "/proc/self/status":read "a"
  print(r.said, r.pid ~= sys.pid(), "CapPrm=" .. own:match "CapPrm:%s+(%x+)", "Seccomp=" .. own:match "Seccomp:%s+(%x+)", r.error_detail)
  io.stdout:flush()
end)]]
    spec.eventually(function() return agent:out():find "\n" end, 10)
    local own, server = pids(agent)
    local of_server = read(("/proc/%d/status"):format(server))
    local of_agent = read(("/proc/%d/status"):format(own))
    local limits = read(("/proc/%d/limits"):format(server))
    local _, out = stop(agent)
    local said, other, capabilities, seccomp = out:match "^([^\t\n]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t"
    assert.equal("true", other, out)
    assert.truthy(said:find(capabilities, 1, true), out)
    assert.truthy(said:find(seccomp, 1, true), out)
    assert.truthy(said:find("NoNewPrivs=1", 1, true), out)
    for _, key in ipairs {"CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"} do
      local pattern = key .. ":%s+(%x+)\n"
      assert.equal(of_agent:match(pattern), of_server:match(pattern), key)
    end
    assert.matches("Threads:\t1\n", of_server)
    assert.matches("Max core file size%s+0%s+0 ", limits)
  end)

  it("is ended when it hangs, and starts anew", function()
    local agent, file = start(([[
target {name = "evil", every = "200ms", isolate = true, probe = function()
  return %s
end}
target {name = "exits", every = "200ms", isolate = true, probe = function() os.exit(3) end}
sink(function(r)
  if r.error ~= "skipped" then print(r.target_name, r.error, r.error_detail) io.stdout:flush() end
end)
]]):format(BACKTRACKS))
    spec.eventually(function() return select(2, agent:out():gsub("exits\tscript\tits process ended with exit code 3\n", "")) >= 3 end, 10)
    spec.eventually(function()
      return agent:out():find(("evil\tbudget\t%s:2: budget: the script has not come back to its loop, it is ended"):format(file), 1, true)
    end, 25)
    stop(agent)
  end)

  it("can be one that a reload adds", function()
    local agent, file = start [[target {name = "here", every = "200ms", probe = function() return {success = true} end}]]
    spec.eventually(function() return agent:err():find "uploading to" end, 10)
    local out = assert(io.open(file, "w"))
    out:write(APART)
    out:close()
    spec.eventually(function() return agent:out():find "apart\t%d+\ttrue\tnil\tnil\n" end, 15)
    stop(agent)
  end)

  it("starts no program, and has nothing to ask the server by", function()
    local marker = process.file("marker", "")
    os.remove(marker)
    local agent = start(([[
target {name = "evil", every = "200ms", isolate = true, probe = function()
  local ran, _, code = os.execute "touch %s"
  local piped = pcall(function() io.popen("touch %s"):close() end)
  return {ran = ran or piped or code, pid = sys.pid(), success = true}
end}
sink(function(r) print(r.ran, r.pid, r.error_detail) io.stdout:flush() end)]]):format(marker, marker))
    spec.eventually(function() return agent:out():find "\n" end, 10)
    local _, server = pids(agent)
    local socket = command(("readlink /proc/%d/fd/3"):format(server))
    local held = command(("ls -l /proc/%d/fd"):format(tonumber(agent:out():match "^%d+\t(%d+)")))
    local _, out = stop(agent)
    assert.matches("^1\t%d+\tnil\n", out) -- EPERM
    assert.is_nil(io.open(marker))
    assert.matches("^socket:", socket)
    assert.matches("socket:", held)
    assert.is_nil(held:find(socket:match "%d+", 1, true))
  end)

  it("leaves no process behind when the agent is killed", function()
    local agent = start(APART)
    spec.eventually(function() return agent:out():find "apart\t%d+" end, 10)
    local own, server = pids(agent)
    local apart = tonumber(agent:out():match "apart\t(%d+)")
    command("kill -KILL " .. own)
    spec.eventually(function() return is_gone(server) and is_gone(apart) end, 5)
    agent:wait()
  end)

  it("goes on when the server is killed, again and again", function()
    local agent = start [[
target {name = "exits", every = "100ms", isolate = true, probe = function() os.exit(3) end}
sink(function(r) print(r.error_detail) io.stdout:flush() end)]] -- each run needs a new process
    local function runs() return select(2, agent:out():gsub("\n", "")) end
    spec.eventually(function() return runs() > 1 end, 10)
    for _ = 1, 3 do
      local _, server, heir = pids(agent)
      assert.truthy(heir)
      command("kill -KILL " .. server)
      spec.eventually(function()
        local _, now, next_one = pids(agent)
        return now == heir and next_one
      end, 5)
      local before = runs()
      spec.eventually(function() return runs() > before + 1 end, 5)
    end
    local _, out = stop(agent)
    assert.is_nil(out:find("fork server has gone", 1, true), out)
  end)

  it("fails, and says why, when the server and its heir have gone; the others go on", function()
    local agent = start(APART .. [[
target {name = "exits", every = "200ms", isolate = true, probe = function() os.exit(3) end}]])
    spec.eventually(function() return agent:out():find "exits\t" end, 10)
    local _, server, heir = pids(agent)
    command(("kill -KILL %d %d"):format(server, heir))
    spec.eventually(function() return agent:out():find("exits\tnil\ttrue\tlocal\tcannot start a process: the fork server has gone", 1, true) end, 5)
    stop(agent)
  end)
end)

describe("a fork server", function()
  it("is not there without a site file, nor where programs may be started", function()
    local agent = process.start({"agent", "--tcp-target", "127.0.0.1:1"}, with {RUN_SECONDS = "3600"})
    spec.eventually(function() return agent:err():find "uploading to" end, 10)
    assert.is_nil(select(2, pids(agent)))
    stop(agent)
    local other = start(APART, {PROGRAMS = "on"})
    spec.eventually(function() return other:out():find "apart\t%d+\ttrue" end, 10)
    assert.is_nil(select(2, pids(other)))
    stop(other)
  end)

  it("serves waddle run --confine", function()
    local status, out, err = process.run {"run", "--confine", process.file("site.lua", [[
target {name = "apart", isolate = true, probe = function() return {pid = sys.pid(), success = true} end}
sink(function(r) print(r.pid ~= nil and r.pid ~= sys.pid(), r.error_detail) end)]])}
    assert.equal(0, status, err)
    assert.equal("true\tnil\n", out)
  end)

  it("that nobody asks for is an error", function()
    assert.equal(2, (process.run {"--fork-server"}))
  end)
end)
