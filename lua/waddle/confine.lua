--- Least privilege: gives up, for good, what an agent or a script does not need. docs/agent.md tells people what each part is.
-- What must hold: a part that is asked for ("on") and cannot be had is an error; with "auto" the line that is logged says why it is missing.
-- Sockets that need rights are open before the rights go.

local core = require "waddle.core.confine"
local isolate = require "waddle.core.isolate"
local redact = require "waddle.redact"
local sys = require "waddle.core.sys"

local confine = {}

local EPERM, EACCES = 1, 13
local MOST_TOLD = 64 -- files about whose refusal the log says something
local NEEDS_PING = "ICMP needs the ping program here, and that needs rights of its own: widen net.ipv4.ping_group_range or grant CAP_NET_RAW"

-- Folders that systemd made for the service, as lists with colons.
local SERVICE_FOLDERS = {"STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "RUNTIME_DIRECTORY"}

--- The flags that set it, for a parser of argparse and for words by hand: {name= (the setting), word= (the flag), value=, help=}.
confine.FLAGS = {
  {name = "drop_capabilities", value = "WHEN", help = "Give up all capabilities once ICMP sockets are open: auto, on or off."},
  {name = "no_new_privs", value = "WHEN", help = "No program that is started gains rights; the next two need it: auto, on or off."},
  {name = "seccomp", value = "WHEN", help = "Deny the system calls that a prober never needs: auto, on or off."},
  {name = "landlock", value = "WHEN", help = "Write to no file but those of --writable and the service's own: auto, on or off."},
  {name = "programs", value = "YESNO", help = "Let scripts start programs (os.execute, io.popen): on or off."},
  {name = "core_dumps", value = "YESNO", help = "Allow core dumps and debuggers, which see secrets: on or off."},
  {name = "writable", value = "FOLDER", help = "Allow scripts to write there; may be repeated.", many = true},
}
for _, flag in ipairs(confine.FLAGS) do
  flag.word = "--" .. flag.name:gsub("_", "-")
end

--- Adds the flags to a parser.
function confine.flags(parser)
  for _, flag in ipairs(confine.FLAGS) do
    local option = parser:option(flag.word, flag.help):argname(flag.value)
    if flag.many then
      option:count("*")
    end
  end
end

local function exists(path)
  local file = io.open(path, "r")
  if file then
    file:close()
  end
  return file ~= nil
end

local function has_ping_program()
  for folder in (sys.env "PATH" or ""):gmatch("[^:]+") do
    if exists(folder .. "/ping") then
      return true
    end
  end
  return false
end

-- A warning with the place in the script, two functions above.
local function tell(message, ...)
  local info = debug.getinfo(3, "Sl")
  local place = info and info.currentline > 0 and ("%s:%d: "):format(info.short_src, info.currentline) or ""
  sys.log("warning", place .. redact.text(message:format(...)))
end

-- From here on what the kernel refuses is explained, once a file or function; the kernel decides, this only tells.
local function explain_writes(where)
  local seen, count = {}, 0
  local function wrap(library, name)
    local plain = library[name]
    library[name] = function(path, mode, ...)
      local result, message, code = plain(path, mode, ...)
      local reads = name == "open" and not (type(mode) == "string" and mode:find("[wa+]"))
      if result ~= nil or code ~= EACCES or reads then
        return result, message, code
      end
      message = ("%s (Landlock: writing is allowed in: %s)"):format(message, where)
      local key = tostring(path or name)
      if not seen[key] and count < MOST_TOLD then
        seen[key], count = true, count + 1
        tell("landlock: %s; --writable FOLDER allows another, --landlock off all", message)
      end
      return nil, message, code
    end
  end
  wrap(io, "open")
  wrap(io, "tmpfile")
  wrap(os, "remove")
  wrap(os, "rename")
end

local function explain_programs()
  local seen = {}
  local function wrap(library, name)
    local plain = library[name]
    library[name] = function(command, ...)
      if name == "execute" and command == nil then
        return false -- there is no shell
      end
      local result, how, code = plain(command, ...)
      if result ~= nil then
        return result, how, code
      end
      local message = ("%s: no program may be started"):format(redact.text(tostring(command)))
      if not seen[name] then
        seen[name] = true
        tell("programs: %s; --programs on allows it", message)
      end
      return nil, message, EPERM
    end
  end
  wrap(os, "execute")
  wrap(io, "popen")
end

-- The folders that may be written to: those that were asked for, those of the service, and where `also` says. nil and a message for one
-- that is not there.
local function writable(settings, also)
  local folders, seen = {}, {}
  local function add(path)
    if not seen[path] and exists(path) then
      folders[#folders + 1] = path
    end
    seen[path] = true
  end
  for _, path in ipairs(settings.writable) do
    if not exists(path) then
      return nil, ("writable: %s: there is no such file or folder"):format(path)
    end
    add(path)
  end
  for _, name in ipairs(SERVICE_FOLDERS) do
    for path in (sys.env(name) or ""):gmatch("[^:]+") do
      add(path)
    end
  end
  for _, path in ipairs(also or {}) do
    add(path)
  end
  return folders
end

--- Whether a script may ping: it names icmp, or takes in other files, which may.
function confine.may_ping(text)
  for _, word in ipairs {"icmp", "dofile", "loadfile", "require"} do
    if text:find(word, 1, true) then
      return true
    end
  end
  return false
end

-- Where programs cannot be started any more, a fork server starts the processes of isolated targets. Gives whether there is one, or nil and why not.
local function start_server(settings, needs)
  if settings.programs or not needs.isolated then
    return false
  end
  return isolate.serve()
end

--- Gives up what the settings say. To be called once, before anything that starts a thread.
-- @param settings {drop_capabilities=, no_new_privs=, seccomp=, landlock= ("auto", "on" or "off" each), programs=, core_dumps= (boolean),
--   writable= (list of paths)}, as config.confinement gives them
-- @param needs {icmp= whether anything may ping, own_sockets= whether a ping may need a socket of its own, writable= list of paths that may
--   be written to besides, isolated= whether processes for isolated targets may have to be started later}
-- @return one line for the log; nil and a message when a part that has to be there cannot be had
function confine.apply(settings, needs)
  local folders, wrong = writable(settings, needs.writable)
  if not folders then
    return nil, wrong
  end
  local reach = needs.icmp and core.open_icmp() or nil
  local needs_ping = needs.icmp and not reach and has_ping_program()
  local keep_raw = settings.drop_capabilities == "auto" and reach == "raw" and needs.own_sockets
  local report, failure, on = {}, nil, {}
  local server, no_server = start_server(settings, needs)

  -- One part: fn() does it where its setting says so and no obstacle is in the way. Gives whether it is on.
  local function part(name, obstacle, fn, more)
    local wanted, done, why = settings[name], false, obstacle
    if wanted == "off" then
      report[#report + 1] = name .. " off (as set)"
      return false
    elseif not obstacle then
      done, why = fn()
    end
    if done then
      report[#report + 1] = ("%s on%s"):format(name, more or "")
    else
      report[#report + 1] = ("%s not available (%s)"):format(name, why)
      failure = failure or wanted == "on" and ("%s cannot be had: %s"):format(name, why) or nil
    end
    return done
  end

  if settings.core_dumps then
    report[1] = "core_dumps on (as set)"
  else
    local done, why = core.no_dump()
    on.no_dump = done
    report[1] = done and "core_dumps off" or ("core_dumps on (%s)"):format(why)
  end
  local locked = part("no_new_privs", needs_ping and settings.no_new_privs == "auto" and NEEDS_PING or nil, core.no_new_privs)
  local obstacle = not locked and "it needs no_new_privs" or nil
  local listed = #folders > 0 and table.concat(folders, ", ") or "nowhere"
  local paths = table.move(folders, 1, #folders, 2, {"/dev/null"})
  local landlocked = part("landlock", obstacle, function()
    return core.landlock(paths, settings.programs)
  end, (" (writing: %s)"):format(listed))
  on.no_new_privs, on.landlock, on.keep_net_raw = locked, landlocked and paths or nil, keep_raw
  on.capabilities = part("drop_capabilities", nil, function()
    return core.capabilities(keep_raw, locked)
  end, keep_raw and " (but CAP_NET_RAW: there are no ping sockets, and some pings need a socket of their own)")
  local filtered = part("seccomp", obstacle, function()
    return core.seccomp(settings.programs)
  end, settings.programs and " (but programs may be started)")
  on.seccomp = filtered
  if failure then
    return nil, failure
  end
  if server then
    no_server = select(2, isolate.confine(on))
  end
  if no_server then
    sys.log("warning", ("isolated targets cannot run: the process that would start theirs: %s"):format(no_server))
  end
  if landlocked then
    explain_writes(listed)
  end
  if (landlocked or filtered) and not settings.programs then
    explain_programs()
  end
  return "confined: " .. table.concat(report, "; ")
end

return confine
