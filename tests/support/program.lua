-- Runs the program under test, or any command, beside the specs: the loop goes on meanwhile, so that servers of the spec can answer it.

local spec = require "tests.support.spec"

local program = {}

--- The program under test.
program.path = os.getenv "WADDLE" or "build/waddle"

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function slurp(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("a")
  file:close()
  os.remove(name)
  return text
end

--- Runs a line of sh in the background, for at most `seconds` (20). Gives a function that waits for its end: exit code, stdout, stderr.
function program.start(line, seconds)
  local base = os.tmpname()
  os.execute(("{ timeout -k 2 %d sh -c %s >%s.out 2>%s.err </dev/null; echo $? >%s.tmp; mv %s.tmp %s.code; } &"):format(
    seconds or 20, quoted(line), base, base, base, base, base))
  return function()
    local code = spec.eventually(function()
      local file = io.open(base .. ".code")
      local text = file and file:read("a")
      if file then
        file:close()
      end
      return text and tonumber(text)
    end, (seconds or 20) + 5)
    os.remove(base)
    os.remove(base .. ".code")
    return code, slurp(base .. ".out"), slurp(base .. ".err")
  end
end

--- Runs a line of sh to its end: exit code, stdout, stderr.
function program.sh(line, seconds)
  return program.start(line, seconds)()
end

--- Runs waddle with the words as its arguments; `before` stands in front of it on the shell's line ("NO_COLOR=1").
function program.run(words, before, seconds)
  local line = {before or "", program.path}
  for _, word in ipairs(words) do
    line[#line + 1] = quoted(word)
  end
  return program.sh(table.concat(line, " "), seconds)
end

return program
