--- The nearest name: "did you mean ...?" for keys, globals, fields and commands.

local nearest = {}

-- Edit distance where swapping two neighbours is one edit (optimal string alignment), or nil once it must pass `limit`.
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then
    return nil
  end
  local before, row = {}, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local next_row, best = { [0] = i }, i
    local ca = a:byte(i)
    for j = 1, #b do
      local cost = ca == b:byte(j) and 0 or 1
      local d = math.min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + cost)
      if i > 1 and j > 1 and ca == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        d = math.min(d, before[j - 2] + 1)
      end
      next_row[j] = d
      best = math.min(best, d)
    end
    if best > limit then
      return nil
    end
    before, row = row, next_row
  end
  return row[#b] <= limit and row[#b] or nil
end

--- Finds the known name closest to what was written, if one is close enough to be meant.
-- @param name what was written (string); longer than 64 bytes finds nothing.
-- @param known list of names, or a table whose string keys are the names.
-- @return the name, or nil. Ties go to the name that sorts first, so that a message is the same every time.
function nearest.find(name, known)
  if type(name) ~= "string" or #name > 64 then
    return nil
  end
  local wanted = name:lower():gsub("-", "_")
  -- A third of the letters may be wrong, but a one-letter name resembles nothing.
  local limit = #wanted < 2 and 0 or math.max(1, #wanted // 3)
  local best, best_distance
  local function try(candidate)
    if type(candidate) == "string" then
      local d = distance(wanted, (candidate:lower():gsub("-", "_")), limit)
      if d and (not best or d < best_distance or (d == best_distance and candidate < best)) then
        best, best_distance = candidate, d
      end
    end
  end
  for key, value in next, known do
    try(type(key) == "string" and key or value)
  end
  return best
end

--- The end of a message about an unknown name.
-- @return ", did you mean 'x'?" or "" when nothing is near.
function nearest.hint(name, known)
  local found = nearest.find(name, known)
  return found and (", did you mean '%s'?"):format(found) or ""
end

return nearest
