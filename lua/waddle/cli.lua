-- Commands: what every script in scripts/ shares. A script returns cli.command{...}; main runs it, and
-- `waddle completion` asks it for its flags. Results go to stdout, all else to stderr.

local argparse = require "argparse"
local core = require "waddle.core"
local json = require "waddle.json"
local show = require "waddle.show"
local sys = require "waddle.core.sys"
local task = require "waddle.task"

local cli = {}

local USAGE, FAILED = 2, 1
local CONCURRENCY = 256
local PROGRESS_AFTER, PROGRESS_EVERY = 1, 0.1

local command = {}
command.__index = command

--- Layout for text on stdout: {width=, colour=}. Colour on terminals only; TERM=dumb and any NO_COLOR but an empty one
-- (no-color.org) turn it off.
function cli.layout(fd)
  fd = fd or 1
  local tty = sys.isatty(fd)
  return {width = tty and sys.columns() or nil, colour = tty and (sys.env "NO_COLOR" or "") == "" and sys.env "TERM" ~= "dumb"}
end

--- Says what is wrong with the command line and ends with 2.
function cli.usage_error(name, message)
  io.stderr:write("waddle ", name, ": ", message, "\n")
  sys.exit(USAGE)
end

--- command{name=, help= (one line), examples={line, ...}, build=function(parser) end, run=function(args) return code end}
function cli.command(spec)
  return setmetatable(spec, command)
end

--- Whether a value is a command, as scripts return it.
function cli.is_command(value)
  return getmetatable(value) == command
end

function command:parser()
  local parser = argparse("waddle " .. self.name, self.help)
  parser:help_max_width(100)
  if self.examples then
    parser:epilog("examples:\n  " .. table.concat(self.examples, "\n  "))
  end
  self.build(parser)
  parser.error = function(_, message)
    cli.usage_error(self.name, message .. "; `waddle " .. self.name .. " --help` shows how")
  end
  return parser
end

--- Parses the words and runs the command; gives its exit code.
function command:main(words)
  return self.run(self:parser():parse(words))
end

--- For option:convert: a whole number, else nil and a message.
function cli.integer(words)
  local n = math.tointeger(tonumber(words))
  if not n then
    return nil, ("expected a whole number, got '%s'"):format(words)
  end
  return n
end

--- For option:convert: a number, else nil and a message.
function cli.number(words)
  local n = tonumber(words)
  if not n then
    return nil, ("expected a number, got '%s'"):format(words)
  end
  return n
end

-- The flags of every probe command.
local function probe_flags(parser)
  parser:option("--timeout", "Give up after this many seconds, or text like 500ms."):argname("S")
  parser:mutex(
    parser:flag("-4", "Use IPv4 only."):target("ipv4"),
    parser:flag("-6", "Use IPv6 only."):target("ipv6"))
  parser:mutex(
    parser:flag("--json", "Print one JSON document: an object for one target, a list for several."),
    parser:flag("--jsonl", "Print one line of JSON a target, as each ends."))
  parser:option("--source", "Send from this local address or interface."):argname("ADDRESS")
end

--- Adds the flags of a probe that sends several packets, with its defaults as texts. `count` may be text for people, where it depends.
function cli.packet_flags(parser, count, interval, size)
  local option = parser:option("-c --count", "Packets to send to each target."):convert(cli.integer):argname("N")
  if tonumber(count) then
    option:default(count)
  else
    option:description(("Packets to send to each target (default: %s)."):format(count))
  end
  parser:option("-i --interval", "Time between two packets to a target."):default(interval):argname("S")
  parser:option("-s --size", "Bytes of payload."):default(size):convert(cli.integer):argname("BYTES")
end

--- Adds --ca and --insecure.
function cli.certificate_flags(parser)
  parser:option("--ca", "Trusted certificates: a PEM file or a folder of them."):argname("FILE")
  parser:flag("--insecure", "Report a certificate that does not hold, but do not fail.")
end

