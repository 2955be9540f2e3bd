-- How names of servers are found, seen through dns.query, which looks its server's name up like every probe.

local answers = require "tests.support.answers"
local dns = require "waddle.dns"
local http = require "waddle.http"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local tcp = require "waddle.tcp"

setup(function()
  http.get("http://127.0.0.1:1/") -- the transfer engine opens a descriptor of its own at first use
end)

-- A query that is sent to `host`, looked up as the options say; its record does not matter.
local function through(host, options)
  local own = {server = host .. ":" .. select(3, spec.peer("dns_good")), timeout = 4}
  for key, value in pairs(options or {}) do
    own[key] = value
  end
  return dns.query("x.test", own)
end

local function rewrite(variable, text)
  local file = assert(io.open(spec.value(variable), "w"))
  file:write(text)
  file:close()
end

local function contents(variable)
  local file = assert(io.open(spec.value(variable)))
  local text = file:read("a")
  file:close()
  return text
end

-- Runs fn with the file changed, and gives it back its old text afterwards.
local function with_file(variable, change, fn)
  local old = contents(variable)
  rewrite(variable, change(old))
  local ok, message = pcall(fn)
  rewrite(variable, old)
  assert(ok, message)
end

describe("names", function()
  it("are asked from the server that the call names", function()
    local server = spec.peer("unbound")
    local r = through("a.zone.test", {resolver = {server = server}})
    assert.is_true(r.success, r.error_detail)
    assert.equal("127.0.0.1", r.target_ip)
    assert.is_true(r.timings.dns_ms > 0)
    assert.equal("dns_nxdomain", through("nope.zone.test", {resolver = {server = server}}).error)
    assert.equal("dns_refused", through("x.refused.test", {resolver = {server = server}}).error)
    assert.equal("dns_nodata", through("aaaa.zone.test", {family = 4, resolver = {server = server}}).error)
  end)

  it("are found over TCP where the answer does not fit a datagram", function()
    assert.is_true(through("x.test", {resolver = {server = spec.peer("dns_tc")}}).success)
  end)

  it("of both families are asked for at once, and a family can be forced", function()
    local server = spec.peer("unbound")
    assert.equal("::1", through("both.zone.test", {family = 6, resolver = {server = server}}).target_ip)
    assert.equal("127.0.0.1", through("both.zone.test", {family = 4, resolver = {server = server}}).target_ip)
    assert.equal("::1", through("aaaa.zone.test", {resolver = {server = server}}).target_ip)
  end)

  it("need no server when they are addresses or pinned", function()
    local r = through("nope.test", {address = "127.0.0.1", resolver = {server = "127.0.0.1:1"}})
    assert.is_true(r.success, r.error_detail)
    assert.is_nil(r.timings.dns_ms)
    assert.equal("local", through("127.0.0.1", {family = 6}).error)
  end)

  it("fail at once when no server listens, for both families", function()
    local before = task.now()
    for _, family in ipairs {"any", 4, 6} do
      local r = through("x.test", {family = family, resolver = {server = "127.0.0.1:1"}})
      assert.equal("dns_refused", r.error)
      assert.matches("nothing listens", r.error_detail)
    end
    assert.is_true(task.now() - before < 0.9)
  end)

  it("are what timed out while the server is silent, whatever the probe", function()
    local opts = {timeout = 0.1, resolver = {server = spec.peer("dns_silent")}}
    local results = {through("x.test", opts), tcp.connect("x.test:1", opts), http.get("http://x.test/", opts)}
    for i = 1, 3 do
      assert.equal("dns_timeout", results[i].error)
      assert.matches("look%-up .*did not end within 0.1 s", results[i].error_detail)
      assert.is_true(results[i].timings.dns_ms >= 95, i)
    end
    assert.equal(0, results[1].tries)
  end)

  it("that are asked for together go out once", function()
    local mark = spec.mark()
    local resolver = {server = spec.peer("dns_late_300")}
    local results = task.map({1, 2, 3, 4, 5}, function()
      return through("together.test", {family = 4, resolver = resolver})
    end)
    for i = 1, 5 do
      assert.is_true(results[i].success, results[i].error_detail)
    end
    assert.equal(1, spec.count(spec.log("dns_late_300", mark), "query", "together"))
  end)

  it("are asked for every time, or kept for their time where a call says so", function()
    local server = spec.peer("dns_good")
    local mark = spec.mark()
    local function asked()
      return spec.count(spec.log("dns_good", mark), "query", "kept")
    end
    for _ = 1, 2 do
      assert.is_true(through("kept.test", {family = 4, resolver = {server = server}}).success)
    end
    assert.equal(2, asked())
    for _ = 1, 3 do
      assert.is_true(through("kept.test", {family = 4, resolver = {server = server, cache = "ttl"}}).success)
    end
    assert.equal(3, asked())
    local opts = {family = 4, resolver = {server = server, cache = "ttl"}}
    local port = select(3, spec.peer("http"))
    for _, kept in ipairs {through("kept.test", opts), tcp.connect("kept.test:" .. port, opts), http.get("http://kept.test:" .. port .. "/ok", opts)} do
      assert.is_true(kept.success, kept.error_detail)
      assert.is_nil(kept.timings.dns_ms)
    end
    assert.equal(3, asked())
  end)

  -- Its answer says that it was cut short, and nobody listens where the whole one could be had.
  it("fail alone: one whose answer cannot be had does not take others along", function()
    local server
    server = assert(serve.udp {handler = function(bytes, from, port)
      local q = answers.parse(bytes)
      task.spawn(function()
        task.sleep(q.name == "slow.test" and 0.1 or 0.01)
        local flags = q.name == "cut.test" and answers.TRUNCATED or answers.OK
        local records = q.kind == 1 and {answers.record(1, answers.address "127.0.0.1")} or {}
        server:send(answers.message(q, flags, records), from, port)
      end)
    end})
    finally(function() server:close() end)
    local function look_up(name)
      return tcp.connect(name .. ".test:1", {resolver = {server = "127.0.0.1:" .. server.port}, timeout = 3, family = 4})
    end
    assert.equal("connection_refused", look_up("first").error)
    local slow = task.spawn(look_up, "slow")
    local cut = look_up "cut"
    assert.equal("dns_refused", cut.error, cut.error_detail)
    local r = slow:join()
    assert.same({"connection_refused", "127.0.0.1"}, {r.error, r.target_ip}, r.error_detail)
  end)

  it("must be names", function()
    assert.error_matches(function() dns.query("x.test", {server = "a b"}) end, "server")
    assert.error_matches(function() dns.query("x.test", {resolver = {server = "not-an-address"}}) end, "expected an IP address")
  end)
end)

