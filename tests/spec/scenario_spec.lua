-- Checks, thresholds and scenarios: what they print and the exit code they make.

local process = require "tests.support.process"

after_each(process.clean)

local function run(text)
  return process.run {"run", process.file("scenario.lua", text)}
end

local results = 'local good = {success = true, status = 200, latency_ms = 5, test_type = "http", target = "https://h.test/"} ' ..
  'local bad = {success = false, error = "timeout", test_type = "http", target = "https://h.test/"}\n'

describe("check", function()
  it("that holds leaves 0 and prints a line", function()
    local code, out = run(results .. 'print(check(good, "fast", {status = 200, latency_ms = "< 300"}))')
    assert.equal(0, code)
    assert.equal("✓ fast  5.00ms\ntrue\tnil\n1 checks passed, 0 failed\n", out)
  end)

  it("that fails is 99, says why, and the script goes on", function()
    local code, out = run(results .. 'check(good, "status", {status = 404}) check(bad, "up") print "still here" return 5')
    assert.equal(99, code)
    assert.matches("✗ status: [^\n]*200", out)
    assert.matches("✗ up: [^\n]*timeout", out)
    assert.matches("still here\n0 checks passed, 2 failed\n$", out)
  end)

  it("a failed probe fails any comparison, and without one the probe must have succeeded", function()
    assert.equal(99, (run(results .. 'check(bad, {latency_ms = "< 300"})')))
    assert.equal(99, (run(results .. "check(bad)")))
    assert.equal(0, (run(results .. "check(good)")))
  end)

  it("a comparison that cannot be understood is a script error at the user's line", function()
    local code, _, err = run(results .. '\ncheck(good, "x", {latency_ms = "<> 3"})')
    assert.equal(1, code)
    assert.matches("scenario%.lua:3: check: ", err)
    code, _, err = run(results .. "\n\ncheck(5)")
    assert.equal(1, code)
    assert.matches("scenario%.lua:4: check: expected a result, got number", err)
  end)

  it("what the network said cannot write on the terminal", function()
    local _, out = run 'check({success = true, body = "a\\27[2Jb"}, "x", {body = "c"})'
    assert.is_nil(out:find("\27", 1, true))
  end)
end)

describe("must", function()
  it("gives the result when it holds", function()
    local code, out = run(results .. 'print(must(good, "x", {status = 200}).status)')
    assert.equal(0, code)
    assert.matches("\n200\n", out)
  end)

  it("that fails ends its scenario, and the next one goes on", function()
    local code, out = run(results .. [[
      print(scenario("first", function() must(bad, "up") print "not reached" end))
      print(scenario("second", function() check(good, "fine") end))]])
    assert.equal(99, code)
    assert.is_nil(out:find("not reached", 1, true))
    assert.matches("first\n✗ up: [^\n]*\nfalse\nsecond\n✓ fine  5.00ms\ntrue\n1 checks passed, 1 failed\n$", out)
  end)

  it("that fails outside of one ends the script with 99 and no traceback; what it declared does not run", function()
    local code, out, err = run(results .. 'target "tcp://127.0.0.1:1" must(bad, "up") print "not reached"')
    assert.equal(99, code)
    assert.equal("", err)
    assert.matches("^✗ up: [^\n]*\n0 checks passed, 1 failed\n$", out)
  end)
end)

describe("scenario", function()
  it("lets a script error be one", function()
    local code, _, err = run 'scenario("s", function()\n error("mine") end)'
    assert.equal(1, code)
    assert.matches("scenario%.lua:2: mine", err)
  end)

  it("waits and probes inside", function()
    local code, out = run [[
      local server = serve.http{handler = function(q) return q.path == "/" and "hello" or nil end}
      local base = "http://127.0.0.1:" .. server.port
      scenario("pages", function()
        must(http.get(base .. "/", {keep_body = 100}), "front", {status = 200, body = "hello"})
        check(http.get(base .. "/none"), "gone", {status = 404})
      end)]]
    assert.matches("✓ front", out)
    assert.matches("2 checks passed, 0 failed\n$", out)
    assert.equal(0, code)
  end)
end)

describe("threshold", function()
  it("is judged at the end over what was checked: 0 or 99", function()
    local text = results .. 'threshold "max(http.latency_ms) < %d" for _ = 1, 3 do check(good) end'
    local code, out = run(text:format(10))
    assert.equal(0, code)
    assert.truthy(out:find("✓ max(http.latency_ms) < 10\n3 checks passed, 0 failed\n", 1, true))
    code, out = run(text:format(5))
    assert.equal(99, code)
    assert.matches("✗ max(http.latency_ms) < 5: it is 5\n", out, 1, true)
  end)

  it("without anything measured does not hold", function()
    local code, out = run 'threshold "p95(http.latency_ms) < 500"'
    assert.equal(99, code)
    assert.matches("nothing was measured", out)
  end)

  it("counts a result once, however often it is checked", function()
    local code = run(results .. 'threshold "count(http.latency_ms) == 1" check(good, "a") check(good, "b")')
    assert.equal(0, code)
  end)

  it("comes before the first check, and must be understood", function()
    local code, _, err = run(results .. 'check(good)\nthreshold "max(http.latency_ms) < 5"')
    assert.equal(1, code)
    assert.matches("scenario%.lua:3: threshold: declare it before the first check", err)
    code, _, err = run 'threshold "fast"'
    assert.equal(1, code)
    assert.matches("scenario%.lua:1: threshold", err)
  end)
end)
