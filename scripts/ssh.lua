-- waddle ssh HOST[:PORT]...: connection time and banner of an SSH server.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "ssh",
  help = "Measure the connection to an SSH server and read its banner.",
  examples = {"waddle ssh example.com", "waddle ssh -6 example.com:2222"},
  probe = "ssh.connect",
  argument = {"HOST[:PORT]", "What to connect to; port 22 where none is named."},
}
