-- The reference's flaws that concern delivery, by their number in the contract.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local upload = require "waddle.upload"
local uploads = require "tests.support.uploads"

local with, put = uploads.with, uploads.put

setup(function()
  sys.log_level("error")
  with(nil, nil, function(_, u)
    put(u, 1)
    u:flush(5)
  end)
end)

local user = {type = "userpass", user = "probe", password = "s3cret \"\\ü"}

-- Every auth type as the manager wants it.
local function both(auth, more)
  local options = {auth = auth}
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options, {auth = auth}
end

describe("flaw 1: the API-key and Basic forms never worked, and a JWT died after 24 h", function()
  it("jwt, apikey and none are taken by the manager", function()
    for _, auth in ipairs {{type = "none"}, {type = "jwt", token = "aaa.bbb.ccc"}, {type = "apikey", key = "k-1"}} do
      local managers, uploader = both(auth)
      with(managers, uploader, function(m, u)
        put(u, 3)
        assert.equal(0, u:flush(5))
        assert.equal(3, m.stored)
      end)
    end
  end)

  it("userpass logs in before the first upload, once, and sends nothing when there is nothing to send", function()
    local managers, uploader = both(user)
    with(managers, uploader, function(m, u)
      assert.equal(0, u:flush(5))
      assert.equal(0, m.count)
      put(u, 10)
      assert.equal(0, u:flush(5))
      assert.equal(10, m.stored)
      assert.equal(1, m.logins)
      assert.truthy(m.requests[2].headers.authorization:match("^Bearer token%-1%-%x+$"))
      assert.equal(0, u:status().retried)
    end)
  end)

  it("userpass renews its token before it dies, so that no upload meets a 401", function()
    local managers, uploader = both(user, {token_life = 0.2})
    with(managers, uploader, function(m, u)
      spec.eventually(function()
        put(u, 1)
        u:flush(5)
        return m.logins >= 3
      end, 20)
      assert.equal(0, u:status().retried)
      assert.is_nil(u:status().last_error)
    end)
  end)

  it("userpass logs in once more when the manager has forgotten its token", function()
    local managers, uploader = both(user)
    with(managers, uploader, function(m, u)
      put(u, 1)
      assert.equal(0, u:flush(5))
      m:revoke()
      put(u, 10)
      assert.equal(0, u:flush(5))
      assert.equal(11, m.stored)
      assert.equal(2, m.logins)
      assert.equal("ok", u:status().state)
    end)
  end)

  it("a 401 to a fresh token blocks the queue and loses nothing", function()
    local managers, uploader = both(user, {always = 401})
    with(managers, uploader, function(m, u)
      put(u, 3)
      assert.equal(3, u:flush(5))
      assert.equal("blocked", u:status().state)
      assert.is_true(m.logins <= 2)
    end)
  end)

  it("userpass goes by Basic where the manager has no login route", function()
    local managers, uploader = both(user, {login_route = false})
    with(managers, uploader, function(m, u)
      put(u, 3)
      assert.equal(0, u:flush(5))
      assert.equal(3, m.stored)
      assert.truthy(m.requests[2].headers.authorization:match("^Basic "))
    end)
  end)

  it("wrong credentials and a missing second factor block the queue, and say which", function()
    with({auth = user}, {auth = {type = "userpass", user = "probe", password = "guess"}}, function(_, u)
      put(u, 1)
      assert.equal(1, u:flush(5))
      assert.equal("blocked", u:status().state)
      assert.truthy(u:status().last_error:find("does not accept user and password", 1, true))
      assert.is_nil(u:status().last_error:find("guess", 1, true))
    end)
    local factor = {type = "userpass", user = "probe", password = "p", mfa_code = "123456"}
    with({auth = factor}, {auth = {type = "userpass", user = "probe", password = "p"}}, function(_, u)
      put(u, 1)
      assert.equal(1, u:flush(5))
      assert.truthy(u:status().last_error:find("mfa_code", 1, true))
    end)
    local managers, uploader = both(factor)
    with(managers, uploader, function(_, u)
      put(u, 1)
      assert.equal(0, u:flush(5))
    end)
  end)
end)

describe("flaw 4: each upload held up the next target", function()
  it("a manager that hangs holds up neither put nor other tasks", function()
    with({always = "hang"}, nil, function(_, u)
      local turns = 0
      local other = task.spawn(function()
        for _ = 1, 50 do
          task.sleep(0)
          turns = turns + 1
        end
      end)
      put(u, 50)
      other:join()
      assert.equal(50, turns)
      assert.equal(50, u:status().queued + u:status().in_flight)
    end)
  end)
end)

describe("flaw 7: a failure stored a number as its latency", function()
  it("the manager stores null and the reason", function()
    with(nil, nil, function(m, u)
      put(u, 1, {success = false, error = "timeout", latency_ms = 5000})
      assert.equal(0, u:flush(5))
      assert.equal(require("waddle.json").null, m.rows[1].latency_ms)
      assert.equal("timeout", m.rows[1].error)
      assert.equal("timeout", m.rows[1].raw_results.error)
    end)
  end)
end)

describe("flaw 8: credentials inside a URL were stored", function()
  it("neither body nor the list of refused rows has them", function()
    with({plan = {400}}, {concurrency = 1}, function(m, u)
      local secret = {test_type = "http", target_host = "h.test", target = "https://me:hunter2@h.test/?token=hunter2", url_effective = "https://me:hunter2@h.test/?token=hunter2"}
      put(u, 2, secret)
      assert.equal(0, u:flush(5))
      assert.equal(2, m.count)
      for _, request in ipairs(m.requests) do
        assert.is_nil(request.body:find("hunter2", 1, true), request.body)
      end
      assert.is_nil(u:rejected()[1].body:find("hunter2", 1, true))
      assert.equal("h.test", m.rows[1].target_host)
    end)
  end)
end)

describe("flaw 17: what was in hand was lost", function()
  it("what was taken is there until it is delivered, whatever happens in between", function()
    with({plan = {503, 500, "ok", 502, 429}}, nil, function(m, u)
      put(u, 10)
      spec.eventually(function()
        return u:flush(2) == 0
      end, 20)
      assert.equal(10, m.stored)
    end)
  end)
end)

describe("flaw 18: nobody could tell what was not delivered", function()
  it("flush counts what an earlier process left in a spool, and tries it at once, whatever the back-off of that was", function()
    local file = process.folder() .. "/waddle.db"
    for _, count in ipairs {40, 0} do
      local m <close> = assert(manager.start {always = {status = 503, headers = {["retry-after"] = "3600"}}})
      local options = {url = m.url, device = uploads.device, spool = file}
      local first = upload.open(options)
      put(first, count)
      first:flush "200ms"
      first:close()
      m.always = nil
      local u <close> = upload.open(options)
      assert.same({0, count}, {u:flush(5), m.stored})
    end
    process.clean()
  end)

  it("flush says how many are left, for the exit code", function()
    with({always = 503}, nil, function(_, u)
      put(u, 4)
      assert.equal(4, u:flush("100ms"))
    end)
  end)
end)
