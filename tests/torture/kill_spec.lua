-- kill -9 at random moments, while the manager is away, while it is well, and while it loses its answers: what put acknowledged arrives, and
-- twice only where the process cannot have known of the first answer.

local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local torture = require "tests.torture.torture"
local uploads = require "tests.support.uploads"

local KILLS = torture.pick(16, 200)
local LIVES_MS = {20, 400} -- from the first acknowledgement to the kill
local READ_LATE_S = 0.5 -- what the dead process had sent may be read after the kill
local FORGETS_S = 0.5 -- an answer that came so shortly before the kill may not be on the disk: 201 removes a row with the next commit

local CHILD = [[
  local url, file, life = ...
  local u = upload.open {url = url, spool = file, device = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}}
  local n = 0
  while n < 4000 do -- bounded, should nobody end it
    local puts = {}
    for i = 1, 8 do
      n = n + 1
      local id = ("%s-%d"):format(life, n)
      puts[i] = function()
        if u:put {id = id, test_type = "tcp", target_host = "db.test", target = "tcp://db.test:1", target_ip = "192.0.2.7", success = true, latency_ms = 1} then
          io.stdout:write("taken ", id, "\n")
          io.stdout:flush()
        end
      end
    end
    task.all(puts)
    task.sleep(0.002)
  end
]]

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak
    uploads.put(u, 1)
    u:flush(5)
  end)
end)

after_each(process.clean)

-- What the manager does with uploads in each part of the torture; "lose" stores the row and never answers.
local PARTS = {
  {name = "away", misbehave = function() return 503 end},
  {name = "well", misbehave = function() end},
  {name = "slow", misbehave = function(random)
    task.sleep(random(0, 30) / 1000)
  end},
  {name = "losing answers", misbehave = function(random)
    return random(1, 4) == 1 and "lose" or nil
  end},
}

describe("kill -9", function()
  it("loses nothing that was acknowledged, and sends twice only what it cannot know of", function()
    local random = torture.chance "kill"
    local file = process.folder() .. "/waddle.db"
    local part, deliveries, kills, taken = PARTS[1], {}, {}, 0
    local m <close> = assert(manager.start {keep = false}) -- luacheck: ignore 211
    -- Notes each delivery that is stored; whether its answer was lost on purpose.
    m.always = function(request)
      local came = task.now()
      local step = part.misbehave(random)
      if step == 503 then
        return step
      end
      local key = request.headers["idempotency-key"]
      local mine = deliveries[key] or {}
      mine[#mine + 1] = {came = came, at = task.now(), lost = step == "lose"}
      deliveries[key] = mine
      return step == "lose" and {status = 201, delay = 60} or nil
    end

    -- What waits goes out, to a manager that is well.
    local function flush()
      return (process.run({"spool", "flush"}, {MANAGER_URL = m.url, WADDLE_SPOOL = file, DEVICE_SERIAL = "s", WADDLE_CONTROL = "none"}))
    end

    local acknowledged = {}
    for life = 1, KILLS do
      local now = PARTS[(life - 1) * #PARTS // KILLS + 1]
      if now ~= part then -- begins without the back-off that the part before has left
        part = PARTS[2]
        assert.equal(0, flush())
        part = now
      end
      local child = process.start {"run", process.file("child.lua", CHILD), m.url, file, tostring(life)}
      spec.eventually(function() return child:out():find "taken" or child:err():find "waddle:" end, 15)
      task.sleep(random(table.unpack(LIVES_MS)) / 1000)
      child:kill_now()
      kills[#kills + 1] = task.now()
      local _, out, err = child:wait()
      assert.not_matches("waddle: ", err, 1, true)
      for id in out:gmatch "taken (%S+)\n" do
        acknowledged[id], taken = true, taken + 1
      end
    end

    part = PARTS[2]
    assert.equal(0, flush())

    local doubled = 0
    for id in pairs(acknowledged) do
      assert.is_table(deliveries[id], id .. " was acknowledged and is lost")
    end
    for key, mine in pairs(deliveries) do
      for i = 1, #mine - 1 do
        local killed
        for _, at in ipairs(kills) do
          killed = killed or at > mine[i].came - READ_LATE_S and at < mine[i].at + FORGETS_S
        end
        assert.is_true(killed or mine[i].lost, ("%s came again %.3f s later, and no kill came between"):format(key, mine[i + 1].at - mine[i].at))
        doubled = doubled + 1
      end
    end
    torture.say("kill: %d kills, %d results acknowledged, 0 lost, %d came again", #kills, taken, doubled)
    assert.is_true(taken > KILLS * 8)
  end)
end)
