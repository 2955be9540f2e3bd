-- The program under test as a process of its own, beside the spec: a manager or a server in the spec's loop goes on meanwhile.

local spec = require "tests.support.spec"

local process = {}

local path = os.getenv "WADDLE" or "build/waddle"

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function contents(name)
  local file = io.open(name, "rb")
  local text = file and file:read("a")
  if file then
    file:close()
  end
  return text
end

-- A file with this text, in a folder of its own that process.clean takes away; gives its path.
function process.file(name, text)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  process.folders[#process.folders + 1] = folder
  return folder .. "/" .. name
end

process.folders = {}
process.limit_s = 20 -- a spec that needs longer says so, and puts it back

-- A folder of its own that process.clean takes away.
function process.folder()
  return (process.file(".keep", ""):match("^(.*)/"))
end

-- Takes away what process.file made; for after_each.
function process.clean()
  for _, folder in ipairs(process.folders) do
    os.execute("rm -rf " .. folder)
  end
  process.folders = {}
end

local run = {}
run.__index = run

-- Sends a signal, "TERM" or "INT".
function run:kill(signal)
  os.execute(("kill -s %s %d"):format(signal, self.pid))
end

-- Ends the program itself at once, without a word: kill -9.
function run:kill_now()
  os.execute(("kill -s KILL $(cat /proc/%d/task/%d/children)"):format(self.pid, self.pid))
end

-- What it wrote so far.
function run:out()
  return contents(self.base .. ".out") or ""
end

function run:err()
  return contents(self.base .. ".err") or ""
end

-- Waits until it has ended: exit code, stdout, stderr.
function run:wait(seconds)
  local code = spec.eventually(function() return (contents(self.base .. ".code") or ""):match("^(%d+)\n") end, seconds or process.limit_s + 5)
  local out, err = self:out(), self:err()
  for _, kind in ipairs {"", ".out", ".err", ".code", ".pid"} do
    os.remove(self.base .. kind)
  end
  return tonumber(code), out, err
end

-- Starts waddle with the arguments. `env` is all of its environment (but PATH and what sanitizers need), `prefix` a command that runs the program.
-- It ends after process.limit_s seconds at the latest, with 137.
function process.start(args, env, prefix)
  local words = {}
  for _, name in ipairs {"PATH", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "WADDLE_GC_STRESS", "WADDLE_PATH"} do
    local value = os.getenv(name)
    words[#words + 1] = value and quoted(name .. "=" .. value) or nil
  end
  for name, value in pairs(env or {}) do
    words[#words + 1] = quoted(name .. "=" .. value)
  end
  words[#words + 1] = ("timeout --foreground -s KILL %d"):format(process.limit_s)
  words[#words + 1] = prefix
  words[#words + 1] = quoted(path)
  for _, word in ipairs(args) do
    words[#words + 1] = quoted(word)
  end
  local base = os.tmpname()
  local inner = ("echo $$ >%s.pid; exec env -i --default-signal=INT,QUIT %s"):format(base, table.concat(words, " ")) -- timeout hands signals on
  os.execute(("(sh -c %s >%s.out 2>%s.err </dev/null; echo $? >%s.code) &"):format(quoted(inner), base, base, base))
  local self = setmetatable({base = base}, run)
  self.pid = spec.eventually(function() return tonumber((contents(base .. ".pid") or ""):match("^(%d+)\n")) end)
  return self
end

-- Runs it to its end: exit code, stdout, stderr.
function process.run(args, env, prefix)
  return process.start(args, env, prefix):wait()
end

-- The sanitizer's runtime that this program runs with; nil where it has none.
function process.sanitizer()
  return contents("/proc/self/maps"):match("(/%S*/libasan%.so%S*)")
end

-- LD_PRELOAD for a library of support/preload. The sanitizer's runtime has to come before everything else that is preloaded.
function process.preload(name)
  local sanitizer = process.sanitizer()
  local library = path:gsub("[^/]*$", "tests/lib" .. name .. ".so")
  if library:sub(1, 1) ~= "/" then
    library = os.getenv "PWD" .. "/" .. library
  end
  return sanitizer and sanitizer .. ":" .. library or library
end

-- The path of the program.
process.path = path

return process
