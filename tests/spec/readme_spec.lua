-- Every code block of the pages for users runs, and prints what the page says it prints.

local icmp = require "waddle.icmp"
local pages = require "tests.support.pages"
local spec = require "tests.support.spec"

local NAMES = {"README.md", "docs/scripting.md", "docs/agent.md"}

describe("the pages for users", function()
  local place, may_ping
  setup(function()
    place = pages.open()
    may_ping = icmp.ping("127.0.0.1", {count = 1}).error ~= "permission" -- its socket stays open from here on
  end)
  teardown(function() place.stop() end)

  local run = {}

  function run.console(block)
    for _, step in ipairs(pages.steps(block.text, "$ ")) do
      local command = step.typed:gsub("^%./dev run", "waddle demo")
      local out, code = place.run(command .. " 2>stderr")
      assert.is_true(code < 2 or code == 99, ("%s ended with %d"):format(command, code))
      assert.same(pages.skeleton(step.shown), pages.skeleton(out))
    end
  end

  function run.repl(block)
    local typed, shown = {}, {}
    for _, step in ipairs(pages.steps(block.text, "waddle> ")) do
      typed[#typed + 1] = step.typed .. "\n"
      shown[#shown + 1] = step.shown
    end
    local name = place.file("typed", table.concat(typed))
    local out = place.run("waddle repl <" .. name .. " 2>&1")
    assert.same(pages.skeleton(table.concat(shown)), pages.skeleton(out))
  end

  function run.lua(block)
    local name = place.file("block.lua", block.text)
    if block.note == "site" then
      local site = place.start("run " .. name .. " 2>&1")
      local first = site.pipe:read("l")
      local code = site.stop()
      assert.matches("^✓ ", first)
      assert.equal(130, code)
      return
    end
    local out, code = place.run("waddle run " .. name .. " 2>&1")
    assert.equal(0, code, out)
  end

  function run.sh(block)
    if block.note:match("^untested: %w+") then
      return
    end
    for line in block.text:gmatch("[^\n]+") do
      local out, code = place.run(line .. " 2>&1")
      assert.equal(0, code, out)
    end
  end

  for _, name in ipairs(NAMES) do
    for _, block in ipairs(pages.blocks(name)) do
      if block.kind ~= "" then
        it(("%s:%d runs and prints what the page says"):format(name, block.line), function()
          assert.is_function(run[block.kind], "a block of an unknown kind: " .. block.kind)
          if not may_ping
            and (block.text:find("icmp%.%l+%(") or block.text:find("waddle ping", 1, true) or block.text:find("./dev run", 1, true)) then
            spec.skip("this machine does not let us send ICMP echo requests")
          end
          run[block.kind](block)
        end)
      end
    end
  end

  it("name files that are there", function()
    for _, name in ipairs(NAMES) do
      local folder = name:match("^.*/") or ""
      for link in io.open(name):read("a"):gmatch("%]%(([^)#:]+)%)") do
        local file = io.open(folder .. link)
        assert.is_truthy(file, ("%s links to %s, which is not there"):format(name, link))
        file:close()
      end
    end
  end)
end)

describe("docs/api.md", function()
  it("is what the program says of itself; make it anew by waddle run tests/support/make_api.lua > docs/api.md", function()
    local pipe = io.popen((os.getenv "WADDLE" or "build/waddle") .. " run tests/support/make_api.lua")
    local made = pipe:read("a")
    pipe:close()
    local file = assert(io.open("docs/api.md"))
    local kept = file:read("a")
    file:close()
    assert.is_true(made == kept, "docs/api.md is out of date")
  end)
end)
