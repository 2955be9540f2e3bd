-- waddle tcp HOST:PORT...: how long a TCP connection takes.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "tcp",
  help = "Measure how long a TCP connection takes.",
  examples = {"waddle tcp example.com:443", "waddle tcp --starttls smtp mail.example.com:25", "waddle tcp --jsonl 192.0.2.1:22 [2001:db8::1]:22"},
  probe = "tcp.connect",
  argument = {"HOST:PORT", "What to connect to."},
  flags = function(parser)
    parser:option("--starttls", "Ask for TLS in the words of this protocol."):choices {"smtp", "imap", "pop3", "ftp", "postgres"}
    cli.certificate_flags(parser)
  end,
  options = function(args)
    if args.starttls then
      return {starttls = args.starttls, tls = {ca = args.ca, verify = not args.insecure}}
    elseif args.ca or args.insecure then
      return nil, "--ca and --insecure go with --starttls"
    end
    return {}
  end,
}
