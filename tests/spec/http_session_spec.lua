-- http.session: a base, options for all requests, cookies, bodies to read.

local http = require "waddle.http"
local spec = require "tests.support.spec"

setup(function()
  http.get("http://127.0.0.1:1/") -- the transfer engine opens a descriptor of its own at first use
end)

describe("http.session", function()
  it("puts its base before a path and its headers into each request", function()
    local s = http.session {base = spec.url("http", "/"), headers = {["X-One"] = "1", ["X-Two"] = "2"}}
    local r = s:get("headers", {headers = {["x-two"] = "own"}})
    assert.is_truthy(r.body:find("^GET /headers "))
    assert.is_truthy(r.body:find("X-One: 1", 1, true))
    assert.is_truthy(r.body:find("x-two: own", 1, true))
    assert.is_nil(r.body:find("X-Two: 2", 1, true))
  end)

  it("keeps cookies, and sends them back", function()
    local s = http.session {base = spec.url("http")}
    s:get("/cookies")
    assert.are.equal("1", s:cookie("a"))
    assert.is_truthy(s:get("/headers").body:find("Cookie: a=1; b=two", 1, true))
    assert.is_nil(http.session({base = spec.url("http")}):get("/headers").body:find("Cookie", 1, true))
  end)

  it("does not send cookies to another host", function()
    local s = http.session {base = spec.url("http")}
    s:get("/cookies")
    assert.is_nil(s:get(spec.url("http", "/headers", "localhost")).body:find("Cookie", 1, true))
  end)

  it("keeps its credentials for its base", function()
    local s = http.session {base = spec.url("http"), bearer = "secret"}
    assert.is_truthy(s:get("/headers").body:find("Bearer secret", 1, true))
    assert.is_nil(s:get(spec.url("http", "/headers", "localhost")).body:find("secret", 1, true))
  end)

  it("reads JSON, and says why where it cannot", function()
    local s = http.session {base = spec.url("http")}
    assert.are.same({a = 1}, s:post("/echo", {json = {a = 1}}):json())
    local value, message = s:get("/bytes/2000000"):json()
    assert.is_nil(value)
    assert.is_truthy(message:find("^body_too_large"))
    assert.is_nil((s:get("/ok"):json()))
  end)

  it("raises for misuse", function()
    assert.has_error(function() http.session {base = "example.com"} end)
    assert.has_error(function() http.session("http://h/") end)
    assert.has_error(function() http.session({}):get("http://h/", {hedaers = {}}) end)
  end)
end)
