-- waddle ssh HOST[:PORT]...: connection time and banner of an SSH server.
local cli = require "waddle.cli"

return cli.command {
  name = "ssh",
  help = "Measure the connection to an SSH server and read its banner.",
  examples = {"waddle ssh example.com", "waddle ssh -6 example.com:2222"},
  build = function(parser)
    parser:argument("target", "What to connect to; port 22 where none is named."):args("+"):argname("HOST[:PORT]")
    cli.probe_flags(parser)
  end,
  run = function(args)
    local opts, err = cli.probe_options(args)
    if not opts then
      cli.usage_error("ssh", err)
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = "ssh.connect", target = target, opts = opts}
    end
    return cli.run_probes("ssh", args, calls)
  end,
}
