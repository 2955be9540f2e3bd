local compare = require "waddle.compare"

local function result(fields)
  local r = { test_type = "http", success = true, status = 200, latency_ms = 120.5, body = "<html>welcome</html>", headers = { server = "nginx/1.2" },
    throughput_mbps = 12, bytes_received = 5, download_bytes = 2048, packet_loss_percent = 25, tls = { version = "TLSv1.3", chain = { { days_left = 30 } } },
    timings = { ttfb_ms = 80 } }
  for key, value in pairs(fields or {}) do
    r[key] = value
  end
  return r
end

local function apply(spec, r)
  return compare.apply(assert(compare.compile(spec)), r or result())
end

describe("a comparison that holds", function()
  for i, spec in ipairs {
    { status = 200 }, { status = { 200, 204 } }, { status = { 404, "< 300" } }, { latency_ms = "< 300" }, { latency_ms = "<300ms" }, { latency_ms = "< 1.5s" },
    { latency_ms = ">= 120.5" }, { latency_ms = "<= 120.5" }, { latency_ms = "!= 0" }, { status = "== 200" }, { success = true },
    { body = "welcome" }, { body = "<html>" }, { body = { match = "w%a+e" } }, { body = { "nothing", "welcome" } }, { tls = { version = "TLSv1.3" } },
    { ["tls.version"] = "TLSv1.3" }, { ["tls.chain.1.days_left"] = "> 14" }, { ["timings.ttfb_ms"] = "< 100ms" },
    { headers = { Server = { match = "^nginx" } } }, { throughput_mbps = "> 5 Mbps" }, { download_bytes = "< 1MiB" }, { packet_loss_percent = "< 50%" },
    { status = 200, latency_ms = "< 300", body = "welcome" },
  } do
    it("passes (" .. i .. ")", function()
      local ok, reason = apply(spec)
      assert.is_nil(reason)
      assert.is_true(ok)
    end)
  end

  it("takes one fitting element of a list", function()
    assert.is_true(apply({ addresses = "192.0.2.2" }, result { addresses = { "192.0.2.1", "192.0.2.2" } }))
    assert.is_false(apply({ addresses = "192.0.2.3" }, result { addresses = { "192.0.2.1" } }))
    assert.is_false(apply({ addresses = "192.0.2.3" }, result { addresses = {} }))
  end)
end)

