-- wrk -s tests/bench/wrk.lua URL: drives blackbox_exporter's /probe and prints how many probes succeeded, by what it says of them.
-- luacheck: globals setup response done succeeded

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

succeeded = 0
function response(_, _, body)
  if body:find("\nprobe_success 1", 1, true) then
    succeeded = succeeded + 1
  end
end

function done()
  local sum = 0
  for _, thread in ipairs(threads) do
    sum = sum + thread:get("succeeded")
  end
  print(('\n{"count": %d}'):format(sum))
end
