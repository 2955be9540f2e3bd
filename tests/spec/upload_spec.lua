-- Delivery of results to the manager, end to end over loopback.

local cert = require "waddle.core.cert"
local json = require "waddle.json"
local manager = require "waddle.manager"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local upload = require "waddle.upload"
local uploads = require "tests.support.uploads"

local with, put, result = uploads.with, uploads.put, uploads.result

-- The HTTP engine and its sockets stay for the life of the process: the first use is no leak of a spec.
setup(function()
  sys.log_level("error")
  with(nil, nil, function(_, u)
    put(u, 1)
    u:flush(5)
  end)
end)

local function raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.truthy(tostring(message):find(text, 1, true), tostring(message))
end


describe("upload", function()
  it("stores a result with everything that must survive", function()
    with(nil, nil, function(m, u)
      assert.is_true(u:put(result()))
      assert.equal(0, u:flush(5))
      local row, request = m.rows[1], m.requests[1]
      assert.equal("tcp", row.test_type)
      assert.equal("db.test", row.target_host)
      assert.equal(3.25, row.latency_ms)
      assert.equal("probe-1", row.device_hostname)
      assert.equal("tcp://db.test:5432", row.raw_results.target)
      assert.equal("POST", request.method)
      assert.equal("/api/v1/results/upload", request.path)
      assert.equal("application/json", request.headers["content-type"])
      assert.equal("waddle/" .. require("waddle.core").version, request.headers["user-agent"]:match("^%S+"))
      assert.is_nil(request.headers.authorization)
      local key = request.headers["idempotency-key"]
      assert.truthy(key:match("^%x+%-%x+%-4%x+%-[89ab]%x+%-%x+$"), key)
      assert.equal(key, row.raw_results.idempotency_key)
      local status = u:status()
      assert.same({"ok", 0, 0, 1, 0, 0, 0}, {status.state, status.queued, status.in_flight, status.sent, status.retried, status.rejected, status.dropped})
      assert.is_nil(status.oldest_s)
      assert.is_nil(status.last_error)
    end)
  end)

  it("keeps exactly one slash behind the manager's address, with a path or without", function()
    for given, prefix in pairs {[""] = "", ["/"] = "", ["/waddle"] = "/waddle", ["/waddle/"] = "/waddle", ["/a/b//"] = "/a/b"} do
      local m <close> = assert(manager.start {prefix = prefix, auth = {type = "userpass", user = "u", password = "p"}})
      local u <close> = upload.open {url = "http://127.0.0.1:" .. m.port .. given, auth = m.auth, device = uploads.device}
      put(u, 1)
      assert.equal(0, u:flush(5))
      assert.equal(prefix .. "/api/v1/auth/login", m.requests[1].path)
      assert.equal(prefix .. "/api/v1/results/upload", m.requests[2].path)
    end
  end)

  it("sends side by side over few kept connections", function()
    with({always = {delay = 0.2}}, {concurrency = 3}, function(m, u)
      put(u, 9)
      assert.equal(0, u:flush(10))
      assert.equal(9, m.stored)
      assert.equal(3, m.most_at_once)
      local peers, n = {}, 0
      for _, request in ipairs(m.requests) do
        n = n + (peers[request.peer] and 0 or 1)
        peers[request.peer] = true
      end
      assert.is_true(n <= 3, n .. " connections")
    end)
  end)

  it("sends each result once, with a key of its own", function()
    with(nil, nil, function(m, u)
      put(u, 40)
      put(u, 1, {id = "my-own-key"})
      assert.equal(0, u:flush(10))
      local keys = {}
      for _, request in ipairs(m.requests) do
        local key = request.headers["idempotency-key"]
        assert.is_nil(keys[key])
        keys[key] = true
      end
      assert.is_true(keys["my-own-key"])
    end)
  end)

  it("sets aside what the manager refuses for good, and goes on with the rest", function()
    with({plan = {400, 413, {status = 422, body = "no\nsuch thing"}}}, {concurrency = 1}, function(m, u)
      put(u, 5)
      assert.equal(0, u:flush(5))
      assert.equal(2, m.stored)
      local status, rejected = u:status(), u:rejected()
      assert.same({3, 2, "ok"}, {status.rejected, status.sent, status.state})
      assert.equal(3, #rejected)
      assert.same({400, 413, 422}, {rejected[1].status, rejected[2].status, rejected[3].status})
      assert.equal("no\\x0asuch thing", rejected[3].answer)
      assert.equal(m.requests[1].headers["idempotency-key"], rejected[1].id)
      assert.equal("db.test", json.decode(rejected[1].body).target_host)
      assert.truthy(rejected[1].at:match("^%d+%-%d+%-%d+T.*Z$"))
      assert.equal(5, m.count)
    end)
  end)

  it("does not take what the manager could never store", function()
    with(nil, nil, function(m, u)
      local taken, why = u:put {test_type = "gopher", target = "gopher://h"}
      assert.is_nil(taken)
      assert.truthy(why:find("^invalid: test_type 'gopher'"))
      for _, id in ipairs {"two words", "line\r\nX-Header: 1", "", ("x"):rep(64)} do
        taken, why = u:put(result {id = id})
        assert.is_nil(taken)
        assert.truthy(why:find("^invalid: id "), why)
      end
      assert.equal(5, u:status().dropped)
      assert.equal(0, u:flush(1))
      assert.equal(0, m.count)
    end)
  end)

  it("is bounded by rows and by bytes, and counts what finds no room", function()
    with({always = 503}, {max_rows = 3}, function(_, u)
      put(u, 3)
      assert.same({nil, "full"}, {u:put(result())})
      assert.same({nil, "full"}, {u:put(result())})
      assert.equal(2, u:status().dropped)
      assert.equal(3, u:status().queued + u:status().in_flight)
    end)
    with({always = 503}, {max_bytes = 1500}, function(_, u)
      put(u, 1)
      assert.same({nil, "full"}, {u:put(result {note = ("x"):rep(1000)})})
    end)
  end)

  it("drops what has become too old", function()
    with({always = 503}, {max_age = "20ms"}, function(_, u)
      put(u, 2)
      spec.eventually(function() return u:status().dropped == 2 end)
      assert.equal(0, u:status().queued)
    end)
  end)

  it("keeps everything and says blocked where address or credentials are wrong", function()
    for _, status in ipairs {401, 403, 404, 405, 301, 302, 307, 308} do
      with({always = status}, nil, function(m, u)
        put(u, 10)
        spec.eventually(function() return u:status().state == "blocked" and u:status().in_flight == 0 end)
        local now = u:status()
        assert.equal(10, now.queued)
        assert.equal(0, now.rejected + now.dropped + now.sent)
        assert.truthy(now.last_error:find(tostring(status), 1, true), now.last_error)
        local before = m.count
        assert.equal(10, u:flush(5)) -- tries once, and gives up at once
        assert.equal(before + 1, m.count)
        m.always = nil
        assert.equal(0, u:flush(5))
        assert.equal("ok", u:status().state)
        assert.equal(10, m.stored)
      end)
    end
  end)

  it("never follows a redirect with its credentials", function()
    local other <close> = assert(manager.start())
    local step = {status = 307, headers = {location = other.url .. "/api/v1/results/upload"}}
    with({always = step}, {auth = {type = "jwt", token = "secret"}}, function(_, u)
      put(u, 1)
      assert.equal(1, u:flush(5))
      assert.equal(0, other.count)
    end)
  end)

  it("sends nothing to a server whose certificate is not trusted", function()
    local certificate, key = cert.self_signed({"127.0.0.1"})
    local auth = {type = "jwt", token = "secret"}
    with({certificate = certificate, key = key}, {auth = auth}, function(m, u)
      put(u, 1)
      spec.eventually(function() return u:status().state == "backoff" end)
      assert.truthy(u:status().last_error:find("^tls_untrusted"), u:status().last_error)
      assert.equal(0, m.count)
    end)
    with({certificate = certificate, key = key, auth = auth}, {auth = auth, tls = {ca = certificate}}, function(m, u)
      put(u, 1)
      assert.equal(0, u:flush(10), u:status().last_error)
      assert.equal(1, m.stored)
    end)
  end)

  it("tries again what a passing fault kept back", function()
    for _, status in ipairs {408, 425, 429, 500, 502, 503, 504} do
      with({plan = {status}}, {concurrency = 1}, function(m, u)
        put(u, 1)
        spec.eventually(function() return u:status().last_error end)
        assert.truthy(u:status().last_error:find("answered " .. status, 1, true))
        assert.equal(0, u:flush(10))
        assert.equal(1, m.stored)
        assert.equal(1, u:status().retried)
        assert.equal(m.requests[1].headers["idempotency-key"], m.requests[2].headers["idempotency-key"])
      end)
    end
  end)

  it("says that it backs off, and waits as long as Retry-After asks", function()
    with({plan = {{status = 503, headers = {["retry-after"] = "1"}}}}, {concurrency = 1}, function(m, u)
      put(u, 1)
      spec.eventually(function() return u:status().state == "backoff" end)
      spec.eventually(function() return m.stored == 1 end)
      assert.is_true(m.requests[2].at - m.requests[1].at >= 1)
      spec.eventually(function() return u:status().state == "ok" end)
    end)
  end)

  it("sets a row aside that is answered with 500 again and again", function()
    with({always = 500}, nil, function(m, u)
      put(u, 1)
      for _ = 1, 5 do
        u:flush(0)
        spec.eventually(function() return u:status().in_flight == 0 end)
      end
      spec.eventually(function() u:flush(0) return u:status().rejected == 1 end)
      assert.equal(5, m.count)
      assert.equal(500, u:rejected()[1].status)
    end)
  end)

  it("waits for a manager that is not there", function()
    local m = assert(manager.start())
    local u <close> = upload.open {url = m.url, device = uploads.device}
    m:close()
    put(u, 3)
    spec.eventually(function() return u:status().state == "backoff" end)
    assert.truthy(u:status().last_error:find("connection_refused", 1, true), u:status().last_error)
    assert.is_true(u:status().oldest_s >= 0)
    local back <close> = assert(manager.start {port = m.port})
    assert.equal(0, u:flush(10))
    assert.equal(3, back.stored)
  end)

  it("takes a new connection when the manager has closed the one it kept", function()
    local m = assert(manager.start())
    local u <close> = upload.open {url = m.url, device = uploads.device}
    put(u, 1)
    assert.equal(0, u:flush(5))
    m:close()
    local back <close> = assert(manager.start {port = m.port})
    put(u, 1)
    assert.equal(0, u:flush(5))
    assert.equal(1, back.stored)
    assert.equal(0, u:status().retried)
    assert.is_nil(u:status().last_error)
  end)

  it("gives up on a manager that does not answer in time, and tries again", function()
    with({plan = {"hang"}}, {timeout = "50ms", concurrency = 1}, function(m, u)
      put(u, 1)
      spec.eventually(function() return u:status().last_error end)
      assert.truthy(u:status().last_error:find("^timeout"), u:status().last_error)
      assert.equal(0, u:flush(10))
      assert.equal(1, m.stored)
    end)
  end)

  it("survives resets, garbage and half an answer", function()
    local answers = {
      function(conn) conn:reset() end,
      function(conn) conn:write("SSH-2.0-not a manager\r\n") end,
      function(conn) conn:write("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{") end,
      function(conn) conn:finish() end,
    }
    for _, misbehave in ipairs(answers) do
      local server <close> = assert(serve.tcp {handler = function(conn)
        conn:read(16384, 5)
        misbehave(conn)
      end})
      local u <close> = upload.open {url = "http://127.0.0.1:" .. server.port, device = uploads.device}
      put(u, 1)
      spec.eventually(function() return u:status().state == "backoff" end)
      assert.equal(1, u:status().queued + u:status().in_flight)
      assert.equal(0, u:status().sent)
    end
  end)

  it("takes results while the manager hangs", function()
    with({always = "hang"}, nil, function(_, u)
      local begun = task.now()
      put(u, 20)
      assert.is_true(task.now() - begun < 5)
      assert.equal(4, u:status().in_flight)
      assert.equal(20, u:flush("10ms"))
    end)
  end)

  it("ends a flush that is cancelled, and one whose uploader is closed", function()
    with({always = "hang"}, nil, function(_, u)
      put(u, 1)
      local waiting = task.spawn(function() return u:flush(60) end)
      task.sleep(0)
      waiting:cancel()
      local other = task.spawn(function() return u:flush(60) end)
      task.sleep(0)
      u:close()
      assert.equal(1, other:join())
      u:close()
      raises("closed", u.put, u, result())
      raises("closed", u.flush, u)
      raises("closed", u.status, u)
    end)
  end)

  it("teaches what is wrong with its options", function()
    raises("upload.open: expected a table of options, got nil", upload.open)
    raises("'url'", upload.open, {})
    raises("did you mean 'concurrency'", upload.open, {url = "http://h", concurency = 2})
    raises("field 'url': expected http:// or https://", upload.open, {url = "m.test:8080"})
    raises("without query", upload.open, {url = "http://h/?a=b"})
    raises("credentials do not belong in the URL", upload.open, {url = "http://me:secret@h/"})
    raises("field 'auth': field 'token'", upload.open, {url = "http://h", auth = {type = "jwt"}})
    raises("field 'auth': field 'key'", upload.open, {url = "http://h", auth = {type = "apikey", key = ""}})
    raises("field 'auth': field 'password'", upload.open, {url = "http://h", auth = {type = "userpass", user = "u"}})
    raises("field 'full': expected one of: newest, oldest", upload.open, {url = "http://h", full = "some"})
    raises("concurrency", upload.open, {url = "http://h", concurrency = 0})
    with(nil, nil, function(_, u)
      raises("expected a result table, got string", u.put, u, "result")
      raises("duration", u.flush, u, "soon")
    end)
  end)
end)
