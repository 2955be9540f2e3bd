local stats = require "waddle.stats"

local function series(...)
  local s = stats.series()
  for _, value in ipairs { ... } do
    s:add(value)
  end
  return s
end

describe("a series", function()
  it("has no figures of nothing", function()
    local s = stats.series()
    assert.equal(0, s.count)
    assert.is_nil(s:mean())
    assert.is_nil(s.min)
    assert.is_nil(s.max)
    assert.is_nil(s:percentile(95))
  end)

  it("has mean, extremes and exact percentiles", function()
    local s = series(5, 1, 4, 2, 3)
    assert.equal(3, s:mean())
    assert.equal(1, s.min)
    assert.equal(5, s.max)
    assert.equal(3, s:percentile(50))
    assert.equal(1, s:percentile(0))
    assert.equal(5, s:percentile(100))
    assert.equal(5, s:percentile(81))
    assert.equal(4, s:percentile(80))
    s:add(0)
    assert.equal(0, s:percentile(10))
  end)

  it("does not count what is no number", function()
    local s = series(1, 0 / 0, math.huge, -math.huge, "5", true)
    assert.equal(1, s.count)
    assert.equal(1, s.max)
  end)

  it("keeps percentiles within 1 % in bounded memory", function()
    local s, all = stats.series(), {}
    math.randomseed(42)
    for i = 1, 50000 do
      all[i] = math.exp(math.random() * 12 - 4)
      s:add(all[i])
    end
    table.sort(all)
    for _, p in ipairs { 1, 10, 50, 90, 95, 99, 99.9 } do
      local exact = all[math.ceil(p / 100 * #all)]
      local estimate = s:percentile(p)
      assert.is_true(math.abs(estimate - exact) <= exact * 0.0101, p .. ": " .. estimate .. " for " .. exact)
    end
    assert.equal(all[#all], s:percentile(100))
    local buckets = 0
    for _ in pairs(s.buckets) do
      buckets = buckets + 1
    end
    assert.is_true(buckets < 2000)
    assert.is_nil(s.values)
  end)

  it("keeps order and sign in its buckets", function()
    local s = stats.series()
    for i = -1000, 1000 do
      s:add(i)
    end
    assert.is_true(math.abs(s:percentile(25) + 500) < 11)
    assert.is_true(math.abs(s:percentile(75) - 500) < 11)
    assert.equal(0, s:percentile(50))
    assert.equal(-1000, s.min)
  end)
end)

describe("jitter", function()
  it("is the mean change between consecutive replies", function()
    assert.equal(2, (stats.jitter { 10, 12, 10, 12 }))
    assert.equal(3, (stats.jitter { n = 4, [1] = 10, [3] = 13, [4] = 16 }))
    assert.equal(0, (stats.jitter { 5, 5 }))
  end)

  it("is RFC 3550's smoothed figure", function()
    local _, smoothed = stats.jitter { 0, 16, 0 }
    assert.equal(1 + (16 - 1) / 16, smoothed)
  end)

  it("is absent with fewer than two replies", function()
    assert.same({ n = 2 }, table.pack(stats.jitter {}))
    assert.same({ n = 2 }, table.pack(stats.jitter { n = 3, [2] = 5 }))
  end)
end)

describe("a threshold", function()
  local function judge(text, results, values)
    local watch = stats.watch { assert(stats.threshold(text)) }
    for _, result in ipairs(results) do
      watch:add(setmetatable(result, { __index = function() error "undeclared" end }))
    end
    for _, value in ipairs(values or {}) do
      watch:value("checks", value)
    end
    local all, verdicts = watch:judge()
    assert.equal(all, verdicts[1].ok)
    return all, verdicts[1]
  end

  local function http(latency, more)
    local r = { test_type = "http", success = latency ~= nil, latency_ms = latency, timings = { ttfb_ms = latency } }
    for key, value in pairs(more or {}) do
      r[key] = value
    end
    return r
  end

  it("is judged over the results of its kind", function()
    local results = function() return { http(100), http(200), http(900, { test_type = "tcp" }) } end
    assert.is_true(judge("p95(http.latency_ms) < 500", results()))
    assert.is_false(judge("p95(latency_ms) < 500", results()))
    assert.is_true(judge("max(http.timings.ttfb_ms) <= 0.2s", results()))
    assert.is_true(judge("avg(http.latency_ms) == 150", results()))
    assert.is_true(judge("median(http.latency_ms) < 150ms", results()))
    assert.is_true(judge("count(http.latency_ms) >= 2", results()))
    assert.is_true(judge("min(tcp.latency_ms) > 1", results()))
  end)

  it("knows tls, ssh and dns by their protocol", function()
    assert.is_true(judge("max(tls.latency_ms) < 5", { http(1, { test_type = "tcp", protocol_detail = "tcp_tls" }), http(9, { test_type = "tcp" }) }))
  end)

  it("knows rates, as a share or in percent", function()
    local results = function() return { http(1), http(1), http(1), http(nil) } end
    assert.is_true(judge("rate(http.success) >= 0.75", results()))
    assert.is_true(judge("rate(http.success) >= 75%", results()))
    assert.is_false(judge("rate(success) > 75%", results()))
    assert.is_true(judge("rate(checks) > 0.5", {}, { true, true, false }))
  end)

  it("does not count the latency of a failure", function()
    assert.is_true(judge("mean(http.latency_ms) == 100", { http(100), http(nil) }))
  end)

  it("fails over nothing, and says so", function()
    local ok, verdict = judge("p95(http.latency_ms) < 500", {})
    assert.is_false(ok)
    assert.equal("nothing was measured", verdict.reason)
    assert.is_nil(verdict.value)
    ok, verdict = judge("p95(http.latency_ms) < 500", { http(600) })
    assert.is_false(ok)
    assert.equal("it is 600", verdict.reason)
    assert.is_true(judge("count(http.latency_ms) == 0", {}))
  end)

  it("is refused with a reason", function()
    for text, reason in pairs { ["latency_ms < 500"] = "expected figure(metric)", ["p95(http.latency_ms)"] = "expected figure(metric)",
      ["p101(http.latency_ms) < 5"] = "unknown figure 'p101'", ["maen(latency_ms) < 5"] = "did you mean 'mean'?", ["p95(latency_ms) < fast"] = "expected a number",
      ["p95(latency_ms) < 5MB"] = "expected seconds", ["mean(latency_ms) == fast"] = "and a number", ["p95(latency_ms) = 5"] = "expected < <= >", [""] = "expected figure" } do
      local threshold, message = stats.threshold(text)
      assert.is_nil(threshold, text)
      assert.truthy(message:find(reason, 1, true), message)
    end
    assert.is_nil((stats.threshold(5)))
  end)
end)
