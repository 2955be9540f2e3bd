-- help: everything that can be called can be asked about, and what is shown is what is checked.

local core = require "waddle.core"
local env = require "waddle.env"
local help = require "waddle.help"
local inspect = require "waddle.inspect"

describe("help", function()
  it("tells of every probe each option and each field", function()
    for _, name in ipairs(core.probes()) do
      local text = assert(help.about(name))
      local d = core.describe(name)
      assert.is_truthy(text:find(d.help, 1, true))
      for _, part in ipairs {d.options, d.result} do
        for _, field in ipairs(part) do
          assert.is_truthy(text:find("\n  " .. field.name, 1, true), name .. ": " .. field.name)
          assert.is_true(#(field.help or "") > 0, name .. ": " .. field.name .. " has no help")
        end
      end
    end
  end)

  it("tells of every name that it knows", function()
    for _, name in ipairs(help.names()) do
      local text, err = help.about(name)
      assert.is_string(text, err)
      assert.is_true(#text > 10, name)
    end
  end)

  it("knows every name of the strict environment that is waddle's", function()
    local known = {}
    for _, name in ipairs(help.names()) do
      known[name] = true
    end
    for _, names in ipairs {env.modules, env.functions} do
      for name in pairs(names) do
        assert.is_true(known[name], name)
      end
    end
  end)

  it("tells of the functions of sys, of each and of no other", function()
    local told, there = {}, {}
    for name in pairs(require "waddle.help_sys") do
      told[name] = true
    end
    for name in pairs(require "waddle.core.sys") do
      there[name] = true
    end
    assert.same(there, told)
  end)

  it("offers the nearest name", function()
    local text, err = help.about("icmp.pign")
    assert.is_nil(text)
    assert.equal("no help for 'icmp.pign'; did you mean 'icmp.ping'?", err)
  end)

  it("lists probes and modules when nothing is asked for", function()
    local text = help.about()
    for _, name in ipairs(core.probes()) do
      assert.is_truthy(text:find("\n  " .. name, 1, true), name)
    end
  end)

  it("fits the width and colours only where asked", function()
    local plain = help.probe("icmp.ping", {width = 60})
    for line in plain:gmatch("[^\n]+") do
      assert.is_true(utf8.len(line) <= 60, line)
    end
    assert.is_nil(plain:find("\27", 1, true))
    assert.is_truthy(help.about("http.request", {colour = true}):find("\27[", 1, true))
  end)
end)

describe("inspect", function()
  it("shows scalars on a line, tables as names and values, nothing endless", function()
    assert.equal("42\n", inspect.value(42))
    assert.equal("nil\n", inspect.value(nil))
    assert.equal("true\n", inspect.value(true))
    assert.equal("\"a\\nb\"\n", inspect.value("a\nb"))
    assert.equal("{}\n", inspect.value({}))
    assert.matches("a%s+1\n", inspect.value({a = 1}))
    assert.matches("a%.b%.c%s+1\n", inspect.value({a = {b = {c = 1}}}))
    assert.matches("%[1%]%s+x\n", inspect.value({"x"}))
  end)

  it("bears circles, many rows, keys of any type and terminal codes", function()
    local circle = {}
    circle.me = circle
    assert.matches("me%s+table", inspect.value(circle))
    local many = {}
    for i = 1, 10000 do
      many[i] = i
    end
    local _, rows = inspect.value(many):gsub("\n", "")
    assert.is_true(rows <= 201)
    assert.is_string(inspect.value({[print] = 1, [true] = 2, [1.5] = 3, x = 4, [{}] = 5}))
    assert.is_nil(inspect.value({x = "a\27[31mb"}):find("\27", 1, true))
    assert.is_nil(inspect.value("a\27[31mb"):find("\27", 1, true))
    assert.is_nil(inspect.value({["\27[31m"] = 1}):find("\27", 1, true))
  end)

  it("leaves values with a text of their own alone", function()
    assert.equal("mine\n", inspect.value(setmetatable({1, 2}, {__tostring = function() return "mine" end})))
    assert.matches("\n$", inspect.value(setmetatable({1, 2}, {__metatable = "closed"})))
  end)
end)
