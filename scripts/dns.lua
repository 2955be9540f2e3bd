-- waddle dns NAME...: asks a name server and shows the answer and its time.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "dns",
  help = "Ask a name server for records.",
  examples = {"waddle dns example.com", "waddle dns example.com --type MX --server 9.9.9.9", "waddle dns --type PTR 192.0.2.1",
    "waddle dns --tcp --server '[::1]:5300' waddle.test"},
  probe = "dns.query",
  argument = {"NAME", "Name to ask for; with --type PTR also an address."},
  flags = function(parser)
    parser:option("--type", "Record type: A AAAA CNAME MX NS TXT SOA SRV PTR CAA ANY, or any other."):default("A"):argname("T")
    parser:option("--server", "Name server to ask; the first one of /etc/resolv.conf by default."):argname("HOST[:PORT]")
    parser:flag("--tcp", "Ask over TCP.")
    parser:flag("--dnssec", "Ask for signatures, too.")
    parser:flag("--no-recurse", "Ask for what the server itself knows."):target("no_recurse")
  end,
  options = function(args)
    return {type = args.type:upper(), server = args.server, transport = args.tcp and "tcp" or nil, dnssec = args.dnssec,
      recurse = not args.no_recurse}
  end,
}
