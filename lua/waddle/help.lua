-- Help made of the descriptions that also check the arguments, so that it cannot tell anything else.

local core = require "waddle.core"
local env = require "waddle.env"
local help_sys = require "waddle.help_sys"
local nearest = require "waddle.nearest"
local text = require "waddle.text"

local help = {}

local function field_rows(fields, prefix, rows)
  for _, f in ipairs(fields) do
    local kind = f.names and table.concat(f.names, "|") or f.type == "list" and "list of " .. f.elem or f.type
    if not f.fields then
      kind = f.unit and kind .. ", " .. f.unit or kind
    end
    rows[#rows + 1] = {prefix .. f.name, kind, f.default and "= " .. f.default or f.required and "required" or "", f.help or ""}
    if f.fields and prefix == "" then
      field_rows(f.fields, f.name .. (f.type == "list" and "[i]." or "."), rows)
    end
  end
  return rows
end

-- "icmp.ping(host [, options])": the first argument is the positional field.
local function call_line(d)
  for _, f in ipairs(d.options) do
    if f.positional then
      return ("%s(%s [, {options}])"):format(d.name, f.name)
    end
  end
  return d.name .. "{options}"
end

--- probe(name [, options]) -> text: what a probe takes and gives. options as text.table's (width, colour).
function help.probe(name, options)
  options = options or {}
  local d = core.describe(name)
  local layout = {width = options.width, colour = options.colour, indent = 2, wrap = true}
  return table.concat {
    text.paint(call_line(d), "bold", options.colour), "\n  ", d.help, "\n\n",
    text.paint("options", "bold", options.colour), "\n", text.table(field_rows(d.options, "", {}), layout), "\n",
    text.paint("result", "bold", options.colour), "\n", text.table(field_rows(d.result, "", {}), layout),
  }
end

-- The comment lines before a function in a Lua file of ours that say what it is.
local function doc_comment(module, name)
  local source = core.source("lua/" .. module:gsub("%.", "/") .. ".lua")
  if not source then
    return nil
  end
  local comment = {}
  for line in source:gmatch("[^\n]*") do
    local words = line:match("^%s*%-%-%-?%s?(.*)$")
    if words then
      comment[#comment + 1] = words
    else
      local defined = line:match("^function [%w_]+[.:]([%w_]+)") or line:match("^%s*([%w_]+) = core%.")
        or line:match("^[%w_]+%.([%w_]+) = ") or line:match("^local function ([%w_]+)")
      if defined == name and #comment > 0 then
        return table.concat(comment, "\n") .. "\n"
      end
      comment = {}
    end
  end
end

-- First lines of a module's header comment.
local function header_comment(module)
  local source = core.source("lua/" .. module:gsub("%.", "/") .. ".lua") or ""
  local lines = {}
  for line in source:gmatch("[^\n]*") do
    local words = line:match("^%-%-+%s?(.*)$")
    if not words then
      break
    end
    lines[#lines + 1] = words
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or nil
end

--- names() -> sorted list of everything help knows: probes, modules, functions of modules.
function help.names()
  local names = core.probes()
  for name, module in pairs(env.modules) do
    names[#names + 1] = name
    local ok, value = pcall(require, module)
    if ok and type(value) == "table" then
      for key, member in pairs(value) do
        if type(key) == "string" and type(member) == "function" and not key:match("^_") then
          names[#names + 1] = name .. "." .. key
        end
      end
    end
  end
  for name in pairs(env.functions) do
    names[#names + 1] = name
  end
  table.sort(names)
  local unique = {}
  for _, name in ipairs(names) do
    if unique[#unique] ~= name then
      unique[#unique + 1] = name
    end
  end
  return unique
end

-- What a module has: names, each with the first line of what help says of it.
local function member_rows(module)
  local rows, about = {}, {}
  for _, probe in ipairs(core.probes()) do
    about[probe] = core.describe(probe).help
  end
  for _, name in ipairs(help.names()) do
    local member = name:match("^" .. module .. "%.(.+)$")
    if member then
      local words = about[name] or doc_comment(env.modules[module], member) or ""
      rows[#rows + 1] = {name, (words:match("^[^\n]*"))}
    end
  end
  return rows
end

local function overview(options)
  local rows = {}
  for _, name in ipairs(core.probes()) do
    rows[#rows + 1] = {name, core.describe(name).help}
  end
  local modules = {}
  for name in pairs(env.modules) do
    modules[#modules + 1] = name
  end
  table.sort(modules)
  return ("probes\n%s\nmodules\n%s\nhelp NAME tells more: help icmp.ping, help task, help task.map\n"):format(
    text.table(rows, {indent = 2, width = options.width, wrap = true}),
    text.table({{table.concat(modules, " ")}}, {indent = 2, width = options.width, wrap = true}))
end

--- about(name [, options]) -> text | nil, message: help for a probe, a module or a function; without
-- a name an overview.
function help.about(name, options)
  if not name or name == "" then
    return overview(options or {})
  end
  for _, probe in ipairs(core.probes()) do
    if probe == name then
      local sugar = doc_comment("waddle." .. name:match("^%w+"), name:match("%w+$"))
      return help.probe(name, options) .. (sugar and "\n" .. sugar or "")
    end
  end
  local module, member = name:match("^([%w_]+)%.([%w_]+)$")
  if module and env.modules[module] then
    local found = doc_comment(env.modules[module], member)
    if found then
      return found
    elseif module == "sys" and help_sys[member] then
      return help_sys[member] .. "\n"
    elseif rawget(require(env.modules[module]), member) then -- one of several that their module tells about together
      return header_comment(env.modules[module])
    end
  elseif env.modules[name] then
    local out = {header_comment(env.modules[name]) or ""}
    out[#out + 1] = text.table(member_rows(name), {indent = 2, width = options and options.width})
    return table.concat(out)
  elseif env.functions[name] then
    local found = doc_comment(table.unpack(env.functions[name]))
    if found then
      return found
    end
  end
  local near = nearest.find(name, help.names())
  return nil, ("no help for '%s'%s"):format(name, near and ("; did you mean '" .. near .. "'?") or "; help alone lists what there is")
end

return help
