-- Prints docs/api.md: the probes from the descriptions that also check their arguments, the functions from the comments above them.
--   build/waddle run tests/support/make_api.lua > docs/api.md

local core = require "waddle.core"
local env = require "waddle.env"
local help = require "waddle.help"

local function cell(text)
  return (tostring(text):gsub("|", "\\|"):gsub("\n", " "))
end

local function kind(field)
  if field.names then
    return table.concat(field.names, ", ")
  elseif field.type == "list" then
    return "list of " .. field.elem
  end
  return field.type
end

-- Rows of a description, members of nested tables below their table.
local function rows(fields, prefix, out)
  for _, field in ipairs(fields) do
    local name = prefix .. field.name
    local note = field.default and "`" .. field.default .. "`" or (field.required and "required" or "")
    out[#out + 1] = {key = name, cells = {"`" .. name .. "`", kind(field), note, field.help or ""}}
    if field.fields then
      rows(field.fields, name .. (field.type == "list" and "[i]." or "."), out)
    end
  end
  return out
end

local function same(a, b)
  for i = 1, 4 do
    if a.cells[i] ~= b.cells[i] then
      return false
    end
  end
  return true
end

-- What all probes have in common, in the order of the first.
local function shared(part)
  local all, common = core.probes(), {}
  for _, row in ipairs(rows(core.describe(all[1])[part], "", {})) do
    local everywhere = true
    for i = 2, #all do
      local found = false
      for _, other in ipairs(rows(core.describe(all[i])[part], "", {})) do
        found = found or same(row, other)
      end
      everywhere = everywhere and found
    end
    if everywhere then
      common[#common + 1] = row
      common[row.key] = row
    end
  end
  return common
end

-- A Markdown table; `columns` says which of name, type, default and help are shown.
local function write_table(list, headers, columns)
  io.write("\n| ", table.concat(headers, " | "), " |\n|", ("---|"):rep(#headers), "\n")
  for _, row in ipairs(list) do
    local shown = {}
    for i, column in ipairs(columns) do
      shown[i] = cell(row.cells[column])
    end
    io.write("| ", table.concat(shown, " | "), " |\n")
  end
end

local function write_options(list)
  write_table(list, {"option", "type", "default", ""}, {1, 2, 3, 4})
end

local function write_results(list)
  write_table(list, {"result", "type", ""}, {1, 2, 4})
end

local function without(list, common)
  local own = {}
  for _, row in ipairs(list) do
    if not (common[row.key] and same(row, common[row.key])) then
      own[#own + 1] = row
    end
  end
  return own
end

io.write [[
# Every option, field and function

Made by `waddle run tests/support/make_api.lua` from what the program itself goes by; the prompt shows the same by `help NAME`. How it fits together is in
[scripting.md](scripting.md).

## What every probe shares
]]
local names = core.probes()
table.sort(names)
local function write_comment(text)
  io.write("\n    ", (text:gsub("\n+$", ""):gsub("\n", "\n    "):gsub("\n    \n", "\n\n")), "\n")
end

local options, results = shared "options", shared "result"
write_options(options)
write_results(results)

for _, name in ipairs(names) do
  local d = core.describe(name)
  local positional = "{options}"
  for _, field in ipairs(d.options) do
    if field.positional then
      positional = "(" .. field.name .. " [, {options}])"
    end
  end
  io.write("\n## ", name, "\n\n`", name, positional, "`: ", d.help, ".\n")
  write_options(without(rows(d.options, "", {}), options))
  write_results(without(rows(d.result, "", {}), results))
  local more = help.about(name):match("\n\n(" .. name:match("%w+$") .. "%(.*)$")
  if more then
    write_comment(more)
  end
end

-- Functions written in Lua: a module's, then those that stand on their own.
local probes = {}
for _, name in ipairs(names) do
  probes[name] = true
end
local native = {json = true, sys = true}
local sections, order = {}, {}
for _, name in ipairs(help.names()) do
  local module = name:match("^([%w_]+)%.") or env.functions[name] and "declarations"
  if module and not probes[name] and not native[module] then
    local text = help.about(name)
    if text then
      if not sections[module] then
        sections[module] = {}
        order[#order + 1] = module
      end
      table.insert(sections[module], text)
    end
  end
end
for _, module in ipairs(order) do
  io.write("\n## ", module == "declarations" and "What scripts and site files declare" or module, "\n")
  for _, text in ipairs(sections[module]) do
    write_comment(text)
  end
end
