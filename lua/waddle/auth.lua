--- How an upload proves who it is: the header of each AUTH_TYPE, and the manager's login. Pure: it makes requests and
-- reads answers, the uploader sends them.

local json = require "waddle.json"

local auth = {}

-- Renewed this much before the manager would forget the token, at most a tenth of its life.
local RENEW_BEFORE_S = 300
local DEFAULT_LIFE_S = 86400

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- Base64 of a text (RFC 4648 section 4).
function auth.base64(s)
  local out = {}
  for i = 1, #s, 3 do
    local a, b, c = s:byte(i, i + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    for shift = 18, 0, -6 do
      local index = bits >> shift & 63
      out[#out + 1] = ALPHABET:sub(index + 1, index + 1)
    end
    out[#out] = c and out[#out] or "="
    out[#out - 1] = b and out[#out - 1] or "="
  end
  return table.concat(out)
end

--- The header of an upload.
-- @param settings {type="none"|"jwt"|"apikey"|"userpass", token=, key=, user=, password=}.
-- @param login what `auth.read_login` returned last (userpass), or "basic" when the manager has no login route.
-- @return name, value; nothing when no header is needed; nil, "login" when userpass has to log in first.
function auth.header(settings, login)
  if settings.type == "jwt" then
    -- The manager takes the scheme word in exactly this case, and one space.
    return "Authorization", "Bearer " .. settings.token
  elseif settings.type == "apikey" then
    return "X-API-Key", settings.key
  elseif settings.type == "userpass" then
    if login == "basic" then
      return "Authorization", "Basic " .. auth.base64(settings.user .. ":" .. settings.password)
    elseif not login then
      return nil, "login"
    end
    return "Authorization", "Bearer " .. login.token
  end
end

--- The body of the login request, POSTed to `contract.url(manager_url, "auth/login")`.
function auth.login_body(settings)
  return assert(json.encode({ username = settings.user, password = settings.password, mfa_code = settings.mfa_code }, { sorted = true }))
end

--- Reads the answer to a login.
-- @param status HTTP status, nil for none. @param text body of the answer. @param now seconds of the caller's clock.
-- @return {token=, renew_at= seconds on that clock}; "basic" when there is no login route (404, 405); or nil, the kind
--   ("blocked": these credentials will not do; "again": a passing fault) and a message without secrets.
function auth.read_login(status, text, now)
  if status == 404 or status == 405 then
    return "basic"
  elseif status == 401 or status == 403 then
    local answer = json.decode(text or "", { max_bytes = 65536 })
    if type(answer) == "table" and answer.mfa_required == true then
      return nil, "blocked", "the manager asks for a second factor, give mfa_code"
    end
    return nil, "blocked", "the manager does not accept user and password"
  elseif status ~= 200 and status ~= 201 then
    local passing = status == nil or status == 408 or status == 425 or status == 429 or status >= 500
    return nil, passing and "again" or "blocked", status and ("login answered %d"):format(status) or "login was not answered"
  end
  local answer = json.decode(text or "", { max_bytes = 65536 })
  local token = type(answer) == "table" and answer.token
  if type(token) ~= "string" or not token:match("^[\33-\126]+$") then
    return nil, "blocked", "login answered without a token"
  end
  local life = answer.expires_in
  life = type(life) == "number" and life > 0 and life or DEFAULT_LIFE_S
  return { token = token, renew_at = now + life - math.min(RENEW_BEFORE_S, life / 10) }
end

return auth
