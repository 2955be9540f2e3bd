-- waddle run tests/bench/sweep.lua icmp|udp NETWORK|COUNT [RATE GRADE [HOST:PORT]]: one packet to each host of a network, to COUNT addresses of 127.0.0.0/8,
-- or COUNT times to one UDP echo. RATE is packets a second, 0 for no limit. Prints how many were answered.

local kind, targets, rate, grade, echo = arg[1], arg[2], tonumber(arg[3] or 0), arg[4], arg[5]

local count = math.tointeger(tonumber(targets))
if count then
  targets = {}
  for i = 1, count do
    targets[i] = echo or ("127.%d.%d.%d"):format(i >> 16, i >> 8 & 255, i & 255)
  end
end

local sweep = kind == "udp" and udp.sweep or icmp.sweep
local result = sweep(targets, {rate = rate > 0 and rate or nil, stamps = grade, timeout = "5s"})
local answered = 0
for _, rtt_ms in ipairs(result.rtt_ms) do
  if rtt_ms then
    answered = answered + 1
  end
end
print(json.encode {count = answered})
