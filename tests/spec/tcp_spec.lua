-- tcp.connect against real servers: connection alone, every failure by its name, STARTTLS, dialogues, many at once.

local spec = require "tests.support.spec"
local task = require "waddle.task"
local tcp = require "waddle.tcp"

-- A port on 127.0.0.1 where nobody listens: one that was just given back.
local function closed_port()
  local serve = require "waddle.serve"
  local server = serve.tcp {handler = function() end}
  local port = server.port
  server:close()
  return port
end

local function fails(error_name, result)
  assert.is_false(result.success)
  assert.equal(error_name, result.error)
  assert.is_nil(result.latency_ms)
  assert.is_string(result.error_detail)
  return result
end

describe("tcp.connect", function()
  it("measures the connection alone", function()
    local target, host, port = spec.peer("tcp_silent")
    local result = tcp.connect(target)
    assert.is_true(result.success)
    assert.is_nil(result.error)
    assert.equal("tcp", result.test_type)
    assert.equal("raw_tcp", result.protocol_detail)
    assert.equal(target, result.target)
    assert.equal(host, result.target_host)
    assert.equal(host, result.target_ip)
    assert.equal(port, result.target_port)
    assert.is_true(result.latency_ms > 0 and result.latency_ms < 1000)
    assert.equal(result.latency_ms, result.timings.connect_ms)
    assert.is_nil(result.timings.dns_ms)
    assert.is_nil(result.timings.fallback_ms)
    assert.is_nil(result.tls)
    assert.is_nil(result.dialogue)
  end)

  it("takes the time from the kernel", function()
    local result = tcp.connect((spec.peer("tcp_silent")))
    assert.equal("kernel", result.quality.timestamp_source)
    assert.equal(result.tcp.rtt_ms, result.latency_ms)
    assert.equal(0, result.tcp.retransmits)
    assert.is_true(result.quality.uncertainty_ms > 0 and result.quality.uncertainty_ms < 1)
    assert.is_true(result.timings.connect_wall_ms >= result.timings.connect_ms)
  end)

  it("times the name apart", function()
    local result = tcp.connect((spec.peer("tcp_silent", "localhost")))
    assert.is_true(result.success)
    assert.is_true(result.timings.dns_ms > 0)
    assert.equal(result.timings.connect_ms, result.latency_ms)
  end)

  it("connects to an IPv6 address", function()
    local result = tcp.connect((spec.peer("tcp_silent", "::1")))
    assert.is_true(result.success)
    assert.equal("::1", result.target_host)
    assert.equal("::1", result.target_ip)
  end)

  it("keeps to a family", function()
    local target = spec.peer("tcp_silent", "localhost")
    assert.equal("127.0.0.1", tcp.connect(target, {family = 4}).target_ip)
    assert.equal("::1", tcp.connect(target, {family = 6}).target_ip)
  end)

  it("keeps to a pinned address and looks nothing up", function()
    local result = tcp.connect((spec.peer("tcp_silent", "nowhere.invalid")), {address = "127.0.0.1"})
    assert.is_true(result.success)
    assert.equal("nowhere.invalid", result.target_host)
    assert.equal("127.0.0.1", result.target_ip)
    assert.is_nil(result.timings.dns_ms)
  end)

  it("leaves from the source asked for", function()
    local seen
    local serve = require "waddle.serve"
    local server <close> = serve.tcp {handler = function(conn) seen = conn:peer() end}
    local result = tcp.connect("127.0.0.1:" .. server.port, {source = "127.0.0.9", dialogue = {{send = "x"}}})
    assert.is_true(result.success)
    assert.equal("127.0.0.9", spec.eventually(function() return seen end))
  end)

  it("copies labels", function()
    local result = tcp.connect((spec.peer("tcp_silent")), {labels = {site = "x"}})
    assert.equal("x", result.labels.site)
  end)

  it("leaves no TIME_WAIT behind after a plain connect", function()
    -- A port of its own: other specs leave some at the shared servers.
    local server <close> = require("waddle.serve").tcp {handler = function(conn) conn:read() end}
    assert.is_true(tcp.connect("127.0.0.1:" .. server.port).success)
    local remote = ("0100007F:%04X"):format(server.port)
    for line in io.lines("/proc/net/tcp") do
      local to, state = line:match("^%s*%d+: %S+ (%S+) (%S+)")
      assert.is_false(to == remote and state == "06")
    end
  end)
end)

