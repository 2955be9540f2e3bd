-- waddle run [FLAG...] FILE [ARGUMENT...]: runs a Lua file in the strict environment. The arguments are the
-- script's own, flags too, so no flag of ours comes after FILE.
local confine = require "waddle.confine"
local isolate = require "waddle.isolate"
local run = require "waddle.run"
local sandbox = require "waddle.sandbox"

local USAGE = 2

local function usage(out)
  out:write("usage: waddle run [--isolate] [--confine [FLAG...]] [--sandbox [FLAG...]] FILE [ARGUMENT...]\n\n",
    "Runs a Lua file; - is standard input. What it declares with target runs when it ends.\n",
    "Exit code: what the file returns, 1 when it raises or was ended, 2 when it cannot be read or declares something wrong,\n",
    "3 when a sink's uploader could not deliver, 99 when a check or threshold failed.\n\n",
    "--isolate runs it in a process of its own, which is ended when it does not come back to its loop for ten seconds.\n",
    "--confine gives up first what a prober does not need: capabilities, system calls, writing, starting programs.\nIts flags:\n")
  local function list(flags)
    for _, flag in ipairs(flags) do
      out:write(("  %-27s %s\n"):format(flag.word .. " " .. flag.value, flag.help))
    end
  end
  list(confine.FLAGS)
  out:write("\n--sandbox is for scripts that nobody vouches for: --isolate and --confine, without files, environment, debugger and others' modules,\n",
    "and without the addresses of this machine's link and of clouds' metadata services. Its flags; NET and NAME may be lists with commas:\n")
  list(sandbox.FLAGS)
  out:write("\nexamples:\n  waddle run scenario.lua\n  waddle run report.lua --month 3\n  generate | waddle run -\n",
    "  waddle run --confine --writable /var/lib/probes site.lua\n",
    "  waddle run --sandbox --allow-net 192.0.2.0/24:443,[2001:db8::/32] --max-rate 100 theirs.lua\n")
end

local function complain(...)
  io.stderr:write("waddle: run: ", ...)
  io.stderr:write("\n")
  return USAGE
end

-- What the flags before FILE ask for: {at= (the place of FILE), apart=, confine=, sandbox=} with a table of each flag's values; nil and a message.
local function read_flags(words)
  local wanted, by_word, at = {}, {["--confine"] = {}, ["--isolate"] = {}, ["--sandbox"] = {}}, 1
  for part, module in pairs {confine = confine, sandbox = sandbox} do
    for _, flag in ipairs(module.FLAGS) do
      by_word[flag.word] = {part = part, name = flag.name, many = flag.many}
    end
  end
  local values = {confine = {}, sandbox = {}}
  while (words[at] or ""):find("^%-%-") do
    local word, value = words[at]:match("^([^=]+)=(.*)$")
    word = word or words[at]
    local flag = by_word[word]
    if not flag then
      return nil, ("no flag '%s'%s"):format(word, require("waddle.nearest").hint(word, by_word))
    elseif not flag.part then
      wanted[word] = true
    else
      at = value and at or at + 1
      value = value or words[at]
      if not value then
        return nil, word .. ": expected a value after it"
      end
      local set = values[flag.part]
      set[flag.name] = flag.many and table.move({value}, 1, 1, #(set[flag.name] or {}) + 1, set[flag.name] or {}) or value
    end
    at = at + 1
  end
  local boxed = wanted["--sandbox"]
  if next(values.sandbox) and not boxed then
    return nil, "these flags go with --sandbox"
  elseif next(values.confine) and not wanted["--confine"] and not boxed then
    return nil, "these flags go with --confine"
  end
  return {
    at = at, apart = wanted["--isolate"] or boxed, confine = (wanted["--confine"] or boxed) and values.confine, sandbox = boxed and values.sandbox,
  }
end

-- The settings that waddle.confine and waddle.sandbox take; nil and a message.
local function settings_of(flags)
  local settings, message = {}, nil
  if flags.sandbox then
    settings.sandbox, message = sandbox.read(flags.sandbox)
  end
  if flags.confine and not message then
    settings.confine, message = require("waddle.config").confinement {env = sys.env, flags = flags.confine}
  end
  if message then
    return nil, message
  end
  return settings
end

local words = {...}
if words[1] == nil or words[1] == "-h" or words[1] == "--help" then
  usage(words[1] and io.stdout or io.stderr)
  return words[1] and 0 or USAGE
end
local flags, message = read_flags(words)
if not flags then
  return complain(message)
end
local settings
settings, message = settings_of(flags)
local at = flags.at
if not settings then
  return complain(message)
elseif not words[at] then
  return complain("expected a file")
end
if flags.apart and not isolate.inside() then
  local inner = {"run"}
  for i, word in ipairs(words) do
    if i >= at or word ~= "--isolate" then
      inner[#inner + 1] = word
    end
  end
  return isolate.run(inner, words[at])
end
return run.file(words[at], table.move(words, at + 1, #words, 1, {}), settings)
