-- waddle help [NAME]: the commands, or help for a command, a probe, a module or a function.
local cli = require "waddle.cli"
local core = require "waddle.core"
local text = require "waddle.text"

local function overview(layout)
  local rows = {}
  for _, command in ipairs(cli.commands()) do
    rows[#rows + 1] = {command.name, command.help}
  end
  local function paragraph(words)
    return table.concat(text.wrap(words, layout.width or 100), "\n") .. "\n"
  end
  local bold = function(s) return text.paint(s, "bold", layout.colour) end
  return table.concat {
    "waddle measures networks from Lua scripts.\n\n",
    bold "usage", "\n",
    text.table({
      {"waddle COMMAND [ARGUMENT...]", "one of the commands below"},
      {"waddle run FILE [ARGUMENT...]", "a script of your own"},
      {"waddle -e CODE", "a piece of Lua"},
      {"waddle", "a prompt; without a terminal the agent"},
      {"waddle --FLAG...", "the agent, with its flags"},
      {"waddle --budget LIST ...", "any of these with other limits for Lua: cpu=5s,memory=1GiB"},
    }, {indent = 2, width = layout.width, colour = layout.colour, wrap = true}), "\n",
    bold "commands", "\n", text.table(rows, {indent = 2, width = layout.width, colour = layout.colour, wrap = true}), "\n",
    paragraph("waddle COMMAND --help tells more about a command, waddle help icmp.ping about a probe, waddle help task.map about a function."),
    paragraph("Exit codes: 0 all well, 1 a probe or script failed, 2 bad usage, 3 results not delivered, 99 failed check, 130 interrupted."),
  }
end

return cli.command {
  name = "help",
  help = "Show the commands, or help for a command, a probe, a module or a function.",
  examples = {"waddle help", "waddle help ping", "waddle help icmp.ping", "waddle help task.map"},
  build = function(parser)
    parser:argument("name", "What to tell about."):args("?")
  end,
  run = function(args)
    local layout = cli.layout()
    if not args.name then
      io.write(overview(layout))
      return 0
    end
    for _, command in ipairs(cli.commands()) do
      if command.name == args.name then
        io.write(command:parser():get_help(), "\n")
        return 0
      end
    end
    local source = args.name:match("^[%w_-]+$") and core.source("scripts/" .. args.name .. ".lua")
    if source then -- a script that is no command, such as run, tells by itself
      return require("waddle.run").text(source, "=scripts/" .. args.name .. ".lua", args.name, {"--help"})
    end
    local found, err = require("waddle.help").about(args.name, layout)
    if not found then
      cli.usage_error("help", err)
    end
    io.write(found)
    return 0
  end,
}