describe("a failed tcp.connect", function()
  it("is connection_refused where nobody listens", function()
    local result = fails("connection_refused", tcp.connect("127.0.0.1:" .. closed_port()))
    assert.equal("127.0.0.1", result.target_ip)
    assert.is_nil(result.timings.connect_ms)
    assert.is_nil(result.timings.connect_wall_ms)
    assert.equal(0, result.tcp.retransmits)
  end)

  it("is a timeout where nobody answers", function()
    local address = spec.value("blackhole")
    local result = fails("timeout", tcp.connect(address .. ":80", {timeout = 0.05}))
    assert.equal(address, result.target_ip)
    assert.matches("connection request within 0.05 s", result.error_detail)
    assert.is_nil(result.timings.connect_ms)
    assert.equal(0, result.tcp.retransmits)
  end)

  it("is what routers say", function()
    fails("host_unreachable", tcp.connect(spec.value("unreachable") .. ":80"))
    local prohibited = tcp.connect(spec.value("prohibited") .. ":80")
    assert.is_true(prohibited.error == "admin_prohibited" or prohibited.error == "host_unreachable")
    fails("network_unreachable", tcp.connect("[" .. spec.value("unreachable_v6") .. "]:80"))
    fails("admin_prohibited", tcp.connect("[" .. spec.value("prohibited_v6") .. "]:80"))
  end)

  it("is local where this machine has no route", function()
    if not os.getenv("WADDLE_PEER_PRIVATE") then
      spec.skip("needs a network without a default route")
    end
    local result = fails("local", tcp.connect("198.51.100.1:80"))
    assert.matches("no route", result.error_detail)
  end)

  it("is local where the source is not ours", function()
    local result = fails("local", tcp.connect((spec.peer("tcp_silent")), {source = "203.0.113.7"}))
    assert.matches("203.0.113.7", result.error_detail, 1, true)
  end)

  it("is named by the resolver where the name does not exist", function()
    local server = spec.peer("unbound")
    local result = fails("dns_nxdomain", tcp.connect("missing.zone.test:80", {resolver = {server = server}}))
    assert.equal("missing.zone.test", result.target_host)
    assert.is_nil(result.target_ip)
    assert.is_true(result.timings.dns_ms > 0)
    assert.is_nil(result.timings.connect_ms)
    assert.is_nil(result.tcp)
  end)

  it("may be expected", function()
    local result = tcp.connect("127.0.0.1:" .. closed_port(), {expect = {error = "connection_refused"}})
    assert.is_true(result.success)
    assert.is_nil(result.latency_ms)
  end)
end)

