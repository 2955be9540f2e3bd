-- Lines to the control socket, of any bytes: each has one line of JSON for an answer, in UTF-8, which says yes or no.

local control = require "waddle.control"
local json = require "waddle.json"

local commands = control.commands {
  status = function() return {targets = 1} end,
  echo = function(...) return {...} end,
  raise = function(word) error(word, 0) end,
  odd = function() return print end,
}

local MOST_LINES = 16

return function(input)
  local lines = 0
  for line in input:gmatch("[^\n]+") do
    lines = lines + 1
    if lines > MOST_LINES then
      return
    end
    local text = control.answer(commands, line)
    assert(not text:find("\n", 1, true), "more than a line")
    assert(utf8.len(text), "not UTF-8")
    local reply = assert(json.decode(text))
    assert(reply.ok == true or reply.ok == false and type(reply.error) == "string", "neither yes nor no")
  end
end
