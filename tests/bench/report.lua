-- How the benchmarks are shown: a table for people, one JSON document, a plot. A line is
--   {row=, what=, unit=, waddle=, limit=, limit_note=, peer=, peer_name=, ratio=, bare=, known=, note=, ok=}
-- where what was not measured is absent. A terminal of 120 columns shows it.

local report = {}

local columns = {
  {"", -35, function(l) return l.what end},
  {"waddle", 9, function(l) return report.number(l.waddle, l.unit) end},
  {"peer", 9, function(l) return report.number(l.peer, l.unit) end},
  {"ratio", 5, function(l) return l.ratio and (l.ratio < 0.01 and "<0.01" or ("%.2f"):format(l.ratio)) end},
  {"bare", 9, function(l) return report.number(l.bare, l.unit) end},
  {"limit", 9, function(l) return report.number(l.limit or l.least, l.unit) end},
  {"", -6, function(l) return l.ok == nil and "" or l.ok and "ok" or "MISSED" end},
  {"", 0, function(l) return report.note(l) end},
}

--- number(value, unit) -> text of three digits, nil for nil.
function report.number(value, unit)
  if not value then
    return nil
  end
  local digits = math.max(0, 2 - math.floor(math.log(math.max(math.abs(value), 0.01), 10)))
  return ("%.".. digits .. "f %s"):format(value, unit)
end

--- note(line) -> what the peer is unless the rest says it, where the limit comes from, what the reference client takes, what else is to be said.
function report.note(l)
  local notes = {}
  notes[#notes + 1] = l.limit_note
  notes[#notes + 1] = l.known and "known " .. report.number(l.known, l.unit) or nil
  notes[#notes + 1] = l.note
  if l.peer and not table.concat(notes):find(l.peer_name, 1, true) then
    table.insert(notes, 1, l.peer_name)
  end
  return table.concat(notes, ", ")
end

local function cells(values)
  local out = {}
  for i, column in ipairs(columns) do
    local text, width = values(i, column) or "-", column[2]
    out[i] = width == 0 and text or ("%" .. width .. "s"):format(text)
  end
  return (table.concat(out, "  "):gsub("%s+$", ""))
end

--- head() -> the table's first line.
function report.head()
  return cells(function(_, column) return column[1] end)
end

--- line(l) -> a line of the table.
function report.line(l)
  return cells(function(_, column) return column[3](l) end)
end

--- What the words of the table mean, for its end.
report.legend = [[
ratio   waddle's figure by the peer's
bare    a C loop with the fewest system calls that do the same; in the memory row the libraries alone; for delays a machine at rest
limit   "0.6 of fping": that part of the peer's figure; "8 at bare 2.2": 8 where the bare loop takes 2.2, in proportion
        on a slower machine
known   of the reference client, measured once and elsewhere; tools: curl, bash and ping, one after another as it does
error   of the reported round trip against the capture on the interface, packet by packet, as an absolute value;
        median: of the signed errors; busy: two busy loops beside it; k/s: thousands of probes a second on the wire]]

--- plot(lines, work, svg) -> whether the plot of cost against targets was drawn into the file `svg`; needs gnuplot.
function report.plot(lines, work, svg)
  local data = assert(io.open(work .. "/plot", "w"))
  local peer
  for _, l in ipairs(lines) do
    if l.plot then
      peer = peer or l.peer_name
      data:write(("%d %s %s %s\n"):format(l.plot, l.waddle or "-", l.peer or "-", l.bare or "-"))
    end
  end
  data:close()
  if not peer then
    return false
  end
  local script = ([[
    set terminal svg size 720,420 background "white"
    set output "%s"
    set title "icmp.sweep: CPU per host, one packet each, start of the program included"
    set xlabel "targets"
    set ylabel "microseconds"
    set logscale x
    set format x "%%.0s%%c"
    set xrange [800:125000]
    set yrange [0:*]
    set grid ytics
    set key right top
    set datafile missing "-"
    plot "%s" using 1:2 with linespoints title "waddle", "" using 1:3 with linespoints title "%s", "" using 1:4 with linespoints title "bare loop"
  ]]):format(svg, work .. "/plot", peer)
  local gnuplot <close> = assert(io.popen("gnuplot", "w"))
  gnuplot:write(script)
  return (gnuplot:close()) == true
end

return report
