-- waddle run [FLAG...] FILE [ARGUMENT...]: runs a Lua file in the strict environment. The arguments are the
-- script's own, flags too, so no flag of ours comes after FILE.
local confine = require "waddle.confine"
local run = require "waddle.run"

local USAGE = 2

local function usage(out)
  out:write("usage: waddle run [--isolate] [--confine [FLAG...]] FILE [ARGUMENT...]\n\n",
    "Runs a Lua file; - is standard input. What it declares with target runs when it ends.\n",
    "Exit code: what the file returns, 1 when it raises or was ended, 2 when it cannot be read or declares something wrong,\n",
    "3 when a sink's uploader could not deliver, 99 when a check or threshold failed.\n\n",
    "--isolate runs it in a process of its own, which is ended when it does not come back to its loop for ten seconds.\n",
    "--confine gives up first what a prober does not need: capabilities, system calls, writing, starting programs.\nIts flags:\n")
  for _, flag in ipairs(confine.FLAGS) do
    out:write(("  %-27s %s\n"):format(flag.word .. " " .. flag.value, flag.help))
  end
  out:write("\nexamples:\n  waddle run scenario.lua\n  waddle run report.lua --month 3\n  generate | waddle run -\n",
    "  waddle run --confine --writable /var/lib/probes site.lua\n")
end

local function complain(...)
  io.stderr:write("waddle: run: ", ...)
  io.stderr:write("\n")
  return USAGE
end

local apart = false -- whether --isolate was among the flags

-- Reads our flags; gives the place of FILE among the words and the settings for confine.apply, if it is asked for; or nil and a message.
local function read_flags(words)
  local flags, wanted, at = {}, false, 1
  local by_word = {["--confine"] = {}, ["--isolate"] = {}}
  for _, flag in ipairs(confine.FLAGS) do
    by_word[flag.word] = flag
  end
  while (words[at] or ""):find("^%-%-") do
    local word, value = words[at]:match("^([^=]+)=(.*)$")
    word = word or words[at]
    local flag = by_word[word]
    if not flag then
      return nil, ("no flag '%s'%s"):format(word, require("waddle.nearest").hint(word, by_word))
    elseif word == "--isolate" then
      apart = true
    elseif not flag.name then
      wanted = true
    else
      at = value and at or at + 1
      value = value or words[at]
      if not value then
        return nil, word .. ": expected a value after it"
      end
      flags[flag.name] = flag.many and table.move({value}, 1, 1, #(flags[flag.name] or {}) + 1, flags[flag.name] or {}) or value
    end
    at = at + 1
  end
  if not wanted then
    if next(flags) then
      return nil, "these flags go with --confine"
    end
    return at
  end
  local settings, message = require("waddle.config").confinement {env = sys.env, flags = flags}
  if not settings then
    return nil, message
  end
  return at, settings
end

local words = {...}
if words[1] == nil or words[1] == "-h" or words[1] == "--help" then
  usage(words[1] and io.stdout or io.stderr)
  return words[1] and 0 or USAGE
end
local at, settings = read_flags(words)
if not at then
  return complain(settings)
elseif not words[at] then
  return complain("expected a file")
end
if apart then
  local inner = {"run"}
  for i, word in ipairs(words) do
    if i >= at or word ~= "--isolate" then
      inner[#inner + 1] = word
    end
  end
  return require("waddle.isolate").run(inner, words[at])
end
return run.file(words[at], table.move(words, at + 1, #words, 1, {}), settings)
