-- http.request against real servers: versions, phases, redirects, credentials, bodies, TLS facts.

local http = require "waddle.http"
local spec = require "tests.support.spec"
local task = require "waddle.task"

local PHASES = {"dns_ms", "fallback_ms", "connect_ms", "proxy_ms", "tls_ms", "quic_ms", "request_ms", "ttfb_ms", "transfer_ms"}

-- The phases of a hop add up to its total, and none is negative.
local function assert_sums(timings)
  local sum = 0
  for _, name in ipairs(PHASES) do
    local value = timings[name]
    if value then
      assert.is_true(value >= 0, name)
      sum = sum + value
    end
  end
  assert.is_true(math.abs(sum - timings.total_ms) < 1e-6, ("%f is not %f"):format(sum, timings.total_ms))
end

local function trusted(opts)
  local o = {tls = {ca = spec.value("ca")}}
  for key, value in pairs(opts or {}) do
    o[key] = value
  end
  return o
end

-- Closes what a spec left in the pool: the answer to this request is the last on its connection.
local function close_pooled(url, opts)
  opts.reuse, opts.headers = true, {Connection = "close"}
  http.get(url, opts)
end

setup(function()
  http.get("http://127.0.0.1:1/") -- the transfer engine opens a descriptor of its own at first use
end)

