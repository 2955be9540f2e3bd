-- The reference's flaws that show in the agent as a whole, by their number in the contract; each spec fails on the flaw.

local json = require "waddle.json"
local manager = require "waddle.manager"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"

after_each(process.clean)

local function environment(m, more)
  local env = {MANAGER_URL = m.url, HTTP_TARGETS = "", ICMP_TARGETS = "", WADDLE_CONTROL = "none"}
  for key, value in pairs(more or {}) do
    env[key] = value
  end
  return env
end

-- A config file of one list of targets.
local function config(kind, targets)
  return process.file("agent.json", json.encode {[kind .. "_targets"] = json.array(targets)})
end

local function listener()
  return assert(serve.tcp {handler = function() end})
end

describe("flaw 2: HTTP/2 and HTTP/3 were never spoken", function()
  local function protocol(peer, options)
    local target = {target = spec.url(peer, "/", "localhost"), address = "127.0.0.1", tls = {ca = spec.value("ca")}}
    for key, value in pairs(options or {}) do
      target[key] = value
    end
    local m <close> = assert(manager.start {})
    local code, out = process.run({"agent", "--config-file", config("http", {target})}, {MANAGER_URL = m.url, ICMP_TARGETS = "", WADDLE_CONTROL = "none"})
    return m.rows[1].success and m.rows[1].protocol_detail or m.rows[1].raw_results.protocol_detail, code, out
  end

  it("h2 is negotiated by itself", function()
    local version, code, out = protocol("nginx_tls")
    assert.equal("http/2", version)
    assert.equal(0, code, out)
  end)

  it("h3 is spoken where it is asked for, and nothing else takes its place", function()
    local version, code, out = protocol("caddy_h3", {version = "3"})
    if out:find("without HTTP/3", 1, true) then
      spec.skip("this libcurl speaks no HTTP/3")
    end
    assert.equal("http/3", version)
    assert.equal(0, code, out)
    code = select(2, protocol("nginx_tls", {version = "3", timeout = 1}))
    assert.equal(1, code)
  end)
end)

describe("flaw 4: 20 ICMP targets took 60 s", function()
  it("they run side by side", function()
    local m <close> = assert(manager.start {})
    local targets = {}
    for i = 1, 20 do
      targets[i] = {target = "127.0.0." .. i, interval = "200ms", name = "t" .. i}
    end
    local t0 = task.now()
    local env = environment(m)
    env.ICMP_TARGETS = nil
    local code, out, err = process.run({"agent", "--config-file", config("icmp", targets)}, env)
    if out:find("permission", 1, true) then
      spec.skip("no ICMP here: " .. out:match("permission[^\n]*"))
    end
    assert.equal(0, code, err)
    assert.is_true(task.now() - t0 < 6, "one after another they take 12 s")
    assert.matches("20 passed, 0 failed", out)
    assert.equal(20, m.stored)
  end)

  it("a target that hangs and a manager that hangs hold up no other target", function()
    local m <close> = assert(manager.start {plan = {"hang"}})
    local silent <close> = assert(serve.http {handler = function() task.sleep(100) end})
    local tcp <close> = listener()
    local a = process.start({"agent"}, environment(m, {HTTP_TARGETS = ("http://127.0.0.1:%d/"):format(silent.port), TCP_TARGETS = ("127.0.0.1:%d,127.0.0.1:%d"):format(tcp.port, tcp.port)}))
    spec.eventually(function() return m.stored >= 1 end, 5)
    a:kill "TERM"
    a:kill "TERM"
    a:wait()
  end)
end)

describe("flaw 5: later targets reused the first one's connection", function()
  it("every probe of every round opens a connection of its own, and has all its phases", function()
    local m <close> = assert(manager.start {})
    local peers, count = {}, 0
    local web <close> = assert(serve.http {handler = function(request)
      count = count + (peers[request.peer] and 0 or 1)
      peers[request.peer] = (peers[request.peer] or 0) + 1
      return "hello"
    end})
    local url = ("http://127.0.0.1:%d/"):format(web.port)
    local a = process.start({"agent"}, environment(m, {HTTP_TARGETS = url .. "a," .. url .. "b", RUN_SECONDS = "0.3"}))
    spec.eventually(function() return m.stored >= 6 end, 10)
    a:kill "TERM"
    assert.equal(0, (a:wait()))
    local requests = 0
    for _, n in pairs(peers) do
      requests = requests + n
    end
    assert.equal(requests, count)
    for _, row in ipairs(m.rows) do
      assert.is_number(row.time_connect)
      assert.is_nil(row.raw_results.reused and true or nil)
    end
  end)
end)

