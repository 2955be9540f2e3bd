-- waddle reflect: the other end, small honest servers to measure against.
local cli = require "waddle.cli"
local reflect = require "waddle.reflect"
local text = require "waddle.text"

local function port_of(words)
  if words == "none" then
    return false
  end
  local n = math.tointeger(tonumber(words))
  if not n or n < 0 or n > 65535 then
    return nil, "expected a port from 0 (any free one) to 65535, or none; got " .. words
  end
  return n
end

return cli.command {
  name = "reflect",
  help = "Run the other end: HTTP, TCP, TLS, SSH, UDP and DNS servers to measure against.",
  examples = {"waddle reflect", "waddle reflect --address 0.0.0.0 --ssh none", "waddle reflect --random --json"},
  build = function(parser)
    parser:option("--address", "Address to listen on; 127.0.0.1 by default, so that only this machine reaches it."):default("127.0.0.1")
    for _, service in ipairs(reflect.services) do
      parser:option("--" .. service.name, service.help .. "."):default(tostring(service.port)):convert(port_of):argname("PORT")
    end
    parser:flag("--random", "Take any free port for each service.")
    parser:flag("--json", "Print the ports as one JSON document.")
    parser:option("--certificate", "Write the certificate made at start here, for --ca of the probes."):argname("FILE")
  end,
  run = function(args)
    local ports = {}
    for _, service in ipairs(reflect.services) do
      ports[service.name] = args[service.name] and (args.random and 0 or args[service.name])
    end
    local called, servers, err = pcall(reflect.start, {address = args.address, ports = ports})
    if not called then
      cli.usage_error("reflect", cli.plain_message(servers))
    elseif not servers then
      io.stderr:write("waddle reflect: ", err, "\n")
      return 1
    end
    if args.certificate then
      local file, why = io.open(args.certificate, "w")
      if not file then
        cli.usage_error("reflect", why)
      end
      file:write(servers.certificate)
      file:close()
    end
    local rows, document = {}, {address = servers.address, fingerprint = servers.fingerprint}
    for _, service in ipairs(reflect.services) do
      document[service.name] = servers[service.name]
      if servers[service.name] then
        rows[#rows + 1] = {service.name, servers.address:find(":", 1, true) and "[" .. servers.address .. "]" or servers.address,
          tostring(servers[service.name]), service.help}
      end
    end
    local layout = cli.layout()
    io.write(args.json and json.encode(document, {sorted = true}) .. "\n"
      or text.table(rows, {width = layout.width, colour = layout.colour, align = {nil, nil, "right"}, wrap = true}))
    io.flush()
    sys.signal() -- runs until it is told to stop
    servers:close()
    return 0
  end,
}
