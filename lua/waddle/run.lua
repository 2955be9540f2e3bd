-- Running a piece of Lua as a script: a fresh strict environment, `arg` and `...` as lua(1) sets
-- them, exit code 2 for a syntax error.

local env = require "waddle.env"

local run = {}

--- text(text, chunk_name, name, argv) -> what the chunk returns. A syntax error is printed and
-- gives 2. `chunk_name` is as load takes it ("@file"), `name` becomes arg[0]. A chunk that returns a
-- command (waddle.cli) is run as one, so that a copied command runs like any script.
function run.text(text, chunk_name, name, argv)
  local names = env.new()
  names.arg = table.move(argv, 1, #argv, 1, {[0] = name})
  local chunk, err = load(text, chunk_name, "t", names)
  if not chunk then
    io.stderr:write("waddle: ", err, "\n")
    return 2
  end
  local value = chunk(table.unpack(argv))
  if type(value) == "table" and require("waddle.cli").is_command(value) then
    return value:main(argv)
  end
  return value
end

-- What a script declared runs when it ends, then its checks and thresholds decide.
local function conclude(value)
  local site, scenario = package.loaded["waddle.site"], package.loaded["waddle.scenario"]
  if site then
    site.run()
  end
  local code = scenario and scenario.finish()
  return code and code > 0 and code or value
end

-- A failed must outside of a scenario ends the script, but is no error of the script.
local function is_must(value)
  return type(value) == "table" and getmetatable(value) ~= nil and rawget(value, "must") == true
end

local function keep_must(value)
  return is_must(value) and value or debug.traceback(value, 2)
end

--- file(name, argv) -> what the file returns, 2 when it cannot be read. "-" is standard input. A first
-- line that begins with # is for the shell.
function run.file(name, argv)
  local file, err = io.stdin, nil
  if name ~= "-" then
    file, err = io.open(name, "rb")
  end
  local text
  if file then
    text, err = file:read("a")
  end
  if not text then
    io.stderr:write("waddle: run: ", name == "-" and "standard input: " or "", err, "\n")
    return 2
  end
  if name ~= "-" then
    file:close()
  end
  text = text:gsub("^#[^\n]*", "", 1)
  local ok, value = xpcall(run.text, keep_must, text, name == "-" and "=stdin" or "@" .. name, name, argv)
  if not ok and not is_must(value) then
    error(value, 0)
  end
  return conclude(ok and value or nil)
end

return run
