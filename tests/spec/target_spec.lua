local target = require "waddle.target"

describe("target.parse", function()
  local good = {
    -- text, default type, probe, test_type, args, name
    { "https://www.google.com", "http", "http.request", "http", { { url = "https://www.google.com" } } },
    { "example.com/x?y=http://z", "http", "http.request", "http", { { url = "http://example.com/x?y=http://z" } } },
    { "HTTPS://[::1]:8443/a", "http", "http.request", "http", { { url = "https://[::1]:8443/a" } } },
    { "example.com:25", "tcp", "tcp.connect", "tcp", { "example.com:25", {} } },
    { "example.com", "tcp", "tcp.connect", "tcp", { "example.com:80", {} } },
    { "tcp://example.com/", nil, "tcp.connect", "tcp", { "example.com:80", {} } },
    { "::1", "tcp", "tcp.connect", "tcp", { "[::1]:80", {} } },
    { "[::1]:443", "tcp", "tcp.connect", "tcp", { "[::1]:443", {} } },
    { "tls://example.com", "tcp", "tls.connect", "tcp", { "example.com:443", {} } },
    { "tls://[2001:db8::1]:8443", "tcp", "tls.connect", "tcp", { "[2001:db8::1]:8443", {} } },
    { "example.com", "tls", "tls.connect", "tcp", { "example.com:443", {} } },
    { "ssh://git.example.com", "tcp", "ssh.connect", "tcp", { "git.example.com:22", {} } },
    { "ssh://h:2222", "tcp", "ssh.connect", "tcp", { "h:2222", {} } },
    { "192.0.2.1", "udp", "udp.ping", "udp", { "192.0.2.1:2000", {} } },
    { "udp://h:7", "udp", "udp.ping", "udp", { "h:7", {} } },
    { "dns://example.com", "udp", "dns.query", "udp", { "example.com", {} } },
    { "dns://example.com:9.9.9.9", "udp", "dns.query", "udp", { "example.com", { server = "9.9.9.9:53" } } },
    { "dns://example.com:9.9.9.9:5353", "udp", "dns.query", "udp", { "example.com", { server = "9.9.9.9:5353" } } },
    { "dns://example.com@ns1.test:54?type=aaaa&transport=tcp", "udp", "dns.query", "udp",
      { "example.com", { server = "ns1.test:54", type = "AAAA", transport = "tcp" } } },
    { "dns://example.com@[::1]:53?type=MX", "udp", "dns.query", "udp", { "example.com", { server = "[::1]:53", type = "MX" } } },
    { "dns://example.com@::1", "udp", "dns.query", "udp", { "example.com", { server = "[::1]:53" } } },
    { "dns://_sip._tcp.example.com?type=SRV", "udp", "dns.query", "udp", { "_sip._tcp.example.com", { type = "SRV" } } },
    { "dns://.?type=NS", "udp", "dns.query", "udp", { ".", { type = "NS" } } },
    { "8.8.8.8", "icmp", "icmp.ping", "icmp", { "8.8.8.8", {} } },
    { "icmp://fe80::1%eth0", "icmp", "icmp.ping", "icmp", { "fe80::1%eth0", {} } },
    { "[2001:db8::1]", "icmp", "icmp.ping", "icmp", { "2001:db8::1", {} } },
  }
  for _, case in ipairs(good) do
    it(("reads %s as %s"):format(case[1], case[2] or "it says"), function()
      local t, message = target.parse(case[1], case[2])
      assert.is_nil(message)
      assert.equal(case[3], t.probe)
      assert.equal(case[4], t.test_type)
      assert.same(case[5], t.args)
      assert.equal(case[1], t.target)
      assert.equal(case[1], t.name)
    end)
  end

  it("gives options to the probe and settings to the schedule", function()
    local t = assert(target.parse({ "tls://h:443", name = "front", every = "30s", overlap = "skip", labels = { room = "a" }, timeout = "2s" }))
    assert.equal("front", t.name)
    assert.equal("tls://h:443", t.target)
    assert.same({ "h:443", { labels = { room = "a" }, timeout = "2s" } }, t.args)
    assert.same({ name = "front", every = "30s", overlap = "skip" }, t.settings)
  end)

  it("takes the object of a JSON list", function()
    local t = assert(target.parse({ target = "https://h/", method = "HEAD" }, "http"))
    assert.same({ { url = "https://h/", method = "HEAD" } }, t.args)
  end)

  it("takes a function with a name", function()
    local function probe() end
    local t = assert(target.parse { probe = probe, name = "login", every = 60, user = "x" })
    assert.equal(probe, t.probe)
    assert.equal("login", t.name)
    assert.same({ { user = "x" } }, t.args)
    assert.same({ name = "login", every = 60 }, t.settings)
    assert.is_nil(target.parse { probe = probe })
  end)

  it("says host and port", function()
    local t = target.parse("https://u:p@example.com/x")
    assert.equal("example.com", t.host)
    assert.equal(443, t.port)
    t = target.parse("dns://n.test@::1")
    assert.equal("n.test", t.host)
    assert.equal(53, t.port)
  end)

  it("keeps credentials for the probe and hides them from people", function()
    local t = assert(target.parse("https://user:hunter2@h/x?token=abc", "http"))
    assert.equal("https://user:hunter2@h/x?token=abc", t.args[1].url)
    assert.equal("https://***@h/x?token=***", t.target)
    assert.equal("https://***@h/x?token=***", t.name)
  end)
end)

