-- waddle repl: a prompt where every probe is one line away.
local cli = require "waddle.cli"

return cli.command {
  name = "repl",
  help = "Open a prompt where every probe is one line away.",
  examples = {"waddle repl", "echo 'tcp.connect \"127.0.0.1:22\"' | waddle repl"},
  build = function() end,
  run = function() return require("waddle.repl").run() end,
}
