-- What `help` says about the functions of `sys`, which are C.

return {
  columns = "sys.columns() -> width of the terminal on stdout or stderr, nil where there is none",
  env = "sys.env(name) -> text or nil; sys.env() -> table of the whole environment",
  exit = "sys.exit([code]): cancels every task and ends the process with the code, 0 by default; does not return",
  file_stamp = "sys.file_stamp(path) -> text that changes when the file is written or becomes another one, nil where there is none",
  hostname = "sys.hostname() -> the machine's name",
  isatty = "sys.isatty(descriptor) -> whether 0 (stdin), 1 (stdout) or 2 (stderr) is a terminal",
  log = "sys.log(level, text): a line in the log; level is \"debug\", \"info\", \"warning\" or \"error\"",
  log_level = "sys.log_level(name): lines below this level are dropped",
  memory_left = "sys.memory_left(bytes) -> whether so many can be had outside of Lua now",
  pid = "sys.pid() -> the process's number",
  random = "sys.random(n) -> n bytes from the kernel's generator, 4096 at most",
  signal = "sys.signal() -> the name of a signal (\"INT\", \"TERM\", \"HUP\"): waits for one, which then does not end the script",
  suspended = "sys.suspended() -> seconds this machine was suspended since it started: what the clock of due times counts and a timer does not",
  time = "sys.time() -> seconds since 1970-01-01 UTC, with microseconds",
  timestamp = "sys.timestamp([seconds]) -> RFC 3339 UTC text with microseconds, of now by default",
  trim = "sys.trim(): has all garbage collected soon, in pieces between other work, and then gives the freed memory back to the system",
  uname = "sys.uname() -> {sysname=, release=, version=, machine=, nodename=}",
  virtual_clock = "sys.virtual_clock(): freezes time; from then on it jumps to the next timer whenever nothing is ready. For tests.",
}
