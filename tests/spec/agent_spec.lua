-- The container agent as an operator sees it: a process with environment, flags and files, a manager, stdout, stderr and an exit code.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"

after_each(process.clean)

-- The environment of a quick agent: nothing enabled but what `more` says, uploads to m.
local function environment(m, more)
  local env = {MANAGER_URL = m.url, HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1", DEVICE_HOSTNAME = "probe-1", WADDLE_CONTROL = "none"}
  for key, value in pairs(more or {}) do
    env[key] = value or nil
  end
  return env
end

local function agent(m, more, ...)
  return process.run({"agent", ...}, environment(m, more))
end

-- A TCP server that takes and closes; its port is open until the spec closes it.
local function listener()
  return assert(serve.tcp {handler = function() end})
end

describe("a single round", function()
  it("uploads every result, prints a summary in the order of types, and exits 0 when all passed", function()
    local m <close> = assert(manager.start {})
    local web <close> = assert(serve.http {handler = function() return "hello" end})
    local tcp <close> = listener()
    local udp <close> = assert(serve.udp {handler = function(bytes) return bytes end})
    local code, out, err = agent(m, {UDP_TARGETS = "127.0.0.1:" .. udp.port, TCP_TARGETS = "127.0.0.1:" .. tcp.port,
      HTTP_TARGETS = ("http://127.0.0.1:%d/"):format(web.port)})
    assert.equal(0, code, err)
    assert.matches("^HTTP\n  ✓ 127%.0%.0%.1: %d+%.%d%dms\nTCP\n  ✓ 127%.0%.0%.1: %d+%.%d%dms\nUDP\n  ✓ 127%.0%.0%.1: %d+%.%d%dms\n3 passed, 0 failed\n$", out)
    assert.equal(3, m.stored)
    local kinds = {}
    for _, row in ipairs(m.rows) do
      kinds[row.test_type] = row
      assert.equal("s-1", row.device_serial)
      assert.equal("probe-1", row.device_hostname)
    end
    assert.equal("127.0.0.1", kinds.http.target_ip)
    assert.equal(200, kinds.http.http_code)
    assert.equal("raw_tcp", kinds.tcp.protocol_detail)
    assert.equal(4, kinds.udp.packets_received)
  end)

  it("is 1 when a test failed, with the reason in the summary", function()
    local m <close> = assert(manager.start {})
    local code, out = agent(m, {TCP_TARGETS = "127.0.0.1:1"})
    assert.equal(1, code)
    assert.matches("TCP\n  ✗ 127%.0%.0%.1: connection_refused[^\n]*\n0 passed, 1 failed\n", out)
    assert.equal(1, m.stored)
  end)

  it("is 3 when the queue is blocked, without waiting, and also when a test failed", function()
    local m <close> = assert(manager.start {always = 403})
    local tcp <close> = listener()
    local started = require("waddle.task").now()
    local code, out, err = agent(m, {TCP_TARGETS = "127.0.0.1:1,127.0.0.1:" .. tcp.port})
    assert.equal(3, code)
    assert.matches("1 passed, 1 failed", out)
    assert.matches("results not delivered: 2", err)
    assert.is_true(require("waddle.task").now() - started < 4)
  end)

  it("is 3 when the manager refused a result for good", function()
    local m <close> = assert(manager.start {always = 400})
    local tcp <close> = listener()
    local code, _, err = agent(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port})
    assert.equal(3, code)
    assert.matches("refused by the manager: 1", err)
  end)

  it("logs to stderr only, as much as asked for", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local code, out, err = agent(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port}, "--log-level", "debug")
    assert.equal(0, code)
    assert.matches("^TCP\n  ✓ [^\n]*\n1 passed, 0 failed\n$", out)
    assert.matches("INFO    waddle [%d.]+: 1 targets, once, uploading to http://127.0.0.1", err)
    code, out, err = agent(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port}, "--log-level", "ERROR")
    assert.equal(0, code)
    assert.equal("", err)
    assert.matches("1 passed", out)
  end)

  it("is ended by a signal with 0: what was measured is uploaded, what is in flight is cancelled", function()
    local m <close> = assert(manager.start {})
    local silent <close> = assert(serve.http {handler = function() require("waddle.task").sleep(100) end})
    local tcp <close> = listener()
    local a = process.start({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port, HTTP_TARGETS = ("http://127.0.0.1:%d/"):format(silent.port)}))
    spec.eventually(function() return m.stored == 1 end, 10)
    a:kill "TERM"
    local code, out, err = a:wait()
    assert.equal(0, code, err)
    assert.matches("– 127.0.0.1: cancelled: waddle was stopped before it ended\n", out)
    assert.matches("1 passed, 0 failed, 1 cancelled\n$", out)
    assert.matches("SIGTERM: stopping, 1 probes in flight", err)
  end)

  it("is a clean stop for a signal that comes while the site file is read, too, and probes nothing then", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local file = process.file("site.lua", ([[
      io.stderr:write "reading\n"
      task.sleep(0.5)
      target "tcp://127.0.0.1:%d"]]):format(tcp.port))
    local a = process.start({"agent"}, environment(m, {WADDLE_SITE = file}))
    spec.eventually(function() return a:err():find "reading" end, 10)
    a:kill "TERM"
    local code, out, err = a:wait()
    assert.equal(0, code, err)
    assert.equal("TCP\n  – 127.0.0.1: skipped: waddle was stopped before it began\n0 passed, 0 failed, 1 skipped\n", out)
    assert.equal(0, m.count)
  end)

  it("takes its list of targets from flags, environment, file and defaults, in this order", function()
    local m <close> = assert(manager.start {})
    local one <close> = listener()
    local two <close> = listener()
    local three <close> = listener()
    local file = process.file("agent.json", ('{"tcp_targets": ["127.0.0.1:%d"], "http_targets": [], "icmp_targets": [], "device_serial": "from-file"}'):format(three.port))
    local function port_of(env, ...)
      local before = #m.rows
      local code, _, err = process.run({"agent", "--config-file", file, ...}, env)
      assert.equal(0, code, err)
      assert.equal(before + 1, #m.rows)
      return m.rows[#m.rows].target_port, m.rows[#m.rows].device_serial
    end
    assert.equal(one.port, port_of({MANAGER_URL = m.url, TCP_TARGETS = "127.0.0.1:" .. two.port}, "--tcp-target", "127.0.0.1:" .. one.port))
    assert.equal(two.port, port_of {MANAGER_URL = m.url, TCP_TARGETS = "127.0.0.1:" .. two.port})
    local port, serial = port_of {MANAGER_URL = m.url}
    assert.equal(three.port, port)
    assert.equal("from-file", serial)
  end)

  it("takes an object in place of a target string in the JSON file, its options too", function()
    local m <close> = assert(manager.start {})
    local udp <close> = assert(serve.udp {handler = function(bytes) return bytes end})
    local file = process.file("agent.json", ('{"udp_targets": [{"target": "127.0.0.1:%d", "count": 2, "interval": "10ms", "name": "voice", "labels": {"site": "n"}}]}'):format(udp.port))
    local code, _, err = agent(m, nil, "--config-file", file)
    assert.equal(0, code, err)
    assert.equal(2, m.rows[1].packets_sent)
    assert.equal("voice", m.rows[1].raw_results.target_name)
    assert.equal("n", m.rows[1].raw_results.labels.site)
  end)

  it("--test-type runs that type only, and says what it wins over", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local code, out, err = agent(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port, UDP_TARGETS = "127.0.0.1:1", ENABLE_UDP_TEST = "yes"}, "--test-type", "tcp")
    assert.equal(0, code)
    assert.matches("1 passed, 0 failed", out)
    assert.matches("WARNING [^\n]*wins over ENABLE_UDP_TEST", err)
  end)

  it("with a flag as the first word is the agent, and so is waddle without a terminal", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local env = environment(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port})
    assert.equal(0, (process.run({"--test-type", "tcp"}, env)))
    assert.equal(0, (process.run({}, env)))
    assert.equal(2, m.stored)
  end)
