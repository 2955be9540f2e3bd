-- waddle ping HOST...: round trips with ICMP echo, many targets side by side.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "ping",
  help = "Measure round trips with ICMP echo, to many targets at once.",
  examples = {"waddle ping example.com", "waddle ping -c 10 -i 0.2 192.0.2.1 192.0.2.2 2001:db8::1", "waddle ping --jsonl -c 1 gateway.test"},
  probe = "icmp.ping",
  argument = {"HOST", "Name or address to ping."},
  flags = function(parser) cli.packet_flags(parser, "4", "1", "56") end,
  options = function(args) return {count = args.count, interval = args.interval, size = args.size} end,
}
