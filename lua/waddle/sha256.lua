--- SHA-256 (FIPS 180-4) of short texts: names and identities, not files and not secrets.

-- The first 32 bits of the fractional parts of roots of the first primes (sections 4.2.2 and 5.3.3), computed rather
-- than listed: cube roots for the rounds, square roots for the start. A double holds 53 bits, enough for both.
local ROUNDS, START = {}, {}
do
  local candidate = 2
  while #ROUNDS < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then
        prime = false
        break
      end
    end
    if prime then
      local function fraction(root)
        return math.floor(root % 1 * 2 ^ 32)
      end
      ROUNDS[#ROUNDS + 1] = fraction(candidate ^ (1 / 3))
      START[#START + 1] = #START < 8 and fraction(math.sqrt(candidate)) or nil
    end
    candidate = candidate + 1
  end
end

local function rotate(x, n)
  return (x >> n | x << (32 - n)) & 0xffffffff
end

local function compress(state, block, at)
  local w = { (">I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4"):unpack(block, at) }
  for i = 17, 64 do
    local a, b = w[i - 15], w[i - 2]
    local s0 = rotate(a, 7) ~ rotate(a, 18) ~ a >> 3
    local s1 = rotate(b, 17) ~ rotate(b, 19) ~ b >> 10
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) & 0xffffffff
  end
  local a, b, c, d, e, f, g, h = table.unpack(state)
  for i = 1, 64 do
    local s1 = rotate(e, 6) ~ rotate(e, 11) ~ rotate(e, 25)
    local t1 = h + s1 + (e & f ~ ~e & g) + ROUNDS[i] + w[i]
    local s0 = rotate(a, 2) ~ rotate(a, 13) ~ rotate(a, 22)
    local t2 = s0 + (a & b ~ a & c ~ b & c)
    h, g, f, e, d, c, b, a = g, f, e, (d + t1) & 0xffffffff, c, b, a, (t1 + t2) & 0xffffffff
  end
  local sums = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do
    state[i] = (state[i] + sums[i]) & 0xffffffff
  end
end

--- The digest of a text.
-- @param message string. @return 64 hexadecimal digits in lower case.
return function(message)
  local padded = message .. "\x80" .. ("\0"):rep((55 - #message) % 64) .. (">I8"):pack(#message * 8)
  local state = table.move(START, 1, 8, 1, {})
  for at = 1, #padded, 64 do
    compress(state, padded, at)
  end
  return ("%08x"):rep(8):format(table.unpack(state))
end
