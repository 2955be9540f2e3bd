-- Results that wait in a file: what is acknowledged stays, whatever happens to the process, the disk and the file.

local core = require "waddle.core.spool"
local manager = require "waddle.manager"
local process = require "tests.support.process"
local spec = require "tests.support.spec"
local sys = require "waddle.core.sys"
local task = require "waddle.task"
local upload = require "waddle.upload"
local uploads = require "tests.support.uploads"

local put, result = uploads.put, uploads.result

local folder, file

setup(function()
  sys.log_level "error"
  uploads.with(nil, nil, function(_, u) -- the first use of the HTTP engine is no leak of a spec
    put(u, 1)
    u:flush(5)
  end)
end)

before_each(function()
  folder = process.folder()
  file = folder .. "/waddle.db"
end)

after_each(process.clean)

-- An uploader with a spool; `more` adds options.
local function open(url, more)
  local options = {url = url, device = uploads.device, spool = file}
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return upload.open(options)
end

local NOBODY = "http://127.0.0.1:1"

-- The rows of the file, which no process may have open; of the quarantine where asked for.
local function rows(quarantine)
  local spool = core.open(file)
  local guard <close> = setmetatable({}, {__close = function() spool:close() end}) -- luacheck: ignore 211
  local all, after, more = {}, 0, true
  while more do
    local page
    page, more = assert(spool:ask {request = "list", quarantine = quarantine or false, after = after})
    table.move(page, 1, #page, #all + 1, all)
    after = page[1] and page[#page].number
  end
  return all
end

local function ids(list)
  local found = {}
  for _, row in ipairs(list) do
    assert.is_nil(found[row.id], row.id)
    found[row.id] = true
  end
  return found
end

local function opened(u)
  assert(u.core:ask {request = "list", most = 0})
  return u
end

-- A line of sh; its output.
local function sh(line)
  local pipe = assert(io.popen(line))
  local text = pipe:read("a")
  pipe:close()
  return (text:gsub("\n$", ""))
end

-- A process with a spool that does what `code` says with the uploader u; `put(n)` puts n results side by side and says which are taken.
local function child(code, options, prefix)
  local script = process.file("child.lua", ([[
    local function say(...) print(...) io.stdout:flush() end
    local u = upload.open {url = %q, spool = %q, device = {serial = "s", hostname = "h", os = "Linux", os_version = "6"}, %s}
    local serial = 0
    local function put(n)
      local puts = {}
      for i = 1, n do
        serial = serial + 1
        local id = "id-" .. serial
        puts[i] = function()
          local ok, why = u:put {id = id, test_type = "tcp", target_host = "db.test", target = "tcp://db.test:1", target_ip = "192.0.2.7", success = true, latency_ms = 1}
          say(ok and "taken" or why, id)
        end
      end
      task.all(puts)
    end
    %s]]):format(NOBODY, file, options or "", code))
  return process.start({"run", script}, {}, prefix)
end

describe("a spool", function()
  it("keeps what was put over the end of the process, in its order, and delivers it to the next one", function()
    do
      local u <close> = open(NOBODY)
      put(u, 30)
      put(u, 1, {id = "the-last"})
      assert.equal(31, u:status().queued + u:status().in_flight)
      assert.equal(file, u:status().spool)
      assert.is_nil(u:status().spool_error)
    end
    local before = rows()
    assert.equal(31, #before)
    assert.equal("the-last", before[31].id)
    assert.truthy(before[1].put_at:match("^%d+%-%d+%-%d+T.*Z$"))
    local m <close> = assert(manager.start())
    local u <close> = opened(open(m.url, {concurrency = 1}))
    spec.eventually(function() return m.stored == 31 end)
    spec.eventually(function() return u:status().queued + u:status().in_flight == 0 end)
    u:close()
    assert.equal(0, #rows())
    for i, request in ipairs(m.requests) do
      assert.equal(before[i].id, request.headers["idempotency-key"])
      assert.equal(before[i].body, request.body)
    end
  end)

  it("has whatever put acknowledged, when the process is killed at any moment", function()
    for round = 1, 5 do
      local a = child "while true do put(20) end"
      local least = 20 * round
      spec.eventually(function() return select(2, a:out():gsub("taken", "")) >= least end, 15)
      a:kill_now()
      local _, out, err = a:wait()
      local found = ids(rows())
      for id in out:gmatch("taken%s+(%S+)\n") do
        assert.is_true(found[id], id .. " is lost\n" .. err)
      end
      os.execute("rm -rf " .. file .. "*")
    end
  end)

  it("is on the disk before put says so: the log is flushed at the commit", function()
    local trace = folder .. "/trace"
    if not os.execute("command -v strace >/dev/null 2>&1") then
      spec.skip("no strace")
    end
    local a = child("put(1) say 'after'", nil, ("env ASAN_OPTIONS=detect_leaks=0 strace -f -o %s -e trace=write,fdatasync,fsync"):format(trace)) -- who is traced cannot look for leaks
    local code, out, err = a:wait()
    local refused = code ~= 0 and err:match "strace: [^\n]*"
    if refused then
      spec.skip(refused)
    end
    assert.equal(0, code, err)
    assert.matches("^taken%s+id%-1\nafter\n$", out)
    local text = sh("cat " .. trace)
    local said = assert(text:find('write(1, "taken', 1, true))
    assert.truthy(text:sub(1, said):find("f[data]*sync%(%d+%)"))
  end)

  it("sends a backlog that is larger than what it holds in memory once, whatever comes meanwhile", function()
    local m <close> = assert(manager.start {plan = {503}})
    local u <close> = open(m.url)
    local puts = {}
    for i = 1, 1500 do
      puts[i] = function() put(u, 1, {id = "r-" .. i}) end
    end
    task.all(puts)
    local more = task.spawn(function()
      for i = 1501, 1550 do
        put(u, 1, {id = "r-" .. i})
      end
    end)
    u:flush(60)
    more:join()
    assert.equal(0, u:flush(60))
    assert.equal(1550, m.stored)
    local seen, again = {}, 0
    for _, row in ipairs(m.rows) do
      again = again + (seen[row.raw_results.idempotency_key] and 1 or 0)
      seen[row.raw_results.idempotency_key] = true
    end
    assert.equal(0, again)
    assert.equal(0, u:status().dropped)
  end)
end)

describe("a full spool", function()
  for full, kept in pairs {newest = {"r-1", "r-2", "r-3"}, oldest = {"r-3", "r-4", "r-5"}} do
    it(("drops the %s, counts it, and says so"):format(full), function()
      local a = child("put(1) put(1) put(1) put(1) put(1) say(u:status().dropped)", ("max_rows = 3, full = %q"):format(full))
      local code, out, err = a:wait()
      assert.equal(0, code, err)
      assert.matches("\n2\n$", out)
      assert.equal(full == "newest" and 2 or 0, select(2, out:gsub("full", "")))
      assert.matches("ERROR   spool: .* is full %(3 results, %d+ bytes%), the " .. full .. " results are dropped", err)
      assert.equal(1, select(2, err:gsub("is full", "")))
      local left = {}
      for i, row in ipairs(rows()) do
        left[i] = row.id:gsub("id", "r")
      end
      -- With "oldest" the first one is in flight, if it was sent already: it may stay.
      if full == "newest" then
        assert.same(kept, left)
      else
        assert.equal(3, #left)
        assert.equal("r-5", left[3])
      end
    end)
  end

  it("is bounded by bytes, too, and a result that could never fit drops nothing", function()
    local u <close> = open(NOBODY, {max_bytes = 2500, full = "oldest"})
    put(u, 2)
    assert.same({nil, "full"}, {u:put(result {note = ("x"):rep(3000)})})
    assert.equal(2, u:status().queued + u:status().in_flight)
    assert.equal(1, u:status().dropped)
    put(u, 10)
    local status = u:status()
    assert.is_true(status.queued + status.in_flight < 6)
    assert.equal(12 - status.queued - status.in_flight + 1, status.dropped)
  end)

  it("drops what has become too old, also what an earlier process left", function()
    do
      local u <close> = open(NOBODY)
      put(u, 3)
    end
    task.sleep(0.05)
    local m <close> = assert(manager.start {always = 503})
    local u <close> = opened(open(m.url, {max_age = "50ms"}))
    spec.eventually(function() return u:status().dropped == 3 end)
    assert.equal(0, u:status().queued)
    u:close()
    assert.equal(0, #rows())
  end)
end)

describe("a spool that cannot be written", function()
  -- A small file system of its own, in a mount namespace of the child: `size` of it is left when the child begins.
  local function on_small_disk(code, size)
    if sh "id -u" ~= "0" then
      spec.skip("mounting needs root")
    elseif not os.execute("unshare --mount --propagation unchanged true 2>/dev/null") then
      spec.skip("no mount namespaces here")
    end
    local wrapper = process.file("small.sh", ([[
      mount -t tmpfs -o size=%s tmpfs %s || exit 99
      exec "$@"]]):format(size, folder))
    return child(code, nil, "unshare --mount --propagation unchanged sh " .. wrapper)
  end

  it("takes results into memory when the disk is full, says so loudly, and moves them to the file when there is room", function()
    local a = on_small_disk(([[
      put(1)
      local filler = assert(io.open(%q, "w"))
      filler:setvbuf "no"
      while filler:write(("x"):rep(4096)) do end
      filler:close()
      while not u:status().spool_error do put(20) end
      say("full", u:status().spool_error)
      os.remove(%q)
      put(1)
      while u:status().spool_error do task.sleep(0.01) end
      for i = 1, 300 do task.sleep(0.01) end
      local after, rows, more, n = 0, nil, true, 0
      while more do
        rows, more = u.core:ask {request = "list", after = after}
        n, after = n + #rows, rows[1] and rows[#rows].number
      end
      say("rows", n)]]):format(folder .. "/filler", folder .. "/filler"), "600k")
    local code, out, err = a:wait()
    if code == 99 then
      spec.skip("no tmpfs can be mounted here")
    end
    assert.equal(0, code, err)
    local taken = select(2, out:gsub("taken", ""))
    assert.matches("full%s+database or disk is full", out)
    assert.matches("ERROR   spool: .* cannot be written: database or disk is full; results wait in memory only", err)
    assert.matches("WARNING spool: .* can be written again", err)
    assert.equal(tostring(taken), out:match("rows%s+(%d+)"))
  end)

  it("is said, and results are delivered from memory, where the folder is read-only or not ours", function()
    local m <close> = assert(manager.start())
    local blocker = process.file("no-folder", "")
    for place, why in pairs {["/proc/waddle/x.db"] = "No such file or directory", [blocker .. "/x.db"] = "Not a directory"} do
      local u <close> = open(m.url, {spool = place})
      put(u, 2)
      assert.matches(why, u:status().spool_error, 1, true)
      assert.equal(0, u:flush(5))
    end
    assert.equal(4, m.stored)
  end)

  it("is said where its rights forbid it", function()
    if sh "id -u" ~= "0" then
      spec.skip("needs root to become somebody else")
    end
    sh("touch " .. file .. " && chmod 600 " .. file .. " && chmod 755 " .. folder)
    local a = child("put(1) say(u:status().spool_error)", nil, "setpriv --reuid=65534 --regid=65534 --clear-groups")
    local code, out, err = a:wait()
    assert.equal(0, code, err)
    assert.matches("taken%s+id%-1\n.*Permission denied\n", out)
    assert.matches("ERROR   spool: .*Permission denied; results wait in memory only", err)
    assert.matches("ERROR   spool: .*1 results were in memory only, they are lost", err)
  end)

  it("leaves somebody else's database alone", function()
    if not os.execute("command -v sqlite3 >/dev/null 2>&1") then
      spec.skip("no sqlite3")
    end
    sh(("sqlite3 %s 'create table precious(x); insert into precious values(1)'"):format(file))
    local u <close> = open(NOBODY)
    put(u, 1)
    assert.matches("is a database of something else", u:status().spool_error)
    u:close()
    assert.equal("1", sh(("sqlite3 %s 'select x from precious'"):format(file)))
  end)
end)

describe("a damaged file", function()
  local function fill(n)
    local u <close> = open(NOBODY)
    put(u, n)
  end

  local damages = {
    ["that is no database"] = function() sh(("head -c 20000 /dev/urandom >%s"):format(file)) end,
    ["with a table missing"] = function()
      if not os.execute("command -v sqlite3 >/dev/null 2>&1") then
        spec.skip("no sqlite3")
      end
      fill(3)
      sh(("sqlite3 %s 'drop table quarantine'"):format(file))
    end,
    ["with pages overwritten"] = function()
      fill(40)
      sh(("dd if=/dev/urandom of=%s bs=4096 seek=1 count=8 conv=notrunc 2>/dev/null"):format(file))
    end,
    ["that was cut off"] = function()
      fill(40)
      sh(("truncate -s 8192 %s"):format(file))
    end,
  }
  for what, damage in pairs(damages) do
    it(what .. " is kept aside, and a new one begun", function()
      damage()
      local was = sh("cksum <" .. file)
      local a = child "put(2) say(u:status().spool_error)"
      local code, out, err = a:wait()
      assert.equal(0, code, err)
      assert.matches("taken%s+id%-1\n.*nil\n", out)
      local aside = assert(err:match("ERROR   spool: .* was damaged .* it is kept as (%S+), and a new one is begun"), err)
      assert.matches("^" .. file:gsub("%p", "%%%0") .. "%.corrupt%-%d+T%d+%.%d+Z$", aside)
      assert.equal(was, sh("cksum <" .. aside))
      assert.equal(2, #rows())
    end)
  end

  it("is noticed while it is in use, too: what is at hand goes into the new one", function()
    local m <close> = assert(manager.start {always = 503})
    local u <close> = open(m.url, {concurrency = 1})
    local puts = {}
    for i = 1, 600 do
      puts[i] = function() put(u, 1, {id = "r-" .. i}) end
    end
    task.all(puts)
    spec.eventually(function() return u:status().state == "backoff" and u:status().in_flight == 0 end)
    assert.truthy(os.execute(("for f in %s %s-wal; do dd if=/dev/urandom of=$f bs=4096 seek=2 count=400 conv=notrunc 2>/dev/null; done"):format(file, file)))
    m.always = nil
    u:flush(10)
    put(u, 5)
    assert.equal(0, u:flush(10))
    assert.is_true(m.stored >= 200, m.stored)
    assert.equal(1, tonumber(sh(("ls %s | grep -c 'corrupt-.*Z$'"):format(folder))))
  end)
end)

describe("two processes and one spool", function()
  it("take turns: the second says that it waits, and goes on when the first ends", function()
    local first = child "put(1) task.sleep(100)"
    spec.eventually(function() return first:out():find "taken" end)
    local second = child "put(1) say 'done'"
    spec.eventually(function() return second:err():find("in use by process %d+, waiting for it to end") end)
    assert.equal("", second:out())
    first:kill_now()
    first:wait()
    local code, out, err = second:wait()
    assert.equal(0, code, err)
    assert.matches("taken%s+id%-1\ndone\n", out)
    assert.equal(2, #rows())
  end)

  it("is a wait that can be given up", function()
    local first <close> = opened(open(NOBODY)) -- luacheck: ignore 211
    local second <close> = open(NOBODY)
    local done = task.timeout("100ms", function() return second:put(result()) end)
    assert.is_false(done)
    assert.matches("in use by process " .. sys.pid(), second:status().spool_error, 1, true)
  end)
end)

describe("what is remembered", function()
  it("is the back-off, for the same manager", function()
    local m <close> = assert(manager.start {always = {status = 503, headers = {["retry-after"] = "600"}}})
    do
      local u <close> = open(m.url)
      put(u, 1)
      spec.eventually(function() return u:status().state == "backoff" and u:status().in_flight == 0 end)
    end
    local before = m.count
    do
      local u <close> = opened(open(m.url))
      put(u, 2)
      task.sleep(0.1)
      assert.equal("backoff", u:status().state)
      assert.matches("answered 503", u:status().last_error)
      assert.equal(before, m.count)
    end
    local other <close> = assert(manager.start())
    local u <close> = open(other.url)
    spec.eventually(function() return other.stored == 3 end)
    spec.eventually(function() return u:status().queued + u:status().in_flight == 0 end)
  end)

  it("is that the queue was blocked, which is tried again with a single row at the start", function()
    local m <close> = assert(manager.start {always = 401})
    do
      local u <close> = open(m.url)
      put(u, 10)
      spec.eventually(function() return u:status().state == "blocked" and u:status().in_flight == 0 end)
      assert.equal(10, u:status().queued)
    end
    local before = m.count
    do
      local u <close> = opened(open(m.url))
      spec.eventually(function() return m.count == before + 1 and u:status().in_flight == 0 end)
      assert.equal("blocked", u:status().state)
      task.sleep(0.05)
      assert.equal(before + 1, m.count)
    end
    local left = rows()
    assert.equal(10, #left)
    m.always = nil
    local u <close> = opened(open(m.url)) -- luacheck: ignore 211
    spec.eventually(function() return m.stored == 10 end)
  end)

  it("is how often a row was answered with 500", function()
    local m <close> = assert(manager.start {always = 500})
    for i = 1, 5 do
      local u <close> = opened(open(m.url))
      if i == 1 then
        put(u, 1)
      end
      u:flush(0)
      spec.eventually(function() return m.count >= i end)
      spec.eventually(function() return u:status().in_flight == 0 end)
    end
    assert.equal(0, #rows())
    local quarantined = rows(true)
    assert.equal(1, #quarantined)
    assert.equal(500, quarantined[1].status)
  end)
end)

describe("the quarantine", function()
  it("keeps what the manager refused with its answer, until it is put back or deleted", function()
    local m <close> = assert(manager.start {plan = {{status = 400, body = "missing serial"}, 413}})
    do
      local u <close> = open(m.url, {concurrency = 1})
      put(u, 1, {id = "bad"})
      put(u, 1, {id = "large"})
      put(u, 1, {id = "good"})
      assert.equal(0, u:flush(5))
      assert.equal(1, m.stored)
      assert.equal(2, u:status().rejected)
      spec.eventually(function() return u:status().quarantined == 2 end) -- once it is on the disk
    end
    local quarantined = rows(true)
    assert.same({"bad", 400, "missing serial"}, {quarantined[1].id, quarantined[1].status, quarantined[1].answer})
    assert.same({"large", 413}, {quarantined[2].id, quarantined[2].status})
    local u <close> = open(m.url, {concurrency = 1})
    assert.equal(1, u.core:ask {request = "purge", quarantine = true, id = "large"})
    assert.equal(1, u.core:ask {request = "requeue"})
    assert.equal(0, u:flush(5))
    assert.equal(2, m.stored)
    assert.equal(0, u:status().quarantined)
    assert.equal("bad", m.rows[2].raw_results.idempotency_key)
  end)
end)
