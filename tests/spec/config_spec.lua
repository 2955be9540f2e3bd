local config = require "waddle.config"

-- Loads from tables: variables, flags, and the content of /etc/w.json.
local function load(env, flags, file)
  flags = flags or {}
  if file then
    flags.config_file = "/etc/w.json"
  end
  return config.load {
    env = function(name) return (env or {})[name] end,
    flags = flags,
    read_file = function(path)
      assert.equal("/etc/w.json", path)
      return file
    end,
  }
end

local function targets(loaded)
  local list = {}
  for i, t in ipairs(loaded.targets) do
    list[i] = t.test_type .. " " .. t.name
  end
  return list
end

local function fails(expected, ...)
  local loaded, message = load(...)
  assert.is_nil(loaded)
  assert.truthy(message:find(expected, 1, true), message)
end

describe("config.load", function()
  it("has the reference's defaults", function()
    local loaded, warnings = assert(load())
    assert.same({ "http https://www.google.com", "icmp 8.8.8.8" }, targets(loaded))
    assert.equal("http://localhost:8080", loaded.manager_url)
    assert.same({ type = "none" }, loaded.auth)
    assert.is_nil(loaded.period)
    assert.equal("info", loaded.log_level)
    assert.same({ serial = "", hostname = "" }, loaded.device)
    assert.same({}, warnings)
  end)

  it("reads the environment: comma lists, blanks trimmed, empties skipped, empty for none", function()
    local loaded = assert(load { HTTP_TARGETS = "", TCP_TARGETS = " a.test:1 ,, tls://b.test ,", UDP_TARGETS = "dns://x.test@[::1]", ICMP_TARGETS = "::1",
      RUN_SECONDS = "30", DEVICE_SERIAL = "s", DEVICE_HOSTNAME = "h", MANAGER_URL = "https://m.test/base/", TEST_SERVER_URL = "http://x" })
    assert.same({ "tcp a.test:1", "tcp tls://b.test", "udp dns://x.test@[::1]", "icmp ::1" }, targets(loaded))
    assert.equal(30, loaded.period)
    assert.same({ serial = "s", hostname = "h" }, loaded.device)
    assert.equal("https://m.test/base/", loaded.manager_url)
  end)

  it("reads the JSON file, with objects in place of strings", function()
    local loaded = assert(load({}, {}, [[{"http_targets": ["https://a.test", {"target": "https://b.test", "name": "b", "every": "10s", "method": "HEAD"}],
      "icmp_targets": [], "run_seconds": 60, "auth_type": "jwt", "auth_jwt": "t", "enable_udp_test": false}]]))
    assert.same({ "http https://a.test", "http b" }, targets(loaded))
    assert.equal("HEAD", loaded.targets[2].args[1].method)
    assert.equal("10s", loaded.targets[2].settings.every)
    assert.equal(60, loaded.period)
    assert.same({ type = "jwt", token = "t" }, loaded.auth)
  end)

  it("puts flag over environment over file over default", function()
    local file = '{"http_targets":["http://file.test"],"icmp_targets":["192.0.2.1"],"run_seconds":5}'
    local loaded = assert(load({ HTTP_TARGETS = "http://env.test", ICMP_TARGETS = "192.0.2.2" }, { http_target = "http://flag.test" }, file))
    assert.same({ "http http://flag.test", "icmp 192.0.2.2" }, targets(loaded))
    assert.equal(5, loaded.period)
    assert.equal(7, assert(load({ RUN_SECONDS = "7" }, {}, file)).period)
  end)

  it("replaces a list and enables its type by --x-target", function()
    local loaded = assert(load({ ENABLE_TCP_TEST = "false", TCP_TARGETS = "a.test:1" }, { tcp_target = { "b.test:2", "c.test:3" } }))
    assert.same({ "http https://www.google.com", "tcp b.test:2", "tcp c.test:3", "icmp 8.8.8.8" }, targets(loaded))
  end)

  it("lets --test-type win, with a warning where it contradicts", function()
    local loaded, warnings = load({}, { test_type = "http" })
    assert.same({ "http https://www.google.com" }, targets(loaded))
    assert.same({}, warnings)
    loaded, warnings = load({ ENABLE_HTTP_TEST = "false" }, { test_type = "HTTP", tcp_target = "a.test" })
    assert.same({ "http https://www.google.com" }, targets(loaded))
    assert.same({ "--test-type http wins over ENABLE_HTTP_TEST: http tests are on", "--test-type http wins over --tcp-target: tcp tests are off" }, warnings)
    loaded, warnings = load({ ENABLE_ICMP_TEST = "no" }, { test_type = "all" })
    assert.equal(2, #loaded.targets)
    assert.equal(1, #warnings)
    fails("--test-type: expected http, tcp, udp, icmp or all, got \"dns\"", {}, { test_type = "dns" })
  end)

  it("takes the same text twice as two targets with names of their own", function()
    assert.same({ "http http://a.test", "http http://a.test #2" }, targets(assert(load { HTTP_TARGETS = "http://a.test,http://a.test", ICMP_TARGETS = "" })))
    fails('another target is named "x" too', {}, {}, '{"http_targets":[{"target":"http://a","name":"x"},{"target":"http://b","name":"x"}]}')
  end)

  it("knows each AUTH_TYPE, in any case", function()
    assert.same({ type = "userpass", user = "u", password = "p" }, assert(load { AUTH_TYPE = "UserPass", AUTH_USER = "u", AUTH_PASS = "p" }).auth)
    assert.same({ type = "apikey", key = "k" }, assert(load { AUTH_TYPE = "APIKEY", AUTH_APIKEY = "k\n" }).auth)
    assert.same({ type = "none" }, assert(load { AUTH_TYPE = "" }).auth)
    fails("AUTH_TYPE: expected none, jwt, apikey or userpass, got \"jtw\", did you mean 'jwt'?", { AUTH_TYPE = "jtw" })
    fails("AUTH_JWT: is empty, jwt needs it (AUTH_TYPE)", { AUTH_TYPE = "jwt" })
    fails("AUTH_APIKEY: is empty", { AUTH_TYPE = "apikey", AUTH_APIKEY = " " })
    fails("AUTH_PASS: is empty", { AUTH_TYPE = "userpass", AUTH_USER = "u" })
    fails("AUTH_USER: is empty", { AUTH_TYPE = "userpass", AUTH_PASS = "p" })
    fails("AUTH_JWT: has a line break", { AUTH_TYPE = "jwt", AUTH_JWT = "a\r\nX-Evil: 1" })
  end)

  it("reads what the agent gives up, each part auto, on or off", function()
    assert.same({ drop_capabilities = "auto", no_new_privs = "auto", seccomp = "auto", landlock = "auto", programs = false, core_dumps = false, writable = {} },
      assert(load()).confinement)
    local loaded = assert(load({ SECCOMP = "off", LANDLOCK = "yes", CORE_DUMPS = "1", WRITABLE = "/a, /b" }, { landlock = "Auto", programs = "on", writable = { "/c" } },
      '{"no_new_privs": true, "drop_capabilities": false, "seccomp": "on"}')).confinement
    assert.same({ drop_capabilities = "off", no_new_privs = "on", seccomp = "off", landlock = "auto", programs = true, core_dumps = true, writable = { "/c" } }, loaded)
    fails('SECCOMP: expected auto, on or off, got "maybe"', { SECCOMP = "maybe" })
    fails('WRITABLE, item 2: expected a path from the root, such as /var/lib/waddle, got "b"', { WRITABLE = "/a,b" })
    fails("/etc/w.json: landlock: expected auto, on or off, got 5", {}, {}, '{"landlock": 5}')
  end)

  it("gives the same to a script, of flags and environment alone", function()
    local given = assert(config.confinement { env = function(name) return ({ SECCOMP = "off", LANDLOCK = "off" })[name] end, flags = { landlock = "on" } })
    assert.equal("off", given.seccomp)
    assert.equal("on", given.landlock)
    local none, message = config.confinement { env = function() end, flags = { programs = "some" } }
    assert.is_nil(none)
    assert.matches("^%-%-programs: expected true or false", message)
  end)

  it("takes a site file by WADDLE_SITE or a .lua --config-file", function()
    assert.equal("/etc/waddle/site.lua", assert(load { WADDLE_SITE = "/etc/waddle/site.lua" }).site)
    assert.is_nil(assert(load { WADDLE_SITE = "" }).site)
    local loaded, warnings = load({ WADDLE_SITE = "/a.lua" }, { config_file = "/b.lua" })
    assert.equal("/b.lua", loaded.site)
    assert.equal(1, #warnings)
  end)

  it("probes what the site file says in place of the default targets, and what the environment adds", function()
    assert.same({}, assert(load { WADDLE_SITE = "/etc/waddle/site.lua" }).targets)
    local loaded = assert(load { WADDLE_SITE = "/etc/waddle/site.lua", ICMP_TARGETS = "192.0.2.1" })
    assert.equal("192.0.2.1", loaded.targets[1].target)
    assert.is_nil(loaded.targets[2])
  end)

  it("reads how many probes may run at once, of all and to one host; not set is nil", function()
    local loaded = assert(load { CONCURRENCY = " 1000 ", CONCURRENCY_PER_HOST = "8" })
    assert.same({ 1000, 8 }, { loaded.concurrency, loaded.concurrency_per_host })
    loaded = assert(load({ CONCURRENCY = "" }, {}, '{"concurrency": 5, "concurrency_per_host": 2}'))
    assert.same({ 5, 2 }, { loaded.concurrency, loaded.concurrency_per_host })
    loaded = assert(load())
    assert.is_nil(loaded.concurrency)
    assert.is_nil(loaded.concurrency_per_host)
    for _, value in ipairs { "0", "-1", "1.5", "many", "0x10" } do
      fails(("CONCURRENCY: expected a whole number from 1, got %q"):format(value), { CONCURRENCY = value })
      fails(("CONCURRENCY_PER_HOST: expected a whole number from 1, got %q"):format(value), { CONCURRENCY_PER_HOST = value })
    end
    fails("/etc/w.json: concurrency: expected a whole number from 1, got 0.5", {}, {}, '{"concurrency": 0.5}')
    fails("/etc/w.json: concurrency_per_host: expected a whole number from 1, got null", {}, {}, '{"concurrency_per_host": null}')
  end)

  it("knows the log levels in any case", function()
    assert.equal("warning", assert(load({}, { log_level = "Warning" })).log_level)
    fails("--log-level: expected DEBUG, INFO, WARNING or ERROR", {}, { log_level = "loud" })
  end)

  it("says when there is nothing to probe", function()
    local loaded, warnings = load { HTTP_TARGETS = "", ICMP_TARGETS = "" }
    assert.same({}, loaded.targets)
    assert.same({ "nothing to probe: no test that is on has a target" }, warnings)
  end)

  it("names file, line and key of what is wrong in the file", function()
    fails("/etc/w.json:2: not JSON: ", {}, {}, '{"run_seconds": 5,\n}')
    fails("/etc/w.json: expected an object of settings, got a list", {}, {}, "[1]")
    fails("/etc/w.json:1: unknown key 'http_target', did you mean 'http_targets'?", {}, {}, '{"http_target": []}')
    fails("/etc/w.json:2: the key 'run_seconds' is there twice", {}, {}, '{"run_seconds": 5,\n"run_seconds": 6}')
    fails("/etc/w.json: auth_jwt: expected a text, got 5", {}, {}, '{"auth_jwt": 5}')
    fails("/etc/w.json: http_targets, item 2: expected a target as text or as an object, got 5", {}, {}, '{"http_targets": ["http://a", 5]}')
    fails("every: expected seconds", {}, {}, '{"http_targets": [{"target": "http://a", "every": "soon"}]}')
    fails("overlap: expected skip, queue or cancel", {}, {}, '{"http_targets": [{"target": "http://a", "overlap": "maybe"}]}')
    local loaded, message = config.load { env = function() end, flags = { config_file = "/nonexistent/w.json" } }
    assert.is_nil(loaded)
    assert.matches("^%-%-config%-file: /nonexistent/w.json: No such file", message)
  end)
end)

describe("flaw 15: a target that cannot be parsed is an error with the place and the reason", function()
  it("in the environment, a flag and the file", function()
    fails('TCP_TARGETS, item 2: target "b:x": expected a port', { TCP_TARGETS = "a:1,b:x" })
    fails('--icmp-target: target "8.8.8": ', {}, { icmp_target = "8.8.8" })
    fails('/etc/w.json: udp_targets, item 1: target "dns://": the name to ask for is empty', {}, {}, '{"udp_targets": ["dns://"]}')
    fails("MANAGER_URL: expected a URL such as", { MANAGER_URL = "manager:8080" })
    fails("MANAGER_URL: target", { MANAGER_URL = "http://" })
  end)

  it("but not of a type that is off", function()
    assert.is_table((load { TCP_TARGETS = "b:x", ENABLE_TCP_TEST = "false" }))
  end)
end)

describe("flaw 16", function()
  it("flaw 16: ENABLE_X=1 or yes means on", function()
    for _, word in ipairs { "1", "yes", "on", "true", "TRUE", " Yes " } do
      local loaded = assert(load { ENABLE_HTTP_TEST = word })
      assert.equal("http", loaded.targets[1].test_type, word)
    end
    for _, word in ipairs { "0", "no", "off", "false", "False" } do
      local loaded = assert(load { ENABLE_HTTP_TEST = word })
      assert.equal("icmp", loaded.targets[1].test_type, word)
    end
    fails("ENABLE_UDP_TEST: expected true or false (1, yes, on, 0, no, off), got \"maybe\"", { ENABLE_UDP_TEST = "maybe" })
  end)

  it("flaw 16: a bad RUN_SECONDS is a message", function()
    for _, value in ipairs { "ten", "-1", "1e400", "nan", "5 apples" } do
      fails("RUN_SECONDS: expected seconds", { RUN_SECONDS = value })
    end
    fails("/etc/w.json: run_seconds: expected seconds", {}, {}, '{"run_seconds": [5]}')
  end)

  it("flaw 16: a config file does not switch the environment off", function()
    local loaded = assert(load({ TCP_TARGETS = "env.test:1", AUTH_TYPE = "jwt", AUTH_JWT = "t" }, {}, '{"icmp_targets": []}'))
    assert.same({ "http https://www.google.com", "tcp env.test:1" }, targets(loaded))
    assert.equal("t", loaded.auth.token)
  end)

  it("flaw 16: a string in place of a list is an error, not letters", function()
    fails('/etc/w.json: http_targets: expected a list such as ["host:443"], got "https://a.test"', {}, {}, '{"http_targets": "https://a.test"}')
    fails("/etc/w.json: http_targets: expected a list", {}, {}, '{"http_targets": {"target": "https://a.test"}}')
    fails("/etc/w.json: http_targets: expected a list", {}, {}, '{"http_targets": null}')
  end)
end)

describe("flaw 17: --schedule with 0 seconds", function()
  it("runs every 60 s and says so", function()
    local loaded, warnings = load({ RUN_SECONDS = "0" }, { schedule = true })
    assert.equal(60, loaded.period)
    assert.same({ "RUN_SECONDS is 0: --schedule runs every 60 s" }, warnings)
    assert.equal(5, assert(load({ RUN_SECONDS = "5" }, { schedule = true })).period)
  end)
end)

describe("flaw 8: no message of the configuration shows a credential", function()
  it("of a URL", function()
    for _, env in ipairs { { HTTP_TARGETS = "https://u:s3cret@h:x/" }, { MANAGER_URL = "https://u:s3cret@h:x/" }, { MANAGER_URL = "u:s3cret@h" } } do
      local loaded, message = load(env)
      assert.is_nil(loaded)
      assert.is_nil(message:find("s3cret", 1, true), message)
    end
  end)
end)
