-- Scripts that nobody vouches for: what each would do to get out, and that the same script does it where there is no sandbox, so that it is
-- the sandbox that stops it. Who may be talked to and how much is decided below Lua; tests/unit/test_policy.c has the rules themselves.

local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"

after_each(process.clean)

local METADATA = "169.254.169.254"

-- Runs code with the flags; what it printed, what the log said, its exit code.
local function run(code, flags, env, ...)
  local args = {"run"}
  for _, word in ipairs(flags) do args[#args + 1] = word end
  for _, word in ipairs {process.file("script.lua", code), ...} do args[#args + 1] = word end
  local status, out, err = process.run(args, env)
  return out, err, status
end

local function boxed(code, ...)
  return run(code, {"--sandbox", ...})
end

local function free(code)
  return run(code, {"--isolate"})
end

-- What the code gives, in a table by name, from lines "name value".
local function values(out)
  local found = {}
  for name, value in out:gmatch("(%S+) ([^\n]*)\n") do
    found[name] = value
  end
  return found
end

describe("a sandbox takes away", function()
  -- Each prints "out" where it got out.
  local ESCAPES = {
    ["files"] = "local f = io.open '/etc/passwd' if f then print 'out' end",
    ["files that Lua reads itself"] = "if loadfile '/dev/null' then print 'out' end",
    ["the file system"] = "local n = os.tmpname() os.remove(n) if n then print 'out' end",
    ["programs"] = "if os.execute 'true' then print 'out' end",
    ["libraries of others"] = "local _, why = package.loadlib('/nowhere.so', '*') if why then print 'out' end",
    ["the modules that waddle is made of"] = "local sys = require 'waddle.core.sys' if sys.env 'PATH' then print 'out' end",
    ["files by require"] = "local ok = pcall(require, 'waddle.core') if ok then print 'out' end",
    ["the debugger"] = "debug.getregistry() print 'out'",
    ["bytecode"] = "local f = load(string.dump(function() print 'out' end), 'x', 'b') f()",
    ["bytecode by a method of strings"] = "if ('').dump then print 'out' end",
    ["the bytecode mode of load"] = "local f = load('\\27Lua', 'x', 'b') local _, why = load('\\27Lua', 'x', 'b') "
      .. "if why:find 'truncated' then print 'out' end",
    ["finalizers"] = "setmetatable({}, {__gc = function() print 'out' end}) collectgarbage()",
    ["finalizers that come later"] = "local mt = {} local t = setmetatable({}, mt) mt.__gc = function() print 'out' end "
      .. "pcall(setmetatable, t, mt) t = nil pcall(collectgarbage)",
    ["finalizers of results"] = "local mt = getmetatable(tcp.connect '127.0.0.1:1') mt.__gc = function() print 'out' end "
      .. "tcp.connect '127.0.0.1:1' collectgarbage()",
    ["the collector"] = "collectgarbage 'stop' print 'out'",
    ["what strings do"] = "getmetatable('').__index.upper = function() return 'out' end print(('x'):upper())",
    ["what waddle's own files use"] = "string.gsub = function() error('out', 0) end "
      .. "print((select(2, pcall(http.get, 'http://127.0.0.1:1/', {query = {a = 'b'}}))))",
    ["its limits"] = "limits {cpu = 0} print 'out'",
    ["the environment"] = "if sys.env 'SECRET' or os.getenv 'SECRET' then print 'out' end",
    ["servers"] = "if serve.tcp {handler = print} then print 'out' end",
    ["the names of waddle's own files"] = "local _, why = pcall(load('error \"out\"', '=lua/waddle/x.lua')) if why:find '^lua/' then print 'out' end",
  }
  local NOWHERE = {["the names of waddle's own files"] = true} -- are open to no script
  for what, code in pairs(ESCAPES) do
    it(what, function()
      local out, err, status = run(code, {"--sandbox"}, {SECRET = "s3cret"})
      assert.not_matches("out\n", out, 1, true)
      assert.is_true(status == 0 or err:find "sandbox" ~= nil or err:find "protected" ~= nil or err:find "attempt to" ~= nil, err)
      if not NOWHERE[what] then
        assert.matches("out\n", run(code, {"--isolate"}, {SECRET = "s3cret"}), 1, true)
      end
    end)
  end

  it("and says what is missing, and the flag where there is one", function()
    local _, err, status = boxed "\nio.open 'x'"
    assert.equal(1, status)
    assert.matches("script.lua:2: 'io': a sandbox does not have files", err, 1, true)
    _, err = boxed "serve.tcp {}"
    assert.matches("'serve': a sandbox does not have serve; --allow-module serve allows it", err, 1, true)
    _, err = boxed "os.execute 'x'"
    assert.matches("script.lua:1: os.execute: a sandbox does not have it", err, 1, true)
  end)

  it("nothing of what a prober needs", function()
    local out, err, status = boxed([[
      local t = setmetatable({}, {__index = function(_, k) return k:upper() end})
      print("lua", t.x, #arg, ..., os.date("!%Y", 0), math.max(1, 2), load("return _VERSION")(), pcall(error, "e"))
      print("same", require "waddle.json" == json, require("waddle.task") == task, select("#", collectgarbage "count"))
      local c <close> = setmetatable({}, {__close = function() print "closed" end})
      print("json", json.encode(json.decode '{"a":[1]}'))
      print("tcp", tcp.connect("127.0.0.1:1").error)
      target {"tcp://127.0.0.1:1", name = "declared"}
    ]], "--allow-net=127.0.0.1")
    assert.equal(0, status, err)
    assert.matches("lua\tX\t0\tnil\t1970\t2\tLua 5.4\tfalse\te\n", (out:gsub("lua\tX\t0\t1970", "lua\tX\t0\tnil\t1970")), 1, true)
    assert.matches('same\ttrue\ttrue\t1\njson\t{"a":[1]}\ntcp\tconnection_refused\nclosed\n', out, 1, true)
    assert.matches("tcp://127.0.0.1:1: connection_refused\n", out, 1, true)
  end)

  it("what hangs, too", function()
    local _, err, status = boxed "return (('a'):rep(60)):find(('a*'):rep(40) .. 'b')"
    assert.equal(1, status)
    assert.matches("script.lua:1: budget: the script has not come back to its loop", err, 1, true)
  end)
end)

describe("a sandbox's network", function()
  local server, port, url, far

  setup(function()
    server = assert(serve.http {handler = function(request)
      if request.path == "/away" then
        return {status = 302, headers = {location = ("http://%s:%d/"):format(far or "127.0.0.9", server.port)}}
      end
      return {body = request.path == "/large" and ("x"):rep(300000) or "here"}
    end})
    port = server.port
    url = "http://127.0.0.1:" .. port
    task.sleep(0.01) -- it waits for clients
  end)
  teardown(function() server:close() end)

  local ALL = [[
    local at, url = ...
    print("tcp " .. (tcp.connect(at .. ":" .. url:match "%d+$", {timeout = 1}).error or "open"))
    print("http " .. (http.get("http://" .. at .. ":" .. url:match "%d+$", {timeout = 1}).error or "open"))
    print("icmp " .. (icmp.ping(at, {count = 1, timeout = 1}).error or "open"))
    print("sweep " .. tostring(rawget(icmp.sweep({at}, {timeout = 1}), "error")))
    print("udp " .. (udp.ping(at .. ":1", {count = 1, timeout = 0.2}).error or "open"))
    print("dns " .. (dns.query("a.test", {server = at, timeout = 0.2}).error or "open"))
    print("dns_tcp " .. (dns.query("a.test", {server = at, timeout = 0.2, transport = "tcp"}).error or "open"))
    print("lookup " .. (tcp.connect("a.test:1", {timeout = 0.3, resolver = {server = at}}).error or "open"))
  ]]
  local DENIED = {tcp = "permission", http = "permission", icmp = "permission", sweep = "permission", udp = "permission", dns = "permission",
    dns_tcp = "permission"}

  local function tried(at, ...)
    local out, err, status = run(ALL, {"--sandbox", ...}, nil, at, url)
    assert.equal(0, status, err)
    return values(out)
  end

  local function assert_denied(found)
    for name, value in pairs(DENIED) do
      assert.same({name, value}, {name, found[name]})
    end
    assert.not_equal("open", found.lookup)
  end

  local function assert_reached(found)
    assert.same({"open", "open"}, {found.tcp, found.http})
    for _, name in ipairs {"icmp", "sweep", "udp", "dns", "dns_tcp"} do
      assert.not_equal("permission", found[name])
    end
  end

  it("is everything but what a list leaves out", function()
    assert_reached(tried "127.0.0.1")
    assert_reached(tried("127.0.0.1", "--allow-net", "192.0.2.0/24,127.0.0.0/8"))
    assert_denied(tried("127.0.0.1", "--allow-net", "192.0.2.0/24", "--allow-net", "[2001:db8::/32]:443"))
    assert_denied(tried("127.0.0.1", "--allow-net", "127.0.0.2/31"))
  end)

  it("has ports, which leave out what has none", function()
    local found = tried("127.0.0.1", "--allow-net", ("127.0.0.1:%d"):format(port))
    assert.same({"open", "open", "permission", "permission", "permission"}, {found.tcp, found.http, found.icmp, found.udp, found.dns})
    assert.equal("open", tried("127.0.0.1", ("--allow-net=127.0.0.1:%d-%d"):format(port, port + 1)).tcp)
    assert.equal("permission", tried("127.0.0.1", ("--allow-net=127.0.0.1:%d"):format(port + 1)).tcp)
  end)

  it("names the flag that would help", function()
    local out = boxed('print(tcp.connect("127.0.0.1:1").error_detail)', "--allow-net", "192.0.2.0/24")
    assert.equal("the sandbox does not allow this destination; --allow-net NETWORK[:PORT] allows one\n", out)
  end)

  it("ends redirects that leave it, and an address that a name has", function()
    local code = ('local r = http.get(%q) print(r.error or "open", rawget(r, "status"))'):format(url .. "/away")
    local list = ("--allow-net=127.0.0.1:%d"):format(port)
    assert.matches("^permission", boxed(code, list))
    assert.matches("^open\t302", boxed((code:gsub('"%)', '", {follow = 0, expect = {status = 302}})', 1)), list))
    spec.with_hosts("127.0.0.3 evil.test\n127.0.0.1 good.test\n", function() -- newer c-ares give good.test ::1 as well, as localhost has it
      code = 'for _, n in ipairs {"evil", "good"} do print(n, tcp.connect(n .. ".test:%d").error) end'
      assert.equal("evil\tpermission\ngood\tnil\n", (boxed(code:format(port), list)))
      assert.equal("evil\tconnection_refused\ngood\tnil\n", (free(code:format(port))))
    end)
  end)

  it("has no address of clouds' metadata services, unless that is listed", function()
    spec.value "private"
    if not os.execute(("ip address add %s/32 dev lo 2>/dev/null"):format(METADATA)) then
      spec.skip "no address can be added here"
    end
    local metadata <close> = assert(serve.http {address = METADATA, port = port, handler = function() return {body = "secret"} end}) -- luacheck: ignore 211
    local code = ('local r = http.get("http://%s:%d/") print(r.error or rawget(r, "status"))'):format(METADATA, port)
    far = METADATA
    local _, ended = pcall(function()
      assert.equal("200\n", (free(code)))
      assert.equal("permission\n", (boxed(code)))
      assert.equal("permission\n", (boxed(code, "--allow-net=0.0.0.0/0")))
      assert.equal("200\n", (boxed(code, "--allow-net", METADATA)))
      assert.matches("^permission", boxed(('local r = http.get(%q) print(r.error)'):format(url .. "/away")))
    end)
    far = nil
    os.execute(("ip address del %s/32 dev lo"):format(METADATA))
    assert.is_nil(ended)
  end)

  it("reaches no Unix socket and listens nowhere, but where that is allowed", function()
    local code = 'local s, why = serve.tcp {handler = print} print(s and "listens" or why)'
    assert.equal("listens\n", (boxed(code, "--allow-module", "serve")))
    code = 'local ok, s = pcall(serve.unix, "/tmp/waddle-sandbox.sock", {handler = print}) print(ok, type(s))'
    assert.not_matches("true\ttable", boxed(code, "--allow-module=serve"))
  end)

  it("has as many packets a second as it may send, whoever sends them", function()
    local code = [[
      local url, t = ..., task.now()
      local n, opened = 12, 0
      local list = {} for i = 1, n do list[i] = i end
      local results = task.map(list, function() return tcp.connect("127.0.0.1:" .. url:match "%d+$") end, {concurrency = n})
      for _, r in ipairs(results) do opened = opened + (r.success and 1 or 0) end
      print("connects " .. opened .. " " .. task.now() - t)
      t = task.now()
      local sweep = icmp.sweep({"127.0.0.1", "127.0.0.2"}, {count = 6, interval = "1ms"})
      print("sweep " .. sweep.received .. " " .. task.now() - t)
      t = task.now()
      local ping = icmp.ping("127.0.0.1", {count = 12, interval = "1ms", timeout = "2s"})
      print("ping " .. ping.packets_received .. " " .. task.now() - t)
      print("rtt " .. (ping.rtt_max_ms < 50 and sweep.rtt_max_ms < 50 and "right" or "too long"))
    ]]
    local out, err = run(code, {"--sandbox", "--max-rate=20"}, nil, url)
    local found = values(out)
    for _, name in ipairs {"connects", "sweep", "ping"} do
      local count, seconds = (found[name] or ""):match "^(%d+) (.*)$"
      assert.equal("12", count, err .. out)
      assert.is_true(tonumber(seconds) > 0.48, ("%s took %s s"):format(name, seconds)) -- 12 at 20/s, but for a burst of one
    end
    assert.equal("right", found.rtt) -- waiting for one's turn is no part of it
    for _, seconds in (run(code, {"--sandbox"}, nil, url)):gmatch "(12) (%S+)" do
      assert.is_true(tonumber(seconds) < 0.48)
    end
  end)

  it("has the bandwidth that it may use", function()
    local code = ('local t = task.now() local r = task.map({1, 2}, function() return http.get(%q) end) '
      .. 'print("took " .. task.now() - t) print("got " .. r[1].body_bytes + r[2].body_bytes)'):format(url .. "/large")
    local found = values((boxed(code, "--max-bandwidth=8Mbit/s")))
    assert.equal("600000", found.got)
    assert.is_true(tonumber(found.took) > 0.4, found.took) -- 600 kB at 1 MB/s, but for a burst and what was read last
    found = values((boxed(code)))
    assert.is_true(tonumber(found.took) < 0.4, found.took)
  end)

  it("is set once, before anything of the script runs", function()
    local out, err = free([[
      local core = require "waddle.core.confine"
      print(core.policy({"127.0.0.0/8"}, 0, 0, false))
      print(core.policy({"0.0.0.0/0"}, 0, 0, true))
      print(tcp.connect("192.0.2.1:1", {timeout = 1}).error)]])
    assert.equal("true\nnil\tthe policy has begun\npermission\n", out, err)
  end)
end)

describe("waddle run --sandbox", function()
  it("says what is wrong with its flags, and runs nothing", function()
    for flags, message in pairs {
      ["--sandbox --allow-net=10.0.0.0/33"] = "--allow-net: expected a network such as 192.0.2.0/24",
      ["--sandbox --allow-net a.test"] = "got 'a.test'",
      ["--sandbox --allow-module serv"] = "--allow-module: no module 'serv', did you mean 'serve'?",
      ["--sandbox --max-rate 0"] = "--max-rate: expected packets a second, got '0'",
      ["--sandbox --max-rate many"] = "--max-rate: expected packets a second, got 'many'",
      ["--sandbox --max-bandwidth 10"] = "--max-bandwidth: expected a number with bit/s",
      ["--allow-net 127.0.0.1"] = "these flags go with --sandbox",
      ["--sandbox --allow-nets 127.0.0.1"] = "no flag '--allow-nets', did you mean '--allow-net'?",
      ["--sandbox --allow-net"] = "expected a file",
    } do
      local words = {}
      for word in flags:gmatch "%S+" do words[#words + 1] = word end
      local out, err, status = run("print 'ran'", words)
      if flags:find "net$" then
        assert.not_equal(0, status)
      else
        assert.same({"", 2}, {out, status}, err)
        assert.matches(message, err, 1, true)
      end
    end
  end)

  it("is in its help, and tells the log what holds", function()
    local status, out = process.run {"run", "--help"}
    assert.equal(0, status)
    for _, word in ipairs {"--sandbox", "--allow-net NET[:PORTS]", "--allow-module NAME", "--max-rate N", "--max-bandwidth RATE"} do
      assert.matches(word, out, 1, true)
    end
  end)

  it("keeps a child of another from opening more", function()
    local began = task.now()
    local _, err, status = boxed 'target {"tcp://169.254.1.1:1", name = "far", isolate = true}'
    assert.equal(0, status, err)
    assert.is_true(task.now() - began < 15)
  end)
end)
