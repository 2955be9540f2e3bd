-- Lines typed or piped into the prompt, up to where they would run: help, a chunk, more lines wanted, or a syntax error in words.

local env = require "waddle.env"
local inspect = require "waddle.inspect"
local repl = require "waddle.repl"

local scope = env.new()
for name in pairs(env.modules) do -- what a session has used behaves as it does there
  assert(scope[name])
end

return function(input)
  local helped = repl.help(input)
  assert(helped == nil or type(helped) == "string" and helped ~= "", "help without a word")
  local chunk, message, incomplete = repl.compile(input, scope)
  if not chunk then
    assert(type(message) == "string" and message ~= "", "refused without a reason")
    assert(type(repl.failure(message)) == "string")
    assert(incomplete == nil or type(incomplete) == "boolean")
  end
  local shown = inspect.value({[input] = input, input})
  assert(not shown:gsub("\n", ""):find("%c"), "a control character is shown")
end
