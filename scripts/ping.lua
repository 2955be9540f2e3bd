-- waddle ping HOST...: round trips with ICMP echo, many targets side by side; waddle ping -g RANGE...: a sweep of whole ranges.
local cli = require "waddle.cli"
local core = require "waddle.core"
local json = require "waddle.json"
local show = require "waddle.show"
local sweep_show = require "waddle.sweep_show"
local task = require "waddle.task"

local ACCEPTED = "to be swept are ranges (10.0.0.0/16, 10.0.0.1-10.0.0.50, 2001:db8::/120), addresses and names"

-- What only a sweep knows: the name of the flag, and its place in the arguments.
local SWEEP_ONLY = {{"--rate", "rate"}, {"--retries", "retries"}, {"--stamps", "stamps"}, {"-a", "alive"}, {"-u", "unreachable"}, {"-q", "quiet"}}
-- Ways to print a sweep that exclude each other.
local VIEWS = {{"-a", "alive"}, {"-u", "unreachable"}, {"-q", "quiet"}, {"--json", "json"}, {"--jsonl", "jsonl"}}

local function fail(message)
  cli.usage_error("ping", message)
end

local function flags(parser)
  cli.packet_flags(parser, "4, of a sweep 1", "1", "56")
  parser:option("--ttl", "Hops after which a router gives a packet up."):convert(cli.integer):argname("HOPS")
  parser:option("--linger", "Until when after its sending a reply is still reported, as late."):argname("S")
  parser:group("Sweeps",
    parser:flag("-g --generate", "Sweep ranges: 10.0.0.0/16, 10.0.0.1-10.0.0.50, 2001:db8::/120; also addresses and names."),
    parser:option("--rate", "Packets a second, over all targets; without it as fast as they leave."):convert(cli.number):argname("N"),
    parser:option("--retries", "How often a packet that was not answered in time is sent again."):convert(cli.integer):argname("N"),
    parser:option("--stamps", "exact: the kernel stamps every packet; lean: one in eight, which saves work and costs precision (default: exact).")
      :choices {"lean", "exact"}:argname("GRADE"),
    parser:flag("-a --alive", "Print only the targets that answered, a line each."),
    parser:flag("-u --unreachable", "Print only the targets that did not answer, a line each."),
    parser:flag("-q --quiet", "Print only the summary."))
end

-- ---- a plain ping ----

local function check_plain(args)
  for _, flag in ipairs(SWEEP_ONLY) do
    if args[flag[2]] ~= nil then
      fail(("%s belongs to a sweep; add -g"):format(flag[1]))
    end
  end
  for _, target in ipairs(args.target) do
    if target:find("/", 1, true) or target:find("^%d+%.%d+%.%d+%.%d+%-") then
      fail(("'%s': not a name or an address; a range needs -g"):format(target))
    end
  end
end

-- ---- a sweep ----

local function wrong(targets, options)
  local ok, err = pcall(core.check, "icmp.sweep", targets, options)
  return not ok and cli.plain_message(err) or nil
end

local function check_sweep(args, options)
  local view
  for _, flag in ipairs(VIEWS) do
    if args[flag[2]] then
      if view then
        fail(("%s and %s: only one of them"):format(view, flag[1]))
      end
      view = flag[1]
    end
  end
  local message = wrong(args.target, options)
  if not message then
    return
  end
  for _, target in ipairs(args.target) do
    local why = wrong({target}, {})
    if why then
      fail(("%s; %s"):format(why, ACCEPTED))
    end
  end
  fail(message)
end

-- Sweeps beside a line that tells how far it is; an end before its time tells so, too. Gives the result and how many seconds it took.
local function sweep(targets, options)
  local before, began = core.stats(), task.now()
  local function words()
    local now = core.stats()
    local sent, all = now.sweep_sent - before.sweep_sent, now.sweep_packets - before.sweep_packets
    if all == 0 then
      return "looking up names"
    end
    local share = sent > all and "" or (" of %d"):format(all) -- those sent again are not among them
    return ("%d%s packets sent, %d answered"):format(sent, share, now.sweep_received - before.sweep_received)
  end
  local finished = false
  local tell <close> = setmetatable({}, {__close = function() -- luacheck: ignore 211
    if not finished then
      io.stderr:write(("waddle ping: interrupted after %.1f s: %s\n"):format(task.now() - began, words()))
    end
  end})
  local result = cli.with_progress(words, function() return require("waddle.icmp").sweep(targets, options) end)
  finished = true
  return result, task.now() - began
end

-- What kept targets from being measured, for those who print no reasons.
local function note(result, found)
  for _, line in ipairs(sweep_show.notes(result, found)) do
    io.stderr:write("waddle ping: ", line, "\n")
  end
end

local function print_sweep(args, result, found, elapsed)
  local layout = cli.layout()
  if args.json then
    io.write(json.pretty(result), "\n")
  elseif args.jsonl then
    io.write(sweep_show.jsonl(result))
  elseif args.alive or args.unreachable then
    io.write(sweep_show.names(result, args.alive and found.alive or found.unreachable))
    note(result, found)
  elseif args.quiet then
    io.write(sweep_show.summary(result, found, elapsed, layout))
    note(result, found)
  else
    io.write(sweep_show.table(result, found, layout), sweep_show.groups(result, found, layout), sweep_show.summary(result, found, elapsed, layout))
  end
end

-- Nothing was sent: the result says why.
local function print_failure(args, result)
  if args.json then
    io.write(json.pretty(result), "\n")
  elseif args.jsonl then
    io.write(json.encode(result, {sorted = true}), "\n")
  elseif args.alive or args.unreachable then
    io.stderr:write("waddle ping: ", show.reason(result), "\n")
  else
    io.write(show.line(result, cli.layout()), "\n")
  end
end

local function run_sweep(args, options)
  options.rate, options.retries = args.rate, args.retries
  options.stamps = args.stamps or "exact" -- a tenth more work than lean, but a pause of ours between two stamps is no round trip
  check_sweep(args, options)
  local result, elapsed = sweep(args.target, options)
  local found = sweep_show.sort(result)
  if not found then
    print_failure(args, result)
    return 1
  end
  print_sweep(args, result, found, elapsed)
  return #found.alive == #result.targets and 0 or 1
end

return cli.probe_command {
  name = "ping",
  help = "Measure round trips with ICMP echo, to many targets at once, or to whole ranges.",
  examples = {"waddle ping example.com", "waddle ping -c 10 -i 0.2 192.0.2.1 192.0.2.2 2001:db8::1", "waddle ping --jsonl -c 1 gateway.test",
    "waddle ping -g 192.0.2.0/24", "waddle ping -g -a --rate 1000 192.0.2.1-192.0.2.50 gateway.test"},
  probe = "icmp.ping",
  argument = {"HOST", "Name or address to ping; with -g ranges, too."},
  flags = flags,
  options = function(args) return {count = args.count, interval = args.interval, size = args.size, ttl = args.ttl, linger = args.linger} end,
  instead = function(args, options)
    if args.generate then
      return run_sweep(args, options)
    end
    check_plain(args)
    return nil
  end,
}
