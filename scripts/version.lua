-- waddle version: the version of waddle and of what it is made of.
local cli = require "waddle.cli"
local core = require "waddle.core"

return cli.command {
  name = "version",
  help = "Print the version.",
  examples = {"waddle version", "waddle version --verbose"},
  build = function(parser)
    parser:flag("-v --verbose", "Print the versions of the libraries, too.")
  end,
  run = function(args)
    io.write("waddle ", core.version, "\n")
    if args.verbose then
      io.write(require("waddle.text").kv(core.libraries(), {indent = 2, colour = cli.layout().colour}))
    end
    return 0
  end,
}
