--- Looking into results, which raise for a field they do not declare.

local fields = {}

--- The field of a field of a table, read raw; nil where the way ends early.
-- @param t table or anything. @param ... the names on the way.
function fields.get(t, ...)
  for i = 1, select("#", ...) do
    if type(t) ~= "table" then
      return nil
    end
    t = rawget(t, (select(i, ...)))
  end
  return t
end

return fields
