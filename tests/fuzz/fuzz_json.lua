-- JSON of any bytes: what is read can be written, and is the same when it is read again; what is not read has a reason, with a line of the text.

local json = require "waddle.json"

-- {n = 0} is a list where a probe's results are written, so that an object with this member is no longer the same.
local function has_n(value)
  if type(value) ~= "table" then
    return false
  end
  for key, item in pairs(value) do
    if key == "n" or has_n(item) then
      return true
    end
  end
  return false
end

return function(input)
  local value, message = json.decode(input)
  if value == nil then
    assert(type(message) == "string" and message ~= "", "refused without a reason")
    local line = json.error_line(input, message)
    assert(line == nil or line >= 1 and line <= select(2, input:gsub("\n", "\n")) + 1, "a line beyond the text")
    return
  end
  json.duplicate_key(input)
  local text = assert(json.encode(value, {sorted = true}))
  if has_n(value) then
    return
  end
  local again = json.decode(text, {max_bytes = #text})
  assert(json.encode(again, {sorted = true}) == text, "JSON that is other JSON when it is read again")
  assert(json.encode(json.decode(json.pretty(value)), {sorted = true}) == text, "JSON for people that is none")
end
