-- serve: what handlers see, and what slow, greedy and vanished clients do to a server.

local cert = require "waddle.core.cert"
local listen = require "waddle.core.listen"
local clients = require "tests.support.clients"
local program = require "tests.support.program"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local udp = require "waddle.udp"

local at, client, idle_client, exchange = clients.at, clients.client, clients.idle, clients.exchange

describe("serve.tcp", function()
  it("gives the handler lines, bytes, the client's address and a way to end", function()
    local seen = {}
    local server <close> = serve.tcp {handler = function(conn)
      seen.peer, seen.port = conn:peer()
      seen.line = conn:read_line(5)
      seen.three = conn:read(3, 5)
      conn:write("so ")
      conn:write("be it\n")
      conn:finish()
      seen.rest = conn:read(nil, 5)
      seen.last, seen.why = conn:read(1, 5)
    end}
    assert.is_true(exchange(server, "hello there\r\nabcdef", "so be it").success)
    spec.eventually(function() return seen.why end)
    assert.equal("127.0.0.1", seen.peer)
    assert.is_true(seen.port > 0)
    assert.equal("hello there", seen.line)
    assert.equal("abc", seen.three)
    assert.equal("def", seen.rest)
    assert.is_nil(seen.last)
    assert.equal("closed", seen.why)
  end)

  it("still gives what a client sent before it hung up, though nobody read at that moment", function()
    local gone, line = task.channel(1), nil
    local server <close> = serve.tcp {handler = function(conn)
      conn:finish()
      gone:receive()
      line = conn:read_line(5)
    end}
    assert.is_true(tcp.connect(at(server), {dialogue = {{send = "last words\n"}}}).success)
    task.sleep(0) -- the hang-up is handed out
    gone:send(true)
    assert.equal("last words", spec.eventually(function() return line end))
  end)

  it("does not turn in circles over a client that hung up", function()
    local ended = task.channel(1)
    local server <close> = serve.tcp {handler = function(conn)
      conn:finish()
      task.sleep(0.3)
      ended:send(true)
    end}
    assert.is_true(tcp.connect(at(server)).success)
    local before = os.clock()
    assert.is_true(ended:receive(10)) -- waits without looking: polling is work, too
    assert.is_true(os.clock() - before < 0.2, "the processor was busy while everybody slept")
  end)

  it("keeps 64 KiB of a line and no more", function()
    local why, kept
    local server <close> = serve.tcp {handler = function(conn)
      why = select(2, conn:read_line(5))
      kept = conn:read(65536, 5)
    end}
    exchange(server, ("x"):rep(200000), "never", 1)
    spec.eventually(function() return kept end)
    assert.equal("line too long", why)
    assert.equal(65536, #kept)
  end)

  it("cuts a client that drips when its time is over", function()
    local server <close> = serve.tcp {deadline = 0.3, handler = function(conn) conn:read_line() end}
    local began = task.now()
    client(server, "while printf x >&3 2>/dev/null; do sleep 0.02; done", 10)()
    assert.is_true(task.now() - began < 5)
  end)

  it("does not wait for a client that never reads", function()
    local ok, why
    local server <close> = serve.tcp {handler = function(conn) ok, why = conn:write(("x"):rep(1 << 24), 0.2) end}
    local leave = idle_client(server, "true")
    spec.eventually(function() return why end)
    assert.is_nil(ok)
    assert.equal("timeout", why)
    leave()
  end)

  it("lets newcomers wait while the house is full", function()
    local inside, leave = 0, task.channel(8)
    local server <close> = serve.tcp {connections = 2, handler = function(conn)
      inside = inside + 1
      conn:write("come in\n")
      leave:receive()
      inside = inside - 1
    end}
    local results = {}
    for i = 1, 3 do
      task.spawn(function() results[i] = tcp.connect(at(server), {timeout = 5, dialogue = {{expect = "come in"}, {expect = "never"}}}) end)
    end
    spec.eventually(function() return inside == 2 end)
    for _ = 1, 10 do
      task.sleep(0)
      assert.equal(2, inside)
    end
    leave:send(true)
    spec.eventually(function() return inside == 2 and (results[1] or results[2] or results[3]) end)
    leave:send(true)
    leave:send(true)
    spec.eventually(function() return results[1] and results[2] and results[3] end)
    for i = 1, 3 do -- each of them was let in, and heard the end
      assert.equal("protocol: step 2, expect \"never\": the peer closed the connection first", results[i].error .. ": " .. results[i].error_detail)
    end
  end)

  it("closes what is over the limit of one client, and takes it again later", function()
    local leave, inside = task.channel(1), false
    local server <close> = serve.tcp {per_client = 1, handler = function(conn)
      conn:write("come in\n")
      inside = true
      leave:receive()
    end}
    local first = task.spawn(function() return tcp.connect(at(server), {dialogue = {{expect = "come in"}, {expect = "never"}}}) end)
    spec.eventually(function() return inside end)
    assert.is_false(tcp.connect(at(server), {dialogue = {{expect = "come in"}}}).success)
    leave:send(true)
    first:join()
    leave:send(true)
    assert.is_true(tcp.connect(at(server), {dialogue = {{expect = "come in"}}}).success)
  end)

  it("goes on after a handler that raised", function()
    local code, out, err = program.run {"-e", [[
      local n = 0
      local server = serve.tcp {handler = function(conn)
        n = n + 1
        if n == 1 then error("what a mess") end
        conn:write("fine\n")
      end}
      local where = "127.0.0.1:" .. server.port
      print(tcp.connect(where, {dialogue = {{expect = "fine"}}}).success)
      print(tcp.connect(where, {dialogue = {{expect = "fine"}}}).success)
    ]]}
    assert.equal(0, code)
    assert.equal("false\ntrue\n", out)
    assert.matches("serve.tcp: handler failed: .*what a mess", err)
  end)

  it("can be closed by its own handler, and gives its port back", function()
    local server
    server = serve.tcp {handler = function() server:close() end}
    tcp.connect(at(server))
    local again = spec.eventually(function() return (serve.tcp {port = server.port, handler = function() end}) end)
    again:close()
  end)

  it("ends with the task that opened it, its connections too", function()
    local port, inside
    local owner = task.spawn(function()
      port = serve.tcp({handler = function(conn)
        inside = true
        conn:read()
      end}).port
      task.sleep(1000)
    end)
    spec.eventually(function() return port end)
    local held = task.spawn(function() return tcp.connect("127.0.0.1:" .. port, {timeout = 5, dialogue = {{expect = "never"}}}) end)
    spec.eventually(function() return inside end)
    owner:cancel()
    assert.is_false(held:join().success)
    assert.equal("connection_refused", tcp.connect("127.0.0.1:" .. port).error)
  end)

  it("lets one task read at a time", function()
    local message
    local server <close> = serve.tcp {handler = function(conn)
      local other = task.spawn(function() conn:read() end)
      task.sleep(0)
      message = select(2, pcall(conn.read, conn))
      other:cancel()
    end}
    tcp.connect(at(server), {timeout = 1, dialogue = {{expect = "never"}}})
    assert.matches("another task reads this connection", message)
  end)

  it("tells misuse by name", function()
    local handler = function() end
    assert.error_matches(function() serve.tcp {} end, "field 'handler': expected a function, got nil")
    assert.error_matches(function() serve.tcp {handler = handler, prot = 1} end, "unknown field 'prot'; did you mean 'port'")
    assert.error_matches(function() serve.tcp {handler = handler, port = 65536} end, "'port': expected an integer from 0 to 65535, got 65536")
    assert.error_matches(function() serve.tcp {handler = handler, connections = 0} end, "'connections': expected an integer from 1")
    assert.error_matches(function() serve.tcp {handler = handler, deadline = "soon"} end, "'deadline': expected seconds")
    assert.error_matches(function() serve.tcp {handler = handler, address = "example"} end, "expected an IP address to listen on, got \"example\"")
    assert.error_matches(function() serve.tcp {handler = handler, key = "x"} end, "certificate and key go together")
    local server <close> = serve.tcp {handler = handler}
    local none, message = serve.tcp {handler = handler, port = server.port}
    assert.is_nil(none)
    assert.equal(("serve.tcp: cannot listen on 127.0.0.1 port %d: Address already in use"):format(server.port), message)
    none, message = serve.tcp {handler = handler, certificate = "no PEM", key = "no PEM"}
    assert.is_nil(none)
    assert.is_string(message)
  end)

  it("tells a TLS client in good order that no more will come", function()
    local certificate, key = cert.self_signed {"localhost", "127.0.0.1"}
    local line_seen
    local server <close> = serve.tcp {certificate = certificate, key = key, handler = function(conn)
      line_seen = conn:read_line(5)
      conn:write("bye\n")
      conn:finish()
      conn:read(nil, 5)
    end}
    local line = ("(echo hello; sleep 1) | openssl s_client -connect 127.0.0.1:%d -quiet -no_ign_eof 2>&1"):format(server.port)
    local _, out = program.sh(line)
    assert.equal(1, select(2, out:gsub("bye\n", "")))
    assert.equal("hello", line_seen)
    assert.is_nil(out:find("unexpected eof", 1, true))
  end)
end)

describe("serve.udp", function()
  it("sends back what the handler gives, to who asked", function()
    local server <close> = serve.udp {handler = function(bytes) return bytes end}
    local result = udp.ping(at(server), {count = 3, interval = 0.01})
    assert.equal(3, result.packets_received)
  end)

  it("goes on after a handler that raised, and answers nothing for nil", function()
    local code, out, err = program.run {"-e", [[
      local n = 0
      local server = serve.udp {handler = function(bytes)
        n = n + 1
        if n == 1 then error("what a mess") end
        return n > 2 and bytes or nil
      end}
      print(udp.ping("127.0.0.1:" .. server.port, {count = 4, interval = 0.01, timeout = 0.5}).packets_received)
    ]]}
    assert.equal(0, code)
    assert.equal("2\n", out)
    assert.matches("serve.udp: handler failed: .*what a mess", err)
  end)

  it("sends to a port that exists and closes while it waits", function()
    local server = serve.udp {handler = function() end}
    assert.error_matches(function() server:send("x", "127.0.0.1", 70000) end, "port from 1 to 65535")
    assert.error_matches(function() server:send("x", "nowhere", 7) end, "expected an IP address")
    assert.is_true(server:send("x", "127.0.0.1", server.port))
    server:close()
    assert.is_nil((server:send("x", "127.0.0.1", 7)))
  end)
end)

describe("serve.unix", function()
  local path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function() os.remove(path) end)

  local function bits()
    local pipe = io.popen("stat -c %a " .. path)
    local text = pipe:read("l")
    pipe:close()
    return text
  end

  it("opens the file to its owner alone, or as told, whatever the umask", function()
    local server = serve.unix {path = path, handler = function() end}
    assert.equal("600", bits())
    server:close()
    assert.is_nil(io.open(path))
    local wide <close> = serve.unix {path = path, mode = 438, handler = function() end} -- 0666
    assert.equal("666", bits())
    wide:close()
  end)

  it("replaces a left-over file, but not a server that lives nor a plain file", function()
    local code = program.sh(("%s -e 'serve.unix {path = \"%s\", handler = print} io.open(\"%s.up\", \"w\"):close() task.sleep(1000)' & " ..
      "until [ -e %s.up ]; do sleep 0.01; done; rm %s.up; kill -KILL $!; wait $! 2>/dev/null; test -S %s"):format(program.path, path, path, path, path, path))
    assert.equal(0, code, "the killed server leaves its file")
    local server <close> = assert(serve.unix {path = path, handler = function(conn) conn:write("mine\n") end})
    local none, message = serve.unix {path = path, handler = function() end}
    assert.is_nil(none)
    assert.equal(("serve.unix: cannot listen on %s: Address already in use"):format(path), message)
    local conn <close> = listen.dial_unix(path)
    assert.equal("mine", conn:read_line(5))
    server:close()
    io.open(path, "w"):close()
    assert.is_nil((serve.unix {path = path, handler = function() end}))
    assert.is_truthy(io.open(path))
  end)

  it("leaves a file alone that another server made in its place", function()
    local old = assert(serve.unix {path = path, handler = function() end})
    os.remove(path)
    local new <close> = assert(serve.unix {path = path, handler = function(conn) conn:write("new\n") end})
    old:close()
    local conn <close> = assert(listen.dial_unix(path))
    assert.equal("new", conn:read_line(5))
    assert.equal(path, new.path)
  end)

  it("refuses a path that no socket can have", function()
    assert.error_matches(function() serve.unix {path = ("x"):rep(108), handler = function() end} end, "1 to 107 bytes long, got 108")
    assert.error_matches(function() serve.unix {path = "a\0b", handler = function() end} end, "1 to 107 bytes")
    assert.error_matches(function() serve.unix {path = "", handler = function() end} end, "1 to 107 bytes")
    local none, message = serve.unix {path = "/nonexistent/folder/x.sock", handler = function() end}
    assert.is_nil(none)
    assert.matches("No such file or directory", message, 1, true)
  end)
end)