end)

describe("a wrong configuration is 2, says the place, and probes nothing:", function()
  local cases = {
    ["an unknown AUTH_TYPE"] = {{AUTH_TYPE = "jtw"}, "AUTH_TYPE", "jwt"},
    ["an empty secret"] = {{AUTH_TYPE = "JWT"}, "AUTH_JWT"},
    ["a target that cannot be parsed"] = {{TCP_TARGETS = "127.0.0.1:1,h:99999"}, "TCP_TARGETS, item 2", "99999"},
    ["a bad option of a probe"] = {{}, "udp_targets, item 1: target udp://127.0.0.1:1: udp.ping: field 'count'", file = '{"udp_targets": [{"target": "udp://127.0.0.1:1", "count": 0}]}'},
    ["an unknown option"] = {{}, "'cuont'", "count", file = '{"udp_targets": [{"target": "udp://127.0.0.1:1", "cuont": 1}]}'},
    ["a transform that no JSON can hold"] = {{}, "udp_targets, item 1: target udp://127.0.0.1:1: field 'transform'", file = '{"udp_targets": [{"target": "udp://127.0.0.1:1", "transform": "x"}]}'},
    ["a bad blackout"] = {{}, "udp_targets, item 1: target udp://127.0.0.1:1: blackout", file = '{"udp_targets": [{"target": "udp://127.0.0.1:1", "blackout": "at night"}]}'},
    ["a bad overlap"] = {{}, "udp_targets, item 1: overlap", file = '{"udp_targets": [{"target": "udp://127.0.0.1:1", "overlap": "replace"}]}'},
    ["an unknown key of the file"] = {{}, "unknown key 'udp_target'", file = '{"udp_target": []}'},
    ["a file that is no JSON"] = {{}, "agent.json:2: not JSON", file = "{\n,}"},
    ["a manager's address that is none"] = {{MANAGER_URL = "ftp://h/"}, "MANAGER_URL"},
    ["a manager's address with a query"] = {{MANAGER_URL = "http://h/?a=1"}, "MANAGER_URL"},
    ["a bad level"] = {{}, "--log-level", flags = {"--log-level", "loud"}},
    ["an unknown test type"] = {{}, "--test-type", flags = {"--test-type", "dns"}},
    ["an unknown flag"] = {{}, "--schedul", flags = {"--schedul"}},
    ["a file that is not there"] = {{}, "/nowhere.json", flags = {"--config-file", "/nowhere.json"}},
    ["a site that is not there"] = {{WADDLE_SITE = "/nowhere.lua"}, "/nowhere.lua"},
  }
  for what, case in pairs(cases) do
    it(what, function()
      local m <close> = assert(manager.start {})
      local flags = case.flags or case.file and {"--config-file", process.file("agent.json", case.file)} or {}
      local code, out, err = agent(m, case[1], table.unpack(flags))
      assert.equal(2, code, err)
      assert.equal("", out)
      assert.is_nil(err:find("traceback", 1, true), err)
      for i = 2, #case do
        assert.truthy(err:find(case[i], 1, true), err)
      end
      assert.equal(0, m.count)
    end)
  end
end)

