local core = require "waddle.core"
local task = require "waddle.task"

local function elapsed(fn)
  local t0 = task.now()
  fn()
  return task.now() - t0
end

-- Runs fn as a task of its own and gives ok, value or error.
local function outcome(fn)
  local t = task.spawn(fn)
  return pcall(t.join, t)
end

describe("task.spawn and join", function()
  it("hand over arguments and every result", function()
    assert.same({3, nil, "x", n = 3}, table.pack(task.spawn(function(a, b) return a + b, nil, "x" end, 1, 2):join()))
  end)

  it("raise for something that is no function", function()
    assert.has_error(function() task.spawn(3) end)
  end)

  it("keep the error's own value", function()
    local value = {}
    local t = task.spawn(function() error(value) end)
    local _, err = pcall(t.join, t)
    assert.equal(value, err)
    _, err = pcall(t.join, t)
    assert.equal(value, err)
  end)

  it("let several tasks join one", function()
    local slow = task.spawn(function() task.sleep(0.01) return 5 end)
    local r = task.all {function() return slow:join() end, function() return slow:join() end}
    assert.same({5, 5, n = 2}, r)
  end)

  it("say that a task cannot wait for itself or for its parent", function()
    local me = task.current()
    assert.matches("cannot wait for itself", select(2, pcall(me.join, me)))
    local ok, err = outcome(function() me:join() end)
    assert.is_false(ok)
    assert.matches("waits for it", err)
  end)
end)