describe("flaw 8: credentials inside a URL were logged and stored", function()
  it("no log at any level, no summary and no upload has them, whether the target answers or not", function()
    local m <close> = assert(manager.start {})
    local web <close> = assert(serve.http {handler = function() return "hello" end})
    local targets = ("http://me:hunter2@127.0.0.1:%d/?token=hunter2,http://me:hunter2@127.0.0.1:1/,http://me:hunter2@nowhere.invalid/#key=hunter2"):format(web.port)
    local function check(text)
      assert.is_nil(text:lower():find("hunter2", 1, true), text)
      assert.is_nil(text:find("bWU6aHVudGVyMg", 1, true), text) -- the same in Base64
    end
    for _, period in ipairs {"0", "0.3"} do
      local env = environment(m, {HTTP_TARGETS = targets, RUN_SECONDS = period, AUTH_TYPE = "apikey", AUTH_APIKEY = "k-hunter2"})
      local before = m.stored
      local a = process.start({"agent", "--log-level", "DEBUG"}, env)
      if period ~= "0" then
        spec.eventually(function() return m.stored >= before + 3 end, 10)
        a:kill "TERM"
      end
      local _, out, err = a:wait()
      check(out)
      check(err)
    end
    assert.is_true(m.stored >= 6)
    for _, request in ipairs(m.requests) do
      check(request.body)
    end
  end)

  it("nor does a message about the manager's address, nor the output of run", function()
    local tcp <close> = listener()
    local _, out, err = process.run({"agent", "--log-level", "DEBUG"}, environment({url = "http://me:hunter2@127.0.0.1:1/"}, {TCP_TARGETS = "127.0.0.1:" .. tcp.port, AUTH_TYPE = "userpass", AUTH_USER = "u", AUTH_PASS = "hunter2"}))
    assert.is_nil((out .. err):find("hunter2", 1, true), out .. err)
    for _, code in ipairs {'target "http://me:hunter2@127.0.0.1:1/"', 'check(http.get("http://me:hunter2@127.0.0.1:1/"))', 'print(json.encode(http.get("http://me:hunter2@127.0.0.1:1/")))', 'log.warning("see %s", "http://me:hunter2@127.0.0.1:1/")'} do
      _, out, err = process.run {"-e", code}
      assert.is_nil((out .. err):find("hunter2", 1, true), out .. err)
      assert.truthy((out .. err):find("127.0.0.1:1", 1, true), out .. err)
    end
  end)
end)

