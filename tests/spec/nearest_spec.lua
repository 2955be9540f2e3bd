local nearest = require "waddle.nearest"

describe("nearest", function()
  local fields = { "latency_ms", "timeout", "count", "interval", "target_ip", "tls" }

  it("finds a name with a slip, a swap, or the wrong case", function()
    assert.equal("timeout", nearest.find("timout", fields))
    assert.equal("count", nearest.find("cuont", fields))
    assert.equal("latency_ms", nearest.find("latecy_ms", fields))
    assert.equal("interval", nearest.find("INTERVAL", fields))
    assert.equal("target_ip", nearest.find("target-ip", fields))
  end)

  it("counts a swap of neighbours as one slip", function()
    assert.equal("tls", nearest.find("tsl", fields))
  end)

  it("says nothing when nothing is near", function()
    assert.is_nil(nearest.find("wibble", fields))
    assert.is_nil(nearest.find("x", fields))
    assert.is_nil(nearest.find("", fields))
    assert.is_nil(nearest.find(nil, fields))
    assert.is_nil(nearest.find(("t"):rep(100), fields))
  end)

  it("takes the keys of a table as names", function()
    assert.equal("timeout", nearest.find("timeuot", { timeout = true, count = 1 }))
  end)

  it("breaks ties by name", function()
    assert.equal("cat", nearest.find("bat", { "hat", "cat" }))
  end)

  it("makes the end of a message", function()
    assert.equal(", did you mean 'count'?", nearest.hint("coumt", fields))
    assert.equal("", nearest.hint("wibble", fields))
  end)
end)
