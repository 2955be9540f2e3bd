--- The one comparison grammar, for `expect`, `check`, `must` and `threshold`.
--   {status = 200}                    equal
--   {latency_ms = "< 300"}            < <= > >= == != and a number, with the field's unit if any: "< 300ms", "< 1.5s"
--   {status = {200, 204, ">= 500"}}   one of
--   {server = {match = "^nginx"}}     a Lua pattern
--   {body = "welcome"}                in `body` alone a text is a plain substring
--   {tls = {version = "TLSv1.3"}}     a nested field, also written ["tls.version"]
--   {["tls.chain.1.days_left"] = "> 14"}  an element of a list by its number
-- Against a list (the answers of a DNS query) it is enough that one element fits.
-- What must hold: nothing is ever compared with nil, and a failed probe passes only a comparison that speaks of the
-- failure: of `success` or `error`, or of the very field that was judged (`status` after http_status).

local duration = require "waddle.duration"

local compare = {}

-- Errors that are a verdict on a complete answer, and the field whose own comparison takes that verdict's place.
local JUDGED_FIELD = {
  http_status = "status",
  dns_nxdomain = "rcode",
  dns_nodata = "rcode",
  dns_servfail = "rcode",
  dns_refused = "rcode",
  tls_untrusted = "tls",
  tls_expired = "tls",
  tls_name_mismatch = "tls",
}

-- A pattern over more text than this could hold up every other task.
local MATCH_BYTES = 1024 * 1024
local MAX_DEPTH = 8

local BYTE_UNITS = { b = 1, kb = 1e3, mb = 1e6, gb = 1e9, kib = 1024, mib = 1024 ^ 2, gib = 1024 ^ 3 }
local RATE_UNITS = { bps = 1e-6, kbps = 1e-3, mbps = 1, gbps = 1e3 }

local OPERATORS = {
  ["<"] = function(a, b) return a < b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  [">="] = function(a, b) return a >= b end,
}