describe("a site file", function()
  local function site(m, text, more, ...)
    local env = environment(m, {WADDLE_SITE = process.file("site.lua", text), HTTP_TARGETS = false, ICMP_TARGETS = false})
    for key, value in pairs(more or {}) do
      env[key] = value
    end
    return process.run({"agent", ...}, env)
  end

  it("adds its targets, transforms and sinks, in place of the default targets", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local code, out, err = site(m, ([[
      target{"tcp://127.0.0.1:%d", name = "db", labels = {site = "n"}}
      transform(function(r) r.shelf = 7 return r end)
      sink(function(r) print("sink", r.target_name, r.shelf) end)]]):format(tcp.port))
    assert.equal(0, code, err)
    assert.equal("sink\tdb\t7\n", out:match("^sink[^\n]*\n"))
    assert.matches("1 passed, 0 failed", out)
    assert.equal(1, m.stored)
    assert.equal(7, m.rows[1].raw_results.shelf)
  end)

  it("runs the types that --test-type names, and the probe functions", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local code, out, err = site(m, ('target "tcp://127.0.0.1:%d" target "udp://127.0.0.1:1" target{name = "own", test_type = "http", probe = function() return {success = true} end}'):format(tcp.port), nil, "--test-type", "tcp")
    assert.equal(0, code, err)
    assert.matches("2 passed, 0 failed", out)
  end)

  it("may be the config file, and runs beside the targets of the environment", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local file = process.file("site.lua", ('target "tcp://127.0.0.1:%d"'):format(tcp.port))
    local code, out = agent(m, {TCP_TARGETS = "127.0.0.1:" .. tcp.port}, "--config-file", file)
    assert.equal(0, code)
    assert.matches("2 passed, 0 failed", out)
  end)

  it("that is wrong is 2 with file:line, whether a declaration, the syntax or the script is wrong", function()
    local m <close> = assert(manager.start {})
    for text, message in pairs {
      ['\ntarget{"tcp://127.0.0.1:1", timout = 1}'] = "site.lua:2: target tcp://127.0.0.1:1: tcp.connect: unknown field 'timout'",
      ["\ntarget {"] = "site.lua:2:",
      ["\n\nlocal x = nil + 1"] = "site.lua:3: attempt to perform arithmetic",
      ["\ntargt 'x'"] = "site.lua:2: 'targt' is not set anywhere; did you mean 'target'?",
    } do
      local code, out, err = site(m, text)
      assert.equal(2, code, err)
      assert.equal("", out)
      assert.truthy(err:find(message, 1, true), err)
      assert.is_nil(err:find("traceback", 1, true), err)
    end
  end)

  it("a slow sink holds up neither uploads nor the end", function()
    local m <close> = assert(manager.start {})
    local tcp <close> = listener()
    local a = process.start({"agent", "--schedule"}, environment(m, {RUN_SECONDS = "0.1", WADDLE_SITE = process.file("site.lua",
      ('target "tcp://127.0.0.1:%d" sink(function() task.sleep(1000) end)'):format(tcp.port))}))
    spec.eventually(function() return m.stored >= 5 end, 10)
    a:kill "TERM"
    local code, _, err = a:wait()
    assert.equal(0, code)
    assert.matches("ERROR   sink: ", err)
  end)

  it("skipped runs are not uploaded, and are no failure", function()
    local m <close> = assert(manager.start {})
    local code, out = site(m, 'target{"tcp://127.0.0.1:1", blackout = "00:00-24:00"}')
    assert.equal(0, code)
    assert.matches("0 passed, 0 failed, 1 skipped", out)
    assert.equal(0, m.count)
  end)

  it("skipped runs are uploaded where asked for, by flag, variable or file", function()
    local code = 'target{"tcp://127.0.0.1:1", blackout = "00:00-24:00"}'
    local file = process.file("agent.json", '{"upload_skipped": true, "tcp_targets": [{"target": "127.0.0.1:1", "blackout": "00:00-24:00"}]}')
    local WAYS = {{"--upload-skipped"}, {env = "yes"}, {"--config-file", file}}
    for i, way in ipairs(WAYS) do
      local m <close> = assert(manager.start {})
      local more = {UPLOAD_SKIPPED = way.env, WADDLE_SITE = i < 3 and process.file("site.lua", code) or nil}
      local status, _, err = agent(m, more, table.unpack(way))
      assert.equal(0, status, err)
      assert.equal(1, m.stored, err)
      assert.equal("skipped", m.rows[1].error or m.rows[1].raw_results.error)
      assert.equal("blackout", m.rows[1].raw_results.error_detail)
      assert.equal(1, m.rows[1].raw_results.missed)
      assert.is_nil(tonumber(m.rows[1].latency_ms))
    end
    local m <close> = assert(manager.start {})
    local status, _, err = agent(m, {UPLOAD_SKIPPED = "perhaps", TCP_TARGETS = "127.0.0.1:1"})
    assert.equal(2, status)
    assert.matches("UPLOAD_SKIPPED: expected true or false", err)
  end)

  it("a failed must in a probe function is that target's failure, not the agent's end", function()
    local m <close> = assert(manager.start {})
    local code, out, err = site(m, [[
      target{name = "steps", test_type = "tcp", probe = function() return must(tcp.connect("127.0.0.1:1"), "port", {success = true}) end}
      target{name = "untyped", probe = function() return {success = true} end}]])
    assert.equal(1, code, err)
    assert.matches("✗ steps: assertion", out)
    assert.equal(1, m.stored)
    assert.equal("assertion", m.rows[1].error)
    assert.matches("upload: untyped: not uploaded, [^\n]* no test_type", err)
  end)
end)

