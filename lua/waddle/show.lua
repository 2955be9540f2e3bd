--- Results for people: one line, a block with its facts, a waterfall, replies, a certificate chain, a summary.
-- Pure: results in, text out, every line ending with a newline where more than one may come. Options of every function:
-- colour (default false), width (columns, default 80).
-- Results may be strict tables, so fields are read raw: a field this result's kind does not have is simply not shown.

local get = require("waddle.fields").get
local text = require "waddle.text"

local show = {}

local OK, FAILED, SKIPPED = "✓", "✗", "–"
local MOST_LISTED = 1000 -- results that a summary lists on a terminal
local LONGEST_ANSWER = 40 -- columns of a DNS record's data on one line

-- The phases of a transfer in the order they happen; the colour tells looking up, connecting and waiting apart.
local PHASES = {
  { "dns", "blue" }, { "fallback", "red" }, { "connect", "cyan" }, { "proxy", "cyan" }, { "starttls", "yellow" },
  { "tls", "magenta" }, { "quic", "magenta" }, { "banner", "green" }, { "query", "green" }, { "dialogue", "green" },
  { "request", "yellow" }, { "ttfb", "yellow" }, { "transfer", "green" },
}

local function foreign(value)
  return value ~= nil and text.printable(tostring(value)) or nil
end

--- Why a result failed: "timeout: no answer in 10 s", or nil for a success.
function show.reason(result)
  if get(result, "success") then
    return nil
  end
  local name, detail = foreign(get(result, "error")), foreign(get(result, "error_detail"))
  if name and detail and detail:lower() == name:gsub("_", " ") then
    return name
  elseif name and detail then
    return ("%s: %s"):format(name, detail)
  end
  return name or detail or "failed"
end

