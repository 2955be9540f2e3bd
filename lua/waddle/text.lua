--- Text for people: widths, columns, units, colour. Pure: strings in, strings out; nothing is printed here, and
-- whether there is colour and how wide the terminal is are arguments.
-- What must hold: text that came from the network never reaches a terminal with a control character in it.

local text = {}

-- Code points that take two columns, and those that take none (UAX #11 and the combining blocks), as ranges.
local WIDE = {
  { 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0x4dbf }, { 0x4e00, 0x9fff }, { 0xa000, 0xa4cf },
  { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f }, { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 },
  { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff }, { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
}
local ZERO = {
  { 0x300, 0x36f }, { 0x483, 0x489 }, { 0x591, 0x5bd }, { 0x610, 0x61a }, { 0x64b, 0x65f }, { 0x1ab0, 0x1aff },
  { 0x1dc0, 0x1dff }, { 0x200b, 0x200f }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f },
}

local function within(ranges, code)
  for _, range in ipairs(ranges) do
    if code < range[1] then
      return false
    elseif code <= range[2] then
      return true
    end
  end
  return false
end

local function code_width(code)
  if code < 0x300 then
    return 1
  end
  return within(ZERO, code) and 0 or within(WIDE, code) and 2 or 1
end

local ESCAPE = "\27%[[%d;]*m"

--- Replaces every byte that is not part of well-formed UTF-8 with U+FFFD (surrogates are not well-formed).
function text.utf8(s)
  if utf8.len(s) then
    return s
  end
  local out, at = {}, 1
  while at <= #s do
    local _, bad = utf8.len(s, at)
    if not bad then
      out[#out + 1] = s:sub(at)
      break
    end
    out[#out + 1] = s:sub(at, bad - 1) .. "\u{fffd}"
    at = bad + 1
  end
  return table.concat(out)
end

--- Makes foreign text safe to print on one line: invalid UTF-8 replaced, control characters (C0, DEL, C1) written as
-- `\n`, `\r`, `\t` or `\x1b`.
function text.printable(s)
  local named = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
  s = text.utf8(s):gsub("[%z\1-\31\127]", function(c)
    return named[c] or ("\\x%02x"):format(c:byte())
  end)
  return (s:gsub("\xc2([\x80-\x9f])", function(c)
    return ("\\x%02x"):format(c:byte())
  end))
end

--- Columns a text takes on a terminal; colour takes none.
function text.width(s)
  s = text.utf8((s:gsub(ESCAPE, "")))
  local columns = 0
  for _, code in utf8.codes(s) do
    columns = columns + code_width(code)
  end
  return columns
end

--- Fills a text with blanks to a width; longer text stays as it is.
-- @param align "left" (default), "right" or "centre".
function text.pad(s, width, align)
  local free = width - text.width(s)
  if free <= 0 then
    return s
  end
  local left = align == "right" and free or align == "centre" and free // 2 or 0
  return (" "):rep(left) .. s .. (" "):rep(free - left)
end

--- Cuts plain text (no colour) to a width, with an ellipsis where something is missing.
function text.cut(s, width)
  if text.width(s) <= width then
    return s
  elseif width < 1 then
    return ""
  end
  local columns, out = 0, {}
  for _, code in utf8.codes(text.utf8(s)) do
    columns = columns + code_width(code)
    if columns > width - 1 then
      break
    end
    out[#out + 1] = utf8.char(code)
  end
  return table.concat(out) .. "…"
end

--- Breaks plain text into lines of a width, at blanks; a longer word has a line of its own, cut.
-- @return list of lines, at least one.
function text.wrap(s, width)
  local lines, line = {}, ""
  for word in s:gmatch("%S+") do
    local longer = line == "" and word or line .. " " .. word
    if line ~= "" and text.width(longer) > width then
      lines[#lines + 1] = text.cut(line, width)
      line = word
    else
      line = longer
    end
  end
  lines[#lines + 1] = text.cut(line, width)
  return lines
end

local STYLES = { bold = 1, dim = 2, red = 31, green = 32, yellow = 33, blue = 34, magenta = 35, cyan = 36 }

--- Colours a text.
-- @param style "bold" "dim" "red" "green" "yellow" "blue" "magenta" "cyan". @param on false or nil: the text as it is.
function text.paint(s, style, on)
  return on and s ~= "" and ("\27[%dm%s\27[0m"):format(STYLES[style], s) or s
end

--- A span for people: "0.042ms", "3.14ms", "31.4ms", "314ms", "3.14s", "2m05s".
-- @param ms number of milliseconds.
function text.ms(ms)
  if ms < 1 then
    return ("%.3fms"):format(ms)
  elseif ms < 9.995 then
    return ("%.2fms"):format(ms)
  elseif ms < 99.95 then
    return ("%.1fms"):format(ms)
  elseif ms < 999.5 then
    return ("%.0fms"):format(ms)
  elseif ms < 59995 then
    return ("%.2fs"):format(ms / 1000)
  end
  local seconds = math.floor(ms / 1000 + 0.5)
  return ("%dm%02ds"):format(seconds // 60, seconds % 60)
end

local function scaled(amount, step, units)
  local i = 1
  while i < #units and math.abs(amount) >= step * 0.9995 do
    amount, i = amount / step, i + 1
  end
  local digits = (i == 1 or amount >= 99.95) and 0 or amount >= 9.995 and 1 or 2
  return ("%." .. digits .. "f %s"):format(amount, units[i])
end

--- An amount of bytes for people: "512 B", "1.50 KiB", "200 MiB".
function text.bytes(bytes)
  return scaled(bytes, 1024, { "B", "KiB", "MiB", "GiB", "TiB", "PiB" })
end

--- A rate for people: "640 kbit/s", "94.1 Mbit/s", "9.41 Gbit/s".
-- @param mbps number of megabits a second.
function text.mbps(mbps)
  return scaled(mbps * 1e6, 1000, { "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s" })
end

--- A share for people: "0%", "25%", "0.5%".
function text.percent(percent)
  return (("%.1f"):format(percent):gsub("%.0$", "")) .. "%"
end

local UNITS = { _ms = text.ms, _bytes = text.bytes, _mbps = text.mbps, _percent = text.percent }

--- A field's value for people: the unit is told by the field's name (`_ms`, `_bytes`, `_mbps`, `_percent`).
function text.value(name, value)
  local unit = type(name) == "string" and UNITS[name:match("_%l+$")]
  if type(value) == "number" and unit then
    return unit(value)
  elseif math.type(value) == "float" then
    return (("%.6g"):format(value))
  elseif type(value) == "string" then
    return text.printable(value)
  end
  return tostring(value)
end

-- The widths of the columns, the widest shortened until the row fits.
-- `wrapped`: the last column gives way first, down to a width that can still be read.
local READABLE = 24

local function column_widths(cells, columns, room, gap, wrapped)
  local widths = {}
  for _, row in ipairs(cells) do
    for c = 1, columns do
      widths[c] = math.max(widths[c] or 0, text.width(row[c]))
    end
  end
  local total = (columns - 1) * gap
  for c = 1, columns do
    total = total + widths[c]
  end
  if room and wrapped and total > room then
    local less = math.min(total - room, math.max(0, widths[columns] - READABLE))
    widths[columns], total = widths[columns] - less, total - less
  end
  while room and total > room do
    local widest = 1
    for c = 2, columns do
      widest = widths[c] > widths[widest] and c or widest
    end
    if widths[widest] <= 4 then
      break
    end
    widths[widest], total = widths[widest] - 1, total - 1
  end
  return widths
end

-- A pattern for the blanks alone takes quadratic time on a column of thousands of them.
local function without_blanks_behind(line)
  return line:match("^.*[^ ]") or ""
end

--- Aligned columns.
-- @param rows list of lists of plain texts (nil: empty).
-- @param options table or nil: headers (list of texts), align (list: "left" default, "right"), width (columns of the
--   terminal; default no limit: nothing is cut), colour (headers are dim), indent (blanks before each line, default 0),
--   style (function(row, column, text) -> style name or nil), wrap (the last column is broken into lines, not cut).
-- @return text, each line ends with a newline; "" without rows.
function text.table(rows, options)
  options = options or {}
  local cells, columns = {}, options.headers and #options.headers or 0
  if #rows == 0 then
    return ""
  end
  for _, row in ipairs(rows) do
    columns = math.max(columns, row.n or #row)
  end
  for i = options.headers and 0 or 1, #rows do
    local source, row = i == 0 and options.headers or rows[i], {}
    for c = 1, columns do
      row[c] = source[c] == nil and "" or tostring(source[c])
    end
    cells[#cells + 1] = row
  end
  local indent = options.indent or 0
  local widths = column_widths(cells, columns, options.width and options.width - indent, 2, options.wrap)
  local out = {}
  for i, row in ipairs(cells) do
    local is_header = options.headers and i == 1
    local last = options.wrap and text.wrap(row[columns], widths[columns]) or { text.cut(row[columns], widths[columns]) }
    for k, rest in ipairs(last) do
      local parts = {}
      for c = 1, columns do
        local align = options.align and options.align[c]
        local plain = c == columns and rest or k == 1 and text.cut(row[c], widths[c]) or ""
        local style = is_header and "dim"
          or options.style and options.style(i - (options.headers and 1 or 0), c, row[c]) or nil
        local painted = style and text.paint(plain, style, options.colour) or plain
        parts[c] = (c == columns and align ~= "right") and painted or text.pad(painted, widths[c], align)
      end
      out[#out + 1] = without_blanks_behind((" "):rep(indent) .. table.concat(parts, "  ")) .. "\n"
    end
  end
  return table.concat(out)
end

--- Aligned names and values.
-- @param pairs_list list of {name, value}; a pair whose value is nil is left out.
-- @param options as `text.table`.
function text.kv(pairs_list, options)
  options = options or {}
  local rows = {}
  for _, pair in ipairs(pairs_list) do
    if pair[2] ~= nil then
      rows[#rows + 1] = { pair[1], pair[2] }
    end
  end
  return text.table(rows, {
    width = options.width,
    indent = options.indent,
    colour = options.colour,
    style = function(_, column)
      return column == 1 and "dim" or nil
    end,
  })
end

local BARS = { "▏", "▎", "▍", "▌", "▋", "▊", "▉" }

--- A bar from one place to another on a line, drawn to an eighth of a column at its end. Something is always seen of a
-- length over 0.
-- @param from, to numbers, columns from the left edge, 0 <= from <= to.
function text.bar(from, to)
  local start = math.floor(from)
  local eighths = math.floor((to - start) * 8 + 0.5)
  if to <= from then
    return ""
  end
  local whole, rest = eighths // 8, eighths % 8
  if whole == 0 and rest == 0 then
    rest = 1
  end
  return (" "):rep(start) .. ("█"):rep(whole) .. (BARS[rest] or "")
end

local SPARKS = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

--- One character a value, higher for more, "×" where there is none.
-- @param values list with `n`, numbers or nil.
function text.spark(values)
  local highest = 0
  for i = 1, values.n do
    highest = math.max(highest, values[i] or 0)
  end
  local out = {}
  for i = 1, values.n do
    local share = values[i] and (highest > 0 and values[i] / highest or 0)
    out[i] = share and SPARKS[math.max(1, math.ceil(share * #SPARKS))] or "×"
  end
  return table.concat(out)
end

return text
