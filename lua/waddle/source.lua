-- The file that runs, for who runs its targets in another process.

local source = {}

--- declare(file, argv): this file is about to declare targets.
function source.declare(file, argv)
  source.file, source.argv = file, argv
end

return source
