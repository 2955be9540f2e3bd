-- waddle spool: the results that wait to be delivered, and those that the manager refused for good.
local cli = require "waddle.cli"
local json = require "waddle.json"
local spool = require "waddle.spool"

local FAILED, USAGE, UNDELIVERED = 1, 2, 3
local SLICE_S = 5 -- a flush that delivers nothing for so long ends, or, where the manager has not answered yet,
local PATIENCE_S = 35 -- for so long: more than a request may take

local function fail(message)
  io.stderr:write("waddle spool: ", require("waddle.redact").text(tostring(message)), "\n")
  return FAILED
end

-- One JSON object: the body is JSON text already, and stays as it was written.
local function json_of(row)
  local body = row.body
  row.body = nil
  return (json.encode(row, {sorted = true}):gsub("^{", function() return '{"body":' .. (body == "" and "null" or body) .. "," end))
end

local function line_of(row)
  local body = json.decode(row.body) or {}
  local what = ("%s %s"):format(body.test_type or "?", body.target_host or "?")
  return ("%-38s %s %5d bytes %2d tries  %s%s"):format(row.id, row.put_at:sub(1, 19) .. "Z", #row.body, row.tries, what,
    row.status and ("  %d %s"):format(row.status, row.answer) or "")
end

local commands = {}

function commands.list(client, args)
  local first = true
  io.write(args.json and "[" or "")
  local count, message = spool.each(client, args.quarantine, nil, function(row)
    io.write(args.json and (first and "\n" or ",\n") or "", args.json and json_of(row) or line_of(row), args.json and "" or "\n")
    first = false
  end)
  if not count then
    return fail(message)
  end
  io.write(args.json and "]\n" or ("%d results %s in %s\n"):format(count, args.quarantine and "are set aside" or "wait", client.file))
  return 0
end

function commands.show(client, args)
  local found = 0
  for _, quarantine in ipairs {false, true} do
    local count, message = spool.each(client, quarantine, args.id, function(row)
      row.body = json.decode(row.body) or row.body
      io.write(json.pretty(row), "\n")
    end)
    if not count then
      return fail(message)
    end
    found = found + count
  end
  return found > 0 and 0 or fail(("no result with the id '%s' is in %s"):format(args.id, client.file))
end

function commands.export(client, args)
  local count, message = spool.each(client, args.quarantine, nil, function(row)
    io.write(json_of(row), "\n")
  end)
  return count and 0 or fail(message)
end

-- Asks for a change of some rows by their ids, or of all; gives the exit code.
local function change(client, word, which, ids, said)
  local changed = 0
  for _, id in ipairs(#ids > 0 and ids or {false}) do
    local answer, message = client:ask(word, which, id or nil)
    if not answer then
      return fail(message)
    elseif id and answer.changed == 0 then
      return fail(("no result with the id '%s' is there"):format(id))
    end
    changed = changed + answer.changed
  end
  io.write(("%d results %s\n"):format(changed, said))
  return 0
end

function commands.requeue(client, args)
  return change(client, "requeue", "quarantine", args.id, "wait again")
end

function commands.purge(client, args)
  if #args.id == 0 and not args.all then
    cli.usage_error("spool", "purge: expected the ids of results, or --all")
  end
  return change(client, "purge", args.quarantine and "quarantine" or "queue", args.id, "deleted")
end

-- Goes on for as long as it gets on; `ask(seconds)` tries at once and tells how things stand after so long at most.
local function flush(ask, file)
  local now, message = ask(0)
  local sent, idle = now and now.sent, 0
  while now and now.left > 0 and idle < PATIENCE_S do
    now, message = ask(SLICE_S)
    if now and (now.sent == sent or now.state == "blocked") then
      idle = now.state ~= "blocked" and now.in_flight > 0 and idle + SLICE_S or PATIENCE_S
    else
      idle, sent = 0, now and now.sent
    end
  end
  if not now then
    return fail(message)
  elseif now.left > 0 then
    fail(("%d results are left in %s (%s)"):format(now.left, file, now.last_error or now.state))
    return UNDELIVERED
  end
  io.write("nothing is left\n")
  return 0
end

-- What address and credentials are, the agent's configuration says, in the same places.
local function flush_file(path, args)
  local settings, message = require("waddle.config").load {env = sys.env, flags = {config_file = args.config_file}}
  if not settings then
    fail(message)
    return USAGE
  end
  local u <close> = require("waddle.upload").open {url = settings.manager_url, auth = settings.auth, spool = path}
  u.core:ask {request = "list", most = 0} -- comes when the file is open
  local commands_of = spool.commands(u.core)
  return flush(function(seconds) return commands_of("flush", seconds) end, path)
end

-- The file and the running agent that has it, if there is one.
local function find(args)
  local given = args.spool or sys.env "WADDLE_SPOOL"
  given = given ~= "" and given or nil
  local client = given ~= "none" and spool.find_agent(given)
  if client then
    return client
  end
  local path = spool.place(given, sys.env)
  if not path or path == "none" then
    cli.usage_error("spool", "no spool is known here, and no agent runs: name one with --spool FILE")
  end
  return spool.open_file(path)
end

local function ids(parser, many)
  return parser:argument("id", "Ids of results, as `list` shows them."):argname("ID"):args(many)
end

return cli.command {
  name = "spool",
  help = "Look at the results that wait to be delivered, and put them in order.",
  examples = {"waddle spool list --json", "waddle spool list --quarantine", "waddle spool flush", "waddle spool requeue",
    "waddle spool export --quarantine > refused.jsonl"},
  build = function(parser)
    parser:require_command(true)
    parser:command_target "command"
    local function add(name, help)
      local sub = parser:command(name, help)
      sub:option("--spool", "The file, where it is not the agent's."):argname("FILE")
      return sub
    end
    local function quarantine(sub)
      sub:flag("--quarantine", "Those that the manager refused for good.")
    end
    local list = add("list", "Every result that waits.")
    list:flag("--json", "Print one JSON array.")
    quarantine(list)
    ids(add("show", "All of one result."), 1)
    add("flush", "Try to deliver at once, whatever the back-off says; ends with 0 when nothing is left, else with 3.")
      :option("--config-file", "Where the agent reads its configuration."):argname("FILE")
    ids(add("requeue", "Let what the manager refused wait again: all of it, or by id."), "*")
    local purge = add("purge", "Delete results by id, or all.")
    ids(purge, "*")
    purge:flag("--all", "All of them.")
    quarantine(purge)
    quarantine(add("export", "Print every result, a line of JSON each."))
  end,
  run = function(args)
    local client, message = find(args)
    if not client then
      return fail(message)
    end
    if args.command ~= "flush" then
      local code = commands[args.command](client, args)
      client:close()
      return code
    end
    client:close()
    if client.core then
      return flush_file(client.file, args)
    end
    return flush(function(seconds) return client:ask("flush", tostring(seconds)) end, client.file)
  end,
}
