-- waddle agent: the container agent, configured by environment, flags, a JSON file or a site file.
local cli = require "waddle.cli"
local confine = require "waddle.confine"

return cli.command {
  name = "agent",
  help = "Run the agent: probe the configured targets, once or on a schedule, and upload the results.",
  examples = {"waddle agent --test-type http --http-target https://example.com", "RUN_SECONDS=60 TCP_TARGETS=db:5432,tls://web:443 waddle agent",
    "WADDLE_SITE=/etc/waddle/site.lua waddle agent --schedule", "waddle agent --config-file agent.json --log-level DEBUG"},
  build = function(parser)
    parser:option("--test-type", "Run this type of test only: http, tcp, udp, icmp or all."):argname("TYPE")
    for _, kind in ipairs {"http", "tcp", "udp", "icmp"} do
      parser:option(("--%s-target"):format(kind), ("Probe this in place of %s_TARGETS, and enable the %s tests; may be repeated."):format(kind:upper(), kind))
        :argname("TARGET"):count("*")
    end
    parser:option("--config-file", "Read the configuration from this JSON file, or a site from this .lua file."):argname("FILE")
    parser:flag("--schedule", "Run for ever; every 60 s where RUN_SECONDS does not say otherwise.")
    parser:option("--spool", "Keep results in this file until they are delivered; none: in memory."):argname("FILE")
    parser:flag("--upload-skipped", "Upload a result for runs that did not take place, too.")
    parser:option("--log-level", "DEBUG, INFO, WARNING or ERROR."):argname("LEVEL")
    confine.flags(parser)
  end,
  run = function(args)
    local function given(list)
      return list and #list > 0 and list or nil
    end
    local flags = {
      test_type = args.test_type, config_file = args.config_file, schedule = args.schedule, log_level = args.log_level, spool = args.spool,
      upload_skipped = args.upload_skipped,
      http_target = given(args.http_target), tcp_target = given(args.tcp_target), udp_target = given(args.udp_target),
      icmp_target = given(args.icmp_target),
    }
    for _, flag in ipairs(confine.FLAGS) do
      flags[flag.name] = args[flag.name]
    end
    flags.writable = given(args.writable)
    return require("waddle.agent").run {env = sys.env, layout = cli.layout(), flags = flags}
  end,
}
