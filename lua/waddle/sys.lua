-- The process and its surroundings, for scripts: the functions of the core with what they are told and what they give.

local core = require "waddle.core.sys"

return {
  --- env(name) -> text or nil: an environment variable. env() -> a table of all.
  env = core.env,
  --- exit([code]): cancels every task and ends the process with the code (0); true is 0, false is 1. Does not return.
  exit = core.exit,
  --- signal() -> "INT", "TERM" or "HUP": waits for a signal, which then does not end the script by itself.
  signal = core.signal,
  --- uname() -> {sysname=, release=, version=, machine=, nodename=}
  uname = core.uname,
  --- hostname() -> this machine's name.
  hostname = core.hostname,
  --- pid() -> the process's number.
  pid = core.pid,
  --- isatty(0 | 1 | 2) -> whether standard input, output or error is a terminal.
  isatty = core.isatty,
  --- columns() -> width of the terminal on standard output or error, nil where there is none.
  columns = core.columns,
  --- time() -> seconds since 1970 (UTC), with microseconds; task.now() is for measuring.
  time = core.time,
  --- timestamp([seconds]) -> that moment, or now, as RFC 3339 text in UTC with microseconds.
  timestamp = core.timestamp,
  --- random(n) -> n random bytes of the kernel, 4096 at most.
  random = core.random,
  --- log(level, text): a line on standard error; `log` has a function a level.
  log = core.log,
  --- log_level(name): lines below it are dropped: "debug", "info", "warning" or "error".
  log_level = core.log_level,
  --- virtual_clock(): for tests of schedules: time stands still, and jumps to the next timer whenever nothing is ready.
  virtual_clock = core.virtual_clock,
}
