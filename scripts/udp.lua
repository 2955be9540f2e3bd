-- waddle udp HOST[:PORT]...: how long round trips to a UDP echo take.
local cli = require "waddle.cli"

return cli.probe_command {
  name = "udp",
  help = "Measure round trips to a UDP echo.",
  examples = {"waddle udp example.com:2000", "waddle udp -c 100 -i 0.02 -s 200 192.0.2.1"},
  probe = "udp.ping",
  argument = {"HOST[:PORT]", "What to send to; port 2000 where none is named."},
  flags = function(parser) cli.packet_flags(parser, "4", "0.1", "64") end,
  options = function(args) return {count = args.count, interval = args.interval, size = args.size} end,
}
