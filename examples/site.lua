-- What one site watches, on one page. As it stands it watches `waddle reflect` on this machine:
--   waddle reflect                    in one terminal
--   waddle run examples/site.lua      in another; results come as lines of JSON
-- In production WADDLE_SITE=/etc/waddle/site.lua makes it part of the agent, which uploads the results as well.
local host = sys.env "SITE_HOST" or "127.0.0.1"

defaults {every = every "30s", timeout = "5s", labels = {site = "north", room = "a1"}}

group("web", {every = every "10s"}, function()
  target {"http://" .. host .. ":8088/", name = "front page", expect = {status = 200, latency_ms = "< 500"}}
  target {"http://" .. host .. ":8088/delay/0.1", name = "search", expect = {status = 200, latency_ms = "< 2s"}, overlap = "queue"}
  target {"http://" .. host .. ":8088/status/404", name = "old shop is gone", expect = {status = {404, 410}}}
end)

group("network", {labels = {team = "net"}}, function()
  target {"icmp://" .. host, name = "gateway", count = 5, interval = "200ms"}
  target {"udp://" .. host .. ":2000", name = "voice path", count = 50, interval = "20ms", size = 172,
    expect = {packet_loss_percent = "< 1", jitter_ms = "< 30"}}
  target {"dns://www.waddle.test@" .. host .. ":5300", name = "name server", expect = {["answers.1.ttl"] = "> 0"}}
  target("ssh://" .. host .. ":2222")
end)

-- In office hours only, and not while the backup of Wednesday night still runs.
target {"tls://" .. host .. ":7443", name = "certificate", verify = false, every = cron "*/5 8-18 * * mon-fri",
  blackout = blackout "thu 08:00-09:30", expect = {["tls.chain.1.days_left"] = "> 14"}}

-- A probe of your own is a function that returns a result; here two steps that make one.
target {name = "order", every = every "1m", probe = function()
  local shop = http.session {base = "http://" .. host .. ":8088", timeout = "5s"}
  local page = shop:get "/"
  return page.success and shop:post("/echo", {json = {item = "herring"}, expect = {body = "herring"}}) or page
end}

-- Every result passes here on its way to the sinks: change it, split it in several, or return nothing to drop it.
transform(function(result)
  result.slow = result.success and result.latency_ms > 1000
  return result
end)

-- Where results go besides the manager: any function, as many as you like.
sink(function(result)
  io.write(json.encode({
    at = result.started_at, name = result.target_name, ok = result.success, ms = result.latency_ms, why = result.error, labels = result.labels,
  }, {sorted = true}), "\n")
  io.flush()
end)

-- Called once when a target begins to fail, and once when it is well again.
on_change(function(result, before)
  log.warning("%s: %s since %s", result.target_name, result.success and "well again" or result.error, before.started_at)
end)