--- Runs fn() beside a line on stderr that tells how far it is, from one second on; terminals only. `words()` gives the line, to which the
-- time is added. Gives what fn gives.
function cli.with_progress(words, fn)
  local t0 = task.now()
  if not sys.isatty(2) or sys.env "TERM" == "dumb" then
    return fn()
  end
  local ticker = task.spawn(function()
    task.sleep(PROGRESS_AFTER)
    while true do
      io.stderr:write(("\r\27[K%s, %.0f s"):format(words(), task.now() - t0))
      task.sleep(PROGRESS_EVERY)
    end
  end)
  local erase <close> = setmetatable({}, {__close = function() -- luacheck: ignore 211
    ticker:cancel()
    if task.now() - t0 >= PROGRESS_AFTER then
      io.stderr:write("\r\27[K")
    end
  end})
  return fn()
end

--- The misuse message of a call without its place in the program.
function cli.plain_message(err)
  return (tostring(err):gsub("^[^:\n]+:%d+: ", ""))
end

-- Raises as the probe would for bad options, before anything is sent.
local function check_all(name, calls)
  for _, call in ipairs(calls) do
    local ok, err = pcall(core.check, call.probe, call.target, call.opts)
    if not ok then
      cli.usage_error(name, cli.plain_message(err))
    end
  end
end

-- Runs calls {probe="tcp.connect", target=, opts=} side by side, prints each as asked for by args.json or
-- args.jsonl, else in full (one target) or a line each; gives the exit code.
local function run_probes(name, args, calls)
  check_all(name, calls)
  local layout = cli.layout()
  local done, failed = 0, 0
  local function words()
    return #calls > 1 and ("%d of %d done"):format(done, #calls) or "waiting"
  end
  local results = cli.with_progress(words, function()
    return task.map(calls, function(call)
      local module, fn = call.probe:match("^(%w+)%.(%w+)$")
      local result = require("waddle." .. module)[fn](call.target, call.opts)
      failed = failed + (result.success and 0 or 1)
      done = done + 1
      if args.jsonl then
        io.write(json.encode(result, {sorted = true}), "\n")
        io.flush()
      end
      return result
    end, {concurrency = CONCURRENCY})
  end)
  if args.json then
    results.n = nil
    io.write(json.pretty(#calls == 1 and results[1] or json.array(results)), "\n")
  elseif not args.jsonl then
    for _, result in ipairs(results) do
      io.write(#calls == 1 and show.result(result, layout) or show.line(result, layout) .. "\n")
    end
  end
  return failed > 0 and FAILED or 0
end

--- A command that calls one probe for each of its targets: {name=, help=, examples=,
-- probe="tcp.connect", argument={"HOST:PORT", "What to connect to."}, flags=function(parser) end,
-- options=function(args) return {probe's options} | nil, message end, target=function(words) return target end,
-- instead=function(args, options) return exit code | nil end: another way to run it, where it gives a code}
function cli.probe_command(spec)
  function spec.build(parser)
    parser:argument("target", spec.argument[2]):args("+"):argname(spec.argument[1])
    if spec.flags then
      spec.flags(parser)
    end
    probe_flags(parser)
  end
  function spec.run(args)
    local opts, err = {}, nil
    if spec.options then
      opts, err = spec.options(args)
    end
    if not opts then
      cli.usage_error(spec.name, err)
    end
    opts.timeout, opts.source = args.timeout, args.source
    opts.family = args.ipv4 and 4 or args.ipv6 and 6 or nil
    local code = spec.instead and spec.instead(args, opts)
    if code then
      return code
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = spec.probe, target = spec.target and spec.target(target) or target, opts = opts}
    end
    return run_probes(spec.name, args, calls)
  end
  return cli.command(spec)
end

--- Every command there is, by name: each script of scripts/ that returns one.
function cli.commands()
  local found = {}
  for _, path in ipairs(core.files()) do
    local source = path:match("^scripts/") and core.source(path)
    if source and source:find("return cli%.%l*_?command {") then -- others run when they are called
      local chunk = assert(load(source, "=" .. path, "t", require("waddle.env").new()))
      local value = chunk()
      if cli.is_command(value) then
        found[#found + 1] = value
      end
    end
  end
  table.sort(found, function(a, b) return a.name < b.name end)
  return found
end

return cli
