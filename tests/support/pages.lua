-- Pages for people whose code blocks are run: a README that lies is a failing test.
-- What the words behind ``` mean:
--   console        lines after "$ " are commands, the lines below them what they print (standard output)
--   repl           lines after "waddle> " are typed at the prompt, the lines below them what it answers
--   lua            a script that ends; "lua site" one that runs until it is stopped
--   sh             commands; "sh untested: reason" is not run
-- The pages speak of the usual ports of `waddle reflect`, and of a manager on port 8080; here all of them are others.

local json = require "waddle.json"
local reflect = require "waddle.reflect"

local pages = {}

local MANAGER_PORT = 8080
local program = os.getenv "WADDLE" or "build/waddle"

local function shell(command)
  local pipe = io.popen(command)
  local out = pipe:read("a")
  pipe:close()
  return out
end

-- A child process in a folder; it runs until it is stopped.
local function start(command, folder)
  local child = {pipe = io.popen(("cd %s && echo $$ && exec %s"):format(folder or ".", command))}
  child.pid = child.pipe:read("l")
  function child.stop()
    os.execute("kill " .. child.pid)
    child.pipe:read("a")
    return select(3, child.pipe:close())
  end
  return child
end

--- Makes a folder with `waddle` and examples/ in it and starts the other ends. Gives {run=, site=, stop=, at=function(text)}.
function pages.open()
  local place = {folder = shell("mktemp -d"):gsub("%s+$", "")}
  local top = shell("pwd"):gsub("%s+$", "")
  local absolute = program:sub(1, 1) == "/" and program or top .. "/" .. program
  assert(os.execute(("mkdir %s/bin && ln -s %s %s/bin/waddle && ln -s %s/examples %s/examples"):format(place.folder, absolute, place.folder, top,
    place.folder)))
  local prefix = ("cd %s && PATH=%s/bin:$PATH NO_COLOR=1 "):format(place.folder, place.folder)
  local ends = start(("%s reflect --random --json --certificate %s/ca.pem"):format(absolute, place.folder))
  local manager = start(absolute .. [[ -e 'local m = require("waddle.manager").start {} print(m.url) io.flush() sys.signal()']])
  local ports = json.decode(ends.pipe:read("l"))
  local manager_port = manager.pipe:read("l"):match(":(%d+)")

  -- The same text with the ports of today.
  function place.at(text)
    for _, service in ipairs(reflect.services) do
      text = text:gsub("%f[%d]" .. service.port .. "%f[%D]", tostring(ports[service.name]))
    end
    return (text:gsub("%f[%d]" .. MANAGER_PORT .. "%f[%D]", manager_port))
  end

  --- Runs a command line; gives what it prints and its exit code.
  function place.run(line)
    local out = shell(prefix .. "; export PATH NO_COLOR; " .. place.at(line) .. '; echo "code=$?"')
    local text, code = out:match("^(.*)code=(%d+)%s*$")
    return text, math.tointeger(code)
  end

  --- Writes a file into the folder and gives its name.
  function place.file(name, text)
    local file = assert(io.open(place.folder .. "/" .. name, "w"))
    file:write(place.at(text))
    file:close()
    return name
  end

  --- Starts a command that runs until it is stopped; by one signal: `timeout` sends two without --foreground.
  function place.start(line)
    return start(("env NO_COLOR=1 timeout --foreground -k 30 60 %s %s"):format(absolute, place.at(line)), place.folder)
  end

  function place.stop()
    ends.stop()
    manager.stop()
    os.execute("rm -rf " .. place.folder)
  end
  return place
end

--- The code blocks of a Markdown file: list of {kind=, note= (the words behind the kind), text=, line=}.
function pages.blocks(name)
  local blocks, block, number = {}, nil, 0
  for line in io.lines(name) do
    number = number + 1
    local kind, note = line:match("^```(%w*)%s*(.*)$")
    if block and kind then
      block.text = table.concat(block, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block = nil
    elseif kind then
      block = {kind = kind, note = note, line = number}
    elseif block then
      block[#block + 1] = line
    end
  end
  return blocks
end

--- What stays the same from one run to the next: no figures, no bars, lines in any order (what ran side by side ends in any).
function pages.skeleton(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    line = line:gsub("\xe2\x96[\x80-\x9f]", ""):gsub("%d[%d.]*", "0"):gsub("0ms", "T"):gsub("0s", "T"):gsub("%s+", " "):gsub(" $", "")
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return lines
end

--- Splits a block into what is typed behind a prompt and what is shown for it: list of {typed=, shown=}.
function pages.steps(text, prompt)
  local steps = {}
  for line in text:gmatch("([^\n]*)\n") do
    if line:sub(1, #prompt) == prompt then
      steps[#steps + 1] = {typed = line:sub(#prompt + 1), shown = ""}
    elseif #steps > 0 then
      steps[#steps].shown = steps[#steps].shown .. line .. "\n"
    end
  end
  return steps
end

return pages