describe("a SYN that had to be sent again", function()
  it("is counted where nobody answers", function()
    local result = fails("timeout", tcp.connect(spec.value("blackhole") .. ":80", {timeout = 1.5}))
    assert.equal(1, result.tcp.retransmits) -- the kernel's first is after 1 s
    assert.is_nil(result.tcp.rtt_ms)
  end)

  it("makes the kernel's round trip unknown: the time is then our own clock's", function()
    local limit = "/proc/sys/net/core/somaxconn"
    local file = os.getenv("WADDLE_PEER_PRIVATE") and io.open(limit, "r+")
    if not file then
      spec.skip("needs a network of its own to make the queue of a listener short")
    end
    local before = file:read("a")
    file:seek("set")
    file:write("1")
    file:close()
    local serve = require "waddle.serve"
    local release, accepted = task.channel(), false
    local server <close> = serve.tcp {connections = 1, handler = function()
      accepted = true
      release:receive()
    end}
    file = io.open(limit, "w")
    file:write(before)
    file:close()
    local remote = ("0100007F:%04X"):format(server.port)
    local function count(wanted)
      local n = 0
      for line in io.lines("/proc/net/tcp") do
        local to, state = line:match("^%s*%d+: %S+ (%S+) (%S+)")
        n = n + (to == remote and state == wanted and 1 or 0)
      end
      return n
    end
    -- One is accepted, two wait in the queue, and the kernel drops the SYN of the fourth.
    local probes = {}
    for i = 1, 4 do
      probes[i] = task.spawn(function() return tcp.connect("127.0.0.1:" .. server.port, {dialogue = {{expect = "x"}}}) end)
      spec.eventually(function()
        return i == 4 and count("02") == 1 or i < 4 and accepted and count("01") == i
      end)
    end
    release:close()
    local again = 0
    for _, probe in ipairs(probes) do
      local result = probe:join()
      assert.equal("protocol", result.error) -- the server closed without a word
      if result.tcp.retransmits > 0 then
        again = again + 1
        assert.is_nil(result.tcp.rtt_ms)
        assert.equal("user", result.quality.timestamp_source)
        assert.is_nil(result.quality.uncertainty_ms)
        assert.is_true(result.timings.connect_ms > 900)
        assert.equal(result.timings.connect_wall_ms, result.timings.connect_ms)
      else
        assert.equal(result.timings.connect_ms, result.tcp.rtt_ms)
        assert.is_true(result.timings.connect_ms < 900)
      end
    end
    assert.equal(1, again)
  end)
end)

describe("the next address", function()
  -- Puts these lines in the place of the private network's hosts file, calls fn, and takes them away again.
  local function with_hosts(lines, fn)
    if not os.getenv("WADDLE_PEER_PRIVATE") then
      spec.skip("needs a hosts file of its own")
    end
    local path = spec.value("hosts")
    local file = assert(io.open(path, "r"))
    local before = file:read("a")
    file:close()
    local function put(text)
      local out = assert(io.open(path, "w"))
      out:write(text)
      out:close()
    end
    put(lines) -- alone: c-ares 1.34 makes one entry of all lines that share a name or an address
    local ok, err = pcall(fn)
    put(before)
    if not ok then
      error(err, 0)
    end
  end

  it("is tried at once after a refusal", function()
    local _, _, port = spec.peer("tcp_silent")
    with_hosts("127.0.0.2 fallback.test\n127.0.0.1 fallback.test\n", function()
      local result = tcp.connect("fallback.test:" .. port)
      assert.is_true(result.success)
      assert.equal("127.0.0.1", result.target_ip)
      assert.is_true(result.timings.fallback_ms < 200)
    end)
  end)

  it("is tried after 250 ms of silence, and the time is its own", function()
    spec.value("blackhole")
    local serve = require "waddle.serve"
    local server <close> = assert(serve.tcp {address = "10.99.1.1", handler = function() end})
    with_hosts("10.99.7.9 fallback.test\n10.99.1.1 fallback.test\n", function()
      local result = tcp.connect("fallback.test:" .. server.port)
      assert.is_true(result.success)
      assert.equal("10.99.1.1", result.target_ip)
      assert.is_true(result.timings.fallback_ms >= 249)
      assert.is_true(result.latency_ms < 249)
    end)
  end)

  it("leaves the reason of the failure that says most", function()
    local port = closed_port()
    with_hosts("198.51.100.1 fallback.test\n127.0.0.1 fallback.test\n", function()
      local result = tcp.connect("fallback.test:" .. port)
      assert.equal("connection_refused", result.error)
      assert.equal("127.0.0.1", result.target_ip)
      assert.matches("2 addresses tried", result.error_detail)
    end)
  end)
end)