describe("http.request", function()
  it("gives the common fields, the status and the phases of a plain request", function()
    local r = http.get(spec.url("http", "/ok"))
    assert.is_true(r.success)
    assert.are.equal(200, r.status)
    assert.are.equal("http", r.test_type)
    assert.are.equal("http/1.1", r.protocol_detail)
    assert.are.equal("127.0.0.1", r.target_ip)
    assert.are.equal("127.0.0.1", r.target_host)
    assert.are.equal(3, r.body_bytes)
    assert.is_nil(r.body)
    assert.is_nil(r.tls)
    assert.is_false(r.reused)
    assert.are.equal("waddle-peer", r.headers.server)
    assert.is_true(r.tcp.rtt_ms > 0)
    assert.are.equal(0, r.tcp.retransmits)
    assert.are.equal(r.timings.total_ms, r.latency_ms)
    assert.are.equal("user", r.quality.timestamp_source)
    assert.is_true(r.timings.connect_wall_ms >= r.timings.connect_ms)
    assert.is_nil(r.timings.dns_ms)
    assert.is_nil(r.timings.tls_ms)
    assert_sums(r.timings)
  end)

  it("times the look-up apart from the connection", function()
    local r = http.get(spec.url("http", "/ok", "localhost"))
    assert.is_true(r.timings.dns_ms > 0)
    assert_sums(r.timings)
  end)

  it("puts a server's delay into ttfb_ms", function()
    local r = http.get(spec.url("http", "/delay/100"))
    assert.is_true(r.timings.ttfb_ms >= 99)
    assert_sums(r.timings)
  end)

  it("puts a slow body into transfer_ms", function()
    local r = http.get(spec.url("http", "/drip"))
    assert.is_true(r.timings.transfer_ms > 1900)
    assert.is_true(r.timings.ttfb_ms < 1000)
    local expected = 100 * 8 / (r.timings.transfer_ms / 1000) / 1e6
    assert.is_true(math.abs(r.throughput_mbps - expected) < 1e-9)
    assert_sums(r.timings)
  end)

  it("puts a slow upload into request_ms", function()
    local r = http.post(spec.url("http", "/echo"), {body = ("x"):rep(900000)})
    assert.is_true(r.success)
    assert.is_true(r.timings.request_ms > 0)
    assert_sums(r.timings)
  end)

  it("says no throughput of a body that came in one piece", function()
    assert.is_nil(http.get(spec.url("http", "/ok")).throughput_mbps)
  end)

  for _, case in ipairs {{"1.1", "http/1.1", "http/1.1"}, {"2", "http/2", "h2"}, {"auto", "http/2", "h2"}} do
    it("speaks version " .. case[1] .. " over TLS, with its facts", function()
      local r = http.get(spec.url("nginx_tls", "/", "localhost"), trusted {version = case[1]})
      assert.is_nil(r.error_detail)
      assert.are.equal(case[2], r.protocol_detail)
      assert.are.equal(case[3], r.tls.alpn)
      assert.are.equal("TLSv1.3", r.tls.version)
      assert.is_truthy(r.tls.cipher:find("^TLS_"))
      assert.is_true(r.tls.bits >= 128)
      assert.are.equal("ok", r.tls.verify)
      assert.are.equal("CN=good.peer.test", r.tls.chain[1].subject)
      assert.is_true(r.tls.chain[1].days_left > 0)
      assert.is_true(r.timings.tls_ms > 0)
      assert_sums(r.timings)
    end)
  end

  it("names the cipher of TLS 1.2 as OpenSSL does", function()
    local r = http.get(spec.url("tls12", "/", "localhost"), trusted())
    assert.are.equal("TLSv1.2", r.tls.version)
    assert.is_truthy(r.tls.cipher:find("^ECDHE%-"))
  end)

  it("speaks HTTP/3 with one quic phase", function()
    spec.need_http3()
    local r = http.get(spec.url("caddy_h3", "/bytes/1m", "localhost"), trusted {version = "3"})
    assert.is_nil(r.error_detail)
    assert.are.equal("http/3", r.protocol_detail)
    assert.are.equal(1048576, r.body_bytes)
    assert.is_true(r.timings.quic_ms > 0)
    assert.is_nil(r.timings.connect_ms)
    assert.is_nil(r.timings.connect_wall_ms)
    assert.is_nil(r.timings.tls_ms)
    assert.are.equal("TLSv1.3", r.tls.version)
    assert.are.equal("ok", r.tls.verify)
    assert_sums(r.timings)
  end)

  it("says which library lacks HTTP/3", function()
    if spec.http3() then
      spec.skip("HTTP/3 is in " .. spec.libcurl())
    end
    local ok, message = pcall(http.get, "https://localhost/", {version = "3"})
    assert.is_false(ok)
    assert.is_truthy(message:find("field 'version': HTTP/3 is not in this libcurl (libcurl/", 1, true), message)
  end)

  it("flaw 2: does not fall back from a version that was asked for", function()
    local r = http.get(spec.url("nginx_h1", "/", "localhost"), trusted {version = "2"})
    assert.are.equal("protocol", r.error)
    assert.is_nil(r.latency_ms)
    r = http.get(spec.url("nginx_tls", "/", "localhost"), trusted {version = "3"})
    assert.are.equal("connection_refused", r.error)
    assert_sums(r.timings)
  end)

  it("measures a cold connection unless reuse is asked for", function()
    local url = spec.url("nginx_h1", "/", "localhost")
    for _ = 1, 2 do
      assert.is_false(http.get(url, trusted()).reused)
    end
    local first = http.get(url, trusted {reuse = true})
    local second = http.get(url, trusted {reuse = true})
    assert.is_false(first.reused)
    assert.is_true(second.reused)
    assert.is_nil(second.timings.connect_ms)
    assert.is_nil(second.timings.connect_wall_ms)
    assert.is_nil(second.timings.tls_ms)
    assert.are.equal(first.target_ip, second.target_ip)
    assert.are.equal(first.tls.chain[1].sha256, second.tls.chain[1].sha256)
    assert_sums(second.timings)
    close_pooled(url, trusted())
  end)

  it("connects anew where a connection to be used again is dead", function()
    local url = spec.url("http", "/hangup")
    assert.is_true(http.get(url, {reuse = true}).success)
    local r = http.get(url, {reuse = true})
    assert.is_true(r.success)
    assert_sums(r.timings)
    close_pooled(spec.url("http", "/close"), {})
  end)

  it("does not use a connection from another source again", function()
    local url = spec.url("http", "/ok")
    http.get(url, {reuse = true, source = "127.0.0.1"})
    assert.is_false(http.get(url, {reuse = true, source = "127.0.0.2"}).reused)
    close_pooled(spec.url("http", "/close"), {source = "127.0.0.1"})
    close_pooled(spec.url("http", "/close"), {source = "127.0.0.2"})
  end)

  it("follows redirects hop by hop, each with its phases", function()
    local r = http.get(spec.url("http", "/redirect/3"))
    assert.is_true(r.success)
    assert.are.equal(3, #r.redirects)
    local all = r.timings.total_ms
    for _, hop in ipairs(r.redirects) do
      assert.are.equal(302, hop.status)
      assert_sums(hop.timings)
      all = all + hop.timings.total_ms
    end
    assert.is_true(math.abs(all - r.latency_ms) < 1e-6)
    assert.is_truthy(r.url_effective:find("/redirect/0$"))
  end)

  it("takes a redirect for the answer with follow = 0, and gives up after as many as follow says", function()
    local r = http.get(spec.url("http", "/redirect/1"), {follow = 0})
    assert.is_true(r.success)
    assert.are.equal(302, r.status)
    r = http.get(spec.url("http", "/loop"), {follow = 4})
    assert.are.equal("redirects", r.error)
    assert.are.equal(4, #r.redirects)
    assert.are.equal("redirects", http.get(spec.url("http", "/to/302?ftp://x/")).error)
  end)

  it("turns a POST into a GET where the status says so, and only there", function()
    local r = http.post(spec.url("http", "/to/303?/headers"), {body = "abc", keep_body = 4096})
    assert.is_truthy(r.body:find("^GET /headers"))
    assert.is_nil(r.body:lower():find("content%-length", 1))
    r = http.post(spec.url("http", "/to/307?/echo"), {body = "abc", keep_body = 4096})
    assert.are.equal("abc", r.body)
  end)

  it("keeps credentials from another server, and sends them on to the same", function()
    local opts = {bearer = "secret-token", headers = {Cookie = "c=secret"}, keep_body = 4096}
    local elsewhere = spec.url("http", "/headers", "localhost")
    local r = http.get(spec.url("http", "/to/302?" .. elsewhere), opts)
    assert.is_true(r.success)
    assert.is_nil(r.body:find("secret"))
    r = http.get(spec.url("http", "/to/302?/headers"), opts)
    assert.is_truthy(r.body:find("Authorization: Bearer secret-token", 1, true))
    assert.is_truthy(r.body:find("Cookie: c=secret", 1, true))
  end)

  it("sends the credentials of a URL, and shows them nowhere", function()
    local url = spec.url("http", "/headers?token=hush"):gsub("//", "//user:hidden@")
    local r = http.get(url, {keep_body = 4096})
    assert.is_truthy(r.body:find("Authorization: Basic dXNlcjpoaWRkZW4=", 1, true))
    for _, text in ipairs {r.target, r.url_effective, r.target_host} do
      assert.is_nil(text:find("hidden") or text:find("hush"))
    end
    assert.is_true(http.get(spec.url("nginx_http", "/basic"), {auth = {user = "user", password = "secret"}}).success)
    assert.are.equal(401, http.get(spec.url("nginx_http", "/basic")).status)
  end)

  it("counts a body and keeps as much as it is asked to", function()
    local r = http.get(spec.url("http", "/bytes/100000"), {keep_body = "10k"})
    assert.are.equal(100000, r.body_bytes)
    assert.are.equal(10240, #r.body)
    assert.is_true(r.body_truncated)
    r = http.get(spec.url("http", "/ok"), {keep_body = 3})
    assert.are.equal("ok\n", r.body)
    assert.is_false(r.body_truncated)
  end)

  it("sends json, form and query", function()
    local r = http.post(spec.url("http", "/echo"), {json = {a = {1, 2}}, keep_body = 4096})
    assert.are.equal(2, r:json().a[2])
    r = http.post(spec.url("http", "/echo"), {form = {["a b"] = "1&2"}, keep_body = 4096})
    assert.are.equal("a%20b=1%262", r.body)
    r = http.get(spec.url("http", "/headers"), {query = {q = {1, "x y"}}, keep_body = 4096})
    assert.is_truthy(r.body:find("^GET /headers%?q=1&q=x%%20y "))
  end)

  it("joins repeated headers, cookies by lines", function()
    local r = http.get(spec.url("http", "/cookies"))
    assert.is_truthy(r.headers["set-cookie"]:find("^a=1.*\nb=two"))
  end)

  it("shows a client certificate, to the server it is for", function()
    local tls = {ca = spec.value("ca"), cert = spec.value("client_cert"), key = spec.value("client_key")}
    assert.is_true(http.get(spec.url("nginx_tls", "/client", "localhost"), {tls = tls}).success)
    assert.are.equal(403, http.get(spec.url("nginx_tls", "/client", "localhost"), trusted()).status)
  end)

  it("takes an authority as a file and as text", function()
    local file = assert(io.open(spec.value("ca")))
    local text = file:read("a")
    file:close()
    assert.is_true(http.get(spec.url("nginx_tls", "/", "localhost"), {tls = {ca = text}}).success)
  end)

  it("lets expect decide over success", function()
    local r = http.get(spec.url("http", "/status/404"), {expect = {status = 404}})
    assert.is_true(r.success)
    assert.is_true(r.latency_ms > 0)
    assert.are.equal("assertion", http.get(spec.url("http", "/ok"), {expect = {body = "not there"}}).error)
    assert.are.equal("body_too_large", http.get(spec.url("http", "/bytes/100"), {keep_body = 10, expect = {body = "y"}}).error)
  end)

  it("tries the next address after 250 ms of silence, and tells the wait apart", function()
    spec.value("blackhole")
    local serve = require "waddle.serve"
    local server <close> = assert(serve.http {address = "10.99.1.1", handler = function() return {status = 200, body = "ok"} end})
    spec.with_hosts("10.99.7.9 fallback.test\n10.99.1.1 fallback.test\n", function()
      local r = http.get("http://fallback.test:" .. server.port .. "/", {timeout = 5})
      assert.is_true(r.success, r.error_detail)
      assert.are.equal("10.99.1.1", r.target_ip)
      assert.is_true(r.timings.fallback_ms >= 249)
      assert.is_true(r.timings.connect_ms < 249)
      assert_sums(r.timings)
    end)
  end)

  it("runs many at once without a thread of its own", function()
    local function threads()
      local file <close> = assert(io.open("/proc/self/status"))
      return tonumber(file:read("a"):match("Threads:%s*(%d+)"))
    end
    local before = threads()
    local url = spec.url("http", "/delay/50", "localhost")
    local list = {}
    for i = 1, 200 do
      list[i] = url
    end
    local results = task.map(list, function(u) return http.get(u) end, {concurrency = 200})
    for i = 1, 200 do
      assert.is_true(results[i].success, tostring(results[i].error_detail))
      assert_sums(results[i].timings)
    end
    assert.are.equal(before, threads())
  end)

  it("blames itself, and not the target, when descriptors run out", function()
    local code = ([[
      local list = {}
      for i = 1, 100 do list[i] = i end
      local count = {}
      for _, r in ipairs(task.map(list, function() return http.get(%q, {timeout = 10}) end, {concurrency = 100})) do
        local name = r.error or "ok"
        count[name] = (count[name] or 0) + 1
      end
      print((count.ok or 0) + (count["local"] or 0), (count["local"] or 0) > 0)]]):format(spec.url("http", "/delay/50"))
    local file = os.tmpname()
    local out = assert(io.open(file, "w"))
    out:write(code)
    out:close()
    local pipe = io.popen(("ulimit -n 40; timeout -k 5 20 %s run %s 2>&1"):format(os.getenv("WADDLE") or "build/waddle", file))
    local text = pipe:read("a")
    pipe:close()
    os.remove(file)
    assert.are.equal("100\ttrue\n", text)
  end)

  it("flaw 19: takes a body of 200 MiB in less than 24 MiB of memory", function()
    local maps = assert(io.open("/proc/self/maps"))
    local sanitized = maps:read("a"):find("libasan", 1, true)
    maps:close()
    if sanitized then
      spec.skip("the memory of a sanitizer is no measure")
    end
    local code = ([[
      local r = http.get(%q)
      print(r.body_bytes, tonumber(io.open("/proc/self/status"):read("a"):match("VmHWM:%%s*(%%d+)")))]]):format(spec.url("http", "/mib/200"))
    local pipe = io.popen(("timeout -k 5 30 %s -e '%s' 2>&1"):format(os.getenv("WADDLE") or "build/waddle", code:gsub("'", "'\\''")))
    local text = pipe:read("a")
    pipe:close()
    local bytes, kib = text:match("^(%d+)%s+(%d+)")
    assert.are.equal("209715200", bytes, text)
    assert.is_true(tonumber(kib) < 24 * 1024, text)
  end)

  it("asks by every method, and takes an answer without a body", function()
    local r = http.head(spec.url("nginx_http", "/bytes/1m"))
    assert.is_true(r.success)
    assert.are.equal(0, r.body_bytes)
    assert.are.equal("1048576", r.headers["content-length"])
    assert.are.equal(204, http.get(spec.url("nginx_tls", "/empty", "localhost"), trusted()).status)
    assert.are.equal("abc", http.put(spec.url("http", "/echo"), {body = "abc", keep_body = 10}).body)
    r = http.request(spec.url("http", "/headers"), {method = "PURGE", keep_body = 4096})
    assert.is_truthy(r.body:find("^PURGE /headers"))
  end)

  it("keeps to a family, an address and a source", function()
    local url = spec.url("http", "/ok", "localhost")
    assert.are.equal("127.0.0.1", http.get(url, {family = 4}).target_ip)
    assert.are.equal("::1", http.get(url, {family = 6}).target_ip)
    local r = http.get(spec.url("http", "/headers", "elsewhere.test"), {address = "127.0.0.1", keep_body = 4096})
    assert.are.equal("127.0.0.1", r.target_ip)
    assert.is_nil(r.timings.dns_ms)
    assert.is_truthy(r.body:find("Host: elsewhere.test:", 1, true))
    assert.are.equal("local", http.get(url, {family = 4, source = "203.0.113.9"}).error)
  end)

  it("keeps to a source over QUIC", function()
    spec.need_http3()
    local r = http.get(spec.url("caddy_h3", "/", "127.0.0.1"), trusted {version = "3", source = "203.0.113.9"})
    assert.are.equal("local", r.error)
  end)

  it("looks at the certificates a second time where libcurl kept none", function()
    spec.need_http3()
    local r = http.get(spec.url("caddy_h3", "/", "localhost"), {version = "3", tls = {verify = false}})
    assert.is_true(r.success, r.error_detail)
    assert.are.equal("tls_untrusted", r.tls.verify)
    assert.are.equal("CN=good.peer.test", r.tls.chain[1].subject)
    assert.are.equal("h3", r.tls.alpn)
    assert_sums(r.timings)
  end)

  it("ends at once when its task is cancelled", function()
    local mark = spec.mark()
    local t = task.spawn(http.get, spec.url("http", "/silent?cancelled"), {timeout = 60})
    spec.eventually(function() return spec.count(spec.log("http", mark), "request", "cancelled") > 0 end)
    t:cancel()
    spec.eventually(function() return t:status() == "cancelled" end)
    spec.eventually(function() return spec.count(spec.log("http", mark), "fin") > 0 end)
  end)

  describe("raises for misuse:", function()
    for what, case in pairs {
      ["an unknown option"] = {{"http://h/", headrs = {}}, "did you mean 'headers'"},
      ["no scheme"] = {{"h/x"}, "expected http://"},
      ["another scheme"] = {{"ftp://h/"}, "expected http://"},
      ["a header with a line feed"] = {{"http://h/", headers = {A = "b\r\nC: d"}}, "line feeds"},
      ["a header name with a blank"] = {{"http://h/", headers = {["A B"] = "c"}}, "no header name"},
      ["a method with a blank"] = {{"http://h/", method = "GET /"}, "expected a word"},
      ["two kinds of credentials"] = {{"http://h/", bearer = "x", auth = {user = "u"}}, "give one of them"},
      ["two bodies"] = {{"http://h/", body = "x", json = {}}, "give one of body, json and form"},
      ["HTTP/3 without TLS"] = {{"http://h/", version = "3"}, "https://"},
      ["a proxy over TLS"] = {{"http://h/", proxy = "https://p:1"}, "field 'proxy'"},
    } do
      it(what, function()
        local ok, message = pcall(http.request, case[1])
        assert.is_false(ok)
        assert.is_truthy(message:find(case[2], 1, true), message)
      end)
    end
  end)
end)
