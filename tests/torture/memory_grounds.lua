-- What the torture by missing memory runs: `waddle run memory_grounds.lua LIBRARY GROUND KIND JSON`, with the library of preload/no_memory.c preloaded.
-- Works on one ground again and again, each time with another allocation that fails: the first ones one by one, then some by chance. Prints a line of
-- JSON for each trial that is worth one, and {"trials":N,"asked":N,"leaked":N} at the end; the trial that is under way is on stderr.

local parse = require("waddle.target").parse
local runner = require "waddle.runner"

local library, name, kind = arg[1], arg[2], arg[3]
local at = json.decode(arg[4]) -- ports, files, how much, as the spec says
local memory = assert(package.loadlib(library, "luaopen_no_memory"))()

local function to(port) return "127.0.0.1:" .. port end

local function probe(fn) return {work = fn} end

-- An uploader that is opened, used and closed; what it took must arrive, which the spec sees.
local function uploading(spool)
  local u
  local n = 0
  local function row()
    n = n + 1
    return {id = ("%s-%s-%d"):format(name, kind, n), test_type = "tcp", target_host = "db.test", target = "tcp://db.test:1", target_ip = "192.0.2.7",
      success = true, latency_ms = 1}
  end
  return {
    work = function()
      u = upload.open {url = at.manager, spool = spool, timeout = "2s", device = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}}
      for _ = 1, 3 do
        local r = row()
        if u:put(r) then print(json.encode {taken = r.id}) end
      end
      u:flush(2)
      return {success = true}
    end,
    after = function()
      if not u then return end
      local left = u:flush(5)
      u:close()
      u = nil
      assert(left == 0, left .. " results are left")
    end,
  }
end

-- A site that runs: either it ends, with the reason, or each of its targets goes on.
local function running()
  local seen, all = {}, nil
  local function goes_on() return seen[at.tcp] and seen[at.tls] and seen[at.ssh] end
  local function begin()
    all = task.spawn(function()
      local r = runner.new {sinks = {function(result)
        local key = result.target_port
        seen[key] = (seen[key] or 0) + 1
      end}}
      for _, port in ipairs {at.tcp, at.tls, at.ssh} do
        assert(r:add(assert(parse("tcp://" .. to(port))), 0.005))
      end
      r:forever()
    end)
  end
  return {
    begin = begin,
    work = function()
      task.sleep(0.03)
      return {success = true}
    end,
    after = function()
      seen = {}
      local until_s = task.now() + 2
      repeat
        task.sleep(0.01)
        if all:status() == "failed" then
          local _, err = pcall(all.join, all)
          assert(tostring(err):find "not enough memory", err)
          begin()
        end
        assert(task.now() < until_s, "a target is not run any more: " .. json.encode(seen))
      until goes_on()
    end,
  }
end

-- A server, which ends where it can take no client for long.
local function serving()
  local server
  local function begin() server = assert(serve.http {handler = function() return {status = 200, body = "well"} end}) end
  return {
    begin = begin,
    work = function() return http.get("http://127.0.0.1:" .. server.port .. "/", {timeout = "1s"}) end,
    after = function()
      if server.worker:status() ~= "failed" then return end
      local _, err = pcall(server.worker.join, server.worker)
      assert(tostring(err):find "memory", err)
      begin()
    end,
  }
end

