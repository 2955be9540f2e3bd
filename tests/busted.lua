-- The test runner: `waddle run tests/busted.lua FILE|FOLDER...` runs busted's specs inside waddle's own loop, the whole of busted in one task, so that a
-- spec may call any probe. Prints a dot a spec, what failed, and at the very end "N passed, N failed, N skipped"; exits 1 when anything failed.
--
-- After every spec nothing may be left over: no task, descriptor, timer or registry reference more than before it (support/leaks.lua).
-- Run it in the repository's root; specs write `require "tests.support.spec"`.
--
-- busted's own runner is not used: it ends with os.exit, in the middle of the loop. Modules found by `require` and the spec files run with the plain
-- globals; only this file has the strict environment of scripts.

local files = {...}
if #files == 0 then
  io.stderr:write("busted.lua: expected spec files or folders\n")
  sys.exit(2)
end

-- All specs are one script, and with sanitizers a slow one.
limits {cpu = "10m", memory = 0, block = 0}

package.path = "./?.lua;" .. package.path

local busted = require "busted.core" ()
require "busted" (busted)
local leaks = require "tests.support.leaks"

-- The reason for which a spec is skipped travels like busted's own pending(), which only spec files see.
busted.exportApi("skip", busted.pending)

local counts = {success = 0, failure = 0, error = 0, pending = 0}
local running = "no spec"

-- Where run.sh asked for it, the name of the spec at work is kept in a file: the program under test may crash or hang.
local function note(name)
  running = name
  local path = os.getenv("WADDLE_SPEC_RUNNING")
  local file = path and io.open(path, "w")
  if file then
    file:write(name, "\n")
    file:close()
  end
end

busted.subscribe({"test", "start"}, function(element, parent)
  note((parent.name or "") .. " " .. element.name)
  return nil, true
end)

busted.subscribe({"test", "end"}, function(_, _, status)
  counts[status] = counts[status] + 1
  return nil, true
end)

-- What goes wrong outside of a spec (a file that does not load, a failing before_each, a leak) is no spec's status; each is counted as one failure.
local function outside(element)
  if element.descriptor ~= "it" then
    counts.error = counts.error + 1
  end
  return nil, true
end
busted.subscribe({"error"}, outside)
busted.subscribe({"failure"}, outside)

require "busted.modules.output_handler_loader" () (busted, "plainTerminal", {
  defaultOutput = "plainTerminal", language = "en", deferPrint = false, suppressPending = false, verbose = true, arguments = {},
})

-- The first probe of a process opens the figures of its control group, which stay open.
require "waddle.tcp".connect("127.0.0.1:9", {timeout = 1})
busted.executors.before_each(leaks.remember)
busted.executors.after_each(function() leaks.check(running) end)

local load_files = require "busted.modules.test_file_loader" (busted, {"lua"})
load_files(files, {"_spec%.lua$"}, {excludes = {}, verbose = true, recursive = true})
require "busted.execute" (busted) (1, {seed = nil, shuffle = false, sort = false})
busted.publish({"exit"})

local failed = counts.failure + counts.error
print(("%d passed, %d failed, %d skipped"):format(counts.success, failed, counts.pending))
sys.exit(failed > 0 and 1 or 0)