describe("a dialogue", function()
  it("sends, expects and times every step", function()
    local result = tcp.connect((spec.peer("tcp_dialogue")), {dialogue = {
      {expect = "220"}, {expect = "\r\n"}, {send = "HELO x\r\n"}, {expect = "250 hello\r\n"}, {send = "QUIT\r\n"}, {expect = "221"}}})
    assert.is_true(result.success)
    assert.equal("raw_tcp", result.protocol_detail)
    assert.equal(6, #result.dialogue)
    assert.equal("220", result.dialogue[1].received)
    assert.equal(" ready\r\n", result.dialogue[2].received)
    assert.equal(8, result.dialogue[3].sent_bytes)
    assert.equal("250 hello\r\n", result.dialogue[4].received)
    local sum = 0
    for _, step in ipairs(result.dialogue) do
      sum = sum + step.took_ms
    end
    assert.near(result.timings.dialogue_ms, sum, 1e-6)
    assert.equal(result.timings.connect_ms, result.latency_ms)
  end)

  it("closes in good order", function()
    local mark = spec.mark()
    assert.is_true(tcp.connect((spec.peer("tcp_echo")), {dialogue = {{send = "ping"}, {expect = "ping"}}}).success)
    local events = spec.eventually(function()
      local events = spec.log("tcp_echo", mark)
      return spec.count(events, "close") > 0 and events
    end)
    assert.equal(1, spec.count(events, "fin"))
    assert.equal(0, spec.count(events, "close", "reset"))
  end)

  it("finds what comes byte by byte, and takes any bytes", function()
    local result = tcp.connect((spec.peer("tcp_drip")), {dialogue = {{expect = "brown"}, {expect = "dog\n"}}})
    assert.is_true(result.success)
    assert.equal("the quick brown", result.dialogue[1].received)
    local echo = tcp.connect((spec.peer("tcp_echo")), {dialogue = {{send = "\0\255a\0b"}, {expect = "a\0b"}}})
    assert.equal("\0\255a\0b", echo.dialogue[2].received)
  end)

  it("gives up at max_bytes", function()
    local result = fails("protocol", tcp.connect((spec.peer("tcp_endless")), {dialogue = {{expect = "absent", max_bytes = 100}}}))
    assert.equal(100, #result.dialogue[1].received)
    assert.is_nil(result.dialogue[1].took_ms)
    assert.matches('step 1, expect "absent"', result.error_detail)
  end)

  it("fails as protocol where the peer closes first, with what came", function()
    local result = fails("protocol", tcp.connect((spec.peer("tcp_half_close")), {dialogue = {{expect = "220"}}}))
    assert.equal("bye\n", result.dialogue[1].received)
  end)

  it("fails as connection_reset at an RST", function()
    fails("connection_reset", tcp.connect((spec.peer("tcp_reset_after_5")), {dialogue = {{send = "12345"}, {expect = "x"}}}))
    for _ = 1, 20 do -- the RST may overtake our first look
      fails("connection_reset", tcp.connect((spec.peer("tcp_reset")), {dialogue = {{expect = "x"}}}))
    end
  end)

  it("fails as timeout in the step where silence fell, keeping the rest", function()
    local result = fails("timeout", tcp.connect((spec.peer("tcp_silent")), {timeout = 0.1, dialogue = {{send = "hi"}, {expect = "\n"}}}))
    assert.matches('step 2, expect "\\x0a"', result.error_detail, 1, true)
    assert.equal(2, result.dialogue[1].sent_bytes)
    assert.is_number(result.timings.connect_ms)
  end)

  it("sends more than the socket takes at once", function()
    local text = ("x"):rep(1 << 20)
    local result = tcp.connect((spec.peer("tcp_echo")), {dialogue = {{send = text}, {expect = "x"}}})
    assert.is_true(result.success)
    assert.equal(1 << 20, result.dialogue[1].sent_bytes)
    fails("timeout", tcp.connect((spec.peer("tcp_deaf")), {timeout = 0.3, dialogue = {{send = text}, {send = text}, {send = text}, {send = text},
      {send = text}, {send = text}, {send = text}, {send = text}, {send = text}, {send = text}, {send = text}, {send = text}}}))
  end)
end)

describe("tcp.connect with TLS", function()
  local function ca()
    return {ca = spec.value("ca")}
  end

  for _, protocol in ipairs {"smtp", "imap", "pop3", "ftp", "postgres"} do
    it("speaks STARTTLS for " .. protocol, function()
      spec.peer("nginx_tls") -- what waddle-peer splices to
      local result = tcp.connect((spec.peer(protocol, "localhost")), {starttls = protocol, tls = ca()})
      assert.is_nil(result.error_detail)
      assert.is_true(result.success)
      assert.equal("tcp", result.test_type)
      assert.equal("tcp_tls", result.protocol_detail)
      assert.equal("ok", result.tls.verify)
      assert.is_true(result.timings.starttls_ms > 0)
      assert.is_true(result.timings.tls_ms > 0)
      assert.equal(result.timings.connect_ms, result.latency_ms)
    end)

    it("says what the server said when it refuses STARTTLS for " .. protocol, function()
      local result = fails("protocol", tcp.connect((spec.peer(protocol .. "_refuse")), {starttls = protocol}))
      assert.is_nil(result.tls)
      assert.is_nil(result.timings.tls_ms)
    end)
  end

  it("is not taken in by what follows the server's consent", function()
    fails("protocol", tcp.connect((spec.peer("smtp_injected")), {starttls = "smtp", tls = ca()}))
  end)

  it("times out in the STARTTLS dialogue", function()
    local result = fails("timeout", tcp.connect((spec.peer("tcp_silent")), {starttls = "smtp", timeout = 0.1}))
    assert.is_nil(result.timings.starttls_ms)
  end)

  it("holds a dialogue inside TLS", function()
    local result = tcp.connect((spec.peer("nginx_h1", "localhost")), {tls = ca(), dialogue = {
      {send = "GET / HTTP/1.0\r\nHost: x\r\n\r\n"}, {expect = "HTTP/1.1 200"}, {expect = "ok\n"}}})
    assert.is_nil(result.error_detail)
    assert.is_true(result.success)
    assert.equal("tcp_tls", result.protocol_detail)
  end)

  it("says nothing to a peer whose certificate does not hold", function()
    local result = fails("tls_untrusted", tcp.connect((spec.peer("tls_untrusted", "localhost")),
      {tls = ca(), dialogue = {{send = "secret"}}}))
    assert.is_nil(result.dialogue)
    assert.equal("tls_untrusted", result.tls.verify)
    assert.is_true(tcp.connect((spec.peer("tls_untrusted", "localhost")), {tls = {verify = false}}).success)
  end)
end)

describe("tcp.connect's options", function()
  local function raises(pattern, ...)
    local ok, message = pcall(tcp.connect, ...)
    assert.is_false(ok)
    assert.matches(pattern, message)
  end

  it("are checked before anything is sent", function()
    raises("tcp%.connect: field 'target'", nil)
    raises("tcp%.connect: .*port", "localhost")
    raises("dialogue%[1%]", "h:1", {dialogue = {{}}})
    raises("dialogue%[2%]", "h:1", {dialogue = {{send = "x"}, {send = "x", expect = "y"}}})
    raises("max_bytes", "h:1", {dialogue = {{expect = "hello", max_bytes = 2}}})
    raises("starttls", "h:1", {starttls = "gopher"})
    raises("'key': needs 'cert'", "h:1", {tls = {key = "x.pem"}})
    raises("did you mean 'timeout'", "h:1", {timout = 1})
    raises("family", "h:1", {family = 5})
  end)
end)

describe("many tcp.connect at once", function()
  it("all connect, and leave nothing", function()
    local target, mark = spec.peer("tcp_silent"), spec.mark()
    local jobs = {}
    for i = 1, 300 do
      jobs[i] = target
    end
    local results = task.map(jobs, function(t) return tcp.connect(t) end, {concurrency = 300})
    for i = 1, results.n do
      assert.is_true(results[i].success)
    end
    spec.eventually(function() return spec.count(spec.log("tcp_silent", mark), "close") == 300 end)
  end)

  it("close their sockets when they are cancelled", function()
    local target = spec.peer("tcp_silent")
    local mark = spec.mark()
    local waiting = task.spawn(function() tcp.connect(target, {dialogue = {{expect = "never"}}}) end)
    spec.eventually(function() return spec.count(spec.log("tcp_silent", mark), "accept") == 1 end)
    waiting:cancel()
    spec.eventually(function()
      return spec.count(spec.log("tcp_silent", mark), "close") == 1
    end)
  end)
end)