describe("children", function()
  it("end with their parent", function()
    local child
    outcome(function()
      child = task.spawn(function() task.sleep(1000) end)
      task.sleep(0)
    end)
    assert.equal("cancelled", (child:status()))
  end)

  it("that fail unjoined fail the parent at its end", function()
    local ok, err = outcome(function()
      task.spawn(function() error("kid") end)
      task.sleep(0.001)
      return "parent"
    end)
    assert.is_false(ok)
    assert.matches("kid", err)
  end)

  it("that fail and were joined do not", function()
    local ok, value = outcome(function()
      local kid = task.spawn(function() error("kid") end)
      task.sleep(0.001)
      pcall(kid.join, kid)
      return "parent"
    end)
    assert.is_true(ok)
    assert.equal("parent", value)
  end)

  it("of children end, too, before the parent counts as done", function()
    local order = {}
    local t = task.spawn(function()
      task.spawn(function()
        local mark <close> = setmetatable({}, {__close = function() order[#order + 1] = "grandchild" end}) -- luacheck: ignore 211
        task.sleep(1000)
      end)
      task.sleep(0.001)
    end)
    t:join()
    order[#order + 1] = "joined"
    assert.same({"grandchild", "joined"}, order)
  end)
end)

describe("cancel", function()
  it("ends a task that is ready, waiting or done alike", function()
    local ready = task.spawn(function() error("never runs") end)
    ready:cancel()
    task.sleep(0)
    assert.equal("cancelled", (ready:status()))
    ready:cancel()
    local done = task.spawn(function() return 1 end)
    task.sleep(0)
    done:cancel()
    assert.equal(1, done:join())
  end)

  it("makes join raise", function()
    local t = task.spawn(function() task.sleep(1000) end)
    t:cancel()
    local ok, err = pcall(t.join, t)
    assert.is_false(ok)
    assert.matches("was cancelled", err)
  end)

  it("ends the calling task at once", function()
    local after = false
    local t = task.spawn(function()
      task.current():cancel()
      after = true
    end)
    task.sleep(0)
    assert.is_false(after)
    assert.equal("cancelled", (t:status()))
  end)
end)

describe("task.all", function()
  it("runs side by side and keeps the order", function()
    local order = {}
    local r = task.all {
      function() task.sleep(0.04) order[#order + 1] = "slow" return "slow" end,
      function() task.sleep("20ms") order[#order + 1] = "fast" return "fast" end,
    }
    assert.same({"slow", "fast", n = 2}, r)
    assert.same({"fast", "slow"}, order)
  end)

  it("cancels the rest on the first raise", function()
    local before = core.stats().tasks
    local span = elapsed(function()
      local ok, err = pcall(task.all, {function() task.sleep(0.005) error("first") end, function() task.sleep(1000) end})
      assert.is_false(ok)
      assert.matches("first", err)
    end)
    assert.is_true(span < 1)
    task.sleep(0)
    assert.equal(before, core.stats().tasks)
  end)

  it("of nothing is empty", function()
    assert.same({n = 0}, task.all {})
  end)

  it("names the entry that is no function", function()
    assert.error_matches(function() task.all {print, 3} end, "entry 2: expected a function, got number")
  end)
end)

describe("task.map", function()
  it("keeps to its concurrency", function()
    local now, most = 0, 0
    local list = {}
    for i = 1, 20 do list[i] = i end
    local r = task.map(list, function(x, i)
      now = now + 1
      most = math.max(most, now)
      task.sleep(0.001)
      now = now - 1
      return x * 10 + i
    end, {concurrency = 3})
    assert.equal(3, most)
    assert.equal(20, r.n)
    assert.equal(220, r[20])
  end)

  it("refuses unknown options", function()
    assert.error_matches(function() task.map({}, print, {concurency = 2}) end, "did you mean 'concurrency'")
  end)
end)

describe("task.race", function()
  it("gives the index and the values of the first, and ends the others", function()
    local before = core.stats().tasks
    assert.same({2, "b", "c"}, {task.race {function() task.sleep(1000) end, function() task.sleep(0.002) return "b", "c" end}})
    task.sleep(0)
    assert.equal(before, core.stats().tasks)
  end)
end)

describe("task.timeout", function()
  it("gives the values in time", function()
    assert.same({true, 7, 8}, {task.timeout(1, function(a) return a, 8 end, 7)})
  end)

  it("ends the function when the time is up", function()
    local closed
    assert.same({false, "timeout"}, {task.timeout("5ms", function()
      local mark <close> = setmetatable({}, {__close = function() closed = true end}) -- luacheck: ignore 211
      task.sleep(1000)
    end)})
    task.sleep(0)
    assert.is_true(closed)
  end)

  it("raises what the function raised", function()
    assert.error_matches(function() task.timeout(1, error, "inner") end, "inner")
  end)
end)

describe("task.sleep", function()
  it("refuses what is no duration", function()
    for _, bad in ipairs {"ten", "5 parsecs", -1, 0 / 0, {}, "1h30"} do
      assert.error_matches(function() task.sleep(bad) end, "task.sleep: field 'duration': expected a duration")
    end
  end)
end)

describe("a channel", function()
  it("hands values over in order and ends when closed", function()
    local c, got = task.channel(2), {}
    local sender = task.spawn(function()
      for i = 1, 6 do c:send(i) end
      c:close()
    end)
    for v in c:each() do got[#got + 1] = v end
    sender:join()
    assert.same({1, 2, 3, 4, 5, 6}, got)
  end)

  it("without room makes the sender wait for the receiver", function()
    local c, sent = task.channel(), false
    local sender = task.spawn(function() c:send("x") sent = true end)
    task.sleep(0.001)
    assert.is_false(sent)
    assert.equal("x", c:receive())
    sender:join()
    assert.is_true(sent)
  end)

  it("gives up after a timeout on either side, and loses nothing else", function()
    local c = task.channel()
    assert.same({nil, "timeout"}, {c:receive(0.001)})
    assert.same({false, "timeout"}, {c:send("lost", 0.001)})
    local sender = task.spawn(function() return c:send("kept") end)
    assert.equal("kept", c:receive(1))
    assert.is_true(sender:join())
  end)

  it("wakes receivers and senders when it closes", function()
    local c = task.channel()
    local receiver = task.spawn(function() return c:receive() end)
    task.sleep(0)
    c:close()
    assert.is_nil(receiver:join())
    assert.same({false, "closed"}, {c:send(1)})
  end)

  it("passes a value on when the receiver was cancelled", function()
    local c = task.channel()
    local first = task.spawn(function() return c:receive() end)
    task.sleep(0)
    first:cancel()
    local second = task.spawn(function() return c:receive() end)
    task.sleep(0)
    assert.is_true(c:send("v"))
    assert.equal("v", second:join())
  end)
end)
