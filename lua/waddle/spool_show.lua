--- What `waddle spool` shows of a row, and what an export has: the row without secrets. Pure.
-- What must hold: a body without secrets stays the text that was written, to the byte; a row may be an older version's or a script's, and an answer is
-- whatever the manager said, which may repeat what it was sent.

local json = require "waddle.json"
local redact = require "waddle.redact"

local spool_show = {}

-- Tables in a result whose keys people choose: there a name tells a secret. Elsewhere `key` or `signature` are facts.
local NAMED = {headers = true, request_headers = true, response_headers = true, labels = true, cookies = true}

-- A value without secrets, and whether it is other than it was.
local function without(value, name)
  if type(value) == "string" then
    local shown = redact.text(value)
    return shown, shown ~= value
  elseif type(value) ~= "table" then
    return value, false
  end
  local copy, changed = setmetatable({}, getmetatable(value)), false
  for key, item in next, value do
    local shown, other
    if NAMED[name] and type(key) == "string" and redact.is_secret(key) and item ~= "" then
      shown, other = redact.MASK, item ~= redact.MASK
    else
      shown, other = without(item, type(key) == "string" and key or name)
    end
    copy[key], changed = shown, changed or other
  end
  return copy, changed
end

--- body(text) -> the body of a row without secrets.
function spool_show.body(text)
  local value = json.decode(text)
  if value == nil then
    return redact.text(text)
  end
  local shown, changed = without(value)
  return changed and json.encode(shown, {sorted = true}) or text
end

--- answer(text) -> what the manager answered, without what it may have repeated of our credentials.
function spool_show.answer(text)
  if type(text) ~= "string" then
    return text
  end
  text = redact.text(text)
  for _, scheme in ipairs {"[Bb][Ee][Aa][Rr][Ee][Rr]", "[Bb][Aa][Ss][Ii][Cc]"} do
    text = text:gsub("(" .. scheme .. "%s+)[%w+/=._~-]+", "%1" .. redact.MASK)
  end
  return (text:gsub("([%w_-]+)(\"?'?%s*[:=]%s*\"?'?)([^%s\"',;&}]+)", function(name, mark, value)
    if redact.is_secret(name) and not value:lower():find "^bearer" and not value:lower():find "^basic" and not mark:find "^:$" then
      return name .. mark .. redact.MASK
    end
  end))
end

--- row(row) -> the same row, its body and its answer without secrets.
function spool_show.row(row)
  row.body = spool_show.body(row.body)
  row.answer = spool_show.answer(row.answer)
  return row
end

return spool_show
