--- trim(text) -> the text without white space at its ends. In linear time: the pattern that does it at once, `^%s*(.-)%s*$`, looks at a run of
-- blanks inside once more for each of them.
return function(text)
  return text:find("^%s*$") and "" or text:match("^%s*(.*%S)")
end
