-- luacheck: the checks of all Lua files of the project.
std = "lua54"
max_line_length = 160
exclude_files = {"build", "build-*"}

-- What scripts, site files and the prompt find predeclared.
local environment = {
  "http", "tcp", "tls", "ssh", "udp", "dns", "icmp", "task", "upload", "serve", "sys", "log", "spool", "json",
  "target", "defaults", "group", "every", "cron", "blackout", "transform", "sink", "on_change",
  "limits", "check", "must", "threshold", "scenario",
}
files["scripts"] = {read_globals = environment}
files["examples"] = {read_globals = environment}
files["tests/bench"] = {read_globals = environment}
-- Specs leave loops early on purpose (512), and their data is long.
files["tests"] = {std = "+busted", read_globals = environment, max_line_length = false, ignore = {"512"}}
