-- The file that runs, for who runs its targets in another process.

local source = {}

--- declare(file, argv): this file is about to declare targets.
function source.declare(file, argv)
  source.file, source.argv = file, argv
end

--- only_targets(): this process reads the file for its targets alone; their results go elsewhere.
function source.only_targets()
  source.results_elsewhere = true
end

return source
