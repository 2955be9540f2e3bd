local text = require "waddle.text"

describe("text for people", function()
  it("counts columns, not bytes", function()
    assert.equal(5, text.width "héllo")
    assert.equal(6, text.width "日本語")
    assert.equal(1, text.width "e\u{301}")
    assert.equal(2, text.width "\27[32mok\27[0m")
    assert.equal(3, text.width "a\xffb")
  end)

  it("pads and cuts to columns", function()
    assert.equal("é  ", text.pad("é", 3))
    assert.equal("  é", text.pad("é", 3, "right"))
    assert.equal(" é ", text.pad("é", 3, "centre"))
    assert.equal("abc", text.cut("abc", 3))
    assert.equal("ab…", text.cut("abcd", 3))
    assert.equal("日…", text.cut("日本語", 4))
    assert.equal("", text.cut("abc", 0))
  end)

  it("lets no control character of foreign text through", function()
    assert.equal("a\\x1b[31mb\\n\\r\\t\\x00\\x7f", text.printable "a\27[31mb\n\r\t\0\127")
    assert.equal("\\x9b31m", text.printable "\u{9b}31m")
    assert.equal("\u{fffd}x é\u{a0}", text.printable "\xffx é\u{a0}")
  end)

  it("replaces what is not UTF-8, surrogates included", function()
    assert.equal("a\u{fffd}b", text.utf8 "a\xc3b")
    assert.equal("\u{fffd}\u{fffd}\u{fffd}", text.utf8 "\xed\xa0\x80")
    assert.equal("ok é", text.utf8 "ok é")
    assert.is_truthy(utf8.len(text.utf8(("\xf0\x9f\x98"):rep(50))))
  end)

  it("writes spans, sizes and rates with three sensible digits", function()
    local spans = { [0.0421] = "0.042ms", [3.14159] = "3.14ms", [9.996] = "10.0ms", [31.4159] = "31.4ms", [99.96] = "100ms", [314.159] = "314ms",
      [999.6] = "1.00s", [3141.59] = "3.14s", [59999] = "1m00s", [125000] = "2m05s" }
    for ms, expected in pairs(spans) do
      assert.equal(expected, text.ms(ms))
    end
    assert.equal("0 B", text.bytes(0))
    assert.equal("1.50 KiB", text.bytes(1536))
    assert.equal("1.00 KiB", text.bytes(1023.9))
    assert.equal("200 MiB", text.bytes(200 * 1024 * 1024))
    assert.equal("640 kbit/s", text.mbps(0.64))
    assert.equal("9.41 Gbit/s", text.mbps(9410))
    assert.equal("0%", text.percent(0))
    assert.equal("0.5%", text.percent(0.5))
  end)

  it("tells the unit by the field's name", function()
    assert.equal("12.3ms", text.value("ttfb_ms", 12.34))
    assert.equal("1.00 KiB", text.value("body_bytes", 1024))
    assert.equal("25%", text.value("packet_loss_percent", 25))
    assert.equal("200", text.value("status", 200))
    assert.equal("true", text.value("success", true))
    assert.equal("a\\n", text.value("body", "a\n"))
  end)

  it("colours only when told", function()
    assert.equal("x", text.paint("x", "red"))
    assert.equal("\27[31mx\27[0m", text.paint("x", "red", true))
    assert.equal("", text.paint("", "red", true))
  end)

  it("aligns columns", function()
    assert.equal("name        ms\na          1.5\nlong name   22\n",
      text.table({ { "a", "1.5" }, { "long name", "22" } }, { headers = { "name", "ms" }, align = { nil, "right" } }))
    assert.equal("é   1\nab\n", text.table { { "é", 1 }, { "ab" } })
    assert.equal("", text.table({}, { headers = { "a" } }))
  end)

  it("keeps to the width by cutting the widest column", function()
    local shown = text.table({ { "a name that is long", "1.5" } }, { width = 12 })
    assert.equal("a name…  1.5\n", shown)
  end)

  it("breaks the last column into lines where it is told to, and cuts nothing", function()
    assert.equal("name    text of several words\n        that are worth reading\nlonger  short\n",
      text.table({ { "name", "text of several words that are worth reading" }, { "longer", "short" } }, { width = 32, wrap = true }))
  end)

  it("breaks a paragraph at blanks", function()
    assert.same({ "one two", "three" }, text.wrap("one two  three", 9))
    assert.same({ "" }, text.wrap("", 9))
  end)

  it("leaves out what has no value", function()
    assert.equal("  a    1\n  ccc  3\n", text.kv({ { "a", 1 }, { "b", nil }, { "ccc", 3 } }, { indent = 2 }))
  end)

  it("draws bars to an eighth of a column and shows every length over 0", function()
    assert.equal("██", text.bar(0, 2))
    assert.equal("  ▌", text.bar(2, 2.5))
    assert.equal("   ▏", text.bar(3, 3.0001))
    assert.equal("", text.bar(3, 3))
  end)

  it("draws a spark line with a cross for what is lost", function()
    assert.equal("▁█×▄", text.spark { n = 4, 1, 8, nil, 4 })
    assert.equal("▁", text.spark { n = 1, 0 })
  end)
end)
