--- Redaction: no credential leaves the program by a log line, a result or a message.
-- Used wherever a target, a URL, headers or an error text is shown or stored.

local redact = {}

--- What stands in place of a secret.
redact.MASK = "***"

-- Query and header names whose value is a secret, in lower case, without "-" and "_".
local SECRET = {}
for name in ([[ token accesstoken refreshtoken idtoken authtoken apitoken bearer jwt apikey apisecret key accesskey
  secret secretkey clientsecret privatekey subscriptionkey ocpapimsubscriptionkey password passwd passphrase pass pwd
  auth authorization proxyauthorization credential credentials signature sig session sessionid sid cookie setcookie
  mfacode otp xapikey xauthtoken xamzsignature xamzcredential xamzsecuritytoken xgoogsignature ]]):gmatch("%S+") do
  SECRET[name] = true
end

--- Whether a query key, header or field of this name holds a secret.
-- @param name string; case, "-" and "_" do not matter, nor does percent-encoding.
function redact.is_secret(name)
  local plain = name:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  return SECRET[(plain:lower():gsub("[-_]", ""))] == true
end

local function mask_pair(mark, key, value)
  if value ~= "" and redact.is_secret(key) then
    return mark .. key .. "=" .. redact.MASK
  end
end

--- Hides the credentials of every URL in a text: the user part before `@`, and the values of query and fragment keys
-- with a well-known secret name. `dns://name@server` is left alone, its `@` means something else.
-- @param text string (anything else is returned as it came).
-- @return the text without secrets.
function redact.text(text)
  if type(text) ~= "string" then
    return text
  end
  -- In a sentence a URL ends at a blank or a quote; the user part ends at the last "@" before the path. The search
  -- goes from "://" backwards: a pattern that begins with the scheme takes quadratic time on a long word.
  local out, done = {}, 1
  local mark = text:find("://", 1, true)
  while mark do
    local scheme = text:sub(math.max(done, mark - 20), mark - 1):match("%a[%w+.-]*$")
    local at = text:match("^[^/?#%s\"'<>]*@()", mark + 3)
    if scheme and scheme:lower() ~= "dns" and at then
      out[#out + 1] = text:sub(done, mark + 2) .. redact.MASK .. "@"
      done = at
    end
    mark = text:find("://", math.max(mark + 3, done), true)
  end
  text = table.concat(out) .. text:sub(done)
  return (text:gsub("([?&;#])([%w_.%%-]+)=([^&;#%s\"'<>]*)", mask_pair))
end

--- Hides credentials in something that was meant to be one target and may not even be a URL: all between `://` and the
-- last `@` goes, blanks and slashes included, because that is where a badly written password ends up.
-- @param text string. @return string.
function redact.target(text)
  if not text:find("[@?&;#]") and not text:find("^%s") then
    return text -- there is no place for a secret, as in most
  end
  local scheme, rest = text:match("^%s*(%a[%w+.-]*)://(.*)$")
  if scheme and scheme:lower() ~= "dns" then
    local authority = rest:match("^[^/?#]*")
    local plain = authority:match("^[%w_.-]+$") or authority:match("^[%w_.-]+:%d*$") or authority:match("^%[[%x:.%%%w]+%]:?%d*$")
    -- A "@" behind the path belongs to the path, unless what comes before the path cannot be host and port.
    if authority:find("@", 1, true) then
      rest = authority:gsub("^.*@", redact.MASK .. "@") .. rest:sub(#authority + 1)
    elseif not plain then
      rest = rest:gsub("^.*@", redact.MASK .. "@")
    end
    text = scheme .. "://" .. rest
  elseif not scheme then
    local front = text:match("^[^/]*")
    local colon, at = front:find(":", 1, true), front:find("@[^@]*$")
    if colon and at and colon < at then
      text = redact.MASK .. text:sub(at)
    end
  end
  return redact.text(text)
end

-- Flags whose value is a secret or may be one, and how it is hidden.
local FLAGS = {}
FLAGS["--user"] = function() return redact.MASK end
FLAGS["--header"] = function(value)
  local name = value:match("^%s*([^:%s]+)%s*:")
  return name and redact.is_secret(name) and ("%s: %s"):format(name, redact.MASK) or redact.text(value)
end
FLAGS["-u"], FLAGS["-H"] = FLAGS["--user"], FLAGS["--header"]

local function argument(word, before)
  local flag, value = word:match("^(%-%-[%w-]+)=(.*)$")
  if not flag then
    flag, value = word:match("^(%-[uH])(.+)$")
  end
  if FLAGS[before] then
    return FLAGS[before](word)
  elseif FLAGS[flag] then
    return word:sub(1, #word - #value) .. FLAGS[flag](value)
  elseif word:find("%s") then
    return redact.text(word)
  elseif value then
    return word:sub(1, #word - #value) .. redact.target(value)
  end
  return redact.target(word)
end

--- What others may see of a command line.
-- @param words list of its words. @return {[i] = text}: for each word with a secret in it, the word without.
function redact.arguments(words)
  local hidden = {}
  for i, word in ipairs(words) do
    local shown = argument(word, words[i - 1])
    if shown ~= word then
      hidden[i] = shown
    end
  end
  return hidden
end

--- Copies a table of headers (name to value, or name to list of values) with the values of secret ones hidden and the
-- URLs in the others redacted. @return a new table.
function redact.headers(headers)
  local out = {}
  for name, value in next, headers do
    if type(name) == "string" and redact.is_secret(name) then
      out[name] = redact.MASK
    elseif type(value) == "table" then
      out[name] = redact.headers(value)
    else
      out[name] = redact.text(value)
    end
  end
  return out
end

return redact
