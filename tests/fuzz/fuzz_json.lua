-- JSON of any bytes: what is read can be written, and is the same when it is read again; what is not read has a reason, with a line of the text.

local json = require "waddle.json"

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
  local again = json.decode(text, {max_bytes = #text})
  assert(json.encode(again, {sorted = true}) == text, "JSON that is other JSON when it is read again")
  assert(json.encode(json.decode(json.pretty(value)), {sorted = true}) == text, "JSON for people that is none")
end