local function join(parts)
  local present = {}
  for i = 1, parts.n do
    if parts[i] then
      present[#present + 1] = parts[i]
    end
  end
  return table.concat(present, ", ")
end

local function list(...)
  return { n = select("#", ...), ... }
end

local function certificate_words(result)
  local verify, days = get(result, "tls", "verify"), get(result, "tls", "chain", 1, "days_left")
  if not verify then
    return nil
  elseif verify ~= "ok" then
    return "certificate " .. foreign(verify)
  end
  return days and ("certificate ok for %d days"):format(math.floor(days)) or "certificate ok"
end

-- How many packets of a ping, or of a sweep, were sent and answered.
local function counts(result)
  return get(result, "packets_sent") or get(result, "sent"), get(result, "packets_received") or get(result, "received")
end

local function packets(result)
  local sent, received = counts(result)
  local words = sent and received and ("%d of %d replies"):format(received, sent) or nil
  local jitter = get(result, "jitter_ms")
  return join(list(words, jitter and "jitter " .. text.ms(jitter) or nil))
end

-- What a reader wants to know besides the time, by the probe's own name.
local details = {}

-- The address that was measured, where the target does not say it already.
local function address(result)
  local ip = foreign(get(result, "target_ip"))
  return ip and ip ~= get(result, "target_host") and ip or nil
end

function details.http(result)
  local status, version = get(result, "status"), foreign(get(result, "protocol_detail"))
  local size = get(result, "body_bytes")
  return join(list(
    status and (version and ("%d %s"):format(status, version) or tostring(status)),
    address(result),
    size and text.bytes(size) or nil))
end

function details.tls(result)
  local version, cipher = foreign(get(result, "tls", "version")), foreign(get(result, "tls", "cipher"))
  return join(list(version, cipher, certificate_words(result)))
end

function details.tcp(result)
  if get(result, "tls") then
    return join(list(address(result), details.tls(result)))
  end
  return address(result) or ""
end

function details.ssh(result)
  return join(list(address(result), foreign(get(result, "banner"))))
end

function details.dns(result, options)
  local answers, texts = get(result, "answers"), {}
  if options.full then
    local count = answers and #answers or 0
    return join(list(foreign(get(result, "rcode")), ("%d %s"):format(count, count == 1 and "answer" or "answers")))
  end
  for i = 1, math.min(4, answers and #answers or 0) do
    texts[i] = text.cut(foreign(get(answers[i], "data") or "?"), LONGEST_ANSWER)
  end
  if answers and #answers > 4 then
    texts[5] = ("and %d more"):format(#answers - 4)
  end
  return join(list(foreign(get(result, "rcode")), texts[1] and table.concat(texts, " ") or nil))
end

details.udp, details.icmp = packets, packets

local function kind(result)
  local detail = get(result, "protocol_detail")
  if detail == "tcp_tls" then
    return "tls"
  elseif detail == "ssh" or detail == "dns" then
    return detail
  end
  return get(result, "test_type")
end

-- Runs that were not, or not to their end, and say nothing of the target.
local function is_no_run(result)
  local err = get(result, "error")
  return err == "skipped" or err == "cancelled"
end

local function mark(result, options)
  if is_no_run(result) then
    return text.paint(SKIPPED, "yellow", options.colour)
  end
  local ok = get(result, "success")
  return text.paint(ok and OK or FAILED, ok and "green" or "red", options.colour)
end

--- One line for one result: `✓ https://example.com/: 45.2ms  200 http/2, 192.0.2.1, 12.3 KiB`,
-- `✗ example.com:25: connection_refused`.
-- With options.full a line that stands above all the facts: it does not list them itself.
-- @return a line without a newline.
function show.line(result, options)
  options = options or {}
  local name = foreign(get(result, "target") or get(result, "target_host") or "?")
  local start = ("%s %s: "):format(mark(result, options), text.paint(name, "bold", options.colour))
  local describe = details[kind(result)]
  local more = describe and describe(result, options) or ""
  if get(result, "success") then
    local latency = get(result, "latency_ms")
    start = start .. (latency and text.ms(latency) or "ok")
  else
    start = start .. text.paint(show.reason(result), is_no_run(result) and "yellow" or "red", options.colour)
    -- The facts of a failure are in its reason; what certificates and DNS said besides is still worth a look.
    more = ""
  end
  return more ~= "" and start .. "  " .. text.paint(more, "dim", options.colour) or start
end

--- The phases of a result as bars on one time axis, in milliseconds, and their total.
-- @param timings the result's `timings`. @return text, "" when fewer than two phases were measured.
function show.waterfall(timings, options)
  options = options or {}
  local phases, total = {}, 0
  for _, phase in ipairs(PHASES) do
    local ms = get(timings, phase[1] .. "_ms")
    if ms then
      phases[#phases + 1] = { name = phase[1], style = phase[2], from = total, ms = ms }
      total = total + ms
    end
  end
  if #phases < 2 then
    return ""
  end
  local shown_total = get(timings, "total_ms") or total
  local digits = shown_total < 10 and 3 or shown_total < 1000 and 2 or 1
  -- What would read as nothing is written with as many digits as it needs.
  local number = function(ms)
    local aligned = ("%." .. digits .. "fms"):format(ms)
    return (shown_total >= 1000 or not aligned:find("[1-9]")) and text.ms(ms) or aligned
  end
  local figures = math.max(#number(shown_total), 8)
  local room = math.max(10, math.min(options.width or 80, 100) - figures - 15)
  local scale = total > 0 and room / math.max(total, shown_total) or 0
  local out = {}
  for _, phase in ipairs(phases) do
    local bar = text.bar(phase.from * scale, (phase.from + phase.ms) * scale)
    out[#out + 1] = ("  %-8s  %s  %s\n"):format(phase.name, text.pad(number(phase.ms), figures, "right"),
      text.paint(bar, phase.style, options.colour)):gsub(" +\n", "\n")
  end
  local figure = text.pad(number(shown_total), figures, "right")
  out[#out + 1] = ("  %-8s  %s\n"):format("total", text.paint(figure, "bold", options.colour))
  return table.concat(out)
end

--- One packet of a ping: `seq 3  12.3ms  ttl 57`, `seq 4  lost`, `seq 5  host_unreachable from 10.0.0.1`.
-- @param sample an element of `samples`. @param seq its number. @return a line without a newline.
function show.reply(sample, seq, options)
  options = options or {}
  local status = get(sample, "status")
  local from, ttl = foreign(get(sample, "from")), get(sample, "ttl")
  local words
  if status == "ok" then
    words = text.pad(text.ms(get(sample, "rtt_ms")), 8, "right") .. (ttl and "  ttl " .. ttl or "")
  elseif status == "late" then
    local rtt = get(sample, "rtt_ms")
    words = text.paint(rtt and ("late, after %s"):format(text.ms(rtt)) or "late", "yellow", options.colour)
  else
    local what = status == "error" and tostring(get(sample, "error") or "error") or "lost"
    words = text.paint(from and ("%s from %s"):format(what, from) or what, "red", options.colour)
  end
  return ("seq %-3d %s%s"):format(seq, words, status == "ok" and from and "  from " .. from or "")
end

--- The end of a ping: a spark line of the replies, what was lost, and the times.
function show.packets(result, options)
  options = options or {}
  local samples, values = get(result, "samples"), { n = 0 }
  for i = 1, samples and #samples or 0 do
    values.n, values[i] = i, get(samples[i], "status") == "ok" and get(samples[i], "rtt_ms") or nil
  end
  local loss = get(result, "packet_loss_percent")
  local low, mean, high = get(result, "rtt_min_ms"), get(result, "rtt_avg_ms"), get(result, "rtt_max_ms")
  local rtt = low and mean and high and ("%s / %s / %s"):format(text.ms(low), text.ms(mean), text.ms(high))
  local sent, received = counts(result)
  local function positive(name)
    local count = get(result, name)
    return count and count > 0 and tostring(count) or nil
  end
  return text.kv({
    { "packets", sent and received and ("%d sent, %d received%s"):format(sent, received,
      loss and ", " .. text.percent(loss) .. " loss" or "") },
    { "late", positive "late" },
    { "duplicates", positive "duplicates" },
    { "min/avg/max", rtt },
    { "jitter", get(result, "jitter_ms") and text.ms(get(result, "jitter_ms")) },
    { "replies", values.n > 1 and values.n <= (options.width or 80) - 16 and text.spark(values) or nil },
  }, { indent = 2, colour = options.colour, width = options.width or 80 })
end

local function days_words(days)
  if days < 0 then
    return ("expired %d days ago"):format(math.floor(-days)), "red"
  end
  return ("%d days left"):format(math.floor(days)), days < 14 and "yellow" or "green"
end

local function subject_name(certificate)
  local subject = foreign(get(certificate, "subject") or "?")
  return subject:match("CN ?= ?([^,/]+)") or subject
end

--- A certificate chain, the server's own first, each under the one it signed.
-- @param tls the result's `tls`.
function show.chain(tls, options)
  options = options or {}
  local chain, verify, out = get(tls, "chain") or {}, get(tls, "verify"), {}
  if verify then
    local ok = verify == "ok"
    out[1] = ("  %s certificate %s\n"):format(text.paint(ok and OK or FAILED, ok and "green" or "red", options.colour),
      ok and "trusted" or foreign(verify))
  end
  for i, certificate in ipairs(chain) do
    local lead = "  " .. (i == 1 and "" or ("  "):rep(i - 2) .. "└ ")
    local facts = lead .. text.paint(subject_name(certificate), "bold", options.colour)
    local days = get(certificate, "days_left")
    if days then
      local words, style = days_words(days)
      local until_day = tostring(get(certificate, "not_after") or ""):match("^%d+-%d+-%d+")
      facts = facts .. "  " .. text.paint(words, style, options.colour)
      facts = facts .. (until_day and " (" .. until_day .. ")" or "")
    end
    local key = foreign(get(certificate, "key"))
    out[#out + 1] = facts .. (key and "  " .. text.paint(key, "dim", options.colour) or "") .. "\n"
    local sans = get(certificate, "sans")
    if i == 1 and type(sans) == "table" and #sans > 0 then
      local names = text.cut("names: " .. text.printable(table.concat(sans, ", ")), (options.width or 80) - 4)
      out[#out + 1] = "    " .. text.paint(names, "dim", options.colour) .. "\n"
    end
  end
  return table.concat(out)
end

local function show_redirects(redirects, options)
  local out = {}
  for _, hop in ipairs(redirects) do
    local total = get(hop, "timings", "total_ms")
    out[#out + 1] = ("  %s %s%s\n"):format(text.paint(tostring(get(hop, "status") or "-"), "yellow", options.colour),
      foreign(get(hop, "url")), total and "  " .. text.paint(text.ms(total), "dim", options.colour) or "")
  end
  return table.concat(out)
end

local function show_answers(answers, options)
  local rows = {}
  for i, answer in ipairs(answers) do
    rows[i] = { foreign(get(answer, "name")), get(answer, "ttl") and get(answer, "ttl") .. "s" or "",
      foreign(get(answer, "type")), foreign(get(answer, "data")) }
    for c = 1, 4 do
      rows[i][c] = rows[i][c] or ""
    end
  end
  return text.table(rows, { indent = 2, width = options.width or 80, align = { nil, "right" }, colour = options.colour, wrap = true })
end

--- One result in full: its line, the redirects on the way, the waterfall, the packets, the records, the certificates.
function show.result(result, options)
  options = options or {}
  local out = { show.line(result, { colour = options.colour, full = true }), "\n" }
  local function add(part)
    out[#out + 1] = part
  end
  local redirects, answers = get(result, "redirects"), get(result, "answers")
  if type(redirects) == "table" then
    add(show_redirects(redirects, options))
  end
  if type(answers) == "table" then
    add(show_answers(answers, options))
  end
  if get(result, "packets_sent") then
    add(show.packets(result, options))
  elseif get(result, "timings") then
    add(show.waterfall(get(result, "timings"), options))
  end
  local throughput = get(result, "throughput_mbps")
  if throughput then
    add(text.kv({ { "rate    ", text.mbps(throughput) } }, { indent = 2, colour = options.colour }))
  end
  if get(result, "tls", "chain") then
    add(show.chain(get(result, "tls"), options))
  end
  return table.concat(out)
end

local BRIEF = { "test_type", "target", "target_name", "target_host", "success", "error", "error_detail", "latency_ms" }

--- What a summary needs of a result, for who keeps many until the end.
function show.brief(result)
  local brief = {}
  for _, name in ipairs(BRIEF) do
    brief[name] = get(result, name)
  end
  return brief
end

local GROUPS = { "http", "tcp", "udp", "icmp" }
local GROUP_OF = { http = "http", tcp = "tcp", udp = "udp", icmp = "icmp", tls = "tcp", ssh = "tcp", dns = "udp" }

local function host_of(result)
  return tostring(get(result, "target_host") or get(result, "target") or "?")
end

local function summary_line(result, hosts, options)
  local host, latency = host_of(result), get(result, "latency_ms")
  local label = foreign(hosts[host] > 1 and (get(result, "target_name") or get(result, "target")) or host)
  local figure = show.reason(result) or (latency and ("%.2fms"):format(latency) or "ok")
  return ("  %s %s: %s\n"):format(mark(result, options), label, figure)
end

--- The summary of a round: grouped by type in the order http, tcp, udp, icmp, each target marked `✓ host: 12.34ms`
-- or `✗ host: reason`, `– host: skipped: reason`, `– host: cancelled: reason`. Where several targets of a group are on one host, they are told apart
-- by their names, which are the targets as written where they have no other. On a terminal (options.width) a summary of more than a thousand lists
-- those that did not pass, a thousand at most.
-- @param results list of results.
function show.summary(results, options)
  options = options or {}
  local groups, order, failed, no_runs = {}, { table.unpack(GROUPS) }, 0, {skipped = 0, cancelled = 0}
  for _, result in ipairs(results) do
    -- A script's own probe may have any type, or none; its group comes after the four.
    local own = tostring(get(result, "test_type") or "other")
    local name = GROUP_OF[own] or own
    local group = groups[name]
    if not group then
      group = { hosts = {} }
      groups[name] = group
      order[#order + 1] = not GROUP_OF[name] and name or nil
    end
    local host = host_of(result)
    group[#group + 1] = result
    group.hosts[host] = (group.hosts[host] or 0) + 1
    if is_no_run(result) then
      no_runs[result.error] = no_runs[result.error] + 1
    elseif not get(result, "success") then
      failed = failed + 1
    end
  end
  local out, listed, all = {}, 0, not options.width or #results <= MOST_LISTED
  for _, name in ipairs(order) do
    local group = groups[name]
    if group then
      out[#out + 1] = text.paint(name:upper(), "bold", options.colour) .. "\n"
      local before = listed
      for _, result in ipairs(group) do
        if all or not get(result, "success") and listed < MOST_LISTED then
          listed = listed + 1
          out[#out + 1] = summary_line(result, group.hosts, options)
        end
      end
      local more = #group - (listed - before)
      out[#out + 1] = more > 0 and ("  %d more, listed in a file or pipe\n"):format(more) or nil
    end
  end
  out[#out + 1] = ("%d passed, %d failed"):format(#results - failed - no_runs.skipped - no_runs.cancelled, failed)
  for _, err in ipairs {"skipped", "cancelled"} do
    out[#out + 1] = no_runs[err] > 0 and (", %d %s"):format(no_runs[err], err) or nil
  end
  out[#out + 1] = "\n"
  return table.concat(out)
end

return show
