--- The values of the agent's configuration: how each kind is read, and how one that cannot be understood is refused. Pure.

local duration = require "waddle.duration"
local json = require "waddle.json"
local redact = require "waddle.redact"
local target = require "waddle.target"
local trim = require "waddle.trim"

local values = {}

local WORDS = {
  ["true"] = true, yes = true, on = true, ["1"] = true, y = true, t = true,
  ["false"] = false, no = false, off = false, ["0"] = false, n = false, f = false,
}

--- A value as a message may show it.
function values.shown(value)
  if type(value) == "string" then
    value = redact.target(value)
    return ("%q"):format(#value > 60 and value:sub(1, 60) .. "..." or value)
  elseif type(value) == "table" then
    return "a table"
  end
  return value == json.null and "null" or tostring(value)
end

--- Ends the reading: an error whose value is a table with the message, so that the first one counts wherever it is found.
function values.fail(place, reason, ...)
  error({ message = ("%s: %s"):format(place, reason:format(...)) }, 0)
end

--- Readers: each turns what was found at a place into the setting's value or fails.
local read = {}
values.read = read

local fail, shown = values.fail, values.shown

function read.text(place, value)
  if type(value) ~= "string" then
    fail(place, "expected a text, got %s", shown(value))
  end
  value = trim(value)
  if value:find("%c") then
    fail(place, "has a line break or another control character inside")
  end
  return value
end

function read.boolean(place, value)
  if type(value) == "boolean" then
    return value
  end
  local word = WORDS[trim(tostring(value):lower())]
  if word == nil then
    fail(place, "expected true or false (1, yes, on, 0, no, off), got %s", shown(value))
  end
  return word
end

-- "auto", "on" or "off": of a defence that may be missing on this machine.
function read.defence(place, value)
  local word = trim(tostring(value):lower())
  if word ~= "auto" and WORDS[word] == nil then
    fail(place, "expected auto, on or off, got %s", shown(value))
  end
  return word == "auto" and word or WORDS[word] and "on" or "off"
end

function read.seconds(place, value)
  local seconds, message = duration.parse(value)
  if not seconds then
    fail(place, "%s", message)
  end
  return seconds
end

function read.count(place, value)
  local number = value
  if type(value) == "string" then
    number = tonumber(value:match("^%s*(%d+)%s*$") or "")
  end
  number = math.tointeger(number)
  if not number or number < 1 then
    fail(place, "expected a whole number from 1, got %s", shown(value))
  end
  return number
end

-- A size is understood by the uploader.
function read.size(place, value)
  if type(value) ~= "string" and math.type(value) ~= "integer" then
    fail(place, "expected a size such as 1GiB, got %s", shown(value))
  end
  return tonumber(value) or read.text(place, value)
end

-- Which results are dropped when there is no room.
function read.full(place, value)
  local word = read.text(place, value):lower()
  if word ~= "newest" and word ~= "oldest" then
    fail(place, "expected newest or oldest, got %s", shown(value))
  end
  return word
end

function read.url(place, value)
  local url = read.text(place, value)
  if not url:match("^%a[%w+.-]*://") then
    fail(place, "expected a URL such as http://manager:8080, got %s", shown(value))
  end
  local parsed, message = target.parse(url, "http")
  if not parsed then
    fail(place, "%s", message)
  end
  return url
end

function read.list(place, value)
  if type(value) ~= "table" or (#value == 0 and next(value) ~= nil) then
    fail(place, 'expected a list such as ["host:443"], got %s', type(value) == "table" and "an object" or shown(value))
  end
  for i, item in ipairs(value) do
    if type(item) ~= "string" and (type(item) ~= "table" or #item > 0) then
      fail(("%s, item %d"):format(place, i), "expected a target as text or as an object, got %s",
        type(item) == "table" and "a list" or shown(item))
    end
  end
  return value
end

function read.paths(place, value)
  for i, item in ipairs(read.list(place, value)) do
    if type(item) ~= "string" or item:sub(1, 1) ~= "/" then
      fail(("%s, item %d"):format(place, i), "expected a path from the root, such as /var/lib/waddle, got %s", shown(item))
    end
  end
  return value
end

return values
