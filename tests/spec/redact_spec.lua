local redact = require "waddle.redact"

describe("flaw 8: credentials inside a URL are redacted everywhere", function()
  local cases = {
    { "https://user:pw@host/x", "https://***@host/x" },
    { "https://token@host", "https://***@host" },
    { "https://u:p@ss@host/a", "https://***@host/a" },
    { "see https://u:p@a/ and http://v:q@b/.", "see https://***@a/ and http://***@b/." },
    { "https://h/?token=abc&x=1", "https://h/?token=***&x=1" },
    { "https://h/?x=1&API_KEY=abc#access_token=z", "https://h/?x=1&API_KEY=***#access_token=***" },
    { "https://h/?X-Amz-Signature=ff", "https://h/?X-Amz-Signature=***" },
    { "https://h/?pass%77ord=ff", "https://h/?pass%77ord=***" },
    { "https://h/?mail=a@b.c", "https://h/?mail=a@b.c" },
    { "https://h/a@b", "https://h/a@b" },
    { "dns://name@server:53", "dns://name@server:53" },
    { "plain text", "plain text" },
  }
  for _, case in ipairs(cases) do
    it("in " .. case[2], function()
      assert.equal(case[2], redact.text(case[1]))
      assert.equal(case[2], redact.text(redact.text(case[1])))
    end)
  end

  it("in a target that is not even a URL", function()
    for _, text in ipairs { "https://user:pa/secret@host", "https://user:pa secret@host", "https://user:pa?secret@host", "user:secret@host", "tcp://u:secret@h:1" } do
      assert.is_nil(redact.target(text):find("secret", 1, true), text)
    end
    assert.equal("https://***@host/?mail=a@b", redact.target "https://u:p@host/?mail=a@b")
    assert.equal("https://h:8443/a@b", redact.target "https://h:8443/a@b")
    assert.equal("dns://n@s", redact.target "dns://n@s")
  end)

  it("in headers, by name and by URL", function()
    assert.same({ ["Set-Cookie"] = "***", Authorization = "***", location = "https://***@h/", ["content-type"] = "text/html", link = { "http://***@h/" } },
      redact.headers { ["Set-Cookie"] = "a=b", Authorization = "Bearer x", location = "https://u:p@h/", ["content-type"] = "text/html",
        link = { "http://u:p@h/" } })
  end)

  it("in time that grows with the text, not with its square", function()
    local started = os.clock()
    for _, unit in ipairs { "x", "://", "x://", "?a", "a@", "&&" } do
      redact.text(unit:rep(300000))
    end
    assert.is_true(os.clock() - started < 2)
  end)

  it("leaves what is no text alone", function()
    assert.equal(5, redact.text(5))
    assert.is_nil(redact.text(nil))
  end)
end)
