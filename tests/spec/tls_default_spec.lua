-- Whatever speaks TLS refuses a certificate that does not hold, unless somebody said otherwise. A new way to speak it belongs into this table.

local http = require "waddle.http"
local process = require "tests.support.process"
local spec = require "tests.support.spec"
local tcp = require "waddle.tcp"
local tls = require "waddle.tls"

after_each(process.clean)

-- {name, function that gives the result of a call without any option about certificates}
local ways = {
  {"http.get", function() return http.get(spec.url("tls_untrusted", "/", "localhost")) end},
  {"http.get of HTTP/2", function() return http.get(spec.url("tls_untrusted", "/", "localhost"), {version = "2"}) end},
  {"tls.connect", function() return tls.connect((spec.peer("tls_untrusted", "localhost"))) end},
  {"tcp.connect with tls", function() return tcp.connect((spec.peer("tls_untrusted", "localhost")), {tls = {}}) end},
  {"tcp.connect with STARTTLS", function() return tcp.connect((spec.peer("smtp", "localhost")), {starttls = "smtp"}) end},
  {"a target tls://", function()
    local found = require("waddle.target").parse("tls://" .. spec.peer("tls_untrusted", "localhost"), "tcp")
    return tls.connect(table.unpack(found.args))
  end},
}

describe("without a word about certificates", function()
  setup(function() http.get "http://127.0.0.1:1/" end) -- opens the HTTP engine

  for _, way in ipairs(ways) do
    it(way[1] .. " fails for one that nobody vouches for", function()
      local result = way[2]()
      assert.is_false(result.success)
      assert.equal("tls_untrusted", result.error)
    end)
  end

  it("http.get of HTTP/3 fails, too", function()
    spec.need_http3()
    local result = http.get(spec.url("caddy_h3", "/", "localhost"), {version = "3"})
    assert.is_false(result.success)
    assert.equal("tls_untrusted", result.error)
  end)

  it("the agent gives its credentials to no manager that nobody vouches for, and keeps the results", function()
    local env = {HTTP_TARGETS = "", ICMP_TARGETS = "", TCP_TARGETS = "127.0.0.1:1", WADDLE_CONTROL = "none", AUTH_TYPE = "apikey", AUTH_APIKEY = "k",
      MANAGER_URL = spec.url("tls_untrusted", "/", "localhost")}
    local code, _, err = process.run({"agent"}, env)
    assert.equal(3, code)
    assert.matches("tls_untrusted", err)
    assert.matches("results not delivered: 1", err)
  end)
end)
