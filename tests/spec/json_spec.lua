local json = require "waddle.json"
local process = require "tests.support.process"
local spec = require "tests.support.spec"

describe("json.encode", function()
  local cases = {
    { "an empty object", {}, "{}" },
    { "an empty list that is marked", json.array {}, "[]" },
    { "an empty list of a result", setmetatable({}, { __name = "json.array" }), "[]" },
    { "an object whose field n is zero", { n = 0 }, '{"n":0}' },
    { "a list", { 1, 2, 3 }, "[1,2,3]" },
    { "a list with a hole, counted", { n = 3, [1] = 1, [3] = 3 }, "[1,null,3]" },
    { "a list that ends in nothing", { n = 2, [1] = true }, "[true,null]" },
    { "an object that has a field n", { n = 4 }, '{"n":4}' },
    { "numbers as keys", { [2] = "b" }, '{"2":"b"}' },
    { "null", json.null, "null" },
    { "null inside", { json.null }, "[null]" },
    { "an integer", 10, "10" },
    { "a float that is whole", 10.0, "10" },
    { "an integer of 15 digits", 123456789012345, "123456789012345" },
    { "the largest integer", math.maxinteger, "9223372036854775807" },
    { "the smallest integer", math.mininteger, "-9223372036854775808" },
    { "1e14 as an integer", 100000000000000, "100000000000000" },
    { "a tenth", 0.1, "0.1" },
    { "strings", 'a"b\\c/d\n\0\u{e9}', '"a\\"b\\\\c/d\\n\\u0000\u{e9}"' },
    { "a slash after a backslash", "\\/", '"\\\\/"' },
  }
  for _, case in ipairs(cases) do
    it("writes " .. case[1], function()
      assert.equal(case[3], json.encode(case[2]))
    end)
  end

  it("never writes a number that reads back as another", function()
    for _, x in ipairs { 1 / 3, 2 ^ 53, 2 ^ 53 + 2, 1e300, 5e-324, 123456.789012345678, 0.1 + 0.2, -1.7976931348623157e308 } do
      assert.equal(x, tonumber(json.encode(x)))
    end
  end)

  it("never writes NaN or Infinity", function()
    assert.equal("[null,null,null]", json.encode { 0 / 0, math.huge, -math.huge })
    local text, message = json.encode({ 0 / 0 }, { invalid = "error" })
    assert.is_nil(text)
    assert.matches("cannot write the number", message)
  end)

  it("sorts keys when asked, the same text every time", function()
    local t = {}
    for i = 1, 30 do
      t["k" .. i] = i
    end
    local text = json.encode(t, { sorted = true })
    local last = ""
    for key in text:gmatch('"(k%d+)"') do
      assert.is_true(last < key)
      last = key
    end
  end)

  it("indents for people", function()
    assert.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}', json.pretty { b = json.array(), a = { 1, {} } })
  end)

  it("does not call metamethods of strict results", function()
    local strict = setmetatable({ a = 1 }, { __index = function() error "undeclared" end })
    assert.equal('{"a":1}', json.encode(strict))
  end)

  it("returns a message for what JSON cannot say", function()
    local loop = {}
    loop.loop = loop
    for _, value in ipairs { print, coroutine.create(print), { [true] = 1 }, { f = print }, loop, { [1.5] = 1, ["1.5"] = 2 } } do
      local text, message = json.encode(value)
      assert.is_nil(text)
      assert.is_string(message)
    end
  end)
end)

describe("json.decode", function()
  it("gives whole numbers back as integers and the rest as floats", function()
    local t = json.decode '{"a":1,"b":1.5,"c":9007199254740991,"d":1e400,"e":[200,{"f":0}]}'
    assert.equal("integer", math.type(t.a))
    assert.equal("float", math.type(t.b))
    assert.equal(9007199254740991, t.c)
    assert.equal("integer", math.type(t.e[1]))
    assert.equal("integer", math.type(t.e[2].f))
    assert.equal("integer", math.type(json.decode "7"))
  end)

  it("keeps null apart from nothing", function()
    assert.equal(json.null, json.decode "null")
    assert.equal(json.null, json.decode('{"a":null}').a)
  end)

  it("returns nil and the place for what is not JSON", function()
    for _, text in ipairs { "", "{", "[1,]", "[nan]", "[Infinity]", "[0x10]", '{"a":1} x', '"\\ud800"', "'a'" } do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.is_string(message)
    end
    local _, message = json.decode "[1,]"
    assert.matches("character 4", message)
  end)

  it("keeps to its limits", function()
    local value, message = json.decode(("["):rep(200) .. ("]"):rep(200))
    assert.is_nil(value)
    assert.matches("nested", message)
    assert.is_table(json.decode("[[1]]", { max_depth = 2 }))
    assert.is_nil(json.decode("[[[1]]]", { max_depth = 2 }))
    value, message = json.decode(("1"):rep(20), { max_bytes = 10 })
    assert.is_nil(value)
    assert.matches("20 bytes, the limit is 10", message)
    value, message = json.decode(nil)
    assert.is_nil(value)
    assert.matches("expected JSON text, got a nil", message)
  end)

  it("reads back what encode wrote", function()
    local t = { a = { 1, 2.5, "x" }, b = true, c = json.null }
    assert.same(t, json.decode(json.encode(t)))
  end)
end)

describe("json.duplicate_key", function()
  it("finds a key that is there twice, and its line", function()
    assert.same({ "a", 3 }, { json.duplicate_key '{"a":1,\n"b":{"a":2},\n"a":3}' })
    assert.same({ "x", 1 }, { json.duplicate_key '[{"x":1},{"y":2,"x":1,"x":2}]' })
  end)

  it("is not misled by texts, escapes and nesting", function()
    for _, text in ipairs { '{"a":"a\\":","b":"\\\\","c":"\\""}', '[{"a":1},{"a":2}]', '{"a":{"a":{"a":1}},"b":["a","a"]}', '"x"', "5", '{"a":"{\\"a\\":1}"}' } do
      assert.is_table({ json.decode(text) })
      assert.is_nil((json.duplicate_key(text)), text)
    end
  end)

  it("goes with the line of a syntax error", function()
    local text = '{"a":1,\n"b":}'
    local _, message = json.decode(text)
    assert.equal(2, json.error_line(text, message))
    assert.is_nil(json.error_line("", "too deep"))
  end)
end)

describe("without memory", function()
  after_each(process.clean)

  it("reading and writing are errors, where cjson ends the process", function()
    if process.sanitizer() then
      spec.skip("a sanitizer's memory has no bounds")
    end
    local status, out, err = process.run {"--budget", "block=0,memory=0", "run", process.file("large.lua", [[
      local text = '["' .. ("a"):rep(40 << 20) .. '"]'
      local plain = text:sub(3, -3)
      local size = tonumber(io.open "/proc/self/status":read "a":match "VmSize:%s+(%d+)")
      assert(os.execute(("prlimit --pid %d --as=%d"):format(sys.pid(), (size + 20 * 1024) * 1024)))
      print(select(2, json.decode(text)))
      print((tostring(select(2, pcall(json.encode, plain))):gsub("\n.*", "")))
      print(json.encode(json.decode '{"small":[1]}'))
    ]])}
    assert.same({0, 'not enough memory\nnot enough memory\n{"small":[1]}\n'}, {status, out}, err)
  end)
end)
