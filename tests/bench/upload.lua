-- How fast a backlog goes out to a sink on this machine, from memory and from a spool: `waddle run tests/bench/upload.lua [ROWS [FOLDER]]`, 100000
-- by default; the spool is made in the folder.
-- The sink is a process of its own (this file with the word "sink"), so that its work is not counted; where both share a core,
-- the rate is that of both together. Prints rows a second, CPU a row for taking in and for sending, and memory, as ./dev bench reads them (rows.lua).

local exe = "/proc/" .. sys.pid() .. "/exe"

-- Answers the first upload with 503, so that a backlog can build up, and every other one with 201; ends after the last of them.
local function run_sink(rows)
  local answered, done = -1, task.channel(1)
  local server = assert(serve.http {deadline = 600, handler = function()
    answered = answered + 1
    if answered == 0 then
      return {status = 503, headers = {["retry-after"] = "3600"}}
    elseif answered == rows then
      done:send(true)
    end
    return {status = 201, body = "{}"}
  end})
  print("http://127.0.0.1:" .. server.port)
  io.stdout:flush()
  done:receive()
  task.sleep(0.1)
end

local rows = math.tointeger(tonumber(arg[1] or 100000))
if arg[2] == "sink" then
  run_sink(rows)
  return 0
end

local contract = require "waddle.contract"
local AT_ONCE = 256 -- results that a pipeline hands over together
local program = assert(io.popen("readlink -f " .. exe)):read("l")
local result = {test_type = "tcp", target = "tcp://db.test:5432", target_host = "db.test", target_ip = "192.0.2.7", success = true, latency_ms = 3.25,
  timings = {connect_ms = 3.25}}

-- Runs fn; its wall time in seconds and its CPU time per row in microseconds, of all threads.
local function measured(fn)
  local begun, cpu = task.now(), os.clock()
  fn()
  return task.now() - begun, (os.clock() - cpu) / rows * 1e6
end

-- Resident memory in MiB.
local function resident()
  collectgarbage()
  collectgarbage()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then
      return kib / 1024
    end
  end
end

local function tell(what, unit, value, limit)
  limit = limit or {}
  print(json.encode {what = what, unit = unit, waddle = value, limit = limit.most, least = limit.least})
end

-- Builds the backlog up and sends it; `options` say where it waits, `limits` what is to be reached.
local function run(where, options, limits)
  local sink = assert(io.popen(("'%s' run '%s' %d sink"):format(program, arg[0], rows)))
  options.url = assert(sink:read("l"), "the sink did not start")
  options.max_rows, options.max_bytes = rows, "2GiB"
  local u = upload.open(options)
  assert(u:put(result))
  while u:status().state == "ok" do
    task.sleep(0.001)
  end
  local body = contract.build(result, u.device).body
  local before = resident()
  local _, put_us = measured(function()
    for first = 2, rows, AT_ONCE do
      local some = {}
      for i = first, math.min(first + AT_ONCE - 1, rows) do
        some[#some + 1], some[#some + 2] = "row-" .. i, body
      end
      assert(u.core:put(table.unpack(some)) == #some // 2)
    end
  end)
  assert(u:status().sent == 0, "the backlog did not build up")
  local grown = resident() - before
  local send_s, send_us = measured(function()
    while u:flush(60) > 0 do end
  end)
  local status = u:status()
  assert(status.sent == rows, "some were not delivered")
  tell(("upload, result put into %s: CPU each"):format(where), "us", put_us, limits.put)
  tell(("upload, %d results wait in %s: memory"):format(rows, where), "MiB", grown, limits.memory)
  tell(("upload, backlog sent from %s: CPU each"):format(where), "us", send_us)
  tell(("upload, backlog sent from %s: rate"):format(where), "/s", rows / send_s, limits.rate)
  u:close()
  sink:close()
end

sys.log_level("error")
local device = require("waddle.device").detect({}, sys)
local _, build_us = measured(function()
  for _ = 1, rows do
    contract.build(result, device)
  end
end)
tell("upload, result made a row: CPU each", "us", build_us)
run("memory", {}, {})

-- Memory while results pile up on the disk, and what the second half of them adds to the first: that is none.
local function pile_up(path, count)
  local u = upload.open {url = "http://127.0.0.1:9", spool = path, max_rows = count, max_bytes = "4GiB"}
  local body = contract.build(result, u.device).body
  local halves = {}
  for first = 1, count, AT_ONCE do
    local some = {}
    for i = first, math.min(first + AT_ONCE - 1, count) do
      some[#some + 1], some[#some + 2] = "waits-" .. i, body
    end
    assert(u.core:put(table.unpack(some)) == #some // 2)
    if first < count / 2 and first + AT_ONCE >= count / 2 or first + AT_ONCE > count then
      halves[#halves + 1] = resident()
    end
  end
  assert(u:status().queued + u:status().in_flight == count)
  tell(("upload, %d more results than %d in a spool: memory"):format(count // 2, count // 2), "MiB", halves[#halves] - halves[1], {most = 4})
  u:close()
end

if arg[2] then
  pile_up(arg[2] .. "/waiting.db", 4 * rows)
  run("a spool", {spool = arg[2] .. "/upload.db"}, {put = {most = 30}, rate = {least = 3000}, memory = {most = 4}})
end
