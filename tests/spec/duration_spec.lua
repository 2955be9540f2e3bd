local duration = require "waddle.duration"

describe("duration.parse", function()
  local good = {
    { 0, 0 }, { 5, 5 }, { 0.25, 0.25 }, { "5", 5 }, { "0.5", 0.5 }, { "250ms", 0.25 }, { "1.5s", 1.5 }, { ".5s", 0.5 },
    { "2m", 120 }, { "1h30m", 5400 }, { "1d", 86400 }, { "1h0.5s", 3600.5 }, { " 10s ", 10 }, { "100us", 1e-4 }, { "3ms", 0.003 },
  }
  for _, case in ipairs(good) do
    it(("reads %q"):format(case[1]), function()
      assert.equal(case[2], duration.parse(case[1]))
    end)
  end

  local bad = {
    "", "  ", "abc", "ms", "5x", "5 s", "-1s", "1m1h", "1s1s", "1.2.3s", "1e3", "0x10", "s5", -1, 0 / 0, 1e300, "99999999d", {}, true, "5S", ".s", ".",
  }
  for _, case in ipairs(bad) do
    it("refuses " .. (type(case) == "table" and "a table" or ("%q"):format(tostring(case))), function()
      local seconds, message = duration.parse(case)
      assert.is_nil(seconds)
      assert.matches("^expected seconds or text such as .*, got ", message)
    end)
  end

  it("names an unknown unit", function()
    local _, message = duration.parse("5min")
    assert.matches("unknown unit 'min'", message, 1, true)
  end)

  it("does not repeat a hostile text at full length", function()
    local _, message = duration.parse(("x"):rep(100000))
    assert.is_true(#message < 300)
  end)
end)

describe("duration.format", function()
  for seconds, text in pairs { [0] = "0s", [0.25] = "250ms", [1.5] = "1.5s", [120] = "2m", [5400] = "1h30m", [90061] = "1d1h1m1s",
    [1e-4] = "100us", [59.9999] = "1m", [0.9999999] = "1s", [3600.25] = "1h0.25s" } do
    it("writes " .. text, function()
      assert.equal(text, duration.format(seconds))
      assert.is_true(math.abs(duration.parse(text) - seconds) < 1e-3)
    end)
  end
end)
