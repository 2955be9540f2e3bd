-- Site files and what scripts declare, as a user writes them: defaults, groups, what is wrong, and when it runs.

local manager = require "waddle.manager"
local process = require "tests.support.process"

after_each(process.clean)

local function run(text, ...)
  return process.run {"run", process.file("site.lua", text), ...}
end

-- Prints what was declared, before it runs.
local show = [[
local function declared()
  for _, t in ipairs(require("waddle.site").declared().targets) do
    local o = t.args[#t.args]
    local labels = {}
    for k, v in pairs(o.labels or {}) do labels[#labels + 1] = k .. "=" .. v end
    table.sort(labels)
    print(t.name, o.timeout, o.count, t.settings.every, table.concat(labels, ","))
  end
  sys.exit(0)
end
]]

describe("a wrong declaration ends with 2 and the place in the file,", function()
  local cases = {
    ["an unknown key"] = {'target{"tcp://127.0.0.1:1", timout = 5}', "unknown field 'timout'", "timeout"},
    ["a bad option"] = {'target{"icmp://127.0.0.1", count = "ten"}', "field 'count'"},
    ["a target that cannot be parsed"] = {'target "htp://127.0.0.1"', "unknown scheme 'htp'", "http"},
    ["a target without a scheme"] = {'target "127.0.0.1"', "no scheme"},
    ["a bad period"] = {'target{"tcp://127.0.0.1:1", every = "soon"}', "every:"},
    ["a bad overlap"] = {'target{"tcp://127.0.0.1:1", overlap = "quue"}', "did you mean 'queue'"},
    ["a bad blackout"] = {'target{"tcp://127.0.0.1:1", blackout = "sunday night"}', "blackout"},
    ["a bad transform"] = {'target{"tcp://127.0.0.1:1", transform = "x"}', "field 'transform': expected a function"},
    ["an unknown default"] = {"defaults{timout = 5}", "defaults: unknown field 'timout'"},
    ["an unknown default of a group"] = {'group("g", {evry = 5}, function() end)', "group: unknown field 'evry'"},
    ["a group without a function"] = {'group("g", {})', "group: expected"},
    ["a bad schedule"] = {'cron "61 * * * *"', "61"},
    ["a bad every"] = {'every "soon"', "every:"},
    ["a sink that is none"] = {"sink(5)", "sink: expected a function or an uploader, got number"},
    ["a global transform that is none"] = {"transform{}", "transform: expected a function, got table"},
    ["limits that are no table"] = {"limits(5)", "limits: expected a table, got number"},
    ["an unknown limit"] = {"limits{concurrency_per_hots = 5}", "limits: unknown field 'concurrency_per_hots'", "concurrency_per_host"},
    ["a limit of nothing at once"] = {"limits{concurrency = 0}", "limits: field 'concurrency': expected an integer from 1, got 0"},
    ["a limit that is no integer"] = {"limits{concurrency_per_host = 1.5}", "limits: field 'concurrency_per_host': expected an integer from 1, got 1.5"},
    ["a probe function without a name"] = {"target{probe = function() end}", "needs a name"},
  }
  for what, case in pairs(cases) do
    it(what, function()
      local code, out, err = run("local first = 1\n" .. case[1] .. "\nprint 'not reached'\n")
      assert.equal(2, code)
      assert.equal("", out)
      assert.matches("^waddle: [^\n]*/site%.lua:2: [^\n]*\n$", err)
      for i = 2, #case do
        assert.truthy(err:find(case[i], 1, true), err)
      end
    end)
  end

  it("two targets of one name, with both places", function()
    local code, _, err = run('target "tcp://127.0.0.1:1"\n\ntarget "tcp://127.0.0.1:1"\n')
    assert.equal(2, code)
    assert.matches("site%.lua:3: .*is named \"tcp://127%.0%.0%.1:1\" too, declared at [^ ]*/site%.lua:1", err)
  end)

  it("credentials hidden", function()
    local code, _, err = run 'target{"http://me:hunter2@127.0.0.1/", timout = 1}'
    assert.equal(2, code)
    assert.is_nil(err:find("hunter2", 1, true), err)
  end)

  it("a syntax error", function()
    local code, _, err = run "target {"
    assert.equal(2, code)
    assert.matches("site.lua:1:", err, 1, true)
  end)
end)

describe("a script error", function()
  it("is 1 with file:line and a traceback", function()
    local code, _, err = run "local x\n\nprint(x.y)\n"
    assert.equal(1, code)
    assert.matches("site%.lua:3: attempt to index a nil value", err)
    assert.matches("stack traceback", err)
  end)

  it("in a declaration that the script catches is its own affair", function()
    local code, out = run 'print(pcall(target, "nothing")) return 4'
    assert.equal(4, code)
    assert.matches("^false\t", out)
  end)
end)

describe("defaults and groups", function()
  it("hold for what follows in the same scope, and a target's own word wins", function()
    local code, out, err = run(show .. [[
      target "tcp://127.0.0.1:1"
      defaults{timeout = 3, every = 60, labels = {site = "a", floor = "1"}}
      target "tcp://127.0.0.1:2"
      group("g", {timeout = 4, labels = {floor = "2"}}, function()
        target "tcp://127.0.0.1:3"
        defaults{every = 5}
        group("h", function() target{"tcp://127.0.0.1:4", timeout = 9, labels = {floor = "3"}} end)
      end)
      target "tcp://127.0.0.1:5"
      declared()]])
    assert.equal(0, code, err)
    assert.equal("tcp://127.0.0.1:1\tnil\tnil\tnil\t\n" ..
      "tcp://127.0.0.1:2\t3\tnil\t60\tfloor=1,site=a\n" ..
      "tcp://127.0.0.1:3\t4\tnil\t60\tfloor=2,group=g,site=a\n" ..
      "tcp://127.0.0.1:4\t9\tnil\t5\tfloor=3,group=g/h,site=a\n" ..
      "tcp://127.0.0.1:5\t3\tnil\t60\tfloor=1,site=a\n", out)
  end)

  it("are left out where a target's probe does not know them", function()
    local _, out = run(show .. 'defaults{count = 2, timeout = 1} target "icmp://127.0.0.1" target "tcp://127.0.0.1:1" declared()')
    assert.equal("icmp://127.0.0.1\t1\t2\tnil\t\ntcp://127.0.0.1:1\t1\tnil\tnil\t\n", out)
  end)

  it("end with a group that raises", function()
    local _, out = run(show .. 'pcall(group, "g", {timeout = 4}, function() error "x" end) target "tcp://127.0.0.1:1" declared()')
    assert.equal("tcp://127.0.0.1:1\tnil\tnil\tnil\t\n", out)
  end)
end)

describe("what a file declares", function()
  it("runs when the file ends, each target once, and a failed probe without a check leaves 0", function()
    local code, out = run [[
      local server = serve.tcp{handler = function() end}
      target("tcp://127.0.0.1:" .. server.port)
      target "tcp://127.0.0.1:1"
      print "declared"]]
    assert.equal(0, code)
    assert.matches("^declared\n", out)
    assert.matches("✓ tcp://127.0.0.1:", out, 1, true)
    assert.matches("✗ tcp://127.0.0.1:1: connection_refused", out, 1, true)
  end)

  it("runs for -e too", function()
    local code, out = process.run {"-e", 'target "tcp://127.0.0.1:1"'}
    assert.equal(0, code)
    assert.matches("connection_refused", out)
  end)

  it("on a schedule runs until a signal", function()
    local _, out = run [[
      sys.virtual_clock()
      local n = 0
      target{probe = function() n = n + 1 if n == 3 then sys.exit(5) end return {success = true} end, name = "t", every = every "1h"}
      sink(function(r) print(r.target_name, n) end)]]
    assert.equal("t\t1\nt\t2\n", out)
  end)

  it("goes to its sinks in place of stdout, transformed", function()
    local _, out = run [[
      target{probe = function() return {success = true, latency_ms = 2} end, name = "t"}
      transform(function(r) r.latency_ms = r.latency_ms * 2 return r end)
      sink(function(r) print("one", r.latency_ms) end)
      sink(function(r) print("two", r.latency_ms) end)]]
    assert.equal("one\t4\ntwo\t4\n", out)
  end)

  it("is delivered by an uploader among the sinks before the program ends; a skipped run is not", function()
    local m <close> = assert(manager.start {})
    local code, _, err = run(([[
      target{"tcp://127.0.0.1:1", name = "a"}
      target{"tcp://127.0.0.1:2", name = "b", blackout = "00:00-24:00"}
      sink(upload.open{url = %q, spool = "none"})]]):format(m.url))
    assert.equal(0, code, err)
    assert.equal(1, m.stored)
    assert.equal("a", m.rows[1].raw_results.target_name)
  end)

  it("of a run that did not take place goes to an uploader where asked", function()
    local m <close> = assert(manager.start {})
    local code, _, err = run(([[
      target{"tcp://127.0.0.1:2", name = "b", blackout = "00:00-24:00"}
      sink(upload.open{url = %q, spool = "none"}, {skipped = true})]]):format(m.url))
    assert.equal(0, code, err)
    assert.equal(1, m.stored)
    assert.equal("skipped", m.rows[1].raw_results.error)
    for text, message in pairs {
      ["sink(function() end, {skipped = true})"] = "sink: only an uploader takes options",
      ["sink(upload.open{url = 'http://h', spool = 'none'}, {skiped = true})"] = "sink: unknown field 'skiped', did you mean 'skipped'?",
      ["sink(upload.open{url = 'http://h', spool = 'none'}, {skipped = 1})"] = "sink: field 'skipped': expected a boolean, got number",
    } do
      local status, _, said = run(text)
      assert.equal(2, status, said)
      assert.matches(message, said, 1, true)
    end
  end)

  it("is 3 when the uploader could not deliver", function()
    local m <close> = assert(manager.start {always = 403})
    local code, _, err = run(('target "tcp://127.0.0.1:1" sink(upload.open{url = %q, spool = "none"})'):format(m.url))
    assert.equal(3, code)
    assert.matches("results not delivered: 1", err)
  end)

  it("counts for thresholds", function()
    local code, out = run [[
      threshold "p95(latency_ms) < 5"
      target{probe = function() return {success = true, latency_ms = 9} end, name = "t"}
      sink(function() end)]]
    assert.equal(99, code)
    assert.matches("✗ p95(latency_ms) < 5: it is 9", out, 1, true)
  end)
end)

describe("log", function()
  it("writes to stderr, formats, and hides credentials", function()
    local code, out, err = process.run {"-e", 'log.warning("%d of %s", 3, "x") log.error "100% http://a:hunter2@h/" log.info "quiet" log.level "debug" log.debug "loud"'}
    assert.equal(0, code, err)
    assert.equal("", out)
    assert.matches("WARNING 3 of x\n", err)
    assert.matches("ERROR   100% http://***@h/\n", err, 1, true)
    assert.is_nil(err:find("quiet"))
    assert.matches("DEBUG   loud", err)
  end)
end)
