-- What an agent gives up, seen from outside: by the kernel's account of the process, and by what its own scripts can no longer do. Each defence
-- is tried with its switch off, too, so that the spec shows the defence and not the weather.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"

after_each(process.clean)

-- An agent that runs for ever with this site; nothing is probed.
local function start(site, env, prefix, ...)
  local all = {HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1", WADDLE_CONTROL = "none", RUN_SECONDS = "3600"}
  all.WADDLE_SITE = site and process.file("site.lua", site) or nil
  for name, value in pairs(env or {}) do
    all[name] = value
  end
  local agent = process.start({"agent", ...}, all, prefix)
  spec.eventually(function() return agent:err():find "uploading to" or agent:err():find "\nwaddle: " end, 10)
  return agent
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function command(line)
  local pipe = io.popen(line .. " 2>&1")
  local text = pipe:read("a")
  pipe:close()
  return text
end

-- The process of the agent itself: below timeout(1), which process.start runs it by.
local function pid_of(agent)
  return math.tointeger(tonumber(command("pgrep -P " .. agent.pid):match("%d+")))
end

local function stop(agent)
  agent:kill "TERM"
  return agent:wait()
end

-- Runs a site's code to its end and gives what it printed and what the log said. `env` and flags as for the agent.
local function once(site, env, prefix, ...)
  local all = {HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1", WADDLE_CONTROL = "none"}
  all.WADDLE_SITE = process.file("site.lua", site)
  for name, value in pairs(env or {}) do
    all[name] = value
  end
  local _, out, err = process.run({"agent", ...}, all, prefix)
  return out, err
end

local OFF = {DROP_CAPABILITIES = "off", NO_NEW_PRIVS = "off", SECCOMP = "off", LANDLOCK = "off", CORE_DUMPS = "on"}

-- Skips where this machine's kernel lacks a part: then the log of the agent says so.
local function need(err, part)
  local why = err:match(part .. " not available %(([^\n]*)%)")
  if why and why:find "kernel has" then
    spec.skip(("no %s: %s"):format(part, why))
  end
end

describe("a running agent", function()
  local function status(agent)
    local pid, all = pid_of(agent), {}
    for task in command(("ls /proc/%d/task"):format(pid)):gmatch("%d+") do
      all[#all + 1] = read(("/proc/%d/task/%s/status"):format(pid, task))
    end
    return all, read(("/proc/%d/limits"):format(pid))
  end

  it("has no capability, no way to new privileges, a filter of system calls and no core dump, in each of its threads", function()
    local agent = start(nil, nil, nil, "--tcp-target", "127.0.0.1:1")
    local threads, limits = status(agent)
    local _, _, err = stop(agent)
    need(err, "seccomp")
    assert.is_true(#threads > 0)
    for _, text in ipairs(threads) do
      for _, set in ipairs {"CapPrm", "CapEff", "CapAmb"} do
        assert.matches(set .. ":\t0000000000000000\n", text)
      end
      assert.matches("NoNewPrivs:\t1\n", text)
      assert.matches("Seccomp:\t2\n", text)
    end
    assert.matches("Max core file size%s+0%s+0 ", limits)
    assert.matches("INFO    confined: core_dumps off; no_new_privs on; landlock [^;]*; drop_capabilities on; seccomp on\n", err)
  end)

  it("keeps what its switches leave alone, and says so", function()
    local agent = start(nil, OFF, nil, "--tcp-target", "127.0.0.1:1")
    local threads = status(agent)
    local _, _, err = stop(agent)
    local own = read "/proc/self/status"
    assert.matches("Seccomp:\t" .. own:match("Seccomp:\t(%d)") .. "\n", threads[1])
    assert.matches("NoNewPrivs:\t" .. own:match("NoNewPrivs:\t(%d)") .. "\n", threads[1])
    assert.matches("CapEff:\t" .. own:match("CapEff:\t(%x+)") .. "\n", threads[1])
    for _, part in ipairs {"no_new_privs", "landlock", "drop_capabilities", "seccomp"} do
      assert.truthy(err:find(part .. " off (as set)", 1, true), err)
    end
  end)

  it("is not started where a part that has to be there cannot be had", function()
    local code, _, err = process.run({"agent", "--landlock", "on", "--no-new-privs", "off"}, {HTTP_TARGETS = "", ICMP_TARGETS = ""})
    assert.equal(2, code)
    assert.matches("waddle: landlock cannot be had: it needs no_new_privs\n", err)
  end)

  it("names a folder that is to be writable and is not there, before it begins", function()
    local missing = process.file("x", ""):gsub("/x$", "/not there")
    local code, _, err = process.run({"agent", "--writable", missing}, {HTTP_TARGETS = "", ICMP_TARGETS = ""})
    assert.equal(2, code)
    assert.truthy(err:find(("writable: %s: there is no such file or folder"):format(missing), 1, true), err)
  end)

  it("knows its device all the same", function()
    local m <close> = assert(manager.start {})
    local serials = {}
    for i, env in ipairs {{}, OFF} do
      local all = {MANAGER_URL = m.url, HTTP_TARGETS = "", ICMP_TARGETS = "", TCP_TARGETS = "127.0.0.1:1"}
      for name, value in pairs(env) do
        all[name] = value
      end
      process.run({"agent"}, all)
      serials[i] = m.rows[i].device_serial .. " " .. m.rows[i].device_hostname .. " " .. m.rows[i].device_os_version
    end
    assert.equal(serials[2], serials[1])
  end)
end)

describe("a site file of a confined agent", function()
  it("writes nowhere but where it may, and the log names Landlock and the line", function()
    local folder = process.file("old", "kept"):gsub("/old$", "")
    local code = ([[
      for _, name in ipairs {"new", "old"} do
        print(io.open("%s/" .. name, "w"))
      end
      print(os.remove("%s/old"))
      print(io.open("%s/old"):read "a")]]):format(folder, folder, folder)
    local out, err = once(code)
    need(err, "landlock")
    assert.matches("^nil\t[^\n]*/new: Permission denied %(Landlock: writing is allowed in: nowhere%)\t13\nnil\t[^\n]*/old: Permission", out)
    assert.matches("\nkept\n", out)
    assert.matches("WARNING [^\n]*site.lua:2: landlock: [^\n]*/new: Permission denied [^\n]*; %-%-writable FOLDER allows another", err)
    assert.is_nil(io.open(folder .. "/new"))
    assert.equal("kept", read(folder .. "/old"))
    out, err = once(code, {WRITABLE = folder})
    assert.matches("^file %(", out)
    assert.truthy(err:find(("landlock on (writing: %s)"):format(folder), 1, true), err)
    assert.is_truthy(io.open(folder .. "/new"))
    out = once(([[print(io.open("%s/third", "w"))]]):format(folder), nil, nil, "--landlock", "off")
    assert.matches("^file %(", out)
  end)

  it("gets the kernel's word that a file is not there, or that reading is not allowed, as it is", function()
    local missing = process.file("x", ""):gsub("/x$", "/not there/x")
    local out, err = once(([[print(io.open "%s") print(io.open("%s", "w"))]]):format(missing, missing))
    assert.equal(("nil\t%s: No such file or directory\t2\n"):format(missing):rep(2), out:match "^[^\n]*\n[^\n]*\n")
    assert.is_nil(err:find("landlock: ", 1, true))
  end)

  it("may write to the folders that systemd made for the service", function()
    local folder = process.file("x", ""):gsub("/x$", "")
    local out, err = once(([[print(io.open("%s/log", "w"))]]):format(folder), {LOGS_DIRECTORY = folder .. "/not there:" .. folder})
    assert.matches("^file %(", out)
    need(err, "landlock")
    assert.truthy(err:find(("(writing: %s)"):format(folder), 1, true), err)
  end)

  it("starts no program; the log says so once, and --programs allows it", function()
    local code = [[
      print(os.execute "true")
      print(os.execute "true")
      print(io.popen "echo hello")
      print(os.execute())]]
    local out, err = once(code)
    need(err, "seccomp")
    assert.equal(([[
nil	true: no program may be started	1
nil	true: no program may be started	1
nil	echo hello: no program may be started	1
false
]]), out:match("^(.-)0 passed"))
    assert.equal(2, select(2, err:gsub("programs: [^\n]*no program may be started; %-%-programs on allows it", "")))
    for _, switch in ipairs {"--seccomp", "--landlock"} do -- either of the two is enough
      out = once([[print(os.execute "true")]], nil, nil, switch, "off")
      assert.matches("^nil\ttrue: no program may be started\t1\n", out)
    end
    out, err = once([[print(os.execute "true") print(io.popen("echo hello"):read "a")]], nil, nil, "--programs", "on")
    assert.matches("^true\texit\t0\nhello\n", out)
    assert.truthy(err:find("seccomp on (but programs may be started)", 1, true), err)
    out = once([[print(select(3, os.execute "unshare --mount true 2>/dev/null"))]], nil, nil, "--programs", "on")
    local exit_code = tonumber(out:match "%d+")
    assert.is_true(exit_code > 0 and exit_code < 128, out) -- told no, and not killed
  end)

  it("is stopped by the kernel, not by what explains it", function()
    -- The functions as they are below the explanation: reached through the debug library.
    local folder = process.file("x", ""):gsub("/x$", "")
    local out, err = once(([[
      local function below(fn)
        for i = 1, 20 do
          local name, value = debug.getupvalue(fn, i)
          if name == "plain" then
            return value
          end
        end
      end
      print(below(io.open)("%s/new", "w"))
      print(below(os.execute)("true"))]]):format(folder))
    need(err, "landlock")
    assert.matches("^nil\t[^\n]*/new: Permission denied\t13\nnil\t[^\n]+\n", out)
    assert.is_nil(io.open(folder .. "/new"))
  end)
end)

describe("ping after the rights are gone", function()
  -- A network whose ping sockets are for nobody, as it is made: root has raw sockets there.
  local raw = "unshare --net sh -c 'ip link set lo up && exec \"$@\"' sh"

  local function need_network()
    if not os.execute(raw .. " true 2>/dev/null") then
      spec.skip("no network namespace for it: run it as root")
    end
  end

  it("goes on over the raw sockets that were opened before, without a capability", function()
    need_network()
    local code, out, err = process.run({"agent", "--test-type", "icmp"},
      {ICMP_TARGETS = "127.0.0.1,::1,localhost", WADDLE_CONTROL = "none", MANAGER_URL = "http://127.0.0.1:1"}, raw)
    assert.equal(3, code, err)
    assert.matches("3 passed, 0 failed", out)
    assert.matches("drop_capabilities on;", err)
  end)

  it("keeps the one capability that a socket of its own needs, where a site or target may want one", function()
    need_network()
    local code = [[
      for line in io.lines "/proc/self/status" do
        if line:find "CapEff" then print(line) end
      end
      print(icmp.ping("127.0.0.1", {count = 1, dont_fragment = true}).success)]]
    local out, err = once(code, nil, raw)
    assert.matches("^CapEff:\t0000000000002000\ntrue\n", out)
    assert.truthy(err:find("drop_capabilities on (but CAP_NET_RAW:", 1, true), err)
    out, err = once(code, nil, raw, "--drop-capabilities", "on")
    assert.matches("^CapEff:\t0000000000000000\nfalse\n", out)
    assert.truthy(err:find("drop_capabilities on;", 1, true), err)
  end)

  it("is foreseen for a site file that names it, or that takes in others", function()
    need_network()
    for text, kept in pairs {["-- nothing"] = false, ["-- icmp"] = true, ["-- dofile"] = true, ["-- loadfile"] = true, ["-- require"] = true} do
      local _, err = once(text, nil, raw)
      assert.equal(kept, err:find("(but CAP_NET_RAW:", 1, true) ~= nil, text)
    end
  end)

  it("leaves the system's ping its rights where nothing else can ping, and says what that costs", function()
    need_network()
    local bare = "unshare --net sh -c 'ip link set lo up && exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all " ..
      "--inh-caps=-all \"$@\"' sh"
    local folder = process.file("ping", "#!/bin/sh\necho \"64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.05 ms\"\n"):gsub("/ping$", "")
    os.execute(("chmod 755 %s %s/ping"):format(folder, folder))
    local env = {ICMP_TARGETS = "127.0.0.1", WADDLE_CONTROL = "none", MANAGER_URL = "http://127.0.0.1:1", PATH = folder .. ":" .. os.getenv "PATH"}
    local _, out, err = process.run({"agent", "--test-type", "icmp"}, env, bare)
    assert.matches("1 passed, 0 failed", out)
    assert.truthy(err:find("no_new_privs not available (ICMP needs the ping program here", 1, true), err)
    assert.truthy(err:find("seccomp not available (it needs no_new_privs)", 1, true), err)
    _, out, err = process.run({"agent", "--test-type", "icmp", "--no-new-privs", "on"}, env, bare)
    assert.matches("permission", out)
    assert.truthy(err:find("no_new_privs on", 1, true), err)
  end)
end)

describe("waddle run --confine", function()
  it("gives up the same, with the same flags, and hands the rest to the script", function()
    local file = process.file("script.lua", [[
      print(io.open("/tmp/waddle-confined", "w"))
      print(os.execute "true")
      print(...)]])
    local code, out, err = process.run {"run", "--confine", file, "--seccomp", "x"}
    assert.equal(0, code, err)
    need(err, "landlock")
    assert.matches("^nil\t/tmp/waddle%-confined: Permission denied [^\n]*\nnil\ttrue: no program[^\n]*\n%-%-seccomp\tx\n$", out)
    code, out, err = process.run {"run", "--confine", "--programs=on", "--landlock", "off", file}
    assert.equal(0, code, err)
    assert.matches("\ntrue\texit\t0\n\n$", out)
    os.remove "/tmp/waddle-confined"
  end)

  it("refuses flags that it does not know, that lack a value or their --confine", function()
    for _, case in ipairs {
      {{"--confien", "x.lua"}, "no flag '--confien', did you mean '--confine'?"},
      {{"--confine", "--seccomp"}, "--seccomp: expected a value after it"},
      {{"--seccomp", "on", "x.lua"}, "these flags go with --confine"},
      {{"--confine", "--seccomp", "maybe", "x.lua"}, "--seccomp: expected auto, on or off, got \"maybe\""},
      {{"--confine"}, "expected a file"},
    } do
      local code, _, err = process.run {"run", table.unpack(case[1])}
      assert.equal(2, code)
      assert.truthy(err:find(case[2], 1, true), err)
    end
  end)

  it("leaves scripts without it alone", function()
    local file = process.file("script.lua", [[print(os.execute "true")]])
    local code, out = process.run {"run", file}
    assert.equal(0, code)
    assert.equal("true\texit\t0\n", out)
  end)
end)
