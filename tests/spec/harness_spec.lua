-- The tests of the tests: the leak check finds leaks, the runner counts and fails as it says, waddle-peer's log can be read.

local leaks = require "tests.support.leaks"
local spec = require "tests.support.spec"
local task = require "waddle.task"

-- What the leak check says between making something with `make` and ending it with `unmake`.
local function left_by(make, unmake)
  leaks.remember()
  local made = make()
  local found = leaks.found(0)
  unmake(made)
  assert.is_nil(leaks.found())
  return found
end

describe("the leak check", function()
  it("finds nothing after nothing", function()
    assert.is_nil(left_by(function() end, function() end))
  end)

  it("finds nothing in a task that has ended", function()
    assert.is_nil(left_by(function() task.spawn(function() task.sleep(0.001) end):join() end, function() end))
  end)

  it("finds a task that sleeps, and its timer", function()
    local found = left_by(function()
      local sleeper = task.spawn(function() task.sleep(1000) end)
      task.sleep(0)
      return sleeper
    end, function(sleeper) sleeper:cancel() end)
    assert.matches("tasks %d+ %-> %d+", found)
    assert.matches("timers %d+ %-> %d+", found)
  end)

  it("finds a task that waits for a channel", function()
    local found = left_by(function()
      local channel = task.channel()
      local reader = task.spawn(function() channel:receive() end)
      task.sleep(0)
      return reader
    end, function(reader) reader:cancel() end)
    assert.matches("waiting %d+ %-> %d+", found)
  end)

  it("finds an open descriptor", function()
    local found = left_by(function() return io.open("/dev/null") end, function(file) file:close() end)
    assert.matches("^descriptors %d+ %-> %d+$", found)
  end)

  it("finds references that are kept", function()
    local registry = debug.getregistry()
    local found = left_by(function()
      registry[#registry + 1] = {}
      return #registry
    end, function(at) registry[at] = nil end)
    assert.matches("^registry %d+ %-> %d+$", found)
  end)

  it("names the spec", function()
    leaks.remember()
    local file = io.open("/dev/null")
    local ok, message = pcall(leaks.check, "the spec's name", 0)
    file:close()
    assert.is_false(ok)
    assert.matches("^'the spec's name' left something behind: descriptors", message)
  end)
end)

describe("the runner", function()
  -- Runs the runner on fixtures; gives the exit code and what it printed.
  local function runner(...)
    local files = {}
    for i, name in ipairs {...} do
      files[i] = "tests/support/fixtures/" .. name .. ".lua"
    end
    local program = os.getenv("WADDLE") or "build/waddle"
    local pipe = io.popen(("env -u WADDLE_SPEC_RUNNING WADDLE_PEER_DIR=. WADDLE_PEER_ABSENT_MISSING=away timeout 60 %s run tests/busted.lua %s 2>&1"):format(program, table.concat(files, " ")))
    local output = pipe:read("a")
    local _, _, code = pipe:close()
    return code, output
  end

  it("counts what passed, failed and was skipped, and a leak as a failure", function()
    local code, output = runner("mixed")
    assert.matches("\n3 passed, 4 failed, 2 skipped\n$", output)
    assert.equal(1, code)
    assert.matches("no peer 'absent': away", output)
    assert.matches("no peer is named 'absnet'", output)
    assert.matches("leaks' left something behind: descriptors", output)
  end)

  it("counts a file that does not load as a failure", function()
    local code, output = runner("broken")
    assert.matches("\n0 passed, %d failed, 0 skipped\n$", output)
    assert.equal(1, code)
  end)

  it("fails for a file that is not there", function()
    local code, output = runner("nothing")
    assert.matches("\n0 passed, %d failed, 0 skipped\n$", output)
    assert.equal(1, code)
  end)
end)

describe("spec.log", function()
  it("tells what a client did", function()
    local _, host, port = spec.peer("http")
    local mark = spec.mark()
    local pipe = io.popen(("curl -s -m 5 -H 'X-Mark: one' 'http://%s:%d/status/204?a=b' 2>&1"):format(host, port))
    pipe:read("a")
    if not pipe:close() then
      spec.skip("no curl here")
    end
    local events = spec.log("http", mark)
    assert.equal(1, spec.count(events, "accept"))
    assert.equal(1, spec.count(events, "request", "^GET /status/204%?a=b$"))
    assert.equal(1, spec.count(events, "header", "^X%-Mark: one$"))
    assert.equal(0, spec.count(events, "header", "^Authorization:"))
    spec.eventually(function() return spec.count(spec.log("http", mark), "close") == 1 end)
    assert.same({}, spec.log("http", spec.mark()))
  end)
end)
