-- The reference client's flaws in its TCP, TLS and SSH tests, by their numbers in its list; each spec fails on the flaw.

local spec = require "tests.support.spec"
local ssh = require "waddle.ssh"
local task = require "waddle.task"
local tcp = require "waddle.tcp"
local tls = require "waddle.tls"

describe("flaw 4: targets ran one after another", function()
  it("is not so for tcp, tls and ssh: silence costs one timeout, not one a target", function()
    local target = spec.peer("tcp_silent")
    local began = task.now()
    local results = task.map({tls.connect, ssh.connect, tls.connect, ssh.connect, tls.connect, ssh.connect}, function(probe)
      return probe(target, {timeout = 0.5})
    end)
    assert.is_true(task.now() - began < 1.5)
    for i = 1, results.n do
      assert.equal("timeout", results[i].error)
    end
  end)
end)

describe("flaw 7: a timeout stored a constant as the latency, a failure 0", function()
  it("is not so: a failure has no latency, and phases that did not run are absent", function()
    local silent = spec.peer("tcp_silent")
    for _, result in ipairs {
      tcp.connect("127.0.0.1:1"), tls.connect("127.0.0.1:1"), ssh.connect("127.0.0.1:1"),
      tls.connect(silent, {timeout = 0.05}), ssh.connect(silent, {timeout = 0.05}),
    } do
      assert.is_false(result.success)
      assert.is_string(result.error)
      assert.is_nil(result.latency_ms)
      for _, ms in pairs(result.timings) do
        assert.is_true(ms > 0)
      end
    end
  end)
end)

describe("flaw 12: no IPv6", function()
  it("is not so for tcp, tls and ssh", function()
    assert.equal("::1", tcp.connect((spec.peer("tcp_silent", "::1"))).target_ip)
    assert.is_true(tls.connect((spec.peer("nginx_tls", "::1")), {ca = spec.value("ca")}).success)
    assert.is_true(ssh.connect((spec.peer("ssh_good", "::1"))).success)
  end)
end)

describe("flaw 13: TCP latency contained two DNS look-ups", function()
  -- A name server that answers after 300 ms, and notes what it is asked.
  it("is not so: the name is looked up once, timed apart, and the latency is the connection's", function()
    local _, _, dns = spec.peer("dns_late_300")
    local _, _, port = spec.peer("tcp_silent")
    local mark = spec.mark()
    local result = tcp.connect("once.test:" .. port, {family = 4, resolver = {server = "127.0.0.1:" .. dns}})
    assert.is_nil(result.error_detail)
    assert.is_true(result.success)
    assert.equal(1, spec.count(spec.log("dns_late_300", mark), "query"))
    assert.is_true(result.timings.dns_ms >= 290)
    assert.is_true(result.latency_ms < 290)
    assert.equal(result.timings.connect_ms, result.latency_ms)
  end)
end)

describe("flaw 14: any banner, or none, was a good SSH server", function()
  it("is not so: a mail server is none", function()
    local result = ssh.connect((spec.peer("ssh_wrong")))
    assert.is_false(result.success)
    assert.equal("protocol", result.error)
  end)

  it("is not so: a silent port is none", function()
    local result = ssh.connect((spec.peer("tcp_silent")), {banner_timeout = 0.05})
    assert.is_false(result.success)
    assert.equal("timeout", result.error)
    assert.is_nil(result.latency_ms)
  end)

  it("is not so: SSH-1.5 is none, SSH-1.99 is one", function()
    assert.equal("protocol", ssh.connect((spec.peer("ssh_one"))).error)
    assert.is_true(ssh.connect((spec.peer("ssh_199"))).success)
  end)
end)
