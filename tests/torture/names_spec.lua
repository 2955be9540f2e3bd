-- A name server that lies, is slow, and is silent, by chance: every look-up ends in time with a right address or with a name for what was wrong,
-- and nothing of a lie is ever used.

local answers = require "tests.support.answers"
local dns = require "waddle.dns"
local http = require "waddle.http"
local serve = require "waddle.serve"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local torture = require "tests.torture.torture"

local LOOKUPS = torture.pick(300, 6000)
local AT_ONCE = 40
local TIMEOUT_S, SLACK_S = 0.4, 1.5
local RIGHT, LIE = "127.0.0.1", "127.66.6.6"

setup(function()
  sys.log_level "error"
  http.get "http://127.0.0.1:1/"
  dns.query("a.test", {server = "127.0.0.1:1", timeout = 0.05}) -- opens the sockets that are kept
end)

local message, record, address = answers.message, answers.record, answers.address
local A, CNAME, OK, TRUNCATED = 1, 5, answers.OK, answers.TRUNCATED

local function right(q)
  return message(q, OK, q.kind == A and {record(A, address(RIGHT))} or {})
end

local function other_question(q)
  local changed = q.question:gsub("%a", "z", 1)
  return changed
end

-- What comes back for a query: a list of datagrams, each after `wait` seconds. `lie`: a right answer may be given up for, a wrong one never taken.
local MOODS = {
  well = function(q) return {right(q)} end,
  silent = function() return {} end,
  slow = function(q) return {right(q)}, 0.1 end,
  ["too slow"] = function(q) return {right(q)}, 0.7 end,
  ["another id"] = function(q) return {message(q, OK, {record(A, address(LIE))}, {id = "\0\1"}), right(q)} end,
  ["another question"] = function(q) return {message(q, OK, {record(A, address(LIE))}, {question = other_question(q)}), right(q)} end,
  ["a query for an answer"] = function(q) return {message(q, 0x0100, {record(A, address(RIGHT))}), right(q)} end,
  garbage = function(q) return {q.id .. sys.random(80), right(q)} end,
  ["half of it"] = function(q) return {right(q):sub(1, -3)} end,
  ["a circle of names"] = function(q) return {message(q, OK, {record(CNAME, "\xc0\x0c")})} end,
  ["a pointer to itself"] = function(q) return {message(q, OK, {"\xc0\x1e\xc0\x1e" .. string.pack(">I2I2I4s2", A, 1, 60, address(LIE))})} end,
  ["an address of another name"] = function(q)
    return {message(q, OK, {"\4evil\4test\0" .. string.pack(">I2I2I4s2", A, 1, 60, address(LIE))})}
  end,
  ["an address beside the answer"] = function(q)
    return {message(q, OK, {record(A, address(RIGHT))}, {additional = "\4evil\4test\0" .. string.pack(">I2I2I4s2", A, 1, 60, address(LIE))})}
  end,
  ["more than it has"] = function(q) return {q.id .. string.pack(">I2I2I2I2I2", OK, 1, 60000, 0, 0) .. q.question} end,
  ["cut short, and no TCP"] = function(q) return {message(q, TRUNCATED, {})} end,
  nothing = function() return {""} end,
  large = function(q)
    local many = {}
    for i = 1, 60 do many[i] = record(A, address(RIGHT)) end
    return {message(q, OK, q.kind == A and many or {})}
  end,
}
for code, name in pairs {"FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", [15] = "no such code"} do
  MOODS[name] = function(q) return {message(q, OK | code, {})} end
end

describe("a hostile name server", function()
  it("never has the last word on an address, nor on how long a look-up takes", function()
    local random = torture.chance "names"
    local names = {}
    for name in pairs(MOODS) do names[#names + 1] = name end
    table.sort(names)
    local moods, pending = {}, {}
    local listener <close> = assert(serve.tcp {connections = 1000, handler = function() end})
    local liar
    liar = assert(serve.udp {handler = function(bytes, from, port)
      local q = answers.parse(bytes)
      local datagrams, wait = MOODS[moods[q.name:lower()] or "well"](q)
      pending[#pending + 1] = task.spawn(function() -- the next one is not kept waiting
        task.sleep(wait or 0)
        for _, datagram in ipairs(datagrams) do
          liar:send(datagram, from, port)
        end
      end)
    end})
    local guard <close> = setmetatable({}, {__close = function() liar:close() end}) -- luacheck: ignore 211
    local server = ("127.0.0.1:%d"):format(liar.port)
    local list, counts, longest = {}, {}, 0
    for i = 1, LOOKUPS do
      list[i] = i
    end
    task.map(list, function(i)
      local name = ("n%d.test"):format(i)
      local mood = names[random(1, #names)]
      moods[name] = mood
      local began = task.now()
      local direct = i % 2 == 0
      local r = direct and dns.query(name, {server = server, timeout = TIMEOUT_S})
        or tcp.connect(("%s:%d"):format(name, listener.port), {resolver = {server = server}, timeout = TIMEOUT_S, family = 4})
      local took = task.now() - began
      longest = math.max(longest, took)
      assert(took < TIMEOUT_S + SLACK_S, ("%s took %.3f s"):format(mood, took))
      assert(r.success or type(rawget(r, "error")) == "string", mood)
      if not direct then
        assert(rawget(r, "target_ip") ~= LIE, mood)
        assert(not (mood == "well" or mood == "an address beside the answer") or r.success or r.error == "dns_timeout" or r.error == "timeout",
          ("%s: %s"):format(mood, tostring(r.error_detail)))
      end
      counts[rawget(r, "error") or "ok"] = (counts[rawget(r, "error") or "ok"] or 0) + 1
    end, {concurrency = AT_ONCE})
    for _, answer in ipairs(pending) do answer:join() end
    local told = {}
    for name, n in pairs(counts) do told[#told + 1] = ("%s %d"):format(name, n) end
    table.sort(told)
    torture.say("names: %d look-ups in %d moods, the longest %.0f ms; %s", LOOKUPS, #names, longest * 1000, table.concat(told, ", "))
    assert.is_true(counts.ok > LOOKUPS // 10)
    assert.is_nil(counts.script)
  end)
end)
