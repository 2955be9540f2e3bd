-- Clients of a server on this machine, for what no probe does: they hang, drip and never read.

local program = require "tests.support.program"
local spec = require "tests.support.spec"
local tcp = require "waddle.tcp"

local clients = {}

--- host:port of a server.
function clients.at(server)
  return "127.0.0.1:" .. server.port
end

-- A client written in bash, for what no probe does. `body` finds the connection at descriptor 3. Gives a function that waits for its end: code, stdout.
function clients.client(server, body, seconds)
  return program.start(("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d && { %s; }'"):format(server.port, body), seconds)
end

-- A client that does `words` and then nothing. Gives a function that ends it.
function clients.idle(server, words)
  local base = os.tmpname()
  local wait = clients.client(server, ("%s; echo in >%s; until [ -e %s.go ]; do sleep 0.02; done"):format(words, base, base))
  spec.eventually(function()
    local file <close> = io.open(base)
    return file:read(1)
  end)
  return function()
    io.open(base .. ".go", "w"):close()
    wait()
    os.remove(base)
    os.remove(base .. ".go")
  end
end

--- One dialogue: sends, and waits for what is expected.
function clients.exchange(server, send, expect, timeout)
  return tcp.connect(clients.at(server), {timeout = timeout or 5, dialogue = {{send = send}, {expect = expect, max_bytes = 1 << 20}}})
end

return clients
