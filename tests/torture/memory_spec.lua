-- A machine without memory: each allocation fails once, of C and of Lua, and each from one on, on the ground of the specs (memory_grounds.lua) and in
-- a program that starts. Nobody crashes, hangs or blames a target, all is well once there is memory, and what an uploader took arrives.

local json = require "waddle.json"
local manager = require "waddle.manager"
local process = require "tests.support.process"
local reflect = require "waddle.reflect"
local torture = require "tests.torture.torture"

local FIRST = torture.pick(40, 200) -- allocations that fail one by one
local SAMPLED, BURSTS = torture.pick(20, 1000), torture.pick(5, 100)
local LEAKED_PART, LEAKED_FEW = 0.1, 30 -- blocks a trial, and in all: what libraries forget, and keep

-- Grounds, and what is known of libraries there: `blames`, a failure that is no more than fair where the other end has no memory either, or where the
-- library tells nothing better; `leaks`, kinds for which the library forgets blocks.
local GROUNDS = {
  {"tcp"}, {"dialogue"}, {"ssh"}, {"udp"}, {"icmp"}, {"sweep"}, {"dns"}, {"dns_tcp"}, {"name"}, {"upload"}, {"spool"}, {"site"},
  {"tls", leaks = {c = "OpenSSL"}}, {"tls_untrusted", leaks = {c = "OpenSSL"}},
  {"http", blames = {"^redirects: .*it is not a URL"}}, -- libcurl
  {"https", leaks = {c = "GnuTLS"}}, {"https_untrusted", leaks = {c = "GnuTLS"}},
  {"serve", blames = {"^protocol: the server closed", "^connection_reset: ", "^http_status: status 500", "^timeout: no answer"}},
  {"json", kinds = {"lua"}, leaks = {lua = "cjson"}}, -- the C of cjson is asked after, and not tried: it ends the process
}

local begin, finish = torture.limits(120, 1200)
before_each(begin)
after_each(finish)

local function is_fair(why, ground)
  for _, pattern in ipairs(ground.blames or {}) do
    if why:find(pattern) then return true end
  end
  return false
end

describe("without memory", function()
  local preload = process.preload "no-memory"
  local chance = torture.chance "memory"
  local total = 0

  for _, ground in ipairs(GROUNDS) do
    it(ground[1], function()
      local peers = assert(reflect.start())
      local m <close> = assert(manager.start())
      finally(function() peers:close() end)
      for _, kind in ipairs(ground.kinds or {"c", "own", "lua"}) do
        local what = ground[1] .. " " .. kind
        local at = {tcp = peers.tcp, tls = peers.tls, ssh = peers.ssh, http = peers.http, https = peers.https, udp = peers.udp, dns = peers.dns, manager = m.url,
          spool = process.folder() .. "/waddle.db", seed = chance(1, 1 << 30), first = FIRST, sampled = SAMPLED, bursts = BURSTS}
        local status, out, err = process.run({"run", "tests/torture/memory_grounds.lua", preload, ground[1], kind, json.encode(at)},
          {LD_PRELOAD = preload, MALLOC_PERTURB_ = "165"})
        assert.equal(0, status, ("%s: %s"):format(what, err:sub(-600)))
        local stored, last = {}, nil
        for _, request in ipairs(m.requests) do
          stored[request.headers["idempotency-key"] or ""] = true
        end
        for line in out:gmatch "({[^\n]*})\n" do
          last = json.decode(line)
          assert.is_true(not last.taken or stored[last.taken], what .. ": was taken and is lost: " .. tostring(last.taken))
          assert.is_true(not last.wrong or is_fair(last.wrong, ground), what .. ": " .. line)
        end
        assert.is_true(last.trials > 0, what)
        if not (ground.leaks and ground.leaks[kind]) then
          assert.is_true(last.leaked <= LEAKED_FEW + last.trials * LEAKED_PART, ("%s: %d trials left %d blocks"):format(what, last.trials, last.leaked))
        end
        total = total + last.trials
      end
    end)
  end

  it("a program starts, or says why it does not", function()
    local site = process.file("site.lua", 'target {"tcp://127.0.0.1:1", timeout = "1s"}\nsink(function(result) print(result.error) end)\n')
    local by_library = {} -- libuv and cjson end the process at one allocation each
    for kind, times in pairs {c = 1, lua = 2} do
      local well = 0
      local most = kind == "c" and 60 or 16000 -- more than a start takes
      for i = 1, FIRST + SAMPLED do
        local nth = i <= FIRST and i or chance(1, most)
        local status, out, err = process.run({"run", site}, {LD_PRELOAD = preload, WADDLE_NO_MEMORY = ("%s:%d:%d"):format(kind, nth, times)})
        local what = ("%s %d: %d\n%s%s"):format(kind, nth, status, out, err)
        local measured = out == "connection_refused\n" or out == "local\n" or out == "script\n"
        well = well + (status == 0 and 1 or 0)
        if status > 2 then
          by_library[kind .. nth] = true
        elseif status ~= 0 or not measured then -- not measured: the sink had no memory
          assert.is_truthy(err:lower():find("memory", 1, true), what)
        end
      end
      assert.is_true(well > 0)
    end
    local ended = 0
    for _ in pairs(by_library) do ended = ended + 1 end
    assert.is_true(ended <= 2, ended)
    torture.say("memory: %d allocations failed", total)
  end)
end)
