-- waddle tls HOST[:PORT]...: handshake, version, cipher and certificates.
local cli = require "waddle.cli"

return cli.command {
  name = "tls",
  help = "Show the TLS handshake, version, cipher and certificates of a server.",
  examples = {"waddle tls example.com:443", "waddle tls --insecure --server-name old.test 192.0.2.1:8443"},
  build = function(parser)
    parser:argument("target", "What to connect to; port 443 where none is named."):args("+"):argname("HOST:PORT")
    parser:option("--ca", "Trusted certificates: a PEM file or a folder of them."):argname("FILE")
    parser:option("--server-name", "Name to ask for and to check, in place of the host."):argname("NAME")
    parser:option("--alpn", "Application protocol to offer; may be repeated."):argname("NAME"):count("*")
    parser:flag("--insecure", "Report a certificate that does not hold, but do not fail.")
    cli.probe_flags(parser)
  end,
  run = function(args)
    local opts, err = cli.probe_options(args, {ca = args.ca, server_name = args.server_name, verify = not args.insecure,
      alpn = #args.alpn > 0 and args.alpn or nil})
    if not opts then
      cli.usage_error("tls", err)
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = "tls.connect", target = target, opts = opts}
    end
    return cli.run_probes("tls", args, calls)
  end,
}
