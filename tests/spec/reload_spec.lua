-- New targets for a running agent, on SIGHUP and by a changed file: what stays, what is swapped, and what a broken file does.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"

after_each(process.clean)

local function write(path, text)
  local temporary = path .. ".new"
  local file <close> = assert(io.open(temporary, "wb"))
  file:write(text)
  file:close()
  assert(os.rename(temporary, path))
end

-- An agent that runs this site, its file, and how often a text is in its log.
local function start(text, more)
  local m = assert(manager.start {})
  local path = process.file("site.lua", text)
  local env = {MANAGER_URL = m.url, HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s", DEVICE_HOSTNAME = "h", WADDLE_CONTROL = "none", WADDLE_SITE = path}
  for name, value in pairs(more or {}) do
    env[name] = value
  end
  local a = process.start({"agent"}, env)
  local self = {path = path, manager = m}
  function self.write(new) write(path, new) end
  function self.hangup() a:kill "HUP" end
  function self.count(pattern) return select(2, a:err():gsub(pattern, "")) end
  function self.await(pattern, times)
    spec.eventually(function() return self.count(pattern) >= (times or 1) end, 10)
  end
  function self.stop()
    a:kill "TERM"
    local code, out, err = a:wait()
    m:close()
    return code, out, err
  end
  return self
end

-- A probe function that says its name, and with which words.
local function target(name, word, every, more)
  return ('target{name = "%s", every = "%s", probe = function() log.info("%s is %s at " .. task.now()) return {success = true} end%s}\n')
    :format(name, every or "100ms", name, word, more or "")
end

describe("a reload", function()
  it("swaps what has changed, begins what is new and ends what is gone; what is the same goes on", function()
    local a = start(target("one", "old") .. target("two", "old") .. 'target{"udp://127.0.0.1:9", name = "three", count = 1, timeout = "10ms", every = "1h"}')
    a.await("two is old", 3)
    a.write(target("one", "new") .. target("four", "new") .. 'target{"udp://127.0.0.1:9", name = "three", count = 1, timeout = "10ms", every = "1h"}')
    a.hangup()
    a.await("reload %(SIGHUP%): targets unchanged: 1, changed: 1, added: 1, removed: 1")
    a.await("one is new", 2)
    a.await("four is new", 2)
    local two, one = a.count("two is old"), a.count("one is old")
    a.await("four is new", a.count("four is new") + 3)
    assert.same({two, one}, {a.count("two is old"), a.count("one is old")})
    assert.equal(0, (a.stop()))
  end)

  it("takes no notice of the phase: a changed target runs when it would have run", function()
    local a = start(target("one", "old", "2s"))
    a.await("one is old")
    a.write(target("one", "new", "2s"))
    a.hangup()
    a.await("one is new")
    local _, _, err = a.stop()
    local was, is = tonumber(err:match "one is old at ([%d.]+)"), tonumber(err:match "one is new at ([%d.]+)")
    local off = (is - was) % 2
    assert.is_true(math.min(off, 2 - off) < 0.5, ("%g and %g"):format(was, is))
  end)

  it("follows a file that has changed, by itself", function()
    local a = start(target("one", "old"))
    a.await "one is old"
    a.write(target("one", "new"))
    a.await "reload %(/[^\n]*site.lua%): targets unchanged: 0, changed: 1"
    a.await "one is new"
    assert.equal(0, (a.stop()))
  end)

  for what, broken in pairs {
    ["does not parse"] = {"target{\n  every =\n}\n", "site.lua:3: unexpected symbol near '}'"},
    ["raises"] = {"\nlocal x = nil + 1\n", "site.lua:2: attempt to perform arithmetic on a nil value"},
    ["declares a wrong target"] = {'target{"tcp://127.0.0.1:1", evry = "1s"}\n', "site.lua:1: "},
  } do
    it("leaves the old targets running when the file " .. what, function()
      local a = start(target("one", "old"))
      a.await "one is old"
      a.write(broken[1])
      a.hangup()
      a.await "reload %(SIGHUP%): the old configuration stays in force: "
      a.await("one is old", a.count("one is old") + 3)
      a.write(target("one", "new"))
      a.hangup()
      a.await "one is new"
      local code, _, err = a.stop()
      assert.equal(0, code)
      assert.truthy(err:find(broken[2], 1, true), err)
    end)
  end

  it("waits for a run that is going on: it ends as it began, and the next one is the new one", function()
    local a = start [[target{name = "slow", every = "200ms", probe = function() log.info "old begins" task.sleep(1.5) log.info "old ends" return {success = true} end}]]
    a.await "old begins"
    a.write [[target{name = "slow", every = "200ms", probe = function() log.info "new begins" return {success = true} end}]]
    a.hangup()
    a.await "changed: 1"
    a.await "new begins"
    local _, _, err = a.stop()
    assert.truthy(err:find "old ends.*new begins")
    assert.equal(1, select(2, err:gsub("old begins", "")))
  end)

  it("reads anew what the site file requires", function()
    local module = process.file("part.lua", "return {word = 'old'}")
    local text = ('package.path = "%s" local part = require "part" '):format(module) ..
      'target{name = "one", every = "100ms", probe = function() log.info("one says " .. part.word) return {success = true} end}'
    local a = start(text)
    a.await "one says old"
    write(module, "return {word = 'new'}")
    a.hangup()
    a.await "one says new"
    assert.equal(0, (a.stop()))
  end)

  it("ends what the old file left running", function()
    local a = start [[task.spawn(function() while true do log.info "old tick" task.sleep(0.05) end end) target{"udp://127.0.0.1:9", every = "1h"}]]
    a.await("old tick", 2)
    a.write(target("one", "new"))
    a.hangup()
    a.await "one is new"
    local ticks = a.count "old tick"
    a.await("one is new", a.count "one is new" + 5)
    assert.equal(ticks, a.count "old tick")
    assert.equal(0, (a.stop()))
  end)

  it("gives new transforms and sinks what comes from then on", function()
    local a = start('transform(function(r) r.labels = {by = "old"} return r end) sink(function(r) log.info("sunk old " .. r.labels.by) end)' .. target("one", "one"))
    a.await("sunk old old", 2)
    a.write('transform(function(r) r.labels = {by = "new"} return r end) sink(function(r) log.info("sunk new " .. r.labels.by) end)' .. target("one", "one"))
    a.hangup()
    a.await("sunk new new", 2)
    assert.equal(0, a.count "sunk old new")
    assert.equal(0, a.count "sunk new old")
    assert.equal(0, (a.stop()))
  end)

  it("is counted, with what went wrong last, in the status", function()
    local socket = process.file("none", ""):gsub("none$", "control")
    local a = start(target("one", "old"), {WADDLE_CONTROL = socket})
    a.await "one is old"
    a.write "target{"
    a.hangup()
    a.await "the old configuration stays"
    a.write(target("one", "new"))
    a.hangup()
    a.await "one is new"
    a.write "nonsense()"
    a.hangup()
    a.await("the old configuration stays", 2)
    local status = assert(require("waddle.control").ask(socket, "status"))
    assert.same({1, 2, 1}, {status.targets, status.reloads.failed, status.reloads.done})
    assert.matches("site.lua:1: 'nonsense' is not set anywhere", status.reloads.last_error)
    assert.equal(0, (a.stop()))
  end)

  it("says what it cannot change", function()
    local config = process.file("agent.json", '{"manager_url": "http://127.0.0.1:1", "auth_type": "none"}')
    local m <close> = assert(manager.start {})
    local a = process.start({"agent", "--schedule", "--config-file", config}, {HTTP_TARGETS = "", ICMP_TARGETS = "", TCP_TARGETS = "127.0.0.1:9",
      DEVICE_SERIAL = "s", DEVICE_HOSTNAME = "h", WADDLE_CONTROL = "none"})
    spec.eventually(function() return a:err():find "uploading to" end, 10)
    write(config, ('{"manager_url": "%s", "auth_type": "none"}'):format(m.url))
    spec.eventually(function() return a:err():find "reload: MANAGER_URL changed: that needs a restart" end, 10)
    a:kill "TERM"
    assert.equal(0, (a:wait()))
  end)
end)

describe("a reload of many targets", function()
  it("runs each of the new ones once where there is no schedule, and none twice", function()
    local function many(from, to, timeout)
      local lines = {}
      for i = from, to do
        lines[#lines + 1] = ('target{"udp://127.0.0.1:9", name = "t%d", count = 1, timeout = "%dms"}'):format(i, timeout)
      end
      lines[#lines + 1] = 'sink(function(r) log.info("ran " .. r.target_name .. ";") end)' .. target("clock", "there")
      return table.concat(lines, "\n")
    end
    local a = start(many(1, 300, 10))
    a.await("ran t%d+;", 300)
    a.write(many(101, 400, 10))
    a.hangup()
    a.await("ran t%d+;", 400)
    a.await "targets unchanged: 200, changed: 1, added: 100, removed: 100"
    a.await("clock is there", a.count "clock is there" + 3)
    assert.equal(400, a.count "ran t%d+;")
    assert.equal(0, (a.stop()))
  end)

  it("does not hold up what runs, and shows nothing half done", function()
    local SLOW = os.getenv "WADDLE_GC_STRESS" or os.getenv "ASAN_OPTIONS"
    local COUNT, MOST_S = SLOW and 300 or 5000, SLOW and 2 or 0.25 -- for a busy machine; alone it is a tenth of that
    -- How late a task is that wakes every 5 ms while it is told to look.
    local function site(timeout)
      return ([[
for i = 1, %d do target {"udp://127.0.0.1:9", name = "t" .. i, count = 1, timeout = "%dms", every = "10h"} end
target {name = "clock", every = "1s", probe = function() return {success = true} end}
task.spawn(function()
  local last, worst, began = task.now(), 0, task.now()
  while true do
    task.sleep(0.005)
    local now = task.now()
    worst, last = math.max(worst, now - last - 0.005), now
    if now - began > 1 then log.info("worst %%.3f;", worst) worst, began = 0, now end
  end
end)]]):format(COUNT, timeout)
    end
    local a = start(site(10))
    a.await("worst [%d.]+;", 2)
    a.write(site(20))
    a.hangup()
    a.await(("targets unchanged: 0, changed: %d, added: 0, removed: 0"):format(COUNT + 1))
    local before = a.count "worst"
    a.await("worst [%d.]+;", before + 1)
    local _, _, err = a.stop()
    local after_start, worst = err:match "uploading to(.*)$", 0
    local seen = 0
    for text in after_start:gmatch "worst ([%d.]+);" do
      seen = seen + 1
      worst = seen > 1 and math.max(worst, tonumber(text)) or worst -- the first one is of the start
    end
    assert.is_true(seen > 1)
    assert.is_true(worst < MOST_S, ("a task was late by %g s"):format(worst))
  end)
end)
