-- waddle tcp HOST:PORT...: how long a TCP connection takes.
local cli = require "waddle.cli"

return cli.command {
  name = "tcp",
  help = "Measure how long a TCP connection takes.",
  examples = {"waddle tcp example.com:443", "waddle tcp --starttls smtp mail.example.com:25", "waddle tcp --jsonl 192.0.2.1:22 [2001:db8::1]:22"},
  build = function(parser)
    parser:argument("target", "What to connect to."):args("+"):argname("HOST:PORT")
    parser:option("--starttls", "Ask for TLS in the words of this protocol."):choices {"smtp", "imap", "pop3", "ftp", "postgres"}
    parser:option("--ca", "Trusted certificates: a PEM file or a folder of them."):argname("FILE")
    parser:flag("--insecure", "Report a certificate that does not hold, but do not fail.")
    cli.probe_flags(parser)
  end,
  run = function(args)
    local opts, err = cli.probe_options(args, {starttls = args.starttls})
    if not opts then
      cli.usage_error("tcp", err)
    end
    if args.starttls then
      opts.tls = {ca = args.ca, verify = not args.insecure}
    elseif args.ca or args.insecure then
      cli.usage_error("tcp", "--ca and --insecure go with --starttls")
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = "tcp.connect", target = target, opts = opts}
    end
    return cli.run_probes("tcp", args, calls)
  end,
}
