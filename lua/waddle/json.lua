--- JSON: lua-cjson made safe for results.
-- Reading is cjson's, with limits and with whole numbers given back as integers. Writing is our own walk, with cjson
-- for the strings, because cjson writes every number as a double of 14 digits, cannot tell an empty list from an empty
-- object, and refuses NaN only by raising. What must hold: the text written is always valid JSON, and no number in it
-- differs from the number given.

local cjson = require "cjson"
local sys = require "waddle.core.sys"

local json = {}

--- The value that is written as `null` and that a `null` is read as.
json.null = cjson.null

-- Told by its name: the runtime marks the lists of results with a metatable of this name too.
local ARRAY = { __name = "json.array" }

local MAX_DEPTH = 128
local MAX_BYTES = 64 * 1024 * 1024

-- What cjson has at hand for a text, or may take beside it. Where it gets no memory it ends the process.
local CJSON_ROOM = 1000

-- Above 2^53 a double no longer holds every integer, so what cjson read may not be what was written.
local EXACT = 2 ^ 53

--- Marks a table as a list, so that it is written as `[...]` even when it is empty.
-- @param t table (default a new one); it gets a metatable and must not have another.
-- @return the same table.
function json.array(t)
  return setmetatable(t or {}, ARRAY)
end

--- Whether a table was marked by `json.array`, or is a list of a probe's result.
function json.is_array(t)
  local mark = getmetatable(t)
  return type(mark) == "table" and rawget(mark, "__name") == ARRAY.__name
end

local function format_number(value)
  if math.type(value) == "integer" then
    return ("%d"):format(value)
  end
  local text = ("%.15g"):format(value)
  if tonumber(text) ~= value then
    text = ("%.17g"):format(value)
  end
  -- A C locale with a decimal comma must not reach the wire.
  return (text:gsub(",", "."))
end

-- cjson also escapes the slash, which JSON does not need and people do not read well.
local function format_string(value)
  if #value > CJSON_ROOM // 6 and not sys.memory_left(#value * 6 + CJSON_ROOM) then -- "\\u0000" is the longest escape of a byte
    error("not enough memory", 0)
  end
  return (cjson.encode(value):gsub("\\/", "/"))
end

-- Whether a table is written as a list, and its length. Lists are: marked tables, `{n=, ...}` lists with items, whose only
-- other keys are 1..n (a missing one is null), and tables whose keys are exactly 1..n, n > 0.
local function list_length(t)
  local n, count, max, marked = rawget(t, "n"), 0, 0, json.is_array(t)
  local counted = math.type(n) == "integer" and n >= 0
  for key in next, t do
    if math.type(key) == "integer" and key >= 1 then
      count, max = count + 1, math.max(max, key)
    elseif not (counted and key == "n") then
      return nil
    end
  end
  if counted and max <= n and (count > 0 or n == 0 and marked) then
    return n
  elseif not counted and max == count and (count > 0 or marked) then
    return max
  end
  return nil
end

local write_value

