-- waddle demo: every probe family measures something, without the internet, for everybody.

local process = require "tests.support.process"

after_each(process.clean)

local FAMILIES = {"http", "tcp", "tls", "ssh", "udp", "dns", "icmp"}

local function lines_of(out)
  local lines = {}
  for line in out:gmatch("[^\n]+") do
    local mark, family, rest = line:match("^(%S+)  (%l+) +(%l+://.*)$")
    lines[#lines + 1] = mark and {mark = mark, family = family, rest = rest}
  end
  return lines
end

describe("the demo", function()
  it("prints a line for each family in order, uploads all and exits 0", function()
    local code, out, err = process.run {"demo"}
    assert.equal(0, code, err)
    assert.equal("", err)
    local lines = lines_of(out)
    assert.equal(#FAMILIES, #lines, out)
    for i, family in ipairs(FAMILIES) do
      assert.equal(family, lines[i].family)
      assert.matches("^%l+://", lines[i].rest)
      if family ~= "icmp" then
        assert.equal("✓", lines[i].mark)
        assert.matches("%d%.?%d*ms", lines[i].rest)
      end
    end
    assert.matches("7 results uploaded, 7 stored by the manager, 0 left", out)
  end)

  it("for who may not ping says so with what would help, and exits 0", function()
    local isolate = "unshare --net sh -c 'ip link set lo up && exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all " ..
      "--inh-caps=-all --no-new-privs \"$@\"' sh"
    if not os.execute(isolate .. " true 2>/dev/null") then
      require("tests.support.spec").skip("no network namespace for it: run it as root")
    end
    local code, out, err = process.run({"demo"}, nil, isolate .. " env PATH=/nonexistent")
    assert.equal(0, code, err)
    local lines = lines_of(out)
    assert.equal(#FAMILIES, #lines, out)
    assert.equal("-", lines[7].mark)
    assert.matches("skipped, permission: .*net.ipv4.ping_group_range", lines[7].rest)
    for i = 1, 6 do
      assert.equal("✓", lines[i].mark, out)
    end
  end)

  it("writes no escapes where nobody would see colours", function()
    local _, out = process.run {"demo"}
    assert.is_nil(out:find("\27", 1, true))
  end)
end)
