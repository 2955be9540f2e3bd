-- How fast a backlog in memory goes out to a sink on this machine: `waddle run tests/bench/upload.lua [ROWS]`, 100000 by default.
-- The sink is a process of its own (this file with a second argument, "sink"), so that its work is not counted; where both share a core,
-- the rate is that of both together. Prints rows a second and CPU a row for taking in and for sending, as ./dev bench reads them (rows.lua).

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

local program = assert(io.popen("readlink -f " .. exe)):read("l")
local sink = assert(io.popen(("'%s' run '%s' %d sink"):format(program, arg[0], rows)))
local url = assert(sink:read("l"), "the sink did not start")

local contract = require "waddle.contract"
local u = upload.open {url = url, max_rows = rows, max_bytes = "1GiB"}
local result = {test_type = "tcp", target = "tcp://db.test:5432", target_host = "db.test", target_ip = "192.0.2.7", success = true, latency_ms = 3.25,
  timings = {connect_ms = 3.25}}

-- Runs fn; its wall time in seconds and its CPU time per row in microseconds.
local function measured(fn)
  local begun, cpu = task.now(), os.clock()
  fn()
  return task.now() - begun, (os.clock() - cpu) / rows * 1e6
end

sys.log_level("error")
assert(u.core:put("row-1", contract.build(result, u.device).body))
while u:status().state == "ok" do
  task.sleep(0.001)
end
local _, take_us = measured(function()
  for i = 2, rows do
    assert(u.core:put("row-" .. i, contract.build(result, u.device).body))
  end
end)
assert(u:status().sent == 0, "the backlog did not build up")
local send_s, send_us = measured(function()
  while u:flush(60) > 0 do end
end)
local status = u:status()
assert(status.sent == rows, "some were not delivered")
for _, line in ipairs {
  {what = "upload, result taken in: CPU each", unit = "us", waddle = take_us},
  {what = "upload, backlog sent: CPU each", unit = "us", waddle = send_us},
  {what = "upload, backlog sent: rate", unit = "/s", waddle = rows / send_s},
} do
  print(json.encode(line))
end
u:close()
sink:close()
