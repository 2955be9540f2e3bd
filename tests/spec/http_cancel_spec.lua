-- Requests that are cut off at any moment; mostly of use with the sanitizers.

local spec = require "tests.support.spec"

describe("requests cut off at any moment", function()
  it("end cleanly, with phases that add up", function()
    spec.peer("http")
    local pipe = io.popen(("timeout -k 5 60 %s run tests/support/fixtures/http_cancel.lua 2>&1"):format(os.getenv("WADDLE") or "build/waddle"))
    local text = pipe:read("a")
    local ok = pipe:close()
    assert.are.equal("done\n", text)
    assert.is_true(ok)
  end)
end)
