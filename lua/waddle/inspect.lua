-- Values for people at the prompt: results in full, tables aligned with their units, nothing endless.

local show = require "waddle.show"
local text = require "waddle.text"

local inspect = {}

local DEEPEST, MOST_ROWS = 3, 200

local function is_result(value)
  return type(value) == "table" and rawget(value, "test_type") ~= nil and rawget(value, "started_at") ~= nil
end

local function is_list_of_results(value)
  return type(value) == "table" and #value > 0 and is_result(value[1])
end

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
      return a < b
    end
    return type(a) == "number" and type(b) ~= "number" or type(a) ~= "number" and type(b) ~= "number" and tostring(a) < tostring(b)
  end)
  return keys
end

local function scalar(name, value)
  if type(value) == "string" then
    return name and text.printable(value) or '"' .. text.printable((value:gsub('[\\"]', "\\%0"))) .. '"'
  end
  return text.value(name, value)
end

local function rows_of(value, prefix, depth, rows, seen)
  for _, key in ipairs(sorted_keys(value)) do
    if #rows >= MOST_ROWS then
      rows[#rows + 1] = {"...", "more"}
      return
    end
    local shown = text.printable(tostring(key))
    local name = prefix .. (type(key) == "string" and (prefix == "" and shown or "." .. shown) or ("[" .. shown .. "]"))
    local member = value[key]
    if type(member) == "table" and next(member) == nil then
      rows[#rows + 1] = {name, "{}"}
    elseif type(member) == "table" and depth < DEEPEST and not seen[member] then
      seen[member] = true
      rows_of(member, name, depth + 1, rows, seen)
      seen[member] = nil
    else
      rows[#rows + 1] = {name, scalar(key, member)}
    end
  end
end

--- value(v [, {width=, colour=}]) -> text with its last newline: a probe's result in full, a list of
-- results line by line, a table as aligned names and values, anything else on one line.
function inspect.value(value, options)
  options = options or {}
  if is_result(value) then
    return (show.result(value, options):gsub("\n*$", "\n"))
  elseif is_list_of_results(value) then
    local lines = {}
    for i, result in ipairs(value) do
      lines[i] = (show.line(result, options):gsub("\n*$", ""))
    end
    return table.concat(lines, "\n") .. "\n"
  elseif type(value) == "table" and not (getmetatable(value) or {}).__tostring then
    if next(value) == nil then
      return "{}\n"
    end
    local rows = {}
    rows_of(value, "", 1, rows, {[value] = true})
    return text.kv(rows, options)
  end
  return scalar(nil, value) .. "\n"
end

return inspect
