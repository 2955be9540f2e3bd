-- Targets that wait for their turn, in little memory: a list to which parsed targets (waddle.target) are added, list[#list + 1] = target,
-- and from which they are read again, as often as one likes, with # and ipairs. What is a target's own, its texts and its port, is packed
-- into a string, with those of its neighbours, so that the garbage collector finds few things to look at; what it has in common with
-- others, its probe, options and settings, is kept once.
-- What must hold: what is read shares its options and settings with others, so nobody changes them.

local rows = {}

local OWN = "<I4I4I4I2s4s4s4s4s4" -- kind, options, settings, port (0: none), target, name ("": as target), host, subject, place
local PAGE = 64 -- targets in one string
local OFFSET, OFFSET_BYTES = "<I4", 4 -- a page begins with where each of them is
local DEEPEST = 8 -- tables in tables; deeper ones are equal only to themselves

-- A text that only equal values have, the fields `except` left out. Functions, and tables that are more than data, are equal only to
-- themselves.
local function signature(value, except, depth)
  local kind = type(value)
  if kind == "string" then
    return #value .. ":" .. value
  elseif kind == "number" then
    return math.type(value) == "integer" and tostring(value) or ("%a"):format(value)
  elseif kind == "boolean" then
    return value and "+" or "-"
  elseif kind ~= "table" or getmetatable(value) or depth > DEEPEST then
    return ("%p"):format(value)
  end
  local parts = {}
  for key, item in next, value do
    if key ~= except then
      parts[#parts + 1] = signature(key, nil, depth + 1) .. "=" .. signature(item, nil, depth + 1)
    end
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function copy(value, except, depth)
  if type(value) ~= "table" or getmetatable(value) or depth > DEEPEST then
    return value
  end
  local out = {}
  for key, item in next, value do
    if key ~= except then
      out[key] = copy(item, nil, depth + 1)
    end
  end
  return out
end

-- The number of a table that equals this one: of a copy, so that what becomes of a script's table later is no matter.
local function share(kept, value, except)
  local key = signature(value, except, 0)
  local place = kept.places[key]
  if not place then
    place = #kept + 1
    kept[place] = copy(value, except, 0)
    kept.places[key] = place
  end
  return place
end

local function keep(kept, value)
  kept[#kept + 1] = value
  return #kept
end

-- What a scheme, or a probe function, has for all its targets.
local function kind_of(kept, target, count)
  local key = type(target.probe) == "function" and target.probe or target.scheme
  local place = kept.kinds[key]
  if not place then
    place = keep(kept, {scheme = target.scheme, probe = target.probe, test_type = target.test_type, count = count})
    kept.kinds[key] = place
  end
  return place
end

local function pack(kept, target)
  local count = #target.args
  local options, subject = target.args[count], target.args[1]
  if type(target.probe) == "function" then
    options, subject = keep(kept, options), "" -- it may keep what it likes in its options: they are its own
  elseif count == 1 then
    options, subject = share(kept, options, "url"), options.url
  else
    options = share(kept, options)
  end
  return OWN:pack(kind_of(kept, target, count), options, share(kept, target.settings, "name"), target.port or 0, target.target,
    target.name == target.target and "" or target.name, target.host or "", subject, target.place or "")
end

local function unpack(kept, packed, at)
  local kind, options, settings, port, text, name, host, subject, place = OWN:unpack(packed, at)
  kind, options = kept[kind], kept[options]
  local args
  if kind.count == 2 then
    args = {subject, options}
  elseif type(kind.probe) == "function" then
    args = {options}
  else
    args = {{url = subject}}
    for key, value in next, options do
      args[1][key] = value
    end
  end
  return {scheme = kind.scheme, probe = kind.probe, test_type = kind.test_type, args = args, target = text, name = name ~= "" and name or text,
    host = host ~= "" and host or nil, port = port ~= 0 and port or nil, settings = kept[settings], place = place ~= "" and place or nil}
end

-- One string of the packed targets of a page.
local function bind(packed)
  local offsets, at = {}, PAGE * OFFSET_BYTES + 1
  for i = 1, PAGE do
    offsets[i] = OFFSET:pack(at)
    at = at + #packed[i]
  end
  return table.concat(offsets) .. table.concat(packed)
end

--- new() -> an empty list; nil takes out the one that was added last. Its settings lack `name`, which the target itself has.
function rows.new()
  local kept, pages, open = {places = {}, kinds = {}}, {}, {} -- open: what is not bound yet
  return setmetatable({}, {
    __len = function() return #pages * PAGE + #open end,
    __index = function(_, i)
      local page, nth = pages[(i - 1) // PAGE + 1], (i - 1) % PAGE
      if page then
        return unpack(kept, page, (OFFSET:unpack(page, nth * OFFSET_BYTES + 1)))
      end
      local packed = open[i - #pages * PAGE]
      return packed and unpack(kept, packed, 1)
    end,
    __newindex = function(_, i, target)
      local packed = target and pack(kept, target)
      if packed and #open == PAGE then
        pages[#pages + 1], open = bind(open), {}
      end
      open[i - #pages * PAGE] = packed
    end,
  })
end

return rows
