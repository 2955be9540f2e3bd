--- Hosts and ports as people write them: `host`, `host:443`, `192.0.2.1`, `::1`, `[::1]:443`, `fe80::1%eth0`.
-- Only the text is judged, nothing is looked up.

local address = {}

--- Whether a text is an IPv4 address: four decimal numbers of 0 to 255, none with a leading zero (some programs read
-- those as octal).
function address.is_ipv4(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then
    return false
  end
  for _, part in ipairs { a, b, c, d } do
    if #part > 3 or tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == "0") then
      return false
    end
  end
  return true
end

-- Counts the 16-bit groups of one side of "::"; nil when it is no such list. An IPv4 tail counts as two.
local function count_groups(side, may_end_in_ipv4)
  if side == "" then
    return 0
  end
  local count, rest = 0, side .. ":"
  for group, last in rest:gmatch("([^:]*):()") do
    if group:match("^%x%x?%x?%x?$") then
      count = count + 1
    elseif may_end_in_ipv4 and last == #rest + 1 and address.is_ipv4(group) then
      count = count + 2
    else
      return nil
    end
  end
  return count
end

--- Whether a text is an IPv6 address (RFC 4291 section 2.2), with or without a zone (`%eth0`), without brackets.
function address.is_ipv6(text)
  local bare = text:match("^(.-)%%[%w._-]+$") or text
  if #bare > 45 or not bare:find(":", 1, true) or bare:find(":::", 1, true) then
    return false
  end
  local left, right = bare:match("^(.-)::(.*)$")
  if left then
    if right:find("::", 1, true) then
      return false
    end
    local a, b = count_groups(left, false), count_groups(right, true)
    return a ~= nil and b ~= nil and a + b <= 7
  end
  return count_groups(bare, true) == 8
end

--- Whether a text is an IP address of either family.
function address.is_ip(text)
  return address.is_ipv4(text) or address.is_ipv6(text)
end

local function check_name(name)
  if #name > 253 + (name:sub(-1) == "." and 1 or 0) then
    return nil, "a host name of more than 253 characters"
  elseif name:find("[\x80-\xff]") then
    return nil, ("'%s' is not ASCII, write the xn-- form of the name"):format(name)
  end
  local bad = name:match("[^%w._-]")
  if bad then
    return nil, ("'%s' has a %s in the host name"):format(name, bad == " " and "blank" or "'" .. bad .. "'")
  end
  local bare = name:gsub("%.$", "")
  for label in (bare .. "."):gmatch("([^.]*)%.") do
    if label == "" then
      return nil, ("'%s' has an empty part between dots"):format(name)
    elseif #label > 63 then
      return nil, ("'%s' has a part of more than 63 characters"):format(name)
    elseif label:find("^%-") or label:find("%-$") then
      return nil, ("'%s' has a part that begins or ends with '-'"):format(name)
    end
  end
  -- A name that ends in a number is a mistyped address (or an address in a form that few programs agree on).
  if bare:match("([^.]*)$"):match("^%d+$") then
    return nil, ("'%s' is neither a host name nor an IPv4 address"):format(name)
  end
  return name
end

--- Reads a host: a name, an IPv4 address or an IPv6 address, with or without brackets.
-- @return the host without brackets, or nil and a message.
function address.host(text)
  if text == "" then
    return nil, "the host is empty"
  end
  local inner = text:match("^%[(.*)%]$")
  if inner or text:find(":", 1, true) then
    if address.is_ipv6(inner or text) then
      return inner or text
    end
    return nil, ("'%s' is not an IPv6 address"):format(inner or text)
  elseif address.is_ipv4(text) then
    return text
  end
  return check_name(text)
end

--- Reads a port. @return an integer from 1 to 65535, or nil and a message.
function address.port(text)
  local port = text:match("^%d%d?%d?%d?%d?$") and math.tointeger(tonumber(text))
  if not port or port < 1 or port > 65535 then
    return nil, ("expected a port from 1 to 65535, got '%s'"):format(text)
  end
  return port
end

--- Reads `host`, `host:port`, an IPv6 address alone, or `[IPv6]:port`.
-- @param text string. @param default_port integer or nil.
-- @return host (without brackets), port (nil when there is none), or nil and a message.
function address.host_port(text, default_port)
  local host, port = text:match("^(%[.*%]):([^%]]*)$")
  if not host and not text:match("^%[.*%]$") then
    if text:find("[", 1, true) or text:find("]", 1, true) then
      return nil, ("'%s' has a bracket that does not belong there, an IPv6 address is written [::1]:443"):format(text)
    elseif select(2, text:gsub(":", ":")) == 1 then
      host, port = text:match("^(.*):(.*)$")
    elseif text:find(":", 1, true) and not address.is_ipv6(text) then
      return nil, ("'%s' is neither host:port nor an IPv6 address"):format(text)
    end
  end
  local found, message = address.host(host or text)
  if not found then
    return nil, message
  elseif not port then
    return found, default_port
  end
  local number, wrong = address.port(port)
  if not number then
    return nil, wrong
  end
  return found, number
end

--- Writes host and port so that `host_port` reads them back: brackets around IPv6.
function address.join(host, port)
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  return port and ("%s:%d"):format(shown, port) or shown
end

return address
