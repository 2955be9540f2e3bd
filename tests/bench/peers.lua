-- The other end of the benchmarks and of the image's trial: the servers of `waddle reflect` and a manager, on free ports of
-- 127.0.0.1. Prints NAME=PORT lines, then "ready"; on SIGTERM it prints how many results the manager stored, and ends.

local manager = require "waddle.manager"
local reflect = require "waddle.reflect"

local servers = assert(reflect.start())
local store = assert(manager.start {keep = false})
for _, service in ipairs(reflect.services) do
  print(service.name .. "=" .. servers[service.name])
end
print("manager=" .. store.port)
print("ready")
io.stdout:flush()

sys.signal()
print("stored=" .. store.stored)
servers:close()
store:close()
