-- The rows of ./dev bench. A row is data:
--
--   name     what selects it on the command line; `what` is for the table
--   ours     our command; {n} in it is the row's `n` (a fifth with --quick unless the row is `whole`), {NAME} what run.sh found: a program, a port, a folder
--   peer     {name=, command=, ...} the same work by somebody else, in turn with ours; `counted` finds the count in what it prints; with `server` the
--            CPU time is that of this server, not of the command; `slow` peers are left out with --quick
--   count    how many must succeed where there is no {n}
--   bare     a command that does the least possible
--   figures  {what=, of="cpu" | "cpu_each" | "wall" | "memory", limit=}; CPU is that of whole processes, their start included.
--            limit: {most = 8} of the unit; {most = 8, bare = 2.2} the same where the bare loop takes 2.2, and in proportion on a slower machine;
--            {of_peer = 0.6}, {of_bare = 1.4}. `known` is the figure of the reference client, measured once, elsewhere
--   runs     how often (5; 1 with --quick); the medians count
--   slow     left out with --quick
--   needs    names that must have been found besides those in the commands
--   plot     x of this row in the plot of cost against the number of targets
--
-- In place of ours, peer, bare and figures a row may have `lines`: a command that prints its figures itself, a JSON object a line:
--   {"what": TEXT, "unit": TEXT, "waddle": N, "limit": N, "peer": N, "peer_name": TEXT, "bare": N, "known": N, "note": TEXT}
-- where what was not measured is absent, and "least": N stands for a limit that must be reached. {"what": TEXT, "why": TEXT} is something left out,
-- with "failed": true something that failed.
-- {runs} is how often it is to measure.

local function flight(kind, in_flight, peer)
  return ("{waddle} run {dir}/flight.lua %s {n} %d %s"):format(kind, in_flight, peer or "")
end

local function blackbox(module, target, in_flight)
  return {
    name = "blackbox", server = "blackbox",
    command = ("{wrk} -t 1 -c %d -d {seconds}s -s {dir}/wrk.lua 'http://127.0.0.1:{blackbox}/probe?module=%s&target=%s'"):format(in_flight, module, target),
  }
end

-- What run.sh calls {targets} is 50 HTTP, 50 TCP, 20 UDP and 20 ICMP targets.
local agent = "env MANAGER_URL=http://127.0.0.1:{manager} AUTH_TYPE=none DEVICE_SERIAL=bench DEVICE_HOSTNAME=bench WADDLE_SPOOL={work}/agent.db {targets} {waddle} agent"

