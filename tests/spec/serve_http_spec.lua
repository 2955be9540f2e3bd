-- serve.http: what handlers see, and what slow, greedy and vanished clients do to a server.

local cert = require "waddle.core.cert"
local http = require "waddle.http"
local clients = require "tests.support.clients"
local program = require "tests.support.program"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local tcp = require "waddle.tcp"

local function url(server, path)
  return ("http://127.0.0.1:%d%s"):format(server.port, path or "/")
end

local at, client, idle_client, exchange = clients.at, clients.client, clients.idle, clients.exchange

describe("serve.http", function()
  setup(function() http.request("http://127.0.0.1:1/") end) -- the engine opens what it keeps

  local function answering(answer, more)
    local opts = {handler = function() return answer end}
    for key, value in pairs(more or {}) do
      opts[key] = value
    end
    return assert(serve.http(opts))
  end

  it("gives the handler the whole request", function()
    local seen
    local server <close> = serve.http {handler = function(request)
      seen = request
      return "ok"
    end}
    local result = http.request(url(server, "/some/path?a=1&b=two"), {method = "POST", headers = {["X-Mine"] = "yes"}, body = "words"})
    assert.equal(200, result.status)
    assert.equal("POST", seen.method)
    assert.equal("/some/path", seen.path)
    assert.equal("HTTP/1.1", seen.version)
    assert.matches("^127%.0%.0%.1:%d+$", seen.peer)
    assert.equal("yes", seen.headers["x-mine"])
    assert.equal("1", seen.query.a)
    assert.equal("two", seen.query.b)
    assert.equal("words", seen.body)
  end)

  it("answers with what the handler gives: text, tables, nothing, filling", function()
    local function of(answer)
      local server <close> = answering(answer)
      return http.request(url(server), {keep_body = 100})
    end
    assert.equal("text", of("text").body)
    assert.equal(404, of(nil).status)
    local full = of {status = 201, headers = {["X-Mine"] = 7}, body = "made"}
    assert.equal(201, full.status)
    assert.equal("7", full.headers["x-mine"])
    assert.equal("made", full.body)
    assert.equal("1234", of({body = 1234}).body)
    assert.equal(1000000, of({filler = 1000000}).body_bytes)
    assert.equal(0, of({filler = 0}).body_bytes)
    assert.equal(204, of({status = 204}).status)
  end)

  it("answers 500 for a handler that raises or gives what is no answer, and goes on", function()
    local code, out, err = program.run {"-e", [[
      local answers = {function() error("what a mess") end, function() return {body = {}} end, function() return {status = 7} end,
        function() return {headers = {["X-Mine"] = "a\r\nX-Yours: b"}} end, function() return {filler = -1} end, function() return "fine" end}
      local n = 0
      local server = serve.http {handler = function() n = n + 1 return answers[n]() end}
      for _ = 1, #answers do
        print(http.request("http://127.0.0.1:" .. server.port .. "/").status)
      end
    ]]}
    assert.equal(0, code, err)
    assert.equal("500\n500\n500\n500\n500\n200\n", out)
    assert.matches("what a mess", err, 1, true)
    assert.matches("HTTP does not allow", err, 1, true)
  end)

  it("refuses a body over the limit: at once where it is announced, else at its end", function()
    local called = false
    local server <close> = serve.http {body_most = 1000, handler = function() called = true end}
    assert.is_true(exchange(server, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", "413").success)
    local chunk = ("3e8\r\n%s\r\n"):format(("x"):rep(1000))
    local chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunk .. chunk .. "0\r\n\r\n"
    assert.is_true(exchange(server, chunked, "413").success)
    assert.is_false(called)
    assert.is_true(exchange(server, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" .. ("x"):rep(1000), "404").success)
    assert.is_true(called)
  end)

  it("cuts a client that drips its headers", function()
    local server <close> = answering("x", {deadline = 0.3})
    local began = task.now()
    local _, out = client(server, [[printf "GET / HTTP/1.1\r\nX: " >&3; while printf y >&3 2>/dev/null; do sleep 0.02; done; echo cut]], 10)()
    assert.equal("cut\n", out)
    assert.is_true(task.now() - began >= 0.3)
    assert.is_true(task.now() - began < 5)
  end)

  it("cuts a client that never reads, and one that never asks, for the next in the queue", function()
    local server <close> = answering({filler = 1 << 28}, {deadline = 0.3, connections = 1})
    for _, words in ipairs {[[printf "GET / HTTP/1.1\r\nHost: x\r\n\r\n" >&3]], "true"} do
      local leave = idle_client(server, words)
      assert.equal(200, http.request(url(server), {method = "HEAD", timeout = 10}).status)
      leave()
    end
  end)

  it("gives each request of a connection its own time", function()
    local server <close> = serve.http {deadline = 0.5, handler = function()
      task.sleep(0.2)
      return "late"
    end}
    local request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    local dialogue = {}
    for _ = 1, 5 do
      dialogue[#dialogue + 1] = {send = request}
      dialogue[#dialogue + 1] = {expect = "late"}
    end
    assert.is_true(tcp.connect(at(server), {timeout = 10, dialogue = dialogue}).success)
  end)

  it("ends a handler that takes longer than it may", function()
    local ended
    local server <close> = serve.http {deadline = 0.2, handler = function()
      local mark <close> = setmetatable({}, {__close = function() ended = true end}) -- luacheck: ignore 211
      task.sleep(1000)
    end}
    assert.is_false(http.request(url(server), {timeout = 5}).success)
    spec.eventually(function() return ended end)
  end)

  it("limits the connections of one client", function()
    local asked = 0
    local server <close> = serve.http {per_client = 2, handler = function()
      asked = asked + 1
      return "x"
    end}
    local held = {}
    for i = 1, 2 do
      local dialogue = {{send = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"}, {expect = "never"}}
      held[i] = task.spawn(function() return tcp.connect(at(server), {timeout = 5, dialogue = dialogue}) end)
    end
    spec.eventually(function() return asked == 2 end)
    local refused = http.request(url(server), {timeout = 2})
    assert.is_true(refused.error == "connection_reset" or refused.error == "protocol", refused.error)
    held[1]:cancel()
    held[2]:cancel()
    spec.eventually(function() return http.request(url(server), {timeout = 2}).success end)
  end)

  it("forgets clients that went away before the answer", function()
    local asked, go = 0, task.channel(4)
    local server <close> = serve.http {handler = function()
      asked = asked + 1
      go:receive()
      return "too late"
    end}
    for _ = 1, 3 do
      local lost = task.spawn(http.request, url(server))
      local before = asked
      spec.eventually(function() return asked > before end)
      lost:cancel()
      go:send(true)
    end
    go:send(true)
    assert.equal("too late", http.request(url(server), {keep_body = 20}).body)
  end)

  it("closes in the middle of requests, and gives its port back", function()
    local asked = 0
    local server = serve.http {handler = function()
      asked = asked + 1
      task.sleep(1000)
    end}
    local waiting = {}
    for i = 1, 3 do
      waiting[i] = task.spawn(http.request, url(server), {timeout = 5})
    end
    spec.eventually(function() return asked == 3 end)
    server:close()
    for i = 1, 3 do
      assert.is_false(waiting[i]:join().success)
    end
    local again <close> = assert(serve.http {port = server.port, handler = function() return "x" end})
    assert.is_true(http.request(url(again)).success)
  end)

  it("speaks TLS with a certificate of the script's", function()
    local certificate, key = cert.self_signed {"localhost", "127.0.0.1"}
    local server <close> = answering("x", {certificate = certificate, key = key})
    local target = ("https://127.0.0.1:%d/"):format(server.port)
    assert.is_true(http.request(target, {tls = {ca = certificate}}).success)
    assert.equal("tls_untrusted", http.request(target).error)
  end)

  it("tells misuse by name", function()
    local handler = function() end
    assert.error_matches(function() serve.http {} end, "field 'handler': expected a function")
    assert.error_matches(function() serve.http {handler = handler, prot = 1} end, "prot")
    assert.error_matches(function() serve.http {handler = handler, address = "example"} end, "expected an IP address to listen on, got \"example\"")
    assert.error_matches(function() serve.http {handler = handler, certificate = "x"} end, "certificate and key go together")
    local server <close> = serve.http {handler = handler}
    local none, message = serve.http {handler = handler, port = server.port}
    assert.is_nil(none)
    assert.equal(("serve.http: cannot listen on 127.0.0.1 port %d: Address already in use"):format(server.port), message)
    none, message = serve.http {handler = handler, certificate = "no PEM", key = "no PEM"}
    assert.is_nil(none)
    assert.matches("certificate", message)
  end)

  it("waits in peace when there are no descriptors left, and serves when there are", function()
    local told = os.tmpname()
    local wait = program.start(([[ulimit -n 60 && exec %s -e '
      local asked = task.channel(1)
      local server = serve.http {handler = function() asked:send(true) return "x" end}
      local told, taken = io.open(arg[1], "w"), {}
      repeat
        local file = io.open("/dev/null")
        taken[#taken + 1] = file
      until not file
      told:write(server.port)
      told:flush()
      task.sleep(0.5)
      local before = os.clock()
      task.sleep(1)
      print(os.clock() - before)
      for _, file in ipairs(taken) do
        file:close()
      end
      asked:receive()
      task.sleep(0.1)' %s]]):format(program.path, told))
    local port = spec.eventually(function()
      local file <close> = io.open(told)
      return file:read("n")
    end)
    local result = http.request(("http://127.0.0.1:%d/"):format(port), {timeout = 10})
    local _, out, err = wait()
    os.remove(told)
    assert.is_true(result.success, err)
    assert.is_true(tonumber(out) < 0.2, "it was busy for " .. out .. " of a second")
  end)
end)
