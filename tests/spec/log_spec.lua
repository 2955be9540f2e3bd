-- Lines for operators: where they go, from which level on.

local program = os.getenv "WADDLE" or "build/waddle"

-- What a piece of Lua writes: stdout, stderr.
local function run(code)
  local name = os.tmpname()
  local pipe = io.popen(("timeout 20 %s -e '%s' 2>%s"):format(program, code, name))
  local out = pipe:read("a")
  pipe:close()
  local file = io.open(name)
  local err = file:read("a")
  file:close()
  os.remove(name)
  return out, err
end

describe("log", function()
  it("writes lines from its level on to stderr, with their time", function()
    local out, err = run [[log.info "not yet" log.warning "look" log.level "debug" log.debug "now"]]
    assert.equal("", out)
    assert.is_nil(err:find("not yet", 1, true))
    assert.matches("^%d+%-%d%d%-%d%dT[%d:.]+Z WARNING look\n", err)
    assert.matches("DEBUG +now\n", err)
  end)

  it("formats what comes with arguments, and only that", function()
    local _, err = run [[log.error("%d of %s", 3, "four") log.error("100% sure")]]
    assert.matches("3 of four", err, 1, true)
    assert.matches("100% sure", err, 1, true)
  end)

  it("lets nobody forge a line", function()
    local _, err = run [[log.error("a\nb\27[31m")]]
    assert.matches("a\\x0ab\\x1b[31m", err, 1, true)
  end)
end)
