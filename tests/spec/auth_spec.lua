local auth = require "waddle.auth"
local contract = require "waddle.contract"

describe("flaw 1: every form of authentication works, userpass logs in and renews", function()
  it("sends the header of each type", function()
    assert.same({}, { auth.header { type = "none" } })
    assert.same({ "Authorization", "Bearer abc" }, { auth.header { type = "jwt", token = "abc" } })
    assert.same({ "X-API-Key", "k" }, { auth.header { type = "apikey", key = "k" } })
    assert.same({ "Authorization", "Bearer t" }, { auth.header({ type = "userpass", user = "u", password = "p" }, { token = "t" }) })
  end)

  it("logs in before the first upload of userpass", function()
    assert.same({ nil, "login" }, { auth.header { type = "userpass", user = "u", password = "p" } })
    assert.equal('{"password":"p\\"","username":"u"}', auth.login_body { user = "u", password = 'p"' })
    assert.equal('{"mfa_code":"123456","password":"p","username":"u"}', auth.login_body { user = "u", password = "p", mfa_code = "123456" })
  end)

  it("renews before the token expires", function()
    local login = auth.read_login(200, '{"token":"t","expires_in":86400,"user":{}}', 1000)
    assert.equal("t", login.token)
    assert.equal(1000 + 86400 - 300, login.renew_at)
    assert.equal(9, auth.read_login(200, '{"token":"t","expires_in":10}', 0).renew_at)
    assert.equal(86100, auth.read_login(200, '{"token":"t"}', 0).renew_at)
  end)

  it("falls back to Basic where there is no login route", function()
    assert.equal("basic", auth.read_login(404))
    assert.equal("basic", auth.read_login(405))
    assert.same({ "Authorization", "Basic dXNlcjpwYXNz" }, { auth.header({ type = "userpass", user = "user", password = "pass" }, "basic") })
  end)

  it("tells wrong credentials from a passing fault", function()
    local cases = {
      { 401, '{"error":"Invalid credentials"}', "blocked", "does not accept" }, { 401, '{"error":"x","mfa_required":true}', "blocked", "mfa_code" },
      { 403, "", "blocked", "" }, { 302, "", "blocked", "302" }, { 503, "", "again", "503" }, { 429, "", "again", "429" }, { nil, nil, "again", "not answered" },
      { 200, "<html>", "blocked", "without a token" }, { 200, '{"token":"a\\nb"}', "blocked", "without a token" }, { 200, '{"token":null}', "blocked", "" },
    }
    for i = 1, #cases do
      local login, kind, message = auth.read_login(cases[i][1], cases[i][2], 0)
      assert.is_nil(login)
      assert.equal(cases[i][3], kind)
      assert.truthy(message:find(cases[i][4], 1, true), message)
    end
  end)

  it("knows base64", function()
    for plain, coded in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", ["\xff\xfe"] = "//4=" } do
      assert.equal(coded, auth.base64(plain))
    end
  end)
end)

describe("an answer of the manager", function()
  it("says what becomes of the row", function()
    for status, verdict in pairs { [200] = "stored", [201] = "stored", [400] = "refused", [413] = "refused", [422] = "refused", [401] = "login",
      [403] = "blocked", [404] = "blocked", [405] = "blocked", [301] = "blocked", [308] = "blocked", [408] = "again", [425] = "again", [429] = "again",
      [502] = "again", [503] = "again", [504] = "again", [500] = "again" } do
      assert.equal(verdict, contract.verdict(status), status)
    end
    assert.equal("again", contract.verdict(nil))
  end)

  it("sets a row aside after a bounded number of 500s", function()
    assert.equal("again", contract.verdict(500, contract.TRIES_500 - 1))
    assert.equal("refused", contract.verdict(500, contract.TRIES_500))
  end)

  it("comes from an address with one slash between", function()
    for _, url in ipairs { "http://m:8080", "http://m:8080/", "http://m:8080//" } do
      assert.equal("http://m:8080/api/v1/results/upload", contract.url(url, "results/upload"))
    end
    assert.equal("https://h/waddle/api/v1/auth/login", contract.url("https://h/waddle/", "auth/login"))
  end)
end)
