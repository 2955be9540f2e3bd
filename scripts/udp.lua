-- waddle udp HOST[:PORT]...: how long round trips to a UDP echo take.
local cli = require "waddle.cli"

return cli.command {
  name = "udp",
  help = "Measure round trips to a UDP echo.",
  examples = {"waddle udp example.com:2000", "waddle udp -c 100 -i 0.02 -s 200 192.0.2.1"},
  build = function(parser)
    parser:argument("target", "What to send to; port 2000 where none is named."):args("+"):argname("HOST[:PORT]")
    parser:option("-c --count", "Packets to send to each target."):default("4"):convert(cli.integer):argname("N")
    parser:option("-i --interval", "Time between two packets to a target."):default("0.1"):argname("S")
    parser:option("-s --size", "Bytes of payload."):default("64"):convert(cli.integer):argname("BYTES")
    cli.probe_flags(parser)
  end,
  run = function(args)
    local opts, err = cli.probe_options(args, {count = args.count, interval = args.interval, size = args.size})
    if not opts then
      cli.usage_error("udp", err)
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = "udp.ping", target = target, opts = opts}
    end
    return cli.run_probes("udp", args, calls)
  end,
}