describe("a schedule", function()
  local function scheduled(m, more)
    local env = environment(m, {RUN_SECONDS = "0.2"})
    for key, value in pairs(more) do
      env[key] = value
    end
    return process.start({"agent"}, env)
  end

  it("runs until a signal, writes nothing to stdout, and exits 0 although tests failed", function()
    for _, signal in ipairs {"TERM", "INT"} do
      local m <close> = assert(manager.start {})
      local a = scheduled(m, {TCP_TARGETS = "127.0.0.1:1"})
      spec.eventually(function() return m.stored >= 3 end, 10)
      a:kill(signal)
      local code, out, err = a:wait()
      assert.equal(0, code, err)
      assert.equal("", out)
      assert.matches("WARNING ✗ [^\n]*127.0.0.1:1: connection_refused", err)
      assert.matches("SIG" .. signal .. ": stopping", err, 1, true)
    end
  end)

  it("delivers on a signal what is unsent", function()
    local m <close> = assert(manager.start {always = {status = 503, headers = {["retry-after"] = "60"}}})
    local a = scheduled(m, {TCP_TARGETS = "127.0.0.1:1"})
    spec.eventually(function() return m.count >= 1 and select(2, a:err():gsub("✗", "")) >= 4 end, 10)
    m.always = nil
    a:kill "TERM"
    assert.equal(0, (a:wait()))
    assert.is_true(m.stored >= 4)
  end)

  it("ends at once on a second signal", function()
    local m <close> = assert(manager.start {always = "hang"})
    local a = scheduled(m, {TCP_TARGETS = "127.0.0.1:1"})
    spec.eventually(function() return m.count >= 1 end, 10)
    a:kill "TERM"
    spec.eventually(function() return a:err():find "SIGTERM: stopping" end, 10)
    require("waddle.task").sleep(0.1) -- sooner it would count as the same one
    local t0 = require("waddle.task").now()
    a:kill "TERM"
    assert.equal(130, (a:wait()))
    assert.is_true(require("waddle.task").now() - t0 < 2)
  end)

  it("goes on without targets, and reloads that on SIGHUP", function()
    local m <close> = assert(manager.start {})
    local a = scheduled(m, {})
    spec.eventually(function() return a:err():find "0 targets, every 0.2 s" end, 10)
    a:kill "HUP"
    spec.eventually(function() return a:err():find "SIGHUP" end, 10)
    a:kill "TERM"
    assert.equal(0, (a:wait()))
  end)

  it("runs without HOME, without a runtime directory and on a read-only root, and says in one line that it has no control socket", function()
    local m <close> = assert(manager.start {})
    local env = environment(m, {TCP_TARGETS = "127.0.0.1:1", RUN_SECONDS = "0.2", XDG_RUNTIME_DIR = "/proc/nowhere"})
    env.WADDLE_CONTROL = nil
    local a = process.start({"agent"}, env)
    spec.eventually(function() return m.stored >= 2 end, 10)
    a:kill "TERM"
    local code, _, err = a:wait()
    assert.equal(0, code)
    local _, lines = err:gsub("no control socket: [^\n]*\n", "")
    assert.equal(1, lines, err)
  end)

  it("answers on the control socket how it stands", function()
    local m <close> = assert(manager.start {})
    local path = process.file("x", ""):gsub("x$", "control.sock")
    local a = scheduled(m, {TCP_TARGETS = "127.0.0.1:1", WADDLE_CONTROL = path})
    local status
    spec.eventually(function()
      status = require("waddle.control").ask(path, "status", 5)
      return status and status.runs.runs >= 2
    end, 10)
    assert.equal(1, status.targets)
    assert.equal("ok", status.upload.state)
    a:kill "TERM"
    assert.equal(0, (a:wait()))
  end)

  it("shows its tasks to waddle ps: what each waits on, since when, and where", function()
    local m <close> = assert(manager.start {})
    local path = process.file("x", ""):gsub("x$", "control.sock")
    local site = process.file("site.lua", 'target {name = "slow", every = "60s", probe = function()\n  task.sleep(30)\nend}\n'
      .. 'target {name = "silent", every = "60s", probe = function() return tcp.connect("' .. spec.peer "tcp_silent" .. '", {dialogue = {{expect = "x"}}, timeout = "15s"}) end}')
    local a = scheduled(m, {WADDLE_CONTROL = path, WADDLE_SITE = site})
    local tasks
    local function find(field, value)
      for _, t in ipairs(tasks or {}) do
        if t[field] == value then
          return t
        end
      end
    end
    spec.eventually(function()
      tasks = require("waddle.control").ask(path, "ps", 5)
      return find("place", site .. ":2") and find("waits_on", "tcp.connect")
    end, 10)
    local sleeper, prober = find("place", site .. ":2"), find("waits_on", "tcp.connect")
    assert.equal("sleep", sleeper.waits_on)
    assert.equal("waiting", sleeper.state)
    assert.is_true(sleeper.waits_ms > 0 and sleeper.waits_ms <= sleeper.age_ms and find("id", sleeper.parent) ~= nil)
    assert.equal(site .. ":4", prober.place)
    assert.equal((spec.peer "tcp_silent"), prober.subject)
    local code, out, err = process.run({"ps"}, {WADDLE_CONTROL = path})
    assert.equal(0, code, err)
    assert.matches("\n *%d+ +waiting +[%d.]+m?s +sleep +" .. site:gsub("%p", "%%%0") .. ":2\n", out)
    assert.matches("tcp.connect +" .. spec.peer("tcp_silent"):gsub("%p", "%%%0"), out)
    a:kill "TERM"
    assert.equal(0, (a:wait()))
    code, out, err = process.run({"ps"}, {WADDLE_CONTROL = path})
    assert.same({1, ""}, {code, out})
    assert.matches("waddle ps: " .. path, err, 1, true)
    code, out, err = process.run({"ps"}, {WADDLE_CONTROL = "none"})
    assert.same({2, ""}, {code, out})
    assert.matches("no control socket", err, 1, true)
  end)
end)
