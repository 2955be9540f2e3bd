-- waddle ping HOST...: round trips with ICMP echo, many targets side by side.
local cli = require "waddle.cli"

return cli.command {
  name = "ping",
  help = "Measure round trips with ICMP echo, to many targets at once.",
  examples = {"waddle ping example.com", "waddle ping -c 10 -i 0.2 192.0.2.1 192.0.2.2 2001:db8::1", "waddle ping --jsonl -c 1 gateway.test"},
  build = function(parser)
    parser:argument("target", "Name or address to ping."):args("+"):argname("HOST")
    parser:option("-c --count", "Packets to send to each target."):default("4"):convert(cli.integer):argname("N")
    parser:option("-i --interval", "Time between two packets to a target."):default("1"):argname("S")
    parser:option("-s --size", "Bytes of payload."):default("56"):convert(cli.integer):argname("BYTES")
    cli.probe_flags(parser)
  end,
  run = function(args)
    local opts, err = cli.probe_options(args, {count = args.count, interval = args.interval, size = args.size})
    if not opts then
      cli.usage_error("ping", err)
    end
    local calls = {}
    for i, target in ipairs(args.target) do
      calls[i] = {probe = "icmp.ping", target = target, opts = opts}
    end
    return cli.run_probes("ping", args, calls)
  end,
}
