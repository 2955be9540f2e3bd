-- Runs the commands of the benchmarks' rows and says what they took. Names in braces come from run.sh, as BENCH_NAME in the environment, or as
-- BENCH_NAME_MISSING where there is a reason why not.

local json = require "waddle.json"
local sys = require "waddle.sys"

local measure = {}

--- find(name) -> value, or nil, why it is missing.
function measure.find(name)
  local value = sys.env("BENCH_" .. name:upper())
  return value, not value and (sys.env("BENCH_" .. name:upper() .. "_MISSING") or "no " .. name) or nil
end

--- fill(command, values) -> command with each {name} replaced; nil, why where one is missing.
function measure.fill(command, values)
  local missing
  local text = command:gsub("{([%w_]+)}", function(name)
    local value, why = values[name], nil
    if value == nil then
      value, why = measure.find(name)
    end
    missing = missing or why
    return value
  end)
  if missing then
    return nil, missing
  end
  return text
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read("a") or ""
  if file then
    file:close()
  end
  return text
end

-- CPU seconds of a process that runs, in the kernel's ticks of 10 ms.
local function cpu_of(pid)
  local user, system = read(("/proc/%d/stat"):format(pid)):match("^.*%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
  return (user + system) / 100
end

--- lines(command) -> list of the JSON objects that it prints, a line each; what `measure` says is the last. nil, why when it fails.
function measure.lines(command)
  local errors = measure.find("work") .. "/errors"
  local pipe <close> = assert(io.popen(("exec %s/measure %s 2>'%s'"):format(measure.find("bare"), command, errors)))
  local found, other = {}, {}
  for line in pipe:lines() do
    local value = line:find("^{") and json.decode(line)
    table.insert(value and found or other, value or line)
  end
  local ok, _, code = pipe:close()
  found.text = table.concat(other, "\n")
  if not ok then
    return nil, ("'%s' ended with %d: %s"):format(command, code, (read(errors) .. found.text):sub(-300):gsub("%s+", " "))
  end
  return found
end

--- once(side, command, n) -> {wall_s=, cpu_s=, rss_mib=, count=} of one run; nil, why when it fails or a hundredth is lost.
-- `side` is the row's peer, or any table without `server` and `counted`; `n` is how many must succeed, nil where that is open.
function measure.once(side, command, n)
  local server = side.server and measure.find(side.server .. "_pid")
  local before = server and cpu_of(server)
  local found, why = measure.lines(command)
  if not found then
    return nil, why
  end
  local taken = {count = side.counted and tonumber(found.text:match(side.counted)) or nil}
  for _, values in ipairs(found) do
    for name, value in pairs(values) do
      taken[name] = value
    end
  end
  if server then
    taken.cpu_s = cpu_of(server) - before
  end
  taken.count = taken.count or n
  if taken.count and (taken.count == 0 or taken.count < (n or 0) * 0.99) then
    return nil, ("'%s': only %d of %s succeeded"):format(command, taken.count, n or "all")
  end
  return taken
end

--- median(values) -> their median; sorts them.
function measure.median(values)
  table.sort(values)
  local half = #values // 2
  return #values % 2 == 1 and values[half + 1] or (values[half] + values[half + 1]) / 2
end

--- quantile(sorted, part [, of]) -> the value that this part of all are not above. Where `of` are more than there are values, those that
-- have none are above all others: nil where it would be one of them.
function measure.quantile(sorted, part, of)
  return sorted[math.max(1, math.ceil((of or #sorted) * part))]
end

-- What a figure is of: unit, and how it is read from what a run took.
local kinds = {
  wall = {"s", function(t) return t.wall_s end},
  cpu = {"s", function(t) return t.cpu_s end},
  cpu_each = {"us", function(t) return t.cpu_s / t.count * 1e6 end},
  memory = {"MiB", function(t) return t.rss_mib end},
}

--- figure(kind, runs) -> median of that kind over the runs; nil where there are none.
function measure.figure(kind, runs)
  if not runs then
    return nil
  end
  local values = {}
  for i, taken in ipairs(runs) do
    values[i] = kinds[kind][2](taken)
  end
  return measure.median(values)
end

--- unit(kind) -> the unit of its figures.
function measure.unit(kind)
  return kinds[kind][1]
end

return measure