describe("a script that ends with everything open", function()
  local code = [[
    kept, asked = {}, 0
    local certificate, key = require("waddle.core.cert").self_signed {"localhost", "127.0.0.1"}
    local function keep(value)
      kept[#kept + 1] = value
      asked = asked + 1
    end
    local function hold(conn)
      keep(conn)
      conn:read()
    end
    kept.plain = serve.tcp {handler = hold}
    kept.secure = serve.tcp {certificate = certificate, key = key, handler = hold}
    kept.http = serve.http {handler = function(request)
      keep(request)
      task.sleep(1000)
    end}
    kept.udp = serve.udp {handler = function() task.sleep(1000) end}
    kept.unix = serve.unix {path = arg[2], handler = hold}
    for _ = 1, 3 do
      for _, name in ipairs {"plain", "secure"} do
        task.spawn(tcp.connect, "127.0.0.1:" .. kept[name].port, {timeout = 30, dialogue = {{expect = "never"}}})
      end
      task.spawn(http.request, "http://127.0.0.1:" .. kept.http.port .. "/")
      task.spawn(http.request, "https://127.0.0.1:" .. kept.secure.port .. "/", {tls = {verify = false}})
      kept[#kept + 1] = require("waddle.core.listen").dial_unix(arg[2])
      kept.udp:send("x", "127.0.0.1", kept.udp.port)
    end
    while asked < 15 do
      task.sleep(0.001)
    end
    if arg[1] == "exit" then
      sys.exit(7)
    elseif arg[1] == "raise" then
      error("on purpose")
    elseif arg[1] == "drop" then
      for _, value in pairs(kept) do
        if getmetatable(value) and type(value) == "table" then
          value:close()
        end
      end
      kept = nil
      for _ = 1, 20 do
        collectgarbage()
        task.sleep(0)
      end
    end
    return 7
  ]]

  -- A build with sanitizers finds what is used after its end, or never let go.
  for how, expected in pairs {["return"] = 7, exit = 7, drop = 7, raise = 1} do
    it("ends as it should by " .. how, function()
      local path = os.tmpname()
      os.remove(path)
      local status, _, err = program.run {"-e", code, how, path}
      assert.equal(expected, status, err)
      assert.is_nil(io.open(path), "the socket file is left")
      assert.equal(how == "raise", err:find("on purpose", 1, true) ~= nil)
    end)
  end
end)
