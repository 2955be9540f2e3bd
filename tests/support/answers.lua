-- Answers of name servers by hand, for servers that lie (RFC 1035 section 4): texts that serve.udp can send.

local answers = {}

answers.OK, answers.TRUNCATED = 0x8180, 0x8380 -- flags: an answer, recursion available; TC

--- address("192.0.2.1") -> the data of its A record.
function answers.address(ip)
  return string.char(ip:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
end

--- parse(query) -> {id, question (the section's bytes), kind, name}.
function answers.parse(query)
  local name, at = {}, 13
  while query:byte(at) and query:byte(at) > 0 do
    name[#name + 1] = query:sub(at + 1, at + query:byte(at))
    at = at + query:byte(at) + 1
  end
  local kind = string.unpack(">I2", query, at + 1)
  return {id = query:sub(1, 2), question = query:sub(13, at + 4), kind = kind, name = table.concat(name, ".")}
end

--- message(q, flags, records [, {id=, question=, additional=}]) -> an answer to q.
function answers.message(q, flags, records, more)
  more = more or {}
  return (more.id or q.id) .. string.pack(">I2I2I2I2I2", flags, 1, #records, 0, more.additional and 1 or 0) .. (more.question or q.question)
    .. table.concat(records) .. (more.additional or "")
end

--- record(kind, data [, ttl]) -> a record of the question's name.
function answers.record(kind, data, ttl)
  return "\xc0\x0c" .. string.pack(">I2I2I4s2", kind, 1, ttl or 60, data)
end

return answers
