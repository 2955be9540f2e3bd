-- waddle run FILE [ARGUMENT...]: runs a Lua file in the strict environment. The arguments are the
-- script's own, flags too, so no flag of ours comes after FILE.
local run = require "waddle.run"

local name = ...
if name == nil or name == "-h" or name == "--help" then
  local out = name and io.stdout or io.stderr
  out:write("usage: waddle run FILE [ARGUMENT...]\n\nRuns a Lua file; - is standard input. What it declares with target runs when it ends.\n",
    "Exit code: what the file returns, 1 when it raises, 2 when it cannot be read or declares something wrong,\n",
    "3 when a sink's uploader could not deliver, 99 when a check or threshold failed.\n\n",
    "examples:\n  waddle run scenario.lua\n  waddle run report.lua --month 3\n  generate | waddle run -\n")
  return name and 0 or 2
end
return run.file(name, {select(2, ...)})