local rows = {
  {
    name = "round", what = "a round of 140 targets", runs = 1,
    ours = agent,
    peer = {name = "tools", command = "sh {dir}/tools.sh {http} {tcp}", slow = true},
    figures = {
      {what = "time", of = "wall", limit = {most = 4}, known = 60.4},
      {what = "CPU", of = "cpu", limit = {most = 0.15}, known = 0.49},
    },
  },
  {
    name = "memory", what = "the same round", runs = 1,
    ours = agent,
    bare = "env LD_PRELOAD={libraries} true", -- the libraries alone, before a line of ours runs
    figures = {{what = "memory", of = "memory", limit = {most = 18}, known = 39.6}},
  },
  {
    name = "body", what = "a body of 200 MiB", runs = 1,
    ours = [[{waddle} -e 'assert(http.get(arg[1], {timeout = "1m"}).success)' http://127.0.0.1:{http}/bytes/209715200]],
    peer = {name = "curl", command = "curl -s -o /dev/null http://127.0.0.1:{http}/bytes/209715200"},
    figures = {{what = "memory", of = "memory", limit = {most = 24}, known = 441}},
  },
  {name = "start", lines = "sh {dir}/start.sh {waddle} 127.0.0.1:{tcp}"},
  {name = "budget.delay", lines = "{waddle} run {dir}/delay.lua"},
  {name = "upload", n = 50000, lines = "{waddle} --budget cpu=0 run {dir}/upload.lua {n} {work}"},
  {
    name = "icmp.sweep", what = "icmp.sweep, 32,766 hosts", needs = {"netns"},
    ours = "{waddle} run {dir}/sweep.lua icmp 127.0.0.0/17",
    peer = {name = "fping", command = "{fping} -q -g -i 0 -r 0 127.0.0.0/17"},
    bare = "{bare}/bare_ping 0 32766 0", count = 32766,
    figures = {
      {what = "CPU each", of = "cpu_each", limit = {of_peer = 0.6}},
      {what = "time", of = "wall", limit = {of_peer = 0.8}},
    },
  },
  {
    name = "icmp.ping", what = "icmp.ping, 10,000 at once", n = 10000, whole = true, needs = {"netns"},
    ours = flight("icmp", 10000), peer = blackbox("icmp", "127.0.0.1", 256), bare = "{bare}/bare_ping 0 {n} 0 stamps",
    figures = {{what = "CPU each", of = "cpu_each", limit = {most = 8, bare = 2.2}}},
  },
  {
    name = "icmp.steady", what = "icmp.sweep, 10k/s exact", n = 50000, needs = {"netns"},
    ours = "{waddle} run {dir}/sweep.lua icmp {n} 10000 exact", bare = "{bare}/bare_ping 0 {n} 10000 stamps",
    figures = {{what = "CPU each", of = "cpu_each", limit = {most = 4, bare = 2.4}}},
  },
  {
    name = "udp.steady", what = "udp.sweep, 10k/s exact", n = 50000, needs = {"netns"},
    ours = "{waddle} run {dir}/sweep.lua udp {n} 10000 exact 127.0.0.1:{udp}", bare = "{bare}/bare_ping {udp} {n} 10000 stamps",
    figures = {{what = "CPU each", of = "cpu_each", limit = {most = 4, bare = 3.8}}},
  },
  {
    name = "tcp", what = "tcp.connect, 256 at once", n = 50000,
    ours = flight("tcp", 256, "127.0.0.1:{nginx}"), peer = blackbox("tcp", "127.0.0.1:{nginx}", 256),
    bare = "{bare}/bare_connect {nginx} {n} 256",
    figures = {{what = "CPU each", of = "cpu_each", limit = {most = 22, bare = 13.6}}},
  },
  {
    name = "http", what = "http.get cold, 64 at once", n = 20000,
    ours = flight("http", 64, "127.0.0.1:{nginx}"), peer = blackbox("http", "127.0.0.1:{nginx}", 64),
    bare = "{bare}/bare_http http://127.0.0.1:{nginx}/ {n} 64",
    figures = {{what = "CPU each", of = "cpu_each", limit = {of_bare = 1.4}}},
  },
  {
    name = "dns", what = "dns.query, 1000 at once", n = 50000,
    ours = flight("dns", 1000, "127.0.0.1:{unbound}"),
    peer = {
      name = "dnsperf", counted = "Queries completed:%s+(%d+)",
      command = "{dnsperf} -s 127.0.0.1 -p {unbound} -d {work}/queries -n {n} -q 1000 -c 1 -T 1 -b 4096",
    },
    figures = {{what = "CPU each", of = "cpu_each", limit = {of_peer = 2.0}}},
  },
}

-- What the reported round trips are off: p50 and p99 in microseconds.
for _, accuracy in ipairs {
  {"icmp.sweep", 0.5, 5}, {"icmp.ping", 0.5, 5}, {"udp.sweep", 0.5, 5}, {"udp.ping", 0.5, 5}, {"dns.query", 0.5, 5}, {"tcp.connect", 3, 25},
} do
  rows[#rows + 1] = {
    name = "accuracy." .. accuracy[1], n = 10000, whole = true, needs = {"netns", "sim"},
    lines = ("{waddle} run {dir}/accuracy.lua %s {n} {runs} %g %g"):format(table.unpack(accuracy)),
  }
end

-- Schedules: how late runs start, what idle targets hold, what one probe costs among many.
for _, schedule in ipairs {
  {"lateness.10k", "lateness 10000 10 2"}, {"lateness.100k", "lateness 100000 60 5", slow = true},
  {"memory", "memory 100000 150"}, {"cpu", "cpu 20 1.2", slow = true},
} do
  rows[#rows + 1] = {
    name = "schedule." .. schedule[1], slow = schedule.slow, needs = {"netns"}, lines = "{waddle} run {dir}/schedule.lua " .. schedule[2],
  }
end

-- fping of the first n addresses of 127.0.0.0/8. It has sequence numbers for 65,535 hosts: more of them are two runs.
local function fping(n)
  local function run(first, last)
    return ("{fping} -q -g -i 0 -r 0 127.%d.%d.%d 127.%d.%d.%d"):format(first >> 16, first >> 8 & 255, first & 255, last >> 16, last >> 8 & 255, last & 255)
  end
  if n < 65536 then
    return {name = "fping", command = run(1, n)}
  end
  return {name = "fping twice", command = ("sh -c '%s && %s'"):format(run(1, n // 2), run(n // 2 + 1, n))}
end

for _, n in ipairs {1000, 10000, 100000} do
  rows[#rows + 1] = {
    name = "scale." .. n, what = ("icmp.sweep, %d hosts"):format(n), n = n, whole = true, plot = n, needs = {"netns"},
    ours = "{waddle} run {dir}/sweep.lua icmp {n}", peer = fping(n), bare = "{bare}/bare_ping 0 {n} 0",
    figures = {{what = "CPU each", of = "cpu_each"}},
  }
end

return rows
