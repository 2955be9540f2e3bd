-- waddle run FILE [ARGUMENT...]: runs a Lua file in the strict environment.
local name = ...
if not name then
  io.stderr:write("usage: waddle run FILE [ARGUMENT...]\n")
  return 2
end
local file, err = io.open(name, "rb")
if not file then
  io.stderr:write("waddle: run: ", err, "\n")
  return 2
end
local text = file:read("a"):gsub("^#[^\n]*", "")
file:close()
return require("waddle.run").text(text, "@" .. name, name, {select(2, ...)})
