-- waddle run tests/bench/flight.lua icmp|tcp|http|dns COUNT IN-FLIGHT [HOST:PORT]: COUNT probes, so many tasks side by side. Prints how many succeeded.

local kind, count, in_flight, peer = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]

local probes = {
  icmp = function(i)
    return icmp.ping(("127.0.%d.%d"):format(i // 250 % 128, i % 250 + 1), {count = 1, timeout = "5s"})
  end,
  tcp = function()
    return tcp.connect(peer, {timeout = "5s"})
  end,
  http = function()
    return http.get("http://" .. peer .. "/", {timeout = "5s"})
  end,
  dns = function()
    return dns.query("www.bench.test", {server = peer, timeout = "5s"})
  end,
}

local probe, succeeded, tasks = probes[kind], 0, {}
for first = 1, in_flight do
  tasks[first] = task.spawn(function()
    for i = first, count, in_flight do
      if probe(i).success then
        succeeded = succeeded + 1
      end
    end
  end)
end
for _, t in ipairs(tasks) do
  t:join()
end
print(json.encode {count = succeeded})