describe("flaw 9: an ICMP target was pasted into a shell command line", function()
  local bad = {"127.0.0.1; touch ", "127.0.0.1;touch${IFS}", "$(touch${IFS}", "`touch${IFS}", "127.0.0.1|touch${IFS}", "127.0.0.1&&touch${IFS}", "127.0.0.1\ntouch ", "-h;touch${IFS}"}

  it("no target of the agent reaches one", function()
    local m <close> = assert(manager.start {})
    local canary = process.file("x", ""):gsub("x$", "canary")
    for _, target in ipairs(bad) do
      for _, scheme in ipairs {"", "icmp://"} do
        local code = process.run({"agent"}, environment(m, {ICMP_TARGETS = scheme .. target .. canary}))
        assert.is_true(code == 1 or code == 2, target)
      end
    end
    assert.is_nil(io.open(canary))
  end)

  it("nor where the system's ping program takes the place of a socket: it is given an address", function()
    -- Who may open no ICMP socket is served by a `ping` of ours that notes its arguments.
    local isolate = "unshare --net sh -c 'ip link set lo up && exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all " ..
      "--inh-caps=-all --no-new-privs \"$@\"' sh"
    if not os.execute(isolate .. " true 2>/dev/null") then
      spec.skip("no network namespace for it: run it as root")
    end
    local folder = process.file("ping", "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"${0%/*}/asked\"\necho \"64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.05 ms\"\n"):gsub("/ping$", "")
    os.execute(("chmod 755 %s/ping && chmod 777 %s"):format(folder, folder))
    local canary, env = folder .. "/canary", {PATH = folder .. ":" .. os.getenv "PATH"}
    for _, target in ipairs(bad) do
      process.run({"-e", "pcall(icmp.ping, arg[1], {count = 1, timeout = 1})", target .. canary}, env, isolate)
    end
    process.run({"-e", "icmp.ping(arg[1], {count = 1, timeout = 1, family = 4})", "localhost"}, env, isolate)
    assert.is_nil(io.open(canary))
    local asked = 0
    for line in io.lines(folder .. "/asked") do
      asked = asked + 1
      assert.matches(" 127%.0%.0%.1$", line)
    end
    assert.is_true(asked > 0)
  end)
end)

describe("flaw 15: a target that could not be parsed vanished", function()
  it("it is 2 before anything is probed, wherever it was written, with the place", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local good = "127.0.0.1:" .. tcp.port
    for _, case in ipairs {
      {{TCP_TARGETS = good .. ",[::1"}, {}, "TCP_TARGETS, item 2"},
      {{TCP_TARGETS = good}, {"--udp-target", "host:0x50"}, "--udp-target"},
      {{TCP_TARGETS = good}, {"--config-file", config("icmp", {"a b"})}, "icmp_targets, item 1", no_icmp = true},
      {{TCP_TARGETS = good, WADDLE_SITE = process.file("site.lua", '\ntarget "tcp://h:p"')}, {}, "site.lua:2: "},
    } do
      local env = environment(m, case[1])
      if case.no_icmp then
        env.ICMP_TARGETS = nil
      end
      local code, out, err = process.run({"agent", table.unpack(case[2])}, env)
      assert.equal(2, code, err)
      assert.equal("", out)
      assert.truthy(err:find(case[3], 1, true), err)
    end
    assert.equal(0, m.count)
  end)
end)

describe("flaw 16: what the environment and the file said was taken for something else", function()
  it("ENABLE_X=1 and yes are on, a bad RUN_SECONDS is a message and 2", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    for _, word in ipairs {"1", "yes", "TRUE", "on"} do
      local _, out = process.run({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port, ENABLE_TCP_TEST = word}))
      assert.matches("1 passed", out)
    end
    local code, out, err = process.run({"agent"}, environment(m, {RUN_SECONDS = "often"}))
    assert.equal(2, code)
    assert.equal("", out)
    assert.matches("^waddle: RUN_SECONDS: [^\n]*often[^\n]*\n$", err)
  end)

  it("a string in place of a list is an error", function()
    local m <close> = assert(manager.start {})
    local code, _, err = process.run({"agent", "--config-file", process.file("agent.json", '{"tcp_targets": "127.0.0.1:1"}')}, environment(m))
    assert.equal(2, code)
    assert.matches("agent.json: tcp_targets: expected a list", err, 1, true)
  end)
end)

describe("flaw 17: the period drifted, nothing was spread, SIGTERM lost what was in hand, --schedule with 0 did nothing", function()
  it("due times stay where they are, however long a run takes, and targets start apart", function()
    local _, out = process.run {"-e", [[
      sys.virtual_clock()
      local starts, t0 = {}, task.now()
      for i = 1, 8 do
        target{name = "t" .. i, every = 60, probe = function()
          starts[i] = starts[i] or {}
          table.insert(starts[i], task.now() - t0)
          task.sleep(i * 5)
          return {success = true}
        end}
      end
      sink(function() end)
      task.spawn(function()
        task.sleep(599)
        local worst, first, last = 0, math.huge, 0
        for i = 1, 8 do
          first, last = math.min(first, starts[i][1]), math.max(last, starts[i][1])
          for n, t in ipairs(starts[i]) do worst = math.max(worst, math.abs(t - starts[i][1] - (n - 1) * 60)) end
        end
        print(#starts[8], worst < 0.001, last - first > 1, last <= 5)
        sys.exit(0)
      end)]]}
    assert.equal("10\ttrue\ttrue\ttrue\n", out)
  end)

  it("on SIGTERM what waited for the manager is delivered", function()
    local m <close> = assert(manager.start {always = {status = 503, headers = {["retry-after"] = "60"}}})
    local a = process.start({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1,127.0.0.1:2", RUN_SECONDS = "0.2"}))
    spec.eventually(function() return m.count > 0 and select(2, a:err():gsub("✗", "")) >= 6 end, 10)
    m.always = nil
    a:kill "TERM"
    assert.equal(0, (a:wait()))
    assert.is_true(m.stored >= 6)
  end)

  it("--schedule runs every 60 s and says so", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local a = process.start({"agent", "--schedule"}, environment(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port}))
    spec.eventually(function() return m.stored == 1 end, 10) -- spread over five seconds
    a:kill "TERM"
    local code, _, err = a:wait()
    assert.equal(0, code)
    assert.matches("--schedule runs every 60 s", err, 1, true)
  end)
end)

describe("flaw 18: the exit code was 0 whatever failed", function()
  it("0 all passed, 1 a test failed, 2 bad configuration, 3 not delivered; of several 2, then 3, then 1", function()
    local good <close> = assert(manager.start {})
    local refusing <close> = assert(manager.start {always = 401})
    local tcp <close> = listener()
    local open, closed = "127.0.0.1:" .. tcp.port, "127.0.0.1:1"
    for _, case in ipairs {{0, good, open}, {1, good, closed}, {1, good, open .. "," .. closed}, {2, good, "h:x"}, {2, refusing, closed .. ",h:x"}, {3, refusing, open}, {3, refusing, closed}} do
      local code, _, err = process.run({"agent"}, environment(case[2], {TCP_TARGETS = case[3]}))
      assert.equal(case[1], code, err)
    end
  end)

  it("a signal is a clean stop: 0 although tests failed and nothing could be delivered", function()
    local m <close> = assert(manager.start {always = 403})
    local a = process.start({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1", RUN_SECONDS = "0.2"}))
    spec.eventually(function() return m.count > 0 end, 10)
    a:kill "INT"
    local code, _, err = a:wait()
    assert.equal(0, code, err)
    assert.matches("results not delivered: ", err)
  end)
end)

describe("flaw 20: a summary on a stdout that is not UTF-8 crashed", function()
  it("the marks are UTF-8 in every locale", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    for _, locale in ipairs {"C", "POSIX", "de_DE.ISO-8859-1", ""} do
      local code, out, err = process.run({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1,127.0.0.1:" .. tcp.port, LC_ALL = locale, LANG = locale}))
      assert.equal(1, code, err)
      assert.matches("TCP\n  ✗ ", out, 1, true)
      assert.matches("\n  ✓ 127.0.0.1:" .. tcp.port .. ": ", out, 1, true)
    end
  end)
end)
