-- How many probes run at once: places by themselves, then the runner under the virtual clock with probes that send nothing, then what an
-- operator sets, with a server that counts.

local manager = require "waddle.manager"
local places = require "waddle.places"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local task = require "waddle.task"
local virtual = require "tests.support.virtual"

after_each(process.clean)

-- Places whose `begin` notes who began, in order, and refuses those in `refused`.
local function noted(most, most_per_host, refused)
  local began = {}
  local p = places.new(most, most_per_host, function(id, host)
    if refused and refused[id] then
      return false
    end
    began[#began + 1] = id .. (host and "@" .. host or "")
    return true
  end)
  return p, function()
    local text = table.concat(began, " ")
    began = {}
    return text
  end
end

describe("places", function()
  it("are given in the order of asking", function()
    local p, began = noted(2)
    for id = 1, 5 do
      p:ask(id)
    end
    assert.equal("1 2", began())
    p:leave()
    p:leave()
    assert.equal("3 4", began())
    p:leave()
    p:leave()
    p:leave()
    assert.equal("5", began())
    assert.equal(0, p.taken)
  end)

  it("of a host are its own: who waits for one holds up no other host", function()
    local p, began = noted(10, 1)
    p:ask(1, "a")
    p:ask(2, "a")
    p:ask(3, "a")
    p:ask(4, "b")
    p:ask(5) -- who has no host has no limit but that of all
    assert.equal("1@a 4@b 5", began())
    p:leave("b")
    assert.equal("", began())
    p:leave("a")
    assert.equal("2@a", began())
  end)

  it("of all go to who has waited longest, not to the next one of the same host", function()
    local p, began = noted(2, 1)
    p:ask(1, "a")
    p:ask(2, "b")
    p:ask(3, "a")
    p:ask(4, "c")
    assert.equal("1@a 2@b", began())
    p:leave("a")
    assert.equal("4@c", began())
    p:leave("c")
    assert.equal("3@a", began())
  end)

  it("that somebody does not use after all are the next one's", function()
    local p, began = noted(1, 1, {[2] = true, [3] = true, [5] = true})
    p:ask(1, "a")
    for id = 2, 4 do
      p:ask(id, "a")
    end
    p:ask(5, "b")
    p:ask(6, "b")
    assert.equal("1@a", began())
    p:leave("a")
    assert.equal("6@b", began()) -- 5 had waited longest, then 2
    p:leave("b")
    assert.equal("4@a", began())
    p:leave("a")
    assert.same({0, {}}, {p.taken, p.of_host})
    p:ask(5, "b")
    assert.same({0, {}}, {p.taken, p.of_host})
  end)

  it("say what keeps somebody waiting", function()
    local p = noted(2, 1)
    p:ask(1, "a")
    p:ask(2, "a")
    p:ask(3, "b")
    p:ask(4, "c")
    assert.equal("1 to a is in flight", p:full(2, "a"))
    assert.equal("2 are in flight", p:full(4, "c"))
  end)

  it("are given to nobody any more after close()", function()
    local p, began = noted(1, 1)
    p:ask(1, "a")
    p:ask(2, "a")
    p:ask(3, "b")
    p:close()
    p:leave("a")
    assert.equal("1@a", began())
  end)

  it("are never more than there may be, nobody is forgotten, and each host's come in order: ten thousand of fifty hosts", function()
    local MOST, PER_HOST, COUNT, HOSTS = 32, 3, 10000, 50
    local running, of, last, total = {}, {}, {}, 0
    local p = places.new(MOST, PER_HOST, function(id, host)
      assert.is_true(not last[host] or id > last[host])
      last[host], total = id, total + 1
      if id % 7 == 0 then
        return false
      end
      running[#running + 1], of[host] = host, (of[host] or 0) + 1
      assert.is_true(#running <= MOST and of[host] <= PER_HOST)
      return true
    end)
    local seed = 1
    local function random(n)
      seed = seed * 1103515245 + 12345 & 0x7fffffff
      return (seed >> 8) % n + 1
    end
    local function leave()
      local host = table.remove(running, random(#running))
      of[host] = of[host] - 1
      p:leave(host)
    end
    for id = 1, COUNT do
      p:ask(id, "h" .. random(HOSTS))
      if random(3) > 1 and #running > 0 then
        leave()
      end
    end
    while #running > 0 do
      leave()
    end
    assert.same({COUNT, 0, {}, {}, {}}, {total, p.taken, p.of_host, p.holds, p.host_queues})
  end)
end)

describe("the runner", function()
  -- Probes of 10 s each, to `hosts` hosts with `of_each` targets, once: the most at once, of all and to one host, how many ended, and when.
  local function once(limits, hosts, of_each, more)
    return virtual.output(([[
      local r = start {%s}
      local now, most, done, of, most_of = 0, 0, 0, {}, 0
      fake(function(subject)
        local host = subject:match("^[%%d.]+") or subject
        now, of[host] = now + 1, (of[host] or 0) + 1
        most, most_of = math.max(most, now), math.max(most_of, of[host])
        task.sleep(10)
        now, of[host], done = now - 1, of[host] - 1, done + 1
        return {success = true}
      end)
      for i = 0, %d do
        add(r, {("tcp://10.0.%%d.%%d:%%d"):format(i // %d >> 8, i // %d & 255, 1000 + i)})
      end
      %s
      r:once() r:drain()
      say("%%d at once, %%d to one, %%d, %%.0f s", most, most_of, done, at())
    ]]):format(limits, hosts * of_each - 1, of_each, of_each, more or ""))
  end

  it("has no limit to one host unless told", function()
    assert.equal("256 at once, 256 to one, 300, 20 s\n", once("", 1, 300))
  end)

  it("keeps to the limit to one host, and holds up no other host by it", function()
    assert.equal("12 at once, 3 to one, 40, 40 s\n", once("concurrency_per_host = 3", 4, 10))
  end)

  it("keeps to both limits, with thousands of targets", function()
    assert.equal("100 at once, 2 to one, 3000, 300 s\n", once("concurrency = 100, concurrency_per_host = 2", 300, 10))
  end)

  it("takes the same host under any of its names' spellings, and of a DNS query the server", function()
    local more = [[
      for _, text in ipairs {"tcp://DB.test:1", "tls://db.test", "dns://one.test@db.test", "dns://two.test@Db.Test:54"} do add(r, {text}) end
    ]]
    assert.equal("1 at once, 1 to one, 5, 50 s\n", once("concurrency = 1, concurrency_per_host = 1", 1, 1, more))
    assert.equal("2 at once, 1 to one, 5, 40 s\n", once("concurrency_per_host = 1", 1, 1, more))
  end)

  -- A target each 10 s whose probe takes 25 s beside another one: what the skipped runs say.
  local function reasons(limits)
    return virtual.output(([[
      local r, reasons = start {%s}, {}
      fake(function() task.sleep(25) return {success = true} end)
      for i = 1, 2 do add(r, {"tcp://10.0.0.1:" .. i, name = "t" .. i, overlap = "queue"}, 10) end
      finish(r, 120)
      for _, s in ipairs(seen) do
        local x = s.result
        if x.error == "skipped" then
          assert(x.missed == 1 and x.success == false and x.latency_ms == nil)
          reasons[x.error_detail] = (reasons[x.error_detail] or 0) + 1
        end
      end
      for text in pairs(reasons) do print(text) end
      local runs = #seen - r.counts.skipped
      print(runs == r.counts.runs, r.counts.skipped > 0, runs + r.counts.skipped)
    ]]):format(limits))
  end

  it("records a run that found no place until the next one was due, and whose the places were", function()
    local out = reasons "concurrency = 1"
    assert.truthy(out:find("late: no free place until the next run was due, 1 is in flight\n", 1, true), out)
    out = reasons "concurrency = 100, concurrency_per_host = 1"
    assert.truthy(out:find("late: no free place until the next run was due, 1 to 10.0.0.1 is in flight\n", 1, true), out)
    out = reasons "concurrency = 100"
    assert.is_nil(out:find("late", 1, true), out)
    assert.truthy(out:find("overlap: the run before is still going on\n", 1, true), out)
  end)

  it("runs thousands of targets in few places, spread over their period, and skips none", function()
    local many = 3000
    local list = virtual.numbers(virtual.output(([[
      local r, now, most = start {concurrency = 40, concurrency_per_host = 5}, 0, 0
      fake(function() now = now + 1 most = math.max(most, now) task.sleep(0.3) now = now - 1 return {success = true} end)
      for i = 1, MANY do add(r, {"tcp://10.0.0." .. i % 100 .. ":" .. 1000 + i}, 60) end -- of 3,000 50 a second, 15 at once, of a hundred hosts
      finish(r, 180)
      print(most, r.counts.runs, #seen, r.counts.skipped)
    ]]):gsub("MANY", many)))
    assert.is_true(list[1] >= many / 200 and list[1] <= 40, list[1])
    assert.same({3 * many, 3 * many, 0}, {list[2], list[3], list[4]})
  end)
end)

describe("what an operator sets", function()
  -- A web server on all of 127.0.0.0/8 that answers when it has had so many requests at once, or has waited in vain; what it saw at
  -- most, of all and of one address.
  local function counting(expected)
    local found = {now = 0, of = {}, most = 0, most_of = 0}
    found.server = assert(serve.http {address = "0.0.0.0", handler = function(request)
      local host = request.headers.host
      found.now, found.of[host] = found.now + 1, (found.of[host] or 0) + 1
      found.most, found.most_of = math.max(found.most, found.now), math.max(found.most_of, found.of[host])
      local give_up = task.now() + 5
      while found.most < expected and task.now() < give_up do
        task.sleep "5ms"
      end
      task.sleep "20ms" -- for who must not come
      found.now, found.of[host] = found.now - 1, found.of[host] - 1
      return "here"
    end})
    return found
  end

  -- Of ten targets on two addresses in a site file that begins with `limits`: the most at once, and to one address. With an environment the
  -- agent runs them.
  local function at_once(expected, limits, env)
    local found = counting(expected)
    local server <close> = found.server
    local m <close> = assert(manager.start {})
    local site = process.file("site.lua", ([[%s
      for i = 1, 10 do target("http://127.0.0." .. i %% 2 + 1 .. ":%d/" .. i) end
    ]]):format(limits, server.port))
    if env then
      env.MANAGER_URL, env.WADDLE_SITE, env.WADDLE_CONTROL = m.url, site, "none"
    end
    local code, _, err = process.run(env and {"agent"} or {"run", site}, env)
    assert.equal(0, code, err)
    return {found.most, found.most_of}
  end

  it("is far above ten at once by default", function()
    assert.same({10, 5}, at_once(10, ""))
  end)

  it("holds in a site file: limits{}", function()
    assert.same({3, 2}, at_once(3, "limits {concurrency = 3, concurrency_per_host = 2}"))
    assert.same({2, 1}, at_once(2, "limits {concurrency_per_host = 1}"))
  end)

  it("holds in the agent: limits{} of its site file, and before that CONCURRENCY and CONCURRENCY_PER_HOST", function()
    assert.same({2, 1}, at_once(2, "limits {concurrency = 2, concurrency_per_host = 1}", {}))
    assert.same({4, 2}, at_once(4, "limits {concurrency = 1, concurrency_per_host = 1}", {CONCURRENCY = "4", CONCURRENCY_PER_HOST = " 2 "}))
  end)
end)