describe("a comparison that does not hold says field, expected and got", function()
  for _, case in ipairs {
    { { status = 201 }, "status: expected 201, got 200" },
    { { status = "200" }, 'status: expected "200", got 200' },
    { { status = { 404, "> 500" } }, "status: expected one of 404, > 500, got 200" },
    { { latency_ms = "< 100ms" }, "latency_ms: expected < 100ms, got 120.5" },
    { { body = "goodbye" }, 'body: expected a text with "goodbye", got "<html>welcome</html>"' },
    { { ["tls.version"] = { match = "1%.2$" } }, 'tls.version: expected a match of "1%.2$", got "TLSv1.3"' },
    { { ["tls.cipher"] = "x" }, 'tls.cipher: expected "x", got nothing' },
    { { ["tls.cipher"] = "!= x" }, "tls.cipher: expected != x, got nothing" },
    { { ["status.x"] = 1 }, "status.x: expected 1, got nothing" },
    { { status = 500, latency_ms = "> 999" }, "latency_ms: expected > 999, got 120.5; status: expected 500, got 200" },
  } do
    it(case[2], function()
      local ok, reason = apply(case[1])
      assert.is_false(ok)
      assert.equal(case[2], reason)
    end)
  end

  it("without printing a long body", function()
    local _, reason = apply({ body = "x" }, result { body = ("y"):rep(100000) })
    assert.is_true(#reason < 200)
  end)
end)

describe("a failed probe", function()
  local failed = { test_type = "tcp", success = false, error = "timeout", error_detail = "no answer in 10 s" }

  it("fails a comparison and is never compared with nil", function()
    local ok, reason = apply({ latency_ms = "< 300" }, failed)
    assert.is_false(ok)
    assert.equal("the probe failed: timeout (no answer in 10 s)", reason)
    assert.is_false((apply({ latency_ms = "!= 300" }, failed)))
  end)

  it("passes a comparison about the failure", function()
    assert.is_true(apply({ success = false }, failed))
    assert.is_true(apply({ error = "timeout" }, failed))
    assert.is_true(apply({ error = { "timeout", "connection_refused" } }, failed))
    assert.is_false((apply({ error = "dns_nxdomain" }, failed)))
  end)

  it("fails even where an old field would fit", function()
    assert.is_false((apply({ status = 200 }, result { success = false, error = "connection_reset" })))
  end)

  it("was judged by its status: a comparison of the status judges anew, any other does not", function()
    local r = result { success = false, error = "http_status", status = 404 }
    assert.is_true(apply({ status = 404 }, r))
    assert.is_true(apply({ status = 404, body = "welcome" }, r))
    assert.is_false((apply({ body = "welcome" }, r)))
  end)

  it("was judged by its rcode or certificate: the same", function()
    assert.is_true(apply({ rcode = "NXDOMAIN" }, { success = false, error = "dns_nxdomain", rcode = "NXDOMAIN" }))
    assert.is_true(apply({ ["tls.verify"] = "tls_expired" }, { success = false, error = "tls_expired", tls = { verify = "tls_expired" } }))
    assert.is_false((apply({ rcode = "NXDOMAIN" }, { success = false, error = "dns_timeout" })))
  end)
end)

describe("compare.judge", function()
  it("makes an expected 404 a success with its latency", function()
    local r = compare.judge(compare.compile { status = 404 }, { success = false, error = "http_status", error_detail = "404", status = 404,
      latency_ms = 12.5 })
    assert.same({ success = true, status = 404, latency_ms = 12.5 }, r)
  end)

  it("makes an unmet expectation an assertion without a latency", function()
    local r = compare.judge(compare.compile { status = 204 }, { success = true, status = 200, latency_ms = 5 })
    assert.same({ success = false, status = 200, error = "assertion", error_detail = "status: expected 204, got 200" }, r)
  end)

  it("keeps the probe's own failure", function()
    local r = compare.judge(compare.compile { status = 204 }, { success = false, error = "timeout", error_detail = "10 s", latency_ms = 5 })
    assert.same({ success = false, error = "timeout", error_detail = "10 s" }, r)
  end)
end)

describe("compare.compile", function()
  it("refuses with the field and the reason", function()
    for _, case in ipairs {
      { nil, "expected a table" }, { "latency_ms < 3", "expected a table" }, { {}, "checks nothing" }, { { status = {} }, "field 'status'" },
      { { latency_ms = "< fast" }, "field 'latency_ms': expected a number, got 'fast'" }, { { latency_ms = "<" }, "field 'latency_ms': expected a number" },
      { { latency_ms = "< 3MB" }, "field 'latency_ms'" }, { { status = "< 3s" }, "the unit 's' does not fit" },
      { { server = { match = "[a" } }, "field 'server': the pattern" }, { { server = { match = 5 } }, "takes a Lua pattern" }, { { x = print }, "got a function" },
      { { a = { b = { match = "%" } } }, "field 'a.b'" }, { { [true] = 1 }, "must be a text" },
    } do
      local checker, message = compare.compile(case[1])
      assert.is_nil(checker)
      assert.truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("does not follow a table that contains itself for ever", function()
    local loop = {}
    loop.a = loop
    assert.is_nil((compare.compile(loop)))
  end)

  it("passes on what a strict result knows about a misspelt name", function()
    local strict = setmetatable({ success = true }, { __index = function(_, key)
      error(("no field '%s', did you mean 'status'?"):format(key))
    end })
    local ok, reason = apply({ statsu = 200 }, strict)
    assert.is_false(ok)
    assert.equal("no field 'statsu', did you mean 'status'?", reason)
  end)
end)
