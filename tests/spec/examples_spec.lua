-- The examples, run as they are, against the servers of `waddle reflect`.

local json = require "waddle.json"
local pages = require "tests.support.pages"

local function read(name)
  local file = assert(io.open(name))
  local text = file:read("a")
  file:close()
  return text
end

-- Reads lines until every name was seen once; gives the results by name.
local function results(pipe, names)
  local found, missing = {}, #names
  local wanted = {}
  for _, name in ipairs(names) do
    wanted[name] = true
  end
  while missing > 0 do
    local line = assert(pipe:read("l"), "it ended before all targets had a result")
    local result = json.decode(line)
    if result and wanted[result.name] and not found[result.name] then
      found[result.name] = result
      missing = missing - 1
    end
  end
  return found
end

describe("examples/", function()
  local place
  setup(function() place = pages.open() end)
  teardown(function() place.stop() end)

  it("the systemd unit allows the system calls by which the agent confines itself: its filter would end the agent otherwise", function()
    local unit, allowed = read("examples/deploy/waddle.service"), {}
    for line in unit:gmatch("\nSystemCallFilter=([^\n]*)") do
      for name in line:gmatch("%S+") do
        allowed[name] = true
      end
    end
    for _, name in ipairs {"@system-service", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} do
      assert.is_true(allowed[name], name)
    end
    assert.matches("\nSystemCallErrorNumber=EPERM\n", unit)
  end)

  it("scenario.lua passes where the shop is well", function()
    local out, code = place.run("waddle run examples/scenario.lua http://127.0.0.1:8088")
    assert.equal(0, code, out)
    assert.matches("✓ the order is confirmed", out, 1, true)
    assert.matches("✓ p95(http.latency_ms) < 500", out, 1, true)
    assert.matches("6 checks passed, 0 failed", out, 1, true)
  end)

  it("scenario.lua ends with 99 where it is not, and stops at the step without which nothing follows", function()
    local out, code = place.run("waddle run examples/scenario.lua http://127.0.0.1:9")
    assert.equal(99, code)
    assert.matches("✗ the front page answers: the probe failed: connection_refused", out, 1, true)
    assert.matches("0 checks passed, 1 failed", out, 1, true)
  end)

  it("scenario.lua is about twenty lines", function()
    local lines = 0
    for line in read("examples/scenario.lua"):gmatch("[^\n]+") do
      lines = lines + (line:match("^%s*%-%-") and 0 or 1)
    end
    assert.is_true(lines <= 20, lines .. " lines")
  end)

  local function check_site(found)
    assert.is_true(found["front page"].ok)
    assert.same({site = "north", room = "a1", group = "web"}, found["front page"].labels)
    assert.is_true(found["old shop is gone"].ok)
    assert.same({site = "north", room = "a1", team = "net", group = "network"}, found["name server"].labels)
    assert.is_true(found["order"].ok)
    assert.is_true(found["name server"].ok)
  end

  local NAMES = {"front page", "old shop is gone", "search", "name server", "order", "voice path", "gateway"}

  it("site.lua runs by itself", function()
    local site = place.start("run " .. place.file("site.lua", read "examples/site.lua") .. " 2>stderr")
    local found = results(site.pipe, NAMES)
    assert.equal(130, (site.stop()))
    check_site(found)
  end)

  it("site.lua runs in the agent, which uploads what it measures and ends with 0", function()
    local site = place.start("agent --config-file " .. place.file("site.lua", read "examples/site.lua") .. " 2>stderr")
    local found = results(site.pipe, NAMES)
    assert.equal(0, (site.stop()))
    check_site(found)
  end)
end)
