-- waddle repl: a prompt where every probe is one line away.
return require("waddle.repl").run()
