-- A manager that does everything to an uploader with a spool that a server can do, one mood after another by chance; then it is well. Nothing
-- is lost, nothing is held up, nothing grows, and nobody else gets the credentials.

local json = require "waddle.json"
local manager = require "waddle.manager"
local manager_rules = require "waddle.manager_rules"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local torture = require "tests.torture.torture"
local upload = require "waddle.upload"
local uploads = require "tests.support.uploads"

local ROUNDS = torture.pick(60, 1500)
local KEY = "k-0123456789"
local HELD_UP_S = 1 -- more than a busy machine does to a task by itself
local GROWN_MIB = 24

local elsewhere -- the address that redirects name

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak
    uploads.put(u, 1)
    u:flush(5)
  end)
end)

after_each(process.clean)

-- The headers and the body of a request, as texts; nil when it did not come.
local function read_request(conn)
  local text = ""
  while true do
    local head, body = text:match "^(.-\r\n\r\n)(.*)$"
    local length = head and tonumber(head:lower():match "content%-length: *(%d+)") or 0
    if head and #body >= length then
      return head, body
    end
    local more = conn:read(nil, 5)
    if not more then
      return nil
    end
    text = text .. more
  end
end

local function answer(status, headers, body)
  return ("HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n%s\r\n%s"):format(status, #(body or ""), headers or "", body or "")
end

local STORED = answer(201, nil, "{}")

-- Each gets the connection once a request was read; true: the request counts as stored, and its answer was sent whole.
local MOODS = {
  well = function(conn)
    return conn:write(STORED)
  end,
  drips = function(conn)
    for i = 1, #STORED do
      if not conn:write(STORED:sub(i, i)) then
        return false
      end
      task.sleep(0.001)
    end
    return true
  end,
  hangs = function() task.sleep(1) end,
  resets = function(conn) conn:reset() end,
  ["closes its half"] = function(conn)
    conn:finish()
    task.sleep(0.2)
  end,
  ["tells half of it"] = function(conn) conn:write(STORED:sub(1, 30)) end,
  ["tells less than it says"] = function(conn) conn:write("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{") end,
  garbage = function(conn) conn:write(sys.random(2000)) end,
  ["another protocol"] = function(conn) conn:write "SSH-2.0-OpenSSH_9\r\n" end,
  ["a status that is none"] = function(conn) conn:write "HTTP/1.1 99999 Much\r\n\r\n" end,
  ["headers without end"] = function(conn)
    conn:write "HTTP/1.1 201 Created\r\n"
    for _ = 1, 400 do
      if not conn:write(("X-Header: " .. ("a"):rep(1000) .. "\r\n"):rep(10), 1) then
        return
      end
    end
  end,
  ["a body without end"] = function(conn)
    conn:write "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ = 1, 200 do
      if not conn:write("4000\r\n" .. ("x"):rep(0x4000) .. "\r\n", 1) then
        return
      end
    end
  end,
  ["interim answers"] = function(conn)
    return conn:write(("HTTP/1.1 102 Processing\r\n\r\n"):rep(20) .. STORED)
  end,
  ["a redirect"] = function(conn) conn:write(answer(307, "Location: " .. elsewhere .. "/api/v1/results/upload\r\n")) end,
  ["a redirect of the client's own"] = function(conn) conn:write(answer(302, "Location: //\0\r\nLocation: " .. elsewhere .. "\r\n")) end,
  ["much patience"] = function(conn) conn:write(answer(503, "Retry-After: 99999999999999999999\r\n")) end,
}
for _, status in ipairs {401, 403, 404, 405, 408, 429, 500, 502, 503, 504} do
  MOODS[tostring(status)] = function(conn) conn:write(answer(status, nil, '{"error":"no"}')) end
end

local function names_of(moods)
  local names = {}
  for name in pairs(moods) do names[#names + 1] = name end
  table.sort(names)
  return names
end

describe("a hostile manager", function()
  it("loses nothing, holds up nobody, and gets no other server to see the credentials", function()
    local random = torture.chance "manager"
    local names, stored, twice, mood = names_of(MOODS), {}, 0, "well"
    local seen = {}
    local other <close> = assert(manager.start()) -- where redirects lead
    elsewhere = other.url
    local server <close> = assert(serve.tcp {connections = 64, deadline = 30, handler = function(conn) -- luacheck: ignore 211
      while true do
        local head, body = read_request(conn)
        if not head then
          return
        end
        local key = head:lower():match "idempotency%-key: *([^\r]+)"
        local mine = mood
        seen[mine] = (seen[mine] or 0) + 1
        assert(head:find("X-API-Key: " .. KEY, 1, true) or head:lower():find("x-api-key: " .. KEY, 1, true))
        assert.equal(201, (manager_rules.check(body)))
        if not MOODS[mine](conn) then
          return
        end
        twice = twice + (stored[key] and 1 or 0)
        stored[key] = true
      end
    end})

    local worst = 0
    local heartbeat = task.spawn(function()
      while true do
        local due = task.now() + 0.01
        task.sleep(0.01)
        worst = math.max(worst, task.now() - due)
      end
    end)
    local function open(file)
      return upload.open {url = ("http://127.0.0.1:%d"):format(server.port), auth = {type = "apikey", key = KEY}, device = uploads.device, spool = file,
        timeout = "400ms"}
    end

    local file, count, slowest = process.folder() .. "/waddle.db", 0, 0
    local before
    do
      local u <close> = open(file)
      for round = 1, ROUNDS do
        mood = names[random(1, #names)]
        for _ = 1, random(1, 6) do
          count = count + 1
          local began = task.now()
          uploads.put(u, 1, {id = "id-" .. count})
          slowest = math.max(slowest, task.now() - began)
        end
        u:flush(random(5, 60) / 1000)
        if round == ROUNDS // 4 then
          collectgarbage()
          before = torture.resident "self"
        end
      end
      collectgarbage()
      local grown = torture.resident "self" - before
      assert.is_true(grown < GROWN_MIB, ("%.1f MiB more"):format(grown))
    end
    mood = "well"
    local u <close> = open(file)
    local left = u:flush(60)
    assert.equal(0, left, json.encode(u:status()))
    spec.eventually(function() return u:status().quarantined == u:status().rejected end)
    local set_aside = u:status().quarantined
    heartbeat:cancel()

    local missing = 0
    for i = 1, count do
      missing = missing + (stored["id-" .. i] and 0 or 1)
    end
    -- 500 again and again sets a row aside, with the answer: it is there, and not lost.
    assert.is_true(missing <= set_aside, ("%d of %d results are missing, %d were set aside"):format(missing, count, set_aside))
    assert.equal(0, other.count)
    assert.is_true(worst < HELD_UP_S and slowest < HELD_UP_S, ("held up for %.3f s, put took %.3f s"):format(worst, slowest))
    local moods = #names_of(seen)
    torture.say("manager: %d rounds in %d moods, %d results, 0 lost, %d set aside, %d came again, held up %.0f ms at most", ROUNDS, moods, count, set_aside, twice,
      worst * 1000)
    assert.is_true(moods > 10)
  end)

  it("with a certificate that does not hold sees no request, and loses nothing", function()
    local certificate, key = require("waddle.core.cert").self_signed {"elsewhere.test"}
    local m <close> = assert(manager.start {certificate = certificate, key = key})
    local file = process.folder() .. "/waddle.db"
    local u <close> = upload.open {url = m.url, auth = {type = "apikey", key = KEY}, device = uploads.device, spool = file, timeout = "2s"}
    uploads.put(u, 20)
    assert.equal(20, u:flush(1))
    assert.equal(0, m.count)
  end)
end)