describe("the system's names", function()
  local function private()
    if not os.getenv("WADDLE_PEER_PRIVATE") then
      spec.skip("needs a network of its own (run tests/run.sh as root)")
    end
  end

  it("come from the hosts file, the servers and the search list", function()
    private()
    assert.is_true(through("peer.test").success)
    assert.is_true(through("a.zone.test").success)
    assert.is_true(through("short").success)
    assert.is_false(through("short.").success)
    assert.equal("dns_nxdomain", through("nope.zone.test").error)
  end)

  it("change with the hosts file", function()
    private()
    assert.equal("dns_nxdomain", through("new.zone.test").error)
    with_file("hosts", function(old) return old .. "127.0.0.1 new.zone.test\n" end, function()
      task.sleep(1.05) -- files are looked at once a second
      assert.is_true(through("new.zone.test").success)
    end)
    task.sleep(1.05)
    assert.equal("dns_nxdomain", through("new.zone.test").error)
  end)

  it("change with resolv.conf, search list and ndots included", function()
    private()
    local function changed() return "nameserver 127.0.0.1\nsearch zone.test search.test\noptions ndots:2\n" end
    assert.is_false(through("dotted.name").success)
    with_file("resolv_conf", changed, function()
      task.sleep(1.05)
      assert.is_true(through("a").success)
      assert.is_true(through("dotted.name").success)
      assert.is_true(through("short").success)
    end)
    with_file("resolv_conf", function() return "nameserver 127.0.0.1\n" end, function()
      task.sleep(1.05)
      assert.is_false(through("short").success)
    end)
  end)

  it("are asked from the next server when one refuses", function()
    private()
    local refused = 0
    local refusing = serve.udp {address = "127.0.0.2", port = 53, handler = function(question)
      refused = refused + 1
      return question:sub(1, 2) .. "\x81\x85" .. question:sub(5)
    end}
    finally(function() refusing:close() end)
    with_file("resolv_conf", function() return "nameserver 127.0.0.2\nnameserver 127.0.0.1\n" end, function()
      task.sleep(1.05)
      assert.is_true(through("a.zone.test").success)
      assert.is_true(refused > 0)
      assert.equal("dns_refused", through("x.refused.test").error)
    end)
  end)
end)
