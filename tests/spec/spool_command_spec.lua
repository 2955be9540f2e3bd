-- `waddle spool` and the agent's spool, as an operator sees them: beside a running agent, and without one.

local json = require "waddle.json"
local manager = require "waddle.manager"
local process = require "tests.support.process"
local serve = require "waddle.serve"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local upload = require "waddle.upload"
local uploads = require "tests.support.uploads"

local folder, file, socket

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak of a spec
    uploads.put(u, 1)
    u:flush(5)
  end)
end)

before_each(function()
  folder = process.folder()
  file, socket = folder .. "/waddle.db", folder .. "/control.sock"
end)

after_each(process.clean)

local function environment(m, more)
  local env = {MANAGER_URL = m and m.url or "http://127.0.0.1:1", HTTP_TARGETS = "", ICMP_TARGETS = "", DEVICE_SERIAL = "s-1",
    DEVICE_HOSTNAME = "probe-1", WADDLE_CONTROL = socket, WADDLE_SPOOL = file}
  for key, value in pairs(more or {}) do
    env[key] = value or nil
  end
  return env
end

-- waddle spool WORD...: exit code, stdout, stderr.
local function spool(m, ...)
  return process.run({"spool", ...}, environment(m))
end

-- Rows in the file: their ids are as given; to a manager that says what `plan` says, until it has said all of it.
local function fill(ids, plan)
  local m <close> = assert(manager.start {plan = plan or {}, always = 503})
  local u <close> = upload.open {url = m.url, spool = file, device = uploads.device, concurrency = 1}
  for _, id in ipairs(ids) do
    uploads.put(u, 1, {id = id})
  end
  u:flush(0)
  spec.eventually(function() return #m.plan == 0 and u:status().in_flight == 0 end)
end

local function listed(m, ...)
  local code, out, err = spool(m, "list", "--json", ...)
  assert.equal(0, code, err)
  local rows = assert(json.decode(out), out)
  local found = {}
  for i, row in ipairs(rows) do
    found[i] = row.id
  end
  return found, rows
end

describe("what is shown of a row", function()
  local show = require "waddle.spool_show"

  it("is the text as it was written where there is no secret in it", function()
    local text = '{"latency_ms": 1.50, "b":[], "a":{}, "url":"https://db.test/x?page=2", "tls":{"key":"RSA","signature":"sha256"}}'
    assert.equal(text, show.body(text))
  end)

  it("has no secret of URLs, headers, labels and cookies", function()
    local text = show.body(json.encode {target = "https://bob:hunter2@db.test/", raw_results = {n = 1.5, url = "https://h/?token=hunter2",
      headers = {Authorization = "hunter2", ["x-api-key"] = {"hunter2"}, accept = "text/html"}, labels = {password = "hunter2", team = "db"}}})
    assert.is_nil(text:find("hunter2", 1, true), text)
    local shown = json.decode(text)
    assert.equal("https://***@db.test/", shown.target)
    assert.equal("text/html", shown.raw_results.headers.accept)
    assert.equal("db", shown.raw_results.labels.team)
    assert.equal(1.5, shown.raw_results.n)
    assert.is_nil(show.body("no JSON https://bob:hunter2@h/"):find("hunter2", 1, true))
  end)

  it("has no credential that the manager repeats in its answer", function()
    for _, answer in ipairs {"no such token: Bearer hunter2", "Authorization: Basic hunter2=", '{"error":"bad","token":"hunter2"}', "api_key=hunter2 is unknown",
      "see https://bob:hunter2@h/"} do
      local said = show.answer(answer)
      assert.is_nil(said:find("hunter2", 1, true), said)
    end
    assert.equal("field 'timestamp': expected a date", show.answer "field 'timestamp': expected a date")
  end)
end)

describe("waddle spool without an agent", function()
  it("shows no secret in any of its words", function()
    local m <close> = assert(manager.start {plan = {422}, always = 503})
    do
      local u <close> = upload.open {url = m.url, spool = file, device = uploads.device, concurrency = 1}
      for _, id in ipairs {"aside", "waits"} do
        local body = json.encode {test_type = "tcp", target_host = "db.test", raw_results = {url = "https://u:hunter2@h/?token=hunter2", labels = {password = "hunter2"}}}
        assert(u.core:put(id, body))
      end
      spec.eventually(function() return #m.plan == 0 and u:status().in_flight == 0 end)
    end
    for _, words in ipairs {{"list"}, {"list", "--json"}, {"list", "--json", "--quarantine"}, {"list", "--quarantine"}, {"show", "waits"}, {"show", "aside"}, {"export"},
      {"export", "--quarantine"}} do
      local code, out, err = spool(nil, table.unpack(words))
      assert.equal(0, code, err)
      assert.matches("db.test", out, 1, true)
      assert.is_nil(out:find("hunter2", 1, true), table.concat(words, " ") .. ": " .. out)
    end
  end)

  it("lists every row as one JSON array, [] when there is none, and makes no file", function()
    local code, out = spool(nil, "list", "--json")
    assert.same({0, "[]\n"}, {code, out})
    assert.is_nil(io.open(file))
    fill({"a", "b", "c"})
    local ids, rows = listed()
    assert.same({"a", "b", "c"}, ids)
    assert.equal("db.test", rows[1].body.target_host)
    assert.truthy(rows[1].put_at:match("^%d+%-%d+%-%d+T.*Z$"))
    code, out = spool(nil, "list", "--json", "--quarantine")
    assert.same({0, "[]\n"}, {code, out})
    code, out = spool(nil, "list")
    assert.equal(0, code)
    assert.matches("^a +%d+.-Z +%d+ bytes +%d+ tries  tcp db.test\n.*\n3 results wait in " .. file:gsub("%p", "%%%0") .. "\n$", out)
  end)

  it("lists more rows than one page has", function()
    local ids = {}
    for i = 1, 1201 do
      ids[i] = "r-" .. i
    end
    local u = upload.open {url = "http://127.0.0.1:1", spool = file, device = uploads.device}
    local results = {}
    for i, id in ipairs(ids) do
      results[#results + 1] = uploads.result {id = id}
      if #results == 400 or i == #ids then
        assert.equal(#results, u:put_all(results))
        results = {}
      end
    end
    u:close()
    assert.same(ids, (listed()))
    local code, out = spool(nil, "export")
    assert.equal(0, code)
    assert.equal(1201, select(2, out:gsub("\n", "")))
    assert.equal("r-1", json.decode(out:match "^[^\n]+").id)
  end)

  it("shows one result whole, and says when there is none of that id", function()
    fill({"a", "b"}, {{status = 400, body = "no serial"}})
    local code, out = spool(nil, "show", "a")
    assert.equal(0, code)
    local row = assert(json.decode(out))
    assert.same({"a", 400, "no serial", "tcp"}, {row.id, row.status, row.answer, row.body.test_type})
    local err
    code, out, err = spool(nil, "show", "zz")
    assert.same({1, ""}, {code, out})
    assert.matches("no result with the id 'zz'", err)
  end)

  it("flushes to the agent's manager with its credentials, whatever the back-off says", function()
    fill({"a", "b", "c"}, {{status = 503, headers = {["retry-after"] = "3000"}}})
    local m <close> = assert(manager.start {auth = {type = "apikey", key = "k"}})
    local code, out, err = process.run({"spool", "flush"}, environment(m, {AUTH_TYPE = "apikey", AUTH_APIKEY = "k"}))
    assert.equal(0, code, err)
    assert.equal("nothing is left\n", out)
    assert.equal(3, m.stored)
    assert.same({}, (listed()))
    code = spool(m, "flush")
    assert.equal(0, code)
  end)

  it("flushes in the back-off of the same manager, too, and is 3 while something is left", function()
    local m <close> = assert(manager.start {always = {status = 503, headers = {["retry-after"] = "3000"}}})
    do
      local u <close> = upload.open {url = m.url, spool = file, device = uploads.device}
      uploads.put(u, 3)
      spec.eventually(function() return u:status().state == "backoff" and u:status().in_flight == 0 end)
    end
    m.always = 403
    local code, _, err = spool(m, "flush")
    assert.equal(3, code)
    assert.matches("waddle spool: 3 results are left in .*answered 403", err)
    m.always = nil
    code, _, err = spool(m, "flush")
    assert.equal(0, code, err)
    assert.equal(3, m.stored)
  end)

  it("refuses a configuration that the agent would refuse, with 2", function()
    fill({"a"})
    local code, _, err = process.run({"spool", "flush"}, environment(nil, {AUTH_TYPE = "apikey"}))
    assert.equal(2, code)
    assert.matches("AUTH_APIKEY: is empty", err)
  end)

  it("requeues and purges, by id or all", function()
    fill({"a", "b", "c", "d"}, {400, 400, 413})
    assert.same({"a", "b", "c"}, (listed(nil, "--quarantine")))
    local code, out, err = spool(nil, "requeue", "b")
    assert.equal(0, code, err)
    assert.equal("1 results wait again\n", out)
    assert.same({"d", "b"}, (listed()))
    code, out, err = spool(nil, "purge", "--quarantine", "a", "zz")
    assert.equal("", out)
    assert.equal(1, code)
    assert.matches("no result with the id 'zz'", err)
    assert.same({"c"}, (listed(nil, "--quarantine")))
    assert.equal(0, (spool(nil, "requeue")))
    assert.same({"d", "b", "c"}, (listed()))
    code, out, err = spool(nil, "purge")
    assert.same({2, ""}, {code, out})
    assert.matches("expected the ids of results, or %-%-all", err)
    code, out = spool(nil, "purge", "--all")
    assert.same({0, "3 results deleted\n"}, {code, out})
    assert.same({}, (listed()))
  end)

  it("says who has the file, and that it cannot be read", function()
    local u <close> = upload.open {url = "http://127.0.0.1:1", spool = file, device = uploads.device}
    assert.is_true(u:opened())
    local code, _, err = spool(nil, "list")
    assert.equal(1, code)
    assert.matches("in use by process " .. sys.pid(), err, 1, true)
    code, _, err = process.run({"spool", "list", "--spool", folder}, environment())
    assert.equal(1, code)
    assert.matches(folder, err, 1, true)
  end)

  it("ignores a socket that nobody listens on", function()
    fill({"a"})
    do
      local stale = assert(serve.unix {path = socket .. ".tmp", handler = function() end})
      assert(os.execute(("ln %s.tmp %s"):format(socket, socket)))
      stale:close()
    end
    assert.truthy(os.execute("test -S " .. socket))
    assert.same({"a"}, (listed()))
    assert.equal(3, (spool(nil, "flush")))
  end)
end)

describe("an agent with a spool", function()
  local function agent(m, more, ...)
    return process.start({"agent", ...}, environment(m, more))
  end

  -- One that runs on a schedule, and answers by its control socket.
  local function running_agent(m)
    local a = agent(m, {RUN_SECONDS = "0.05", TCP_TARGETS = "127.0.0.1:1"})
    spec.eventually(function() return a:err():find("control socket: ", 1, true) end, 10)
    return a
  end

  it("answers `waddle spool` by its control socket", function()
    local m <close> = assert(manager.start {plan = {400, 400}, always = 503})
    local a = running_agent(m)
    spec.eventually(function() return #m.plan == 0 and m.count > 3 end, 10)
    local ids = spec.eventually(function()
      local found = listed(m)
      return #found > 2 and found
    end, 10)
    assert.equal(0, (spool(m, "show", ids[1])))
    assert.equal(2, #listed(m, "--quarantine"))
    local code, out, err = spool(m, "requeue")
    assert.equal(0, code, err)
    assert.equal("2 results wait again\n", out)
    code, out = spool(m, "export")
    assert.equal(0, code)
    assert.is_true(select(2, out:gsub("\n", "")) >= #ids)
    code, out, err = spool(m, "flush")
    assert.same({3, ""}, {code, out})
    assert.matches("results are left in " .. file, err, 1, true)
    m.always = nil
    assert.equal(0, (spool(m, "flush")))
    assert.is_true(m.stored >= #ids)
    m.always = 503
    assert.equal(0, (spool(m, "purge", "--all")))
    a:kill "TERM"
    code, out, err = a:wait()
    assert.same({0, ""}, {code, out}, err)
  end)

  it("delivers after its restart what an outage kept, also when it was killed", function()
    local m <close> = assert(manager.start {always = 503})
    local a = running_agent(m)
    spec.eventually(function() return #listed(m) >= 5 end, 10)
    a:kill_now()
    a:wait()
    local kept = listed(m)
    assert.is_true(#kept >= 5)
    m.always = nil
    local code, _, err = process.run({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1"}))
    assert.equal(1, code, err)
    assert.equal(#kept + 1, m.stored)
    assert.matches("results wait from before", err)
  end)

  it("waits for another agent to let go of the spool, says so, and takes over", function()
    local m <close> = assert(manager.start())
    local first = running_agent(m)
    spec.eventually(function() return m.stored > 1 end, 10)
    local second = agent(m, {TCP_TARGETS = "127.0.0.1:2", WADDLE_CONTROL = "none"})
    spec.eventually(function() return second:err():find("spool: .* is in use by process %d+, waiting for it to end") end)
    first:kill "TERM"
    assert.equal(0, (first:wait()))
    local code, out, err = second:wait()
    assert.equal(1, code, err)
    assert.matches("0 passed, 1 failed", out)
    assert.equal(2, m.rows[#m.rows].target_port or m.rows[#m.rows].raw_results.target_port)
  end)

  it("may write to its spool when it has given up writing elsewhere, also where it has to make the folder", function()
    local m <close> = assert(manager.start {always = 503})
    local deep = folder .. "/a/b/waddle.db"
    local code, _, err = process.run({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1", WADDLE_SPOOL = deep, WADDLE_CONTROL = "none"}))
    assert.equal(3, code, err)
    assert.is_nil(err:find("cannot be written", 1, true), err)
    assert.matches("1 %(.*%), they are kept in " .. deep:gsub("%p", "%%%0"), err)
    if err:find("landlock on", 1, true) then
      assert.matches("landlock on (writing: " .. folder .. "/a/b)", err, 1, true)
    end
  end)

  it("can be stopped while it waits", function()
    local u <close> = upload.open {url = "http://127.0.0.1:1", spool = file, device = uploads.device}
    assert.is_true(u:opened())
    local a = agent(nil, {TCP_TARGETS = "127.0.0.1:1"})
    spec.eventually(function() return a:err():find "waiting for it to end" end)
    a:kill "TERM"
    assert.equal(0, (a:wait(5)))
  end)

  it("takes its place from the flag, the environment, the file, then the state folders", function()
    local m <close> = assert(manager.start {always = 503})
    local config = process.file("agent.json", json.encode {spool = folder .. "/json.db"})
    local cases = {
      {{"--spool", folder .. "/flag.db", "--config-file", config}, {WADDLE_SPOOL = folder .. "/env.db"}, folder .. "/flag.db"},
      {{"--config-file", config}, {WADDLE_SPOOL = folder .. "/env.db"}, folder .. "/env.db"},
      {{"--config-file", config}, {STATE_DIRECTORY = folder .. "/state"}, folder .. "/json.db"},
      {{}, {STATE_DIRECTORY = folder .. "/state:/elsewhere", XDG_STATE_HOME = folder .. "/xdg"}, folder .. "/state/waddle.db"},
      {{}, {XDG_STATE_HOME = folder .. "/xdg", HOME = folder}, folder .. "/xdg/waddle/waddle.db"},
      {{}, {HOME = folder}, folder .. "/.local/state/waddle/waddle.db"},
    }
    local runs = {}
    for i, case in ipairs(cases) do
      case[2].WADDLE_SPOOL = case[2].WADDLE_SPOOL or false
      case[2].TCP_TARGETS = "127.0.0.1:1"
      case[2].WADDLE_CONTROL = "none"
      runs[i] = agent(m, case[2], table.unpack(case[1]))
    end
    for i, run in ipairs(runs) do
      local code, _, err = run:wait()
      assert.equal(3, code, err)
      assert.matches("1 %(.*%), they are kept in " .. cases[i][3]:gsub("%p", "%%%0") .. "\n", err)
    end
  end)

  it("keeps results in memory where it is told to, or knows no folder, and says so", function()
    local m <close> = assert(manager.start {always = 503})
    for _, more in ipairs {{WADDLE_SPOOL = "none"}, {WADDLE_SPOOL = false}} do
      more.TCP_TARGETS, more.WADDLE_CONTROL = "127.0.0.1:1", "none"
      local code, _, err = process.run({"agent"}, environment(m, more))
      assert.equal(3, code)
      assert.matches("closed with 1 results not delivered, they are gone", err)
      assert.equal(more.WADDLE_SPOOL == false, err:find("no folder for a spool is known", 1, true) ~= nil)
    end
  end)

  it("goes on in memory where the folder cannot be written, and says so loudly", function()
    local m <close> = assert(manager.start())
    local code, _, err = process.run({"agent"}, environment(m, {TCP_TARGETS = "127.0.0.1:1", WADDLE_SPOOL = "/proc/no/waddle.db"}))
    assert.equal(1, code)
    assert.matches("ERROR   spool: /proc/no/waddle.db cannot be written: .*; results wait in memory only", err)
    assert.equal(1, m.stored)
  end)

  it("is bounded as its settings say, each of which is checked", function()
    local m <close> = assert(manager.start {always = 503})
    local a = agent(m, {TCP_TARGETS = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4", WADDLE_SPOOL_ROWS = "2", WADDLE_SPOOL_FULL = "newest"})
    local code, _, err = a:wait()
    assert.equal(3, code)
    assert.matches("results refused by the manager: 0, dropped: 2", err)
    assert.equal(2, #listed(m))
    for variable, value in pairs {WADDLE_SPOOL_ROWS = "0", WADDLE_SPOOL_BYTES = "much", WADDLE_SPOOL_AGE = "old", WADDLE_SPOOL_FULL = "some"} do
      code, _, err = process.run({"agent"}, environment(m, {[variable] = value}))
      assert.equal(2, code, variable)
      assert.matches(variable .. ": ", err, 1, true)
    end
  end)

  it("uploads a burst in few commits", function()
    local m <close> = assert(manager.start())
    local targets, burst = {}, 400
    for i = 1, burst do
      targets[i] = "127.0.0.1:" .. i
    end
    local begun = task.now()
    local code, _, err = process.run({"agent"}, environment(m, {TCP_TARGETS = table.concat(targets, ",")}))
    assert.equal(1, code, err)
    assert.equal(burst, m.stored)
    assert.is_true(task.now() - begun < 15)
  end)
end)
