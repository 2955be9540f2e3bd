-- What the fuzzers of tests/fuzz found, each with its input, or the part of it that counts.

local config = require "waddle.config"
local contract = require "waddle.contract"
local control = require "waddle.control"
local duration = require "waddle.duration"
local env = require "waddle.env"
local inspect = require "waddle.inspect"
local json = require "waddle.json"
local redact = require "waddle.redact"
local repl = require "waddle.repl"
local rules = require "waddle.manager_rules"
local runner = require "waddle.runner"
local schedule = require "waddle.schedule"
local show = require "waddle.show"
local target = require "waddle.target"
local text = require "waddle.text"
local trim = require "waddle.trim"

local LONG = 60000
local LONGEST_S = 1.5 -- of CPU; what is quadratic takes tens of seconds for LONG bytes

local function quickly(fn, ...)
  local began = os.clock()
  local values = table.pack(fn(...))
  local took = os.clock() - began
  assert(took < LONGEST_S, ("took %.1f s"):format(took))
  return table.unpack(values, 1, values.n)
end

local function refused(pattern, value, message)
  assert.is_nil(value)
  assert.matches(pattern, message)
end

local function load_json(values)
  return config.load {env = function() end, flags = {config_file = "c.json"}, read_file = function() return json.encode(values) end}
end

describe("long texts take time that grows with their length, not with its square:", function()
  local blanks = (" "):rep(LONG)

  it("blanks in a target, a period, a cron line and a blackout window", function()
    refused("longer than", quickly(target.parse, "a" .. blanks .. "b", "http"))
    refused("longer than 100 bytes", quickly(duration.parse, "a" .. blanks .. "b"))
    refused("longer than 1000 bytes", quickly(schedule.read, "a" .. blanks .. "b"))
    refused("longer than 1000 bytes", quickly(schedule.blackout, blanks .. "b"))
    assert.equal("a" .. blanks .. "b", quickly(trim, " a" .. blanks .. "b "))
    assert.equal("", quickly(trim, blanks))
  end)

  it("digits before a letter that is no unit", function()
    refused("longer than 100 bytes", quickly(duration.parse, ("1"):rep(LONG) .. "@"))
  end)

  it("blanks and colons in the settings of an agent", function()
    refused("expected true or false", quickly(load_json, {enable_http_test = "a" .. blanks .. "b"}))
    refused("longer than 8192 bytes", quickly(load_json, {udp_targets = {"dns[::1]test@192.0.2.53" .. (":53"):rep(LONG // 3)}}))
  end)

  it("blanks behind the word help", function()
    assert.is_nil(quickly(repl.help, "help" .. blanks .. "x"))
  end)

  it("what is hidden of a target", function()
    assert.matches("^192%.0%.2%.53", quickly(redact.target, "192.0.2.53" .. (":53"):rep(LONG // 3) .. "?"))
    assert.equal("***@h", quickly(redact.target, "u" .. (":p"):rep(LONG // 2) .. "@h"))
    assert.equal("http://***@", quickly(redact.target, "http://" .. ("1"):rep(LONG) .. "@"))
  end)

  it("columns beside a wide one", function()
    local shown = quickly(text.table, {{("x"):rep(LONG), "1"}, {"y", "2"}, {"z", ""}})
    assert.equal("\nz\n", shown:sub(-3))
    quickly(inspect.value, {[("helpt"):rep(LONG // 5)] = 1, 2})
  end)
end)

describe("texts that are long enough to pass a bound", function()
  it("are cut again once their secrets are masked", function()
    local result = {test_type = "http", target = "https://a.test/", success = true, status = 200, protocol_detail = "&sid=?" .. ("x"):rep(44) .. "&sid=y",
      target_host = ("x"):rep(248) .. "?sid=y", target_ip = "?sid=y" .. (":"):rep(39)}
    local built = assert(contract.build(result, {serial = ("&sid=y"):rep(42), hostname = "h", os = "o", os_version = "v"}))
    local status, message = rules.check(built.body)
    assert.equal("stored", message)
    assert.equal(201, status)
  end)
end)

describe("schedules", function()
  it("refuse a step beyond all numbers", function()
    refused("'%*/99999999999999999999' has a step that is no number from 1 to 999", schedule.cron("*/99999999999999999999 * * * *"))
  end)

  it("refuse a period too short to be counted", function()
    refused("1 ms or longer", schedule.every(1e-300))
    refused("1 ms or longer", schedule.every("0.0000001us"))
    assert.equal(0.001, schedule.every("1ms").period)
  end)

  it("are not taken from tables that only look like them", function()
    for _, value in ipairs {{kind = "every", jitter = 0}, {kind = "every", period = 5, jitter = 0}, {kind = "cron"}, {kind = "cron", offset = 1}} do
      refused("got a table", load_json {tcp_targets = {{target = "a:1", every = value}}})
    end
    local loaded = assert(load_json {http_targets = {}, tcp_targets = {{target = "a:1", blackout = {kind = "blackout"}}}})
    refused("blackout: expected a text", runner.read(loaded.targets[1]))
    assert.equal(5, schedule.read(schedule.every(5)).period)
    assert.is_truthy(schedule.read(schedule.cron "@hourly"))
    assert.is_truthy(runner.read {settings = {blackout = schedule.blackout "sat"}})
  end)

  it("have targets of names of their own, also where one was given the name of another's second", function()
    local loaded = assert(load_json {icmp_targets = {}, http_targets = {}, tcp_targets = {{target = "b:1", name = "a:1 #2"}, "a:1", "a:1", "a:1"}})
    local names = {}
    for i, found in ipairs(loaded.targets) do
      names[i] = found.name
    end
    assert.same({"a:1 #2", "a:1", "a:1 #3", "a:1 #4"}, names)
  end)
end)

describe("the control socket", function()
  it("answers bytes that are no UTF-8 in UTF-8", function()
    local reply = control.answer(control.commands {echo = function(word) return word end}, "\xec\x95\x90\xdf")
    assert.is_truthy(utf8.len(reply))
    assert.equal("no command '\u{c550}\u{fffd}'", json.decode(reply).error)
    assert.equal("\u{fffd}", json.decode(control.answer(control.commands {echo = function(word) return word end}, "echo \xff")).value)
  end)
end)

describe("the prompt", function()
  it("has a message for help about what a module that was used has not", function()
    local scope = env.new()
    assert.is_truthy(scope.tcp) -- from now on a name it does not have is an error
    assert.matches("no help for 'tcp.foo'", repl.help "help tcp.foo", 1, true)
  end)
end)

describe("a result shown", function()
  it("has no control character of a name or a verdict that a script made", function()
    local odd = "\27]0;x\7"
    for _, result in ipairs {{test_type = "tcp", target = "a", success = false, error = odd},
      {test_type = "tls", target = "a", success = true, tls = {verify = odd}}} do
      assert.is_nil(show.line(result):find("%c"))
      assert.is_nil((show.result(result):gsub("\n", "")):find("%c"))
    end
  end)
end)