local function shown(value)
  if value == nil then
    return "nothing"
  elseif type(value) == "string" then
    return (("%q"):format(#value > 80 and value:sub(1, 80) .. "..." or value):gsub("\\\n", "\\n"))
  elseif math.type(value) == "float" then
    return ("%.10g"):format(value)
  elseif type(value) == "table" then
    return "a table"
  end
  return tostring(value)
end

--- Reads an amount in the unit that a field's name ends in.
-- @param field name of the field: `_ms` takes durations ("1.5s"), `_bytes` B kB KiB MB MiB GB GiB, `_mbps` bps kbps
--   mbps gbps, `_percent` %; other fields take plain numbers.
-- @param text a number with or without a unit.
-- @return number in the field's own unit, or nil and a message.
function compare.amount(field, text)
  local plain = text:match("^[+-]?%d*%.?%d*$") and tonumber(text)
  if plain then
    return plain
  end
  local number, unit = text:match("^([+-]?%d*%.?%d*)%s*(%S+)$")
  number = number and tonumber(number)
  if number and field:find("_ms$") then
    local seconds, message = duration.parse((text:gsub("%s", "")))
    return seconds and seconds * 1000, message
  elseif number then
    local scale = (field:find("_bytes$") and BYTE_UNITS or field:find("_mbps$") and RATE_UNITS or {})[unit:lower()]
    if scale then
      return number * scale
    elseif unit == "%" and field:find("_percent$") then
      return number
    end
    return nil, ("the unit '%s' does not fit this field"):format(unit)
  end
  return nil, ("expected a number, got '%s'"):format(text)
end

local function equal(wanted)
  return function(got)
    return got == wanted
  end
end

-- Splits "<= 300" into operator and operand; nil when the text begins with no operator.
local function split_operator(text)
  return text:match("^%s*([<>]=?)%s*(.-)%s*$")
end

--- Makes the test of an operator text such as "< 300ms".
-- @param field name of the field the number is of, for its unit.
-- @return function(value) -> boolean, or nil and a message; nil alone when the text begins with no operator.
function compare.operator(field, text)
  local operator, operand = split_operator(text)
  if not operator then
    operator, operand = text:match("^%s*([=!]=)%s*(.-)%s*$")
    if not operator then
      return nil
    end
    local number = compare.amount(field, operand)
    return function(got)
      local same = got == operand or (number ~= nil and got == number)
      return same == (operator == "==")
    end
  end
  local number, message = compare.amount(field, operand)
  if not number then
    return nil, message
  end
  local holds = OPERATORS[operator]
  return function(got)
    return type(got) == "number" and holds(got, number)
  end
end

local function compile_text(field, wanted)
  if field == "body" then
    return function(got)
      return type(got) == "string" and got:find(wanted, 1, true) ~= nil
    end, "a text with " .. shown(wanted)
  end
  local test, message = compare.operator(field, wanted)
  if message then
    return nil, message
  end
  return test or equal(wanted), test and wanted or shown(wanted)
end

local function compile_match(pattern)
  if type(pattern) ~= "string" then
    return nil, ("'match' takes a Lua pattern, got %s"):format(shown(pattern))
  end
  local ok, message = pcall(string.find, "x", pattern)
  if not ok then
    return nil, ("the pattern %s: %s"):format(shown(pattern), message)
  end
  return function(got)
    if type(got) ~= "string" and type(got) ~= "number" then
      return false
    end
    local fine, from = pcall(string.find, tostring(got):sub(1, MATCH_BYTES), pattern)
    return fine and from ~= nil
  end, "a match of " .. shown(pattern)
end

local compile_value

local function compile_list(field, list)
  local tests, texts = {}, {}
  for i, wanted in ipairs(list) do
    local test, text = compile_value(field, wanted)
    if not test then
      return nil, text
    end
    tests[i], texts[i] = test, text
  end
  return function(got)
    for _, test in ipairs(tests) do
      if test(got) then
        return true
      end
    end
    return false
  end, "one of " .. table.concat(texts, ", ")
end

-- Returns test, text of what is expected; or nil, message. `field` is the last name of the path.
function compile_value(field, wanted)
  local kind = type(wanted)
  if kind == "string" then
    return compile_text(field, wanted)
  elseif kind == "number" or kind == "boolean" then
    return equal(wanted), shown(wanted)
  elseif kind == "table" and wanted.match ~= nil then
    return compile_match(wanted.match)
  elseif kind == "table" and #wanted > 0 then
    return compile_list(field, wanted)
  end
  return nil, ("expected a value, a text such as \"< 300\", a list or {match=}, got %s"):format(
    kind == "table" and "an empty table" or "a " .. kind)
end

local function is_nested(wanted)
  return type(wanted) == "table" and #wanted == 0 and wanted.match == nil and next(wanted) ~= nil
end

local function split_path(path)
  local parts = {}
  for part in path:gmatch("[^.]+") do
    parts[#parts + 1] = math.tointeger(tonumber(part)) or part
  end
  return parts
end

local function compile_fields(items, prefix, spec, depth)
  if depth > MAX_DEPTH then
    return nil, "nested too deep"
  end
  local names = {}
  for name in next, spec do
    if type(name) ~= "string" and type(name) ~= "number" then
      return nil, ("a field's name must be a text, got a %s"):format(type(name))
    end
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, name in ipairs(names) do
    local wanted, path = spec[name], prefix .. tostring(name)
    if is_nested(wanted) then
      local ok, message = compile_fields(items, path .. ".", wanted, depth + 1)
      if not ok then
        return nil, message
      end
    else
      local parts = split_path(path)
      if #parts == 0 then
        return nil, "a field's name is empty"
      end
      local test, text = compile_value(tostring(parts[#parts]), wanted)
      if not test then
        return nil, ("field '%s': %s"):format(path, text)
      end
      items[#items + 1] = { path = path, parts = parts, test = test, text = text }
    end
  end
  return true
end

--- Reads a comparison once, to be applied to many results.
-- @param spec table of field name to what is expected of it; all must hold.
-- @return checker (opaque, immutable), or nil and a message that names the field.
function compare.compile(spec)
  if type(spec) ~= "table" then
    return nil, ("expected a table such as {status = 200}, got %s"):format(shown(spec))
  end
  local items, about = {}, {}
  local ok, message = compile_fields(items, "", spec, 1)
  if not ok then
    return nil, message
  elseif #items == 0 then
    return nil, "an empty comparison checks nothing, name a field such as {status = 200}"
  end
  for _, item in ipairs(items) do
    about[item.parts[1]] = true
  end
  return { items = items, about = about }
end

-- Follows a path without asking a strict table for what it does not have. Returns the value, or nil and,
-- where the table itself knows better (a misspelt name), its message.
local function look_up(result, parts)
  local value = result
  for i, part in ipairs(parts) do
    if type(value) ~= "table" then
      return nil
    end
    local found = rawget(value, part)
    if found == nil and i > 1 and parts[1] == "headers" and type(part) == "string" then
      found = rawget(value, part:lower())
    end
    if found == nil then
      local ok, inherited = pcall(function()
        return value[part]
      end)
      if not ok then
        return nil, (tostring(inherited):gsub("^[^:]*:%d+: ", ""))
      end
      found = inherited
    end
    value = found
  end
  return value
end

local function fits(item, got)
  if type(got) ~= "table" then
    return got ~= nil and item.test(got)
  end
  for i = 1, rawget(got, "n") or #got do
    local element = rawget(got, i)
    if element ~= nil and item.test(element) then
      return true
    end
  end
  return false
end

local function failure_text(result)
  local name, detail = rawget(result, "error") or "failed", rawget(result, "error_detail")
  return detail and ("%s (%s)"):format(name, detail) or tostring(name)
end

local function failure_stands(about, result)
  if rawget(result, "success") ~= false or about.success or about.error then
    return false
  end
  local judged = JUDGED_FIELD[rawget(result, "error")]
  return not (judged and about[judged])
end

--- Applies a comparison to a result.
-- @return true, or false and the reason: field, what was expected, what came; every field that does not hold is named.
function compare.apply(checker, result)
  if failure_stands(checker.about, result) then
    return false, "the probe failed: " .. failure_text(result)
  end
  local reasons = {}
  for _, item in ipairs(checker.items) do
    local got, message = look_up(result, item.parts)
    if not fits(item, got) then
      reasons[#reasons + 1] = message or ("%s: expected %s, got %s"):format(item.path, item.text, shown(got))
    end
  end
  if #reasons > 0 then
    return false, table.concat(reasons, "; ")
  end
  return true
end

--- Lets an `expect` decide over a result: changes success, error, error_detail and latency_ms in place.
-- A comparison that holds makes a success, also of an answer the probe itself had condemned (status 404 where 404 is
-- expected; so the latency must still be in the result); one that does not hold makes a failure `assertion`, unless the
-- probe failed by itself. A failure has no latency.
-- @return the result.
function compare.judge(checker, result)
  local ok, reason = compare.apply(checker, result)
  if ok then
    result.success, result.error, result.error_detail = true, nil, nil
  else
    if not failure_stands(checker.about, result) then
      result.error, result.error_detail = "assertion", reason
    end
    result.success, result.latency_ms = false, nil
  end
  return result
end

return compare
