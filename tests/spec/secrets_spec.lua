-- Secrets: the ways in (environment, files, systemd's credentials), and all the ways out that must be closed: ps, /proc, core dumps, logs,
-- tracebacks.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"

after_each(process.clean)

local SECRET = "hunter2-hunter2"

local function command(line)
  local pipe = io.popen(line .. " 2>&1")
  local text = pipe:read("a")
  pipe:close()
  return text
end

local function pid_of(run)
  return math.tointeger(spec.eventually(function() return tonumber(command("pgrep -P " .. run.pid):match("%d+")) end))
end

-- An agent that has read its secret and waits; a file of the secret where `env` or the flags want one.
local function start(env, prefix, ...)
  local all = {HTTP_TARGETS = "", ICMP_TARGETS = "", TCP_TARGETS = "127.0.0.1:1", DEVICE_SERIAL = "s-1", WADDLE_CONTROL = "none", RUN_SECONDS = "3600",
    MANAGER_URL = "http://127.0.0.1:1", AUTH_TYPE = "apikey"}
  for name, value in pairs(env) do
    all[name] = value
  end
  local run = process.start({"agent", ...}, all, prefix)
  spec.eventually(function() return run:err():find "uploading to" end, 10)
  return run
end

local function stop(run)
  run:kill "TERM"
  return run:wait()
end

describe("the environment of a running agent", function()
  it("shows no secret to anyone, root included", function()
    local run = start({AUTH_APIKEY = SECRET}, nil, "--core-dumps", "on") -- so that its user may read it
    local text = command(("cat /proc/%d/environ"):format(pid_of(run)))
    stop(run)
    assert.truthy(text:find("AUTH_TYPE=apikey", 1, true), text)
    assert.is_nil(text:find(SECRET, 1, true))
  end)

  it("and memory are closed to other processes of the same user", function()
    local as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    if not os.execute(as_nobody .. " true 2>/dev/null") then
      spec.skip("cannot become another user: run it as root")
    elseif not os.execute(("%s test -x %s"):format(as_nobody, process.path)) then
      spec.skip("another user may not run the program where it lies")
    end
    for _, case in ipairs {{"off", "Permission denied"}, {"on", "MANAGER_URL"}} do
      local run = start({AUTH_APIKEY = SECRET}, as_nobody, "--core-dumps", case[1])
      local pid = pid_of(run)
      local text = command(("%s cat /proc/%d/environ"):format(as_nobody, pid))
      stop(run)
      assert.truthy(text:find(case[2], 1, true), text)
    end
  end)

  it("gives site files no secret of the agent's", function()
    local site = process.file("site.lua", [[print(sys.env "AUTH_APIKEY", sys.env().AUTH_APIKEY, os.getenv "AUTH_APIKEY")]])
    local _, out = process.run({"agent"}, {WADDLE_SITE = site, AUTH_TYPE = "apikey", AUTH_APIKEY = SECRET, WADDLE_CONTROL = "none"})
    assert.matches("^nil\tnil\tnil\n", out)
  end)
end)

describe("the command line of a running waddle", function()
  it("shows no secret to ps", function()
    local held <close> = assert(serve.http {handler = function() require("waddle.task").sleep(100) end})
    local url = ("http://me:%s@127.0.0.1:%d/?token=%s&x=1"):format(SECRET, held.port, SECRET)
    local plain = ("http://127.0.0.1:%d/"):format(held.port)
    for _, args in ipairs {
      {"http", url}, {"http", "-H", "Cookie: " .. SECRET, "--header=X-API-Key: " .. SECRET, url},
      {"http", "-u", "me:" .. SECRET, plain}, {"http", "--user=me:" .. SECRET, plain}, {"-e", "http.get('" .. url .. "')"},
    } do
      local run = process.start(args, {})
      local pid = pid_of(run)
      spec.eventually(function() return not command(("cat /proc/%d/cmdline"):format(pid)):find(SECRET, 1, true) end)
      local text = command(("cat /proc/%d/cmdline"):format(pid)):gsub("%z", " ")
      run:kill "TERM"
      run:wait()
      assert.truthy(text:find("127.0.0.1:" .. held.port, 1, true), text)
      assert.truthy(text:find("***", 1, true), text)
    end
  end)

  it("leaves what holds no secret as it was", function()
    local run = process.start({"-e", "task.sleep(100) --a@b", "x=y", "dns://a@127.0.0.1", "https://h/?x=1"}, {})
    local pid = pid_of(run)
    local text = spec.eventually(function() return command(("cat /proc/%d/cmdline"):format(pid)):match "%z%-e%z.*" end)
    run:kill "TERM"
    run:wait()
    assert.equal("\0-e\0task.sleep(100) --a@b\0x=y\0dns://a@127.0.0.1\0https://h/?x=1\0", text)
  end)

  it("is named by the agent when it held a secret", function()
    local _, _, err = process.run({"agent", "--http-target", "http://me:" .. SECRET .. "@127.0.0.1:1/"}, {WADDLE_CONTROL = "none"})
    assert.truthy(err:find("--http-target: a secret on the command line was visible to every user of this machine", 1, true), err)
    assert.is_nil(err:find(SECRET, 1, true))
  end)
end)

describe("a traceback", function()
  it("shows no password of a URL, whoever quotes it", function()
    for _, code in ipairs {'error("see http://me:%s@h/")', 'tcp.connect("http://me:%s@h/")',
      'task.spawn(function() error("http://me:%s@h/") end):join()', 'task.spawn(function() error("http://me:%s@h/") end) task.sleep(0.1)'} do
      local _, out, err = process.run({"-e", code:format(SECRET)}, {})
      assert.truthy(err:find("http://***@h/", 1, true), err)
      assert.is_nil((out .. err):find(SECRET, 1, true), err)
    end
  end)
end)

describe("a manager that sends the credentials back", function()
  it("puts them neither into the log nor into the quarantine", function()
    local m <close> = assert(manager.start {plan = {{status = 400, body = "no good: " .. SECRET}, {status = 503, body = "busy with " .. SECRET}}})
    local code, out, err = process.run {"run", process.file("up.lua", [[
      local u = upload.open {url = arg[1], spool = arg[2], auth = {type = "apikey", key = arg[3]}, device = {serial = "s"}}
      for i = 1, 2 do u:put {id = "r" .. i, test_type = "tcp", target_host = "h", target = "tcp://h:1", success = true, latency_ms = 1} u:flush(5) end
    ]]), m.url, process.folder() .. "/waddle.db", SECRET}
    assert.equal(0, code, err)
    local _, exported = process.run({"spool", "export", "--quarantine", "--spool", process.folders[#process.folders] .. "/waddle.db"})
    assert.truthy(exported:find("no good: ***", 1, true), exported .. err)
    assert.truthy(err:find("no good: ***", 1, true), err)
    assert.is_nil((out .. err .. exported):find(SECRET, 1, true), err)
  end)
end)

describe("a secret in a file", function()
  -- The credentials that an agent with this environment uploads with.
  local function credentials(env)
    local m <close> = assert(manager.start {})
    local all = {HTTP_TARGETS = "", ICMP_TARGETS = "", TCP_TARGETS = "127.0.0.1:1", DEVICE_SERIAL = "s-1", WADDLE_CONTROL = "none", MANAGER_URL = m.url}
    for name, value in pairs(env) do
      all[name] = value
    end
    local code, _, err = process.run({"agent"}, all)
    local headers = m.requests[1] and m.requests[1].headers or {}
    return headers["x-api-key"] or headers["authorization"], code, err
  end

  it("is read where NAME_FILE points, without the line break at its end", function()
    assert.equal(SECRET, (credentials {AUTH_TYPE = "apikey", AUTH_APIKEY_FILE = process.file("key", SECRET .. "\n")}))
    assert.equal("Bearer " .. SECRET, (credentials {AUTH_TYPE = "jwt", AUTH_JWT_FILE = process.file("token", SECRET)}))
  end)

  it("is read from the credentials that systemd gives, where the environment has none", function()
    local folder = process.file("auth_apikey", SECRET .. "\n"):gsub("/auth_apikey$", "")
    assert.equal(SECRET, (credentials {AUTH_TYPE = "apikey", CREDENTIALS_DIRECTORY = folder}))
    assert.equal("other", (credentials {AUTH_TYPE = "apikey", CREDENTIALS_DIRECTORY = folder, AUTH_APIKEY = "other"}))
  end)

  it("that cannot be read, or is there beside the variable, is an error that names the variable", function()
    local missing = process.file("x", ""):gsub("/x$", "/key")
    for _, case in ipairs {
      {{AUTH_TYPE = "apikey", AUTH_APIKEY_FILE = missing}, "AUTH_APIKEY_FILE: " .. missing .. ": No such file or directory"},
      {{AUTH_TYPE = "apikey", AUTH_APIKEY_FILE = process.file("key", "x"), AUTH_APIKEY = "y"}, "AUTH_APIKEY_FILE: AUTH_APIKEY is set, too"},
      {{AUTH_TYPE = "apikey", AUTH_APIKEY_FILE = process.file("key", "")}, "AUTH_APIKEY_FILE: "},
    } do
      local _, code, err = credentials(case[1])
      assert.equal(2, code)
      assert.truthy(err:find(case[2], 1, true), err)
    end
  end)
end)
