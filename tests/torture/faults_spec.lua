-- A machine that runs out of descriptors, buffers and disk, and forbids what it allowed: each system call that may fail for that fails now and
-- then, under probes of every kind and under a spool. Nobody crashes or hangs, no target is blamed, and all is well once the machine is.

local json = require "waddle.json"
local manager = require "waddle.manager"
local process = require "tests.support.process"
local reflect = require "waddle.reflect"
local sys = require "waddle.core.sys"
local torture = require "tests.torture.torture"
local uploads = require "tests.support.uploads"

local MOST, ROUNDS = torture.pick(40, 100), torture.pick(200, 2500) -- calls of a kind that fail, and rounds that it may take until all have
local ERRNO = {EPERM = 1, EIO = 5, ENOMEM = 12, EACCES = 13, ENFILE = 23, EMFILE = 24, ENOSPC = 28, EADDRNOTAVAIL = 99, ENOBUFS = 105}

-- Calls, and what they can fail with when it is the machine's fault.
local CALLS = {
  {"socket", "EMFILE", "ENFILE", "ENOBUFS", "EPERM"},
  {"connect", "EPERM", "EACCES", "EADDRNOTAVAIL", "ENOBUFS"},
  {"bind", "EACCES", "EADDRNOTAVAIL"},
  {"sendto", "ENOBUFS", "EPERM"},
  {"sendmsg", "ENOBUFS", "EPERM"},
  {"sendmmsg", "ENOBUFS", "EPERM", "ENOMEM"},
  {"send", "ENOBUFS", "EPERM"},
  {"recv", "ENOMEM"},
  {"recvmmsg", "ENOMEM"},
  {"epoll_ctl", "ENOMEM", "ENOSPC", from = 8}, -- the loop is open by then
  {"open", "EMFILE", "EACCES"},
}

local PROBES = [[
  local at = json.decode((...))
  local kinds = {
    tcp = function() return tcp.connect("127.0.0.1:" .. at.tcp) end,
    http = function() return http.get("http://127.0.0.1:" .. at.http .. "/") end,
    tls = function() return tls.connect("127.0.0.1:" .. at.tls, {verify = false}) end,
    udp = function() return udp.ping("127.0.0.1:" .. at.udp, {count = 3, interval = "1ms", timeout = "300ms"}) end,
    icmp = function() return icmp.ping("127.0.0.1", {count = 3, interval = "1ms", timeout = "300ms"}) end,
    sweep = function() return icmp.sweep({"127.0.0.1", "127.0.0.2", "127.0.0.3"}, {timeout = "300ms"}) end,
    dns = function() return dns.query("www.waddle.test", {server = "127.0.0.1:" .. at.dns, timeout = "1s"}) end,
    dns_tcp = function() return dns.query("www.waddle.test", {server = "127.0.0.1:" .. at.dns, timeout = "1s", transport = "tcp"}) end,
    name = function() return tcp.connect("www.waddle.test:" .. at.tcp, {resolver = {server = "127.0.0.1:" .. at.dns}, timeout = "2s"}) end,
  }
  local names = {}
  for name in pairs(kinds) do names[#names + 1] = name end
  table.sort(names)
  for round = 1, tonumber((select(2, ...))) do
    local well = true
    local jobs = {}
    for _, name in ipairs(names) do
      for i = 1, 3 do jobs[#jobs + 1] = name end
    end
    task.map(jobs, function(name)
      local r = kinds[name]()
      well = well and r.success
      print(json.encode {round = round, kind = name, error = rawget(r, "error"), detail = rawget(r, "error_detail")})
    end)
    if well and round > 1 then print "well" return 0 end
  end
  return 5
]]

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak
    uploads.put(u, 1)
    u:flush(5)
  end)
end)

local begin, finish = torture.limits(nil, 900)
before_each(begin)
after_each(finish)

-- The machine's fault, by name; what else may come of a call that failed, since a look-up's or a series' other part did the rest.
local FAIR = {["local"] = true, permission = true, dns_timeout = true, timeout = true}

describe("probes on a machine that refuses", function()
  for _, entry in ipairs(CALLS) do
    it(entry[1], function()
      local peers = assert(reflect.start())
      finally(function() peers:close() end)
      local told = {}
      for i = 2, #entry do
        for _, every in ipairs(torture.pick({3}, {1, 2, 3, 7, 20})) do
          local status, out, err = process.run({"run", process.file("probes.lua", PROBES), json.encode {tcp = peers.tcp, http = peers.http, tls = peers.tls,
            udp = peers.udp, dns = peers.dns}, tostring(ROUNDS)}, {LD_PRELOAD = process.preload "fault",
            WADDLE_FAULT = ("%s:%d:%d:%d:%d"):format(entry[1], ERRNO[entry[i]], every, entry.from or 0, MOST)})
          local what = ("%s %s every %d"):format(entry[1], entry[i], every)
          assert.same({0, "well"}, {status, out:match "(%w+)\n$"}, what .. "\n" .. err .. out:sub(-400))
          for line in out:gmatch "({[^\n]*})\n" do
            local r = json.decode(line)
            if r.error then
              told[r.error] = (told[r.error] or 0) + 1
              assert.is_true(FAIR[r.error], ("%s: %s: %s: %s"):format(what, r.kind, r.error, tostring(r.detail)))
            end
          end
        end
      end
      local words = {}
      for name, n in pairs(told) do words[#words + 1] = ("%s %d"):format(name, n) end
      table.sort(words)
      torture.say("faults: %s: %s", entry[1], table.concat(words, ", "))
    end)
  end
end)

describe("a spool on a disk that refuses", function()
  local CHILD = [[
    local url, file = ...
    local u = upload.open {url = url, spool = file, device = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}}
    for n = 1, 300 do
      local id = "id-" .. n
      if u:put {id = id, test_type = "tcp", target_host = "db.test", target = "tcp://db.test:1", target_ip = "192.0.2.7", success = true, latency_ms = 1} then
        print("taken " .. id)
      end
      if n % 50 == 0 then task.sleep(0.05) end
    end
    print("left " .. u:flush(8))
  ]]
  for _, case in ipairs {
    {"pwrite64", "ENOSPC", 4}, {"pwrite64", "EIO", 7}, {"fdatasync", "EIO", 2}, {"fsync", "EIO", 1}, {"ftruncate64", "EIO", 1}, {"open64", "EMFILE", 2}, {"open", "EMFILE", 3},
  } do
    it(("loses nothing that it took: %s, %s"):format(case[1], case[2]), function()
      local m <close> = assert(manager.start())
      local status, out, err = process.run({"run", process.file("child.lua", CHILD), m.url, process.folder() .. "/waddle.db"},
        {LD_PRELOAD = process.preload "fault", WADDLE_FAULT = ("%s:%d:%d:20:30"):format(case[1], ERRNO[case[2]], case[3])})
      assert.equal(0, status, err)
      assert.matches("left 0\n", out, 1, true)
      local stored, taken = {}, 0
      for _, request in ipairs(m.requests) do
        stored[request.headers["idempotency-key"]] = true
      end
      for id in out:gmatch "taken (%S+)" do
        taken = taken + 1
        assert.is_true(stored[id], id .. " was taken and is lost\n" .. err)
      end
      assert.is_true(taken > 200, err)
    end)
  end
end)