describe("flaw 15: a target that cannot be parsed is an error with the place and the reason", function()
  local bad = {
    { "", "http", "it is empty" },
    { "   ", "tcp", "it is empty" },
    { "htps://x", "http", "unknown scheme 'htps', did you mean 'https'?" },
    { "ftp://x", nil, "unknown scheme 'ftp'" },
    { "example.com", nil, "no scheme" },
    { "://x", "http", "scheme" },
    { "https://", "http", "the host is empty" },
    { "https:///path", "http", "the host is empty" },
    { "https://h:99999/", "http", "expected a port from 1 to 65535, got '99999'" },
    { "https://h:/", "http", "expected a port" },
    { "https://a b/", "http", "blank" },
    { "h:0", "tcp", "expected a port" },
    { "h:80:90", "tcp", "neither host:port nor an IPv6 address" },
    { "udp://h:53", "tcp", "udp:// is not a target of type tcp, which takes tcp, tls, ssh" },
    { "tcp://***@h:53", "tcp", "takes no user name" },
    { "tcp://h:53/path", "tcp", "takes no path" },
    { "h:80", "icmp", "icmp has no ports, leave out ':80'" },
    { "8.8.8", "icmp", "neither a host name nor an IPv4 address" },
    { "256.1.1.1", "icmp", "neither a host name nor an IPv4 address" },
    { "; rm -rf /", "icmp", "blank" },
    { "$(id)", "icmp", "in the host name" },
    { "dns://", "udp", "the name to ask for is empty" },
    { "dns://example.com:53", "udp", "stands where the server belongs" },
    { "dns://example.com@", "udp", "the server: the host is empty" },
    { "dns://example.com?type=WAT", "udp", "unknown record type 'WAT'" },
    { "dns://example.com?typ=A", "udp", "did you mean 'type'?" },
    { "dns://9.9.9.9/example.com", "udp", "write dns://name@server" },
    { "dns://a..b", "udp", "empty" },
    { "x\0y", "tcp", "control character" },
    { ("x"):rep(9000), "tcp", "longer than 8192 bytes" },
    { nil, "tcp", "got nothing" },
    { 5, "tcp", "got a number" },
    { {}, "tcp", "got nothing" },
    { { 5 }, "tcp", "got a number" },
    { { "a", "b" }, "tcp", "one target each" },
    { { "a", target = "b" }, "tcp", "give the target once" },
    { { "a", name = "" }, "tcp", "'name' must be" },
    { { "https://h", url = "https://i" }, "http", "'url' is the target's text" },
    { { "dns://n?type=A", type = "AAAA" }, "udp", "'type' is given twice" },
  }
  for i = 1, #bad do
    local text, default_type, reason = bad[i][1], bad[i][2], bad[i][3]
    it(reason .. " (" .. i .. ")", function()
      local t, message = target.parse(text, default_type)
      assert.is_nil(t)
      assert.truthy(message:find(reason, 1, true), message)
      assert.is_true(#message < 500)
      if type(text) == "string" and #text < 100 and not text:find("%c") then
        assert.truthy(message:find('target "' .. text .. '"', 1, true), message)
      end
    end)
  end

  it("without showing a password", function()
    for _, text in ipairs { "https://u:secret@h:99999/", "https://u:se/secret@h", "https://u:s secret@h", "tcp://u:secret@h:1", "htps://u:secret@h",
      "https://u:" .. ("secret"):rep(60) .. "@h:99999" } do
      local t, message = target.parse(text)
      assert.is_nil(t)
      assert.is_nil(message:find("secret", 1, true), message)
    end
  end)
end)
