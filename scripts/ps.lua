-- waddle ps: what a running agent is doing at the moment.
local cli = require "waddle.cli"
local control = require "waddle.control"
local json = require "waddle.json"
local text = require "waddle.text"

local FAILED = 1

-- Children below their parents, older ones first; gives rows for people.
local function rows(tasks)
  local children, known, out = {}, {}, {}
  table.sort(tasks, function(a, b) return a.id < b.id end)
  for _, t in ipairs(tasks) do
    known[t.id] = true
    local parent = known[t.parent] and t.parent or 0
    children[parent] = children[parent] or {}
    table.insert(children[parent], t)
  end
  local function add(id, depth)
    for _, t in ipairs(children[id] or {}) do
      local since, subject = text.ms(t.waits_ms or t.age_ms), text.printable(t.subject or "")
      out[#out + 1] = {("  "):rep(depth) .. t.id, t.state, since, t.waits_on or "", subject, t.place or "waddle"}
      add(t.id, depth + 1)
    end
  end
  add(0, 0)
  return out
end

return cli.command {
  name = "ps",
  help = "Show the tasks of a running agent: what each waits on, since when, and where.",
  examples = {"waddle ps", "waddle ps --json", "waddle ps --control /run/waddle/control.sock"},
  build = function(parser)
    parser:option("--control", "The agent's control socket (default: where the agent puts it)."):argname("FILE")
    parser:flag("--json", "Print one JSON list.")
  end,
  run = function(args)
    local path = args.control or control.path()
    if not path then
      cli.usage_error("ps", "no control socket: WADDLE_CONTROL is 'none'; --control says where it is")
    end
    local tasks, err = control.ask(path, "ps")
    if not tasks then
      io.stderr:write("waddle ps: ", err, "\n")
      return FAILED
    end
    if args.json then
      io.write(json.pretty(json.array(tasks)), "\n")
    else
      local layout = cli.layout()
      io.write(text.table(rows(tasks), {headers = {"task", "state", "since", "waits on", "of", "at"}, width = layout.width, colour = layout.colour}))
    end
    return 0
  end,
}
