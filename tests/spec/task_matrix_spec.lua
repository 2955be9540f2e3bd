-- Every place a script may call a waiting function from: where Lua can yield it waits, fails and is
-- cancelled like anywhere else; where Lua cannot, the error says so and what to do.

local core = require "waddle.core"
local task = require "waddle.task"

-- Each runs body() in its place and returns what body returned.
local can_wait = {
  ["pcall"] = function(body)
    local ok, value = pcall(body)
    if not ok then error(value, 0) end
    return value
  end,
  ["xpcall"] = function(body)
    local ok, value = xpcall(body, function(e) return e end)
    if not ok then error(value, 0) end
    return value
  end,
  ["a for-iterator"] = function(body)
    for value in function(_, last) if last == nil then return body() end end do
      return value
    end
  end,
  ["a pairs metamethod"] = function(body)
    local t = setmetatable({}, {__pairs = function() return next, {key = body()} end})
    for _, value in pairs(t) do
      return value
    end
  end,
  ["an __index metamethod"] = function(body)
    return setmetatable({}, {__index = function() return body() end}).anything
  end,
  ["a to-be-closed variable"] = function(body)
    local value
    do
      local v <close> = setmetatable({}, {__close = function() value = body() end}) -- luacheck: ignore 211
    end
    return value
  end,
  ["dofile"] = function(body)
    local name = os.tmpname()
    local f = assert(io.open(name, "w"))
    f:write("return waddle_spec_body()")
    f:close()
    rawset(_G, "waddle_spec_body", body)
    local keep <close> = setmetatable({}, {__close = function() os.remove(name) rawset(_G, "waddle_spec_body", nil) end}) -- luacheck: ignore 211
    return dofile(name)
  end,
}

local cannot_wait = {
  ["require"] = function(body)
    package.preload.waddle_spec_module = body
    package.loaded.waddle_spec_module = nil
    return require "waddle_spec_module"
  end,
  ["table.sort"] = function(body)
    table.sort({3, 2, 1}, function(a, b) body() return a < b end)
  end,
  ["string.gsub"] = function(body)
    return (("x"):gsub("x", function() body() end))
  end,
  ["load's reader"] = function(body)
    local chunk, err = load(function() body() end)
    if not chunk then error(err, 0) end
  end,
}

local function live_tasks()
  return core.stats().tasks
end

describe("a wait inside", function()
  for name, place in pairs(can_wait) do
    it(name .. " waits and gives its value", function()
      local t0 = task.now()
      assert.equal(7, task.spawn(place, function() task.sleep(0.01) return 7 end):join())
      assert.is_true(task.now() - t0 >= 0.01)
    end)

    it(name .. " may raise afterwards", function()
      local t = task.spawn(place, function() task.sleep(0) error("from inside", 0) end)
      local ok, err = pcall(t.join, t)
      assert.is_false(ok)
      assert.matches("from inside", err)
    end)

    it(name .. " is cancelled and closes what it opened", function()
      local before, closed = live_tasks(), false
      local t = task.spawn(function()
        local mark <close> = setmetatable({}, {__close = function() closed = true end}) -- luacheck: ignore 211
        place(function() task.sleep(1000) end)
      end)
      task.sleep(0)
      assert.same({"waiting", "sleep"}, {t:status()})
      t:cancel()
      task.sleep(0)
      assert.is_true(closed)
      assert.equal("cancelled", (t:status()))
      assert.equal(before, live_tasks())
      assert.equal(0, core.stats().waiting)
    end)
  end

  for name, place in pairs(cannot_wait) do
    it(name .. " is an error that says what to do", function()
      local ok, err = pcall(place, function() task.sleep(0.01) end)
      assert.is_false(ok)
      assert.matches("task.sleep: called where Lua cannot wait", err, 1, true)
      assert.matches("call it before", err, 1, true)
    end)

    it(name .. " leaves the task able to wait", function()
      pcall(place, function() task.sleep(0.01) end)
      task.sleep(0.001)
    end)
  end

  it("a coroutine of the user's own is an error that names task.spawn", function()
    local wrapped = coroutine.wrap(function() task.sleep(0.01) end)
    local ok, err = pcall(wrapped)
    assert.is_false(ok)
    assert.matches("use task.spawn", err, 1, true)
  end)

  it("a user's own coroutine still works beside tasks", function()
    local numbers = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
    local sum = 0
    for n in numbers do
      sum = sum + n
      task.sleep(0)
    end
    assert.equal(6, sum)
  end)

  it("a finalizer is an error, and only a warning in the log", function()
    local seen
    setmetatable({}, {__gc = function() local _, err = pcall(task.sleep, 0.01) seen = err end})
    collectgarbage()
    assert.matches("called", seen)
  end)

  it("a closing task cannot wait any more", function()
    local seen
    local t = task.spawn(function()
      local mark <close> = setmetatable({}, {__close = function() local _, err = pcall(task.sleep, 0.01) seen = err end}) -- luacheck: ignore 211
      task.sleep(1000)
    end)
    task.sleep(0)
    t:cancel()
    task.sleep(0)
    assert.matches("cannot wait", seen)
  end)
end)