local GROUNDS = {
  tcp = probe(function() return tcp.connect(to(at.tcp), {timeout = "1s"}) end),
  dialogue = probe(function() return tcp.connect(to(at.tcp), {timeout = "1s", dialogue = {{send = "hello\n"}, {expect = "hello"}}}) end),
  tls = probe(function() return tls.connect(to(at.tls), {verify = false, timeout = "2s"}) end),
  tls_untrusted = {bad = "tls_untrusted", work = function() return tls.connect(to(at.tls), {timeout = "2s"}) end},
  ssh = probe(function() return ssh.connect(to(at.ssh), {timeout = "1s"}) end),
  http = probe(function() return http.get("http://" .. to(at.http) .. "/redirect/1", {timeout = "1s", keep_body = 100}) end),
  https = probe(function() return http.get("https://" .. to(at.https) .. "/", {timeout = "2s", tls = {verify = false}}) end),
  https_untrusted = {bad = "tls_untrusted", work = function() return http.get("https://" .. to(at.https) .. "/", {timeout = "2s"}) end},
  udp = probe(function() return udp.ping(to(at.udp), {count = 2, interval = "1ms", timeout = "300ms"}) end),
  icmp = probe(function() return icmp.ping("127.0.0.1", {count = 2, interval = "1ms", timeout = "300ms"}) end),
  sweep = probe(function() return icmp.sweep({"127.0.0.1", "127.0.0.2", "127.0.0.3"}, {timeout = "300ms"}) end),
  dns = probe(function() return dns.query("www.waddle.test", {server = to(at.dns), timeout = "1s"}) end),
  dns_tcp = probe(function() return dns.query("www.waddle.test", {server = to(at.dns), timeout = "1s", transport = "tcp"}) end),
  name = probe(function() return tcp.connect("www.waddle.test:" .. at.tcp, {family = "4", resolver = {server = to(at.dns)}, timeout = "2s"}) end),
  json = probe(function()
    local value, err = json.decode(("[%s1]"):format(('{"a":"\\u00e9","b":[1.5,null,"x"]},'):rep(20)))
    return {success = #json.encode(assert(value, err)) > 100}
  end),
  serve = serving(),
  upload = uploading(nil),
  spool = uploading(at.spool),
  site = running(),
}

local ground = assert(GROUNDS[name], name)
local BURST = 1 << 40 -- all from one on

local function attempt(nth, times)
  local ok, r = pcall(function()
    return task.spawn(function()
      memory.fail(kind, nth, times)
      return ground.work()
    end):join()
  end)
  local failed, asked = memory.off()
  if ground.after then ground.after() end
  return failed, asked, ok, r
end

local function as_it_should_be(r)
  if ground.bad then return r.error == ground.bad end
  return r.success
end

-- What must never be, as text; nil where all is well.
local function wrong(ok, r)
  if not ok then
    local text = tostring(r):lower()
    return not (text:find("not enough memory", 1, true) or text:find("out of memory", 1, true)) and "raised " .. tostring(r) or nil
  elseif ground.bad and r.success then
    return "success"
  elseif kind ~= "c" and not as_it_should_be(r) and r.error ~= "local" then -- a library that had no memory may blame whom it likes
    return ("%s: %s"):format(r.error, tostring(rawget(r, "error_detail")))
  end
end

if ground.begin then ground.begin() end
local function once_well() return as_it_should_be(select(4, attempt(BURST, 1))) end
for _ = 1, 3 do assert(once_well(), "it does not work at all") end
collectgarbage()
collectgarbage()
local live, trials = memory.live(), 0
local _, most = attempt(BURST, 1)

local function trial(nth, times)
  io.stderr:write(("%s %s: %d of %d, %d times\r"):format(name, kind, nth, most, times))
  local failed, asked, ok, r = attempt(nth, times)
  most = math.max(most, asked)
  if failed == 0 then return end
  trials = trials + 1
  local why = wrong(ok, r)
  if why then print(json.encode {nth = nth, times = times, wrong = why}) end
  local well, again = pcall(once_well)
  if not well or not again then print(json.encode {nth = nth, times = times, wrong = "not well again: " .. tostring(again)}) end
end

math.randomseed(at.seed)
local at_a_time = kind == "lua" and 2 or 1 -- Lua collects garbage and asks again
local plan = {}
local function add(nth, times) plan[#plan + 1] = {nth, times} end
for nth = 1, math.min(at.first, most + 5) do add(nth, at_a_time) end
for _ = 1, most > at.first and at.sampled or 0 do add(math.random(at.first + 1, most), at_a_time) end
for _ = 1, at.bursts do add(math.random(1, most), BURST) end

-- Every second trial from this one on, and how many blocks are there afterwards.
local function half(from)
  for i = from, #plan, 2 do trial(table.unpack(plan[i])) end
  for _ = 1, 5 do
    collectgarbage()
    once_well()
  end
  collectgarbage()
  return memory.live()
end

local after_one = half(1)
local after_both = half(2)
-- What is forgotten grows with both halves; a connection that is kept since is in one of them.
print(json.encode {trials = trials, asked = most, leaked = 2 * math.min(after_one - live, after_both - after_one)})
