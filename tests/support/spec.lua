-- What specs need of the test servers (support/peers.sh starts them and lists them).

local task = require "waddle.task"

local spec = {}

-- Skips the spec that calls it; to be called inside `it`. `reason` is a sentence for people.
function spec.skip(reason)
  require("busted").skip(reason)
end

-- A variable of run.sh, WADDLE_PEER_<NAME>; skips the spec, with the reason, when there is none.
local function variable(name)
  local key = "WADDLE_PEER_" .. name:upper()
  local value = os.getenv(key)
  if value then
    return value
  end
  if not os.getenv("WADDLE_PEER_DIR") then
    spec.skip("no test servers: run it by tests/run.sh")
  end
  local reason = os.getenv(key .. "_MISSING")
  if not reason then
    error(("no peer is named '%s', see tests/support/peers.sh"):format(name), 3)
  end
  spec.skip(("no peer '%s': %s"):format(name, reason))
end

-- Where a peer listens, by its name in any case: spec.peer("tcp_silent") gives "127.0.0.1:40000", "127.0.0.1" and 40000. To be called inside `it`: a peer that
-- could not be started skips the spec, saying why. `host` takes the place of 127.0.0.1: "localhost", "::1", "peer.test".
function spec.peer(name, host)
  local address = variable(name)
  local own, port = address:match("^(.*):(%d+)$")
  if not port then
    return address
  end
  host = host or own
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  return shown .. ":" .. port, host, math.tointeger(port)
end

-- "http://127.0.0.1:40000/path" of a peer; the scheme is https unless the peer's name is http or ends in _http.
function spec.url(name, path, host)
  local scheme = (name == "http" or name:find("_http$")) and "http" or "https"
  return ("%s://%s%s"):format(scheme, spec.peer(name, host), path or "/")
end

-- A plain value of run.sh: spec.value("ca") is the file of the authority to trust, spec.value("blackhole_v6") an address. Skips when there is none.
spec.value = variable

-- What libcurl says it is made of: "libcurl/8.14.1 GnuTLS/3.8.9 ... ngtcp2/1.11.0 nghttp3/1.8.0".
function spec.libcurl()
  for _, library in ipairs(require("waddle.core").libraries()) do
    if library[1] == "libcurl" then
      return library[2]
    end
  end
end

-- Whether libcurl speaks HTTP/3: each of its ways to do so needs this library.
function spec.http3()
  return spec.libcurl():find("nghttp3/", 1, true) ~= nil
end

-- Skips the spec where libcurl does not speak HTTP/3.
function spec.need_http3()
  if not spec.http3() then
    spec.skip("no HTTP/3 in " .. spec.libcurl())
  end
end

-- What clients did at a service of waddle-peer since a mark: a list of {conn = number, event = "accept", detail = "4"}, oldest first.
-- `mark` is what spec.mark() returned before; without one everything since the start. support/peer/log.c tells the events.
function spec.log(service, mark)
  local file = assert(io.open(variable("log"), "r"))
  file:seek("set", mark or 0)
  local events = {}
  for line in file:lines() do
    local name, conn, event, detail = line:match("^([^\t]*)\t(%d+)\t([^\t]*)\t(.*)$")
    if name == service then
      events[#events + 1] = {conn = math.tointeger(conn), event = event, detail = detail}
    end
  end
  file:close()
  return events
end

-- The end of waddle-peer's log now.
function spec.mark()
  local file = assert(io.open(variable("log"), "r"))
  local at = file:seek("end")
  file:close()
  return at
end

-- How many events of a kind there are in such a list; with `pattern`, whose detail matches it.
function spec.count(events, event, pattern)
  local n = 0
  for _, e in ipairs(events) do
    if e.event == event and (not pattern or e.detail:find(pattern)) then
      n = n + 1
    end
  end
  return n
end

-- Waits until fn() is true and returns its value; after `seconds` (5) it raises. For what others do without telling, like closing a connection.
function spec.eventually(fn, seconds)
  local deadline = task.now() + (seconds or 5)
  while true do
    local value = fn()
    if value then
      return value
    end
    if task.now() > deadline then
      error(("not so within %g seconds"):format(seconds or 5), 2)
    end
    task.sleep(0.005)
  end
end

-- Runs fn while these lines are in front of /etc/hosts; only in the private network of tests/run.sh.
function spec.with_hosts(lines, fn)
  local path = variable "hosts"
  local file = assert(io.open(path))
  local before = file:read("a")
  file:close()
  local function put(text)
    local out = assert(io.open(path, "w"))
    out:write(text)
    out:close()
  end
  put(lines .. before)
  local ok, err = pcall(fn)
  put(before)
  if not ok then
    error(err, 0)
  end
end

return spec
