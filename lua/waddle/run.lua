-- Running a piece of Lua as a script: a fresh strict environment, `arg` and `...` as lua(1) sets
-- them, exit code 2 for a syntax error.

local env = require "waddle.env"

local run = {}

--- text(text, chunk_name, name, argv) -> what the chunk returns. A syntax error is printed and
-- gives 2. `chunk_name` is as load takes it ("@file"), `name` becomes arg[0].
function run.text(text, chunk_name, name, argv)
  local names = env.new()
  names.arg = table.move(argv, 1, #argv, 1, {[0] = name})
  local chunk, err = load(text, chunk_name, "t", names)
  if not chunk then
    io.stderr:write("waddle: ", err, "\n")
    return 2
  end
  return chunk(table.unpack(argv))
end

return run
