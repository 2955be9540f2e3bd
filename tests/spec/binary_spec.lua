-- What the compiler and the linker put into the program against attacks, read from the file itself: runtime/cmake/flags.cmake asks for it, and this
-- tells when a flag was lost on the way.

local spec = require "tests.support.spec"

local program = os.getenv "WADDLE" or "build/waddle"

-- What readelf says with these flags.
local function readelf(flags)
  local pipe = io.popen(("readelf -W %s '%s'"):format(flags, program:gsub("'", "'\\''")))
  local text = pipe:read("a")
  pipe:close()
  return text
end

-- The names that the program takes from libraries.
local function imports()
  local names = {}
  for name in readelf("--dyn-syms"):gmatch("%sUND%s+([%w_]+)") do
    names[name] = true
  end
  return names
end

-- A build with sanitizers has their guards in place of these.
local function need_plain_build()
  local names = imports()
  if names.__asan_init or names.__tsan_init or readelf("-s"):find("__asan_init", 1, true) then
    spec.skip("a build with sanitizers is not hardened")
  end
  return names
end

describe("the binary", function()
  it("is loaded at a random place", function()
    assert.matches("Type:%s+DYN", readelf("-h"))
    assert.matches("FLAGS_1%)[^\n]*PIE", readelf("-d"))
  end)

  it("has its tables of library functions filled at the start, and read-only from then on", function()
    need_plain_build()
    local dynamic = readelf("-d")
    assert.is_truthy(dynamic:find("(BIND_NOW)", 1, true) or dynamic:match("FLAGS%)[^\n]*BIND_NOW"))
    assert.matches("FLAGS_1%)[^\n]*NOW", dynamic)
    assert.is_truthy(readelf("-l"):find("GNU_RELRO", 1, true))
  end)

  it("has a stack that holds no code, and no memory that is both written and run", function()
    local segments = readelf("-l")
    assert.matches("GNU_STACK%s+%S+%s+%S+%s+%S+%s+%S+%s+%S+%s+RW%s", segments)
    assert.is_nil(segments:match("\n%s*LOAD[^\n]*RWE"))
    assert.is_nil(readelf("-d"):find("(TEXTREL)", 1, true))
  end)

  it("checks its stack frames and the room of what it copies", function()
    local names = need_plain_build()
    assert.is_true(names.__stack_chk_fail)
    for _, name in ipairs {"__memcpy_chk", "__snprintf_chk", "__vsnprintf_chk", "__read_chk"} do
      assert.is_true(names[name], name)
    end
  end)

  it("says to the processor where jumps may land and where calls return", function()
    need_plain_build()
    local header = readelf("-h")
    if header:find("X86-64", 1, true) then
      assert.matches("x86 feature:[^\n]*SHSTK", readelf("-n"))
      -- Branch tracking is not marked (see flags.cmake), but the code is made for it.
      local pipe = io.popen(("objdump -d --disassemble=main '%s'"):format(program))
      local code = pipe:read("a")
      pipe:close()
      assert.matches("<main>:\n[^\n]*endbr64", code)
    elseif header:find("AArch64", 1, true) then
      local pipe = io.popen(("objdump -d --disassemble=main '%s'"):format(program))
      local code = pipe:read("a")
      pipe:close()
      assert.matches("<main>:\n[^\n]*pac", code)
    else
      spec.skip("no such protection is asked for on this processor")
    end
  end)

  it("loads no library from the folder that it is started in, nor from one that others may write to", function()
    local dynamic = readelf("-d")
    assert.is_truthy(dynamic:find("(NEEDED)", 1, true))
    for path in dynamic:gmatch("R[UN]*PATH%)[^%[]*%[([^%]]*)%]") do
      for folder in (path .. ":"):gmatch("([^:]*):") do
        assert.is_truthy(folder:find("^/") or folder:find("^%$ORIGIN/"), path)
        local real = folder:gsub("^%$ORIGIN", (program:match("^(.*)/") or "."))
        local pipe = io.popen(("stat -c %%A '%s' 2>&1"):format(real))
        local mode = pipe:read("a")
        pipe:close()
        assert.is_nil(mode:match("^d.......w"), folder .. ": " .. mode)
      end
    end
  end)
end)
