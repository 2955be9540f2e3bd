-- waddle completion SHELL: a script that completes waddle's commands and flags.
local argparse = require "argparse"
local cli = require "waddle.cli"

return cli.command {
  name = "completion",
  help = "Print a script that completes commands and flags in a shell.",
  examples = {"waddle completion bash > /etc/bash_completion.d/waddle", "waddle completion zsh > ~/.zfunc/_waddle",
    "waddle completion fish > ~/.config/fish/completions/waddle.fish"},
  build = function(parser)
    parser:argument("shell", "Whose script."):choices {"bash", "zsh", "fish"}
  end,
  run = function(args)
    local parser = argparse("waddle", "network probes from Lua")
    for _, command in ipairs(cli.commands()) do
      command.build(parser:command(command.name, command.help))
    end
    parser:command("run", "Run a script of your own."):argument("file") -- its flags are the script's
    parser:command("run", "Run a script of your own."):argument("file") -- no command of cli's making: its flags are the script's
    io.write(parser["get_" .. args.shell .. "_complete"](parser))
    return 0
  end,
}
