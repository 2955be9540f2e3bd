-- waddle tls HOST[:PORT]...: handshake, version, cipher and certificates.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "tls",
  help = "Show the TLS handshake, version, cipher and certificates of a server.",
  examples = {"waddle tls example.com:443", "waddle tls --insecure --server-name old.test 192.0.2.1:8443"},
  probe = "tls.connect",
  argument = {"HOST:PORT", "What to connect to; port 443 where none is named."},
  flags = function(parser)
    parser:option("--server-name", "Name to ask for and to check, in place of the host."):argname("NAME")
    parser:option("--alpn", "Application protocol to offer; may be repeated."):argname("NAME"):count("*")
    cli.certificate_flags(parser)
  end,
  options = function(args)
    return {ca = args.ca, server_name = args.server_name, verify = not args.insecure, alpn = #args.alpn > 0 and args.alpn or nil}
  end,
}
