-- waddle demo: every probe family measures something real on this machine, through the agent's own path,
-- and the results are uploaded to a small manager. Needs no internet.
local cli = require "waddle.cli"
local manager = require "waddle.manager"
local reflect = require "waddle.reflect"
local text = require "waddle.text"

local FAMILIES = {"http", "tcp", "tls", "ssh", "udp", "dns", "icmp"}

-- One target of each family, as a site file would write it.
local function targets(ends)
  local host = ends.address
  local function at(scheme, name)
    return ("%s://%s:%d"):format(scheme, name, ends[scheme])
  end
  return {
    {at("http", host) .. "/bytes/100000"},
    {at("tcp", host)},
    {at("tls", "localhost"), ca = ends.certificate, address = host},
    {at("ssh", host)},
    {at("udp", host)},
    {("dns://www.waddle.test@%s:%d"):format(host, ends.dns)},
    {"icmp://" .. host, interval = 0.2},
  }
end

-- What a user without the right to ping sees is no failure of the demo: mark, latency, words.
local function verdict(result)
  local show = require "waddle.show"
  if not result then
    return "✗", "-", "did not run"
  elseif result.success then
    return "✓", text.ms(result.latency_ms), show.line(result):match("%d[%d.]*%a+  (.*)$") or ""
  elseif result.error == "permission" then
    return "-", "-", "skipped, " .. show.reason(result)
  end
  return "✗", "-", show.reason(result)
end

local COLOURS = {["✓"] = "green", ["✗"] = "red", ["-"] = "yellow"}

return cli.command {
  name = "demo",
  help = "Measure something real with every probe family on this machine, and upload it to a small manager.",
  examples = {"waddle demo"},
  build = function() end,
  run = function()
    local runner = require "waddle.runner"
    local layout = cli.layout()
    local function bold(words)
      return text.paint(words, "bold", layout.colour)
    end
    local ends <close> = setmetatable(assert(reflect.start()), {__close = function(e) e:close() end})
    local boss <close> = assert(manager.start {})
    local uploader <close> = require("waddle.upload").open {url = boss.url, auth = {type = "none"}, spool = "none"}
    io.write(bold "waddle demo", "\n", "servers to measure, and a manager to upload to, run on ", ends.address, " for the moment\n\n")
    local by_family, parse = {}, require("waddle.target").parse
    local r = runner.new {sinks = {
      function(result) by_family[result.test_type] = result end,
      function(result) uploader:put(result) end,
    }}
    for _, spec in ipairs(targets(ends)) do
      local parsed = assert(parse(spec))
      runner.check(parsed)
      assert(r:add(parsed))
    end
    r:once()
    r:drain()
    local left = uploader:flush(5)
    local rows, failed = {}, 0
    for _, family in ipairs(FAMILIES) do
      local result = by_family[family]
      local mark, latency, words = verdict(result)
      failed = failed + (mark == "✗" and 1 or 0)
      rows[#rows + 1] = {mark, family, result and result.target or "", latency, words}
    end
    io.write(text.table(rows, {width = layout.width, colour = layout.colour, align = {nil, nil, nil, "right"}, style = function(row, column)
      return column == 1 and COLOURS[rows[row][1]] or nil
    end}))
    local status = uploader:status()
    io.write(("\n%d results uploaded, %d stored by the manager, %d left\n\n"):format(status.sent, #boss.rows, left))
    io.write("next: ", bold "waddle", " for a prompt, ", bold "waddle help", " for the commands, ", bold "waddle http https://example.com", " for a picture\n")
    return failed > 0 and 1 or (left > 0 or #boss.rows ~= #FAMILIES) and 3 or 0
  end,
}
