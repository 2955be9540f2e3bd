-- A visit to a shop, step by step. Try it on `waddle reflect`:
--   waddle run examples/scenario.lua http://127.0.0.1:8088
-- Exit code 0 when all held, 99 when a check or threshold failed, 1 when the script itself broke.
local base = arg[1] or "http://127.0.0.1:8088"

threshold "p95(http.latency_ms) < 500"
threshold "rate(checks) >= 99%"

scenario("a visit to the shop", function()
  local shop = http.session {base = base, timeout = "5s"} -- keeps cookies and bodies

  must(shop:get "/", "the front page answers", {status = 200, body = "waddle"}) -- without it there is no visit
  check(shop:get "/redirect/2", "old links still lead home", {status = 200, ["timings.total_ms"] = "< 300"})

  local order = shop:post("/echo", {json = {item = "herring", count = 3}})
  check(order, "the order is confirmed", {status = 200, body = '"count":3'})
  log.info("ordered %s", order:json().item)

  task.map({"/bytes/20000", "/delay/0.05", "/headers"}, function(path) -- side by side, as a browser would
    check(shop:get(path), "asset " .. path, {status = 200, latency_ms = "< 1s"})
  end)
end)
