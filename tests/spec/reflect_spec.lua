-- reflect: every service measured with the probe it is there for.

local dns = require "waddle.dns"
local http = require "waddle.http"
local program = require "tests.support.program"
local reflect = require "waddle.reflect"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local ssh = require "waddle.ssh"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local tls = require "waddle.tls"
local udp = require "waddle.udp"

describe("reflect", function()
  local other

  setup(function() http.request("http://127.0.0.1:1/") end) -- the engine opens what it keeps

  before_each(function() other = assert(reflect.start()) end)
  after_each(function() other:close() end)

  local function at(name)
    return "127.0.0.1:" .. other[name]
  end

  local function get(path, opts)
    return http.request("http://" .. at "http" .. path, opts)
  end

  it("speaks HTTP: greeting, statuses, sizes, delays, redirects, headers, echo", function()
    assert.matches("^waddle .* reflects", get("/", {keep_body = 100}).body)
    for _, status in ipairs {200, 204, 304, 404, 418, 503, 599} do
      assert.equal(status, get("/status/" .. status, {follow = 0}).status)
    end
    for _, size in ipairs {0, 1, 65537, 5000000} do
      local result = get("/bytes/" .. size)
      assert.equal(200, result.status)
      assert.equal(size, result.body_bytes)
    end
    local late = get("/delay/0.2")
    assert.is_true(late.success and late.latency_ms >= 200 and late.timings.ttfb_ms >= 199)
    local moved = get("/redirect/3")
    assert.equal(200, moved.status)
    assert.equal(3, #moved.redirects)
    assert.matches('"x%-mine":"yes"', get("/headers", {headers = {["X-Mine"] = "yes"}, keep_body = 2000}).body)
    assert.equal("words", get("/echo", {method = "POST", body = "words", keep_body = 100}).body)
  end)

  it("answers 404 for what it does not know or will not do", function()
    for _, path in ipairs {"/nothing", "/status/99", "/status/600", "/status/x", "/status/200.5", "/bytes/-1", "/bytes/1e20", "/delay/301", "/delay/nan",
      "/redirect/51", "/status"} do
      assert.equal(404, get(path, {timeout = 2}).status, path)
    end
  end)

  it("speaks HTTPS with its own certificate", function()
    local url = "https://" .. at "https" .. "/"
    local result = http.request(url, {tls = {ca = other.certificate}})
    assert.is_true(result.success)
    assert.equal(other.fingerprint, result.tls.chain[1].sha256)
    assert.equal("tls_untrusted", http.request(url).error)
  end)

  it("echoes TCP", function()
    local result = tcp.connect(at "tcp", {dialogue = {{send = "there and back"}, {expect = "there and back"}}})
    assert.is_true(result.success)
  end)

  it("echoes TLS", function()
    local result = tls.connect(at "tls", {ca = other.certificate})
    assert.is_true(result.success, result.error_detail)
    assert.equal(other.fingerprint, result.tls.chain[1].sha256)
    local _, out = program.sh(("(echo hello; sleep 1) | openssl s_client -quiet -no_ign_eof -connect %s 2>/dev/null"):format(at "tls"))
    assert.equal("hello\n", out)
  end)

  it("shows an SSH banner", function()
    local result = ssh.connect(at "ssh")
    assert.is_true(result.success, result.error_detail)
    assert.matches("^SSH%-2%.0%-waddle_", result.banner)
  end)

  it("echoes UDP", function()
    local result = udp.ping(at "udp", {count = 5, interval = 0.01, size = 1200})
    assert.equal(5, result.packets_received)
    assert.equal(0, result.duplicates)
  end)

  it("answers for its zone over UDP and TCP", function()
    local function ask(name, kind, more)
      local opts = {type = kind, server = at "dns", timeout = 2}
      for key, value in pairs(more or {}) do
        opts[key] = value
      end
      return dns.query(name, opts)
    end
    for _, kind in ipairs {"A", "AAAA", "MX", "NS", "TXT", "SOA", "CAA"} do
      local result = ask("waddle.test", kind)
      assert.is_true(result.success, kind .. ": " .. tostring(result.error_detail))
    end
    assert.is_true(ask("_dns._udp.waddle.test", "SRV").success)
    assert.equal(2, #ask("www.waddle.test", "A").answers)
    assert.is_true(ask("waddle.test", "A", {transport = "tcp"}).success)
    assert.equal("dns_nxdomain", ask("nothing.waddle.test", "A").error)
    assert.equal("dns_nodata", ask("mail.waddle.test", "AAAA").error)
    assert.equal("dns_refused", ask("example.com", "A").error)
    local cut = ask("large.waddle.test", "TXT")
    assert.is_true(cut.success)
    assert.equal(80, #cut.answers)
    assert.equal("tcp", cut.transport)
  end)

  it("answers nothing to what is no query", function()
    local core = require "waddle.core.datagram"
    local socket <close> = core.open("127.0.0.1", 0)
    for _, bytes in ipairs {"", "x", ("\0"):rep(12), ("\255"):rep(600), "\0\1\128\0\0\1\0\0\0\0\0\0\0\0\1\0\1"} do
      socket:send(bytes, "127.0.0.1", other.dns)
    end
    local bytes, why = socket:receive(0.1)
    assert.is_nil(bytes)
    assert.equal("timeout", why)
    assert.is_true(dns.query("waddle.test", {server = at "dns"}).success)
  end)

  it("refuses what is no question for records of the Internet", function()
    local socket <close> = require("waddle.core.datagram").open("127.0.0.1", 0)
    local function rcode(flags, class)
      socket:send(string.pack(">I2 I2 I2 I2 I2 I2 s1 s1 B I2 I2", 7, flags, 1, 0, 0, 0, "waddle", "test", 0, 1, class), "127.0.0.1", other.dns)
      local answer = assert(socket:receive(5))
      local id, head = string.unpack(">I2 I2", answer)
      assert.equal(7, id)
      return head & 15
    end
    assert.equal(0, rcode(0, 1))
    assert.equal(4, rcode(5 << 11, 1)) -- an UPDATE: NOTIMP
    assert.equal(5, rcode(0, 3)) -- class CH: REFUSED
  end)

  it("runs what is asked for on the ports asked for", function()
    local some = assert(reflect.start {ports = {tcp = 0, ssh = 0}})
    assert.is_number(some.tcp)
    assert.is_number(some.ssh)
    assert.is_nil(some.http)
    local none, message = reflect.start {ports = {tcp = 0, ssh = some.tcp}}
    assert.is_nil(none)
    assert.matches("Address already in use", message, 1, true)
    some:close()
  end)

  it("listens on IPv6 where there is one", function()
    local probe = serve.tcp {address = "::1", handler = function() end}
    if not probe then
      spec.skip("this machine has no IPv6 on loopback")
    end
    probe:close()
    local six = assert(reflect.start {address = "::1"})
    assert.is_true(http.request(("http://[::1]:%d/"):format(six.http)).success)
    assert.is_true(udp.ping(("[::1]:%d"):format(six.udp), {count = 1}).success)
    assert.is_true(dns.query("waddle.test", {server = ("[::1]:%d"):format(six.dns)}).success)
    six:close()
  end)
end)

describe("waddle reflect", function()
  it("prints its ports as JSON, writes its certificate, and ends cleanly on a signal", function()
    local file = os.tmpname()
    local wait = program.start(("exec %s reflect --random --json --certificate %s & until [ -s %s ]; do sleep 0.01; done; sleep 0.1; kill -TERM $!; wait $!")
      :format(program.path, file, file))
    local code, out, err = wait()
    assert.equal(0, code, err)
    local document = require("waddle.json").decode(out)
    for _, service in ipairs(reflect.services) do
      assert.is_true(document[service.name] > 0, service.name)
    end
    local pem = io.open(file)
    assert.matches("BEGIN CERTIFICATE", pem:read("a"), 1, true)
    pem:close()
    os.remove(file)
  end)

  it("says what it cannot use: 2 for bad usage, 1 for a port that is taken", function()
    local code, _, err = program.run {"reflect", "--http", "70000"}
    assert.equal(2, code)
    assert.matches("expected a port from 0", err, 1, true)
    code, _, err = program.run {"reflect", "--address", "example"}
    assert.equal(2, code)
    assert.matches("waddle reflect: .*expected an IP address", err)
    assert.is_nil(err:find("traceback", 1, true))
    local server <close> = serve.tcp {handler = function() end}
    code, _, err = program.run {"reflect", "--http", "none", "--https", "none", "--tcp", "none", "--tls", "none", "--udp", "none", "--dns", "none",
      "--ssh", tostring(server.port)}
    assert.equal(1, code)
    assert.equal(("waddle reflect: serve.tcp: cannot listen on 127.0.0.1 port %d: Address already in use\n"):format(server.port), err)
  end)
end)

describe("reflect's time", function()
  it("is not spent on a client that leaves in the middle of a delay", function()
    local other = assert(reflect.start {ports = {http = 0}})
    local lost = task.spawn(http.request, ("http://127.0.0.1:%d/delay/100"):format(other.http), {timeout = 0.1})
    assert.equal("timeout", lost:join().error)
    assert.is_true(http.request(("http://127.0.0.1:%d/"):format(other.http)).success)
    other:close()
  end)
end)
