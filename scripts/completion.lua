-- waddle completion SHELL: a script that completes waddle's commands and flags.
local argparse = require "argparse"
local cli = require "waddle.cli"
local confine = require "waddle.confine"
local sandbox = require "waddle.sandbox"

-- No command of cli's making: what comes after FILE is the script's.
local function run_command(parser)
  local command = parser:command("run", "Run a script of your own.")
  command:argument "file"
  for _, word in ipairs {"--isolate", "--confine", "--sandbox"} do
    command:flag(word)
  end
  for _, flags in ipairs {confine.FLAGS, sandbox.FLAGS} do
    for _, flag in ipairs(flags) do
      command:option(flag.word, flag.help)
    end
  end
end

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
    run_command(parser)
    io.write(parser["get_" .. args.shell .. "_complete"](parser))
    return 0
  end,
}