-- Keys as text, in the order to be written; nil and a message for a key JSON has no word for.
local function object_keys(t, sorted)
  local keys, originals = {}, {}
  for key in next, t do
    local kind = type(key)
    local name = kind == "string" and key or kind == "number" and format_number(key)
    if not name then
      return nil, ("cannot write a table key that is a %s"):format(kind)
    elseif originals[name] ~= nil then
      return nil, ("the key \"%s\" is there as text and as a number"):format(name)
    end
    keys[#keys + 1], originals[name] = name, key
  end
  if sorted then
    table.sort(keys)
  end
  return keys, originals
end

local function write_members(out, state, depth, open, close, count, each)
  if count == 0 then
    out[#out + 1] = open .. close
    return true
  end
  local line = state.indent and "\n" .. state.indent:rep(depth) or ""
  out[#out + 1] = open
  for i = 1, count do
    out[#out + 1] = (i > 1 and "," or "") .. line
    local ok, message = each(i)
    if not ok then
      return nil, message
    end
  end
  out[#out + 1] = (state.indent and "\n" .. state.indent:rep(depth - 1) or "") .. close
  return true
end

local function write_table(out, value, state, depth)
  if depth > state.max_depth then
    return nil, ("nested deeper than %d (a table that contains itself?)"):format(state.max_depth)
  end
  local length = list_length(value)
  if length then
    return write_members(out, state, depth, "[", "]", length, function(i)
      return write_value(out, rawget(value, i), state, depth)
    end)
  end
  local keys, originals = object_keys(value, state.sorted)
  if not keys then
    return nil, originals
  end
  local colon = state.indent and ": " or ":"
  return write_members(out, state, depth, "{", "}", #keys, function(i)
    out[#out + 1] = format_string(keys[i]) .. colon
    return write_value(out, rawget(value, originals[keys[i]]), state, depth)
  end)
end

function write_value(out, value, state, depth)
  local kind = type(value)
  if value == nil or value == json.null then
    out[#out + 1] = "null"
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "string" then
    out[#out + 1] = format_string(value)
  elseif kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then
      if state.invalid == "error" then
        return nil, ("cannot write the number %s"):format(value)
      end
      out[#out + 1] = "null"
    else
      out[#out + 1] = format_number(value)
    end
  elseif kind == "table" then
    return write_table(out, value, state, depth + 1)
  else
    return nil, ("cannot write a %s"):format(kind)
  end
  return true
end

--- Writes a value as JSON. Metamethods are not called: what is written is what is in the table.
-- @param value nil, boolean, number, string, json.null, or a table (see `json.array`); a list may also be
--   `{n=, ...}`, a table without elements is an object unless it is marked or has `n = 0`.
-- @param options table or nil:
--   sorted   keys in byte order (default false; `indent` turns it on)
--   indent   string put before each level, for people (default none: one line)
--   invalid  "null" (default) or "error": what NaN and Infinity become
--   max_depth  levels of nesting allowed (default 128)
-- @return text, or nil and a message. Strings are passed on byte for byte: make them UTF-8 before.
function json.encode(value, options)
  options = options or {}
  local state = {
    indent = options.indent,
    sorted = options.sorted or options.indent ~= nil,
    invalid = options.invalid,
    max_depth = options.max_depth or MAX_DEPTH,
  }
  local out = {}
  local ok, message = write_value(out, value, state, 0)
  if not ok then
    return nil, message
  end
  return table.concat(out)
end

--- Writes a value for people: two spaces a level, keys sorted.
-- @return as `json.encode`.
function json.pretty(value)
  return json.encode(value, { indent = "  " })
end

local function whole_numbers(t)
  for key, value in next, t do
    if type(value) == "table" then
      whole_numbers(value)
    elseif math.type(value) == "float" and value % 1 == 0 and value > -EXACT and value < EXACT then
      t[key] = math.tointeger(value)
    end
  end
  return t
end

local decoders = {}

local function decoder(max_depth)
  local found = decoders[max_depth]
  if not found then
    found = cjson.new()
    found.decode_max_depth(max_depth)
    found.decode_invalid_numbers(false)
    decoders[max_depth] = found
  end
  return found
end

--- Reads JSON. `null` becomes json.null, whole numbers below 2^53 become integers, others floats.
-- @param text string.
-- @param limits table or nil: max_depth (default 128), max_bytes (default 64 MiB).
-- @return the value, or nil and a message with the place. (`null` alone is json.null, never nil.)
function json.decode(text, limits)
  limits = limits or {}
  local max_bytes = limits.max_bytes or MAX_BYTES
  if type(text) ~= "string" then
    return nil, ("expected JSON text, got a %s"):format(type(text))
  elseif #text > max_bytes then
    return nil, ("JSON text of %d bytes, the limit is %d"):format(#text, max_bytes)
  end
  if not sys.memory_left(#text + CJSON_ROOM) then
    return nil, "not enough memory"
  end
  local ok, value = pcall(decoder(limits.max_depth or MAX_DEPTH).decode, text)
  if not ok then
    return nil, (tostring(value):gsub("^Expected", "expected"):gsub("^Found", "found"))
  elseif type(value) == "table" then
    return whole_numbers(value)
  end
  return whole_numbers({ value })[1]
end

local function line_of(text, position)
  return 1 + select(2, text:sub(1, position - 1):gsub("\n", ""))
end

--- The line that a message of `json.decode` speaks of, or nil when it names no place.
function json.error_line(text, message)
  local position = message:match("at character (%d+)")
  return position and line_of(text, tonumber(position))
end

--- Finds a key that an object has twice; decoding takes the last one without a word.
-- @param text JSON that `json.decode` accepts.
-- @return key (as written), line; or nil.
function json.duplicate_key(text)
  local seen, depth, at = { {} }, 1, 1
  while true do
    local place, mark = text:match('()([{}%[%]"])', at)
    if not place then
      return nil
    elseif mark == '"' then
      local finish = place + 1
      while text:sub(finish, finish) ~= '"' do
        finish = text:find('["\\]', finish + (text:sub(finish, finish) == "\\" and 2 or 0))
        if not finish then
          return nil
        end
      end
      at = finish + 1
      if text:find("^%s*:", at) then
        local key = text:sub(place + 1, finish - 1)
        if seen[depth][key] then
          return key, line_of(text, place)
        end
        seen[depth][key] = true
      end
    else
      local opens = mark == "{" or mark == "["
      depth = math.max(1, depth + (opens and 1 or -1))
      seen[depth] = opens and {} or seen[depth]
      at = place + 1
    end
  end
end

return json
