-- The log for scripts: lines on stderr, never among the results. Credentials in URLs are hidden.

local budget = require "waddle.core.budget"
local redact = require "waddle.redact"
local sys = require "waddle.core.sys"

local log = {}

local function writer(level)
  return function(text, ...)
    local line = select("#", ...) > 0 and tostring(text):format(...) or tostring(text)
    budget.output(#line)
    sys.log(level, redact.text(line))
  end
end

--- debug(text, ...): a line at that level; text as string.format takes it with the values that follow.
log.debug = writer "debug"

--- info(text, ...): as debug, at level info.
log.info = writer "info"

--- warning(text, ...): as debug, at level warning.
log.warning = writer "warning"

--- error(text, ...): as debug, at level error.
log.error = writer "error"

--- level(name): lines below it are dropped; "debug", "info", "warning" (at start) or "error".
log.level = sys.log_level

return log
