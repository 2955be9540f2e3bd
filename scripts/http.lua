-- waddle http URL...: one request each, phase by phase, with redirects and certificates.
local cli = require "waddle.cli"

-- "Name: value" lines of -H.
local function read_headers(lines)
  local headers = {}
  for _, line in ipairs(lines) do
    local name, value = line:match("^([^%s:]+):%s*(.-)%s*$")
    if not name then
      return nil, ("-H: expected 'Name: value', got '%s'"):format(line)
    end
    headers[name] = value
  end
  return headers
end

-- -d TEXT, -d @FILE or -d @- (standard input).
local function read_body(words)
  local name = words and words:match("^@(.+)$")
  if not name then
    return words
  end
  local file, err = io.stdin, nil
  if name ~= "-" then
    file, err = io.open(name, "rb")
  end
  if not file then
    return nil, "-d: " .. err
  end
  return file:read("a")
end

return cli.probe_command {
  name = "http",
  help = "Measure an HTTP request phase by phase.",
  examples = {"waddle http https://example.com", "waddle http --http-version 3 https://example.com",
    "waddle http -X POST -H 'Content-Type: application/json' -d '{\"a\":1}' https://api.example.com/items",
    "waddle http --jsonl https://a.example https://b.example | jq .timings"},
  probe = "http.request",
  argument = {"URL", "What to request; http:// where no scheme is named."},
  target = function(words) return words:find("^%a[%w+.-]*://") and words or "http://" .. words end,
  flags = function(parser)
    parser:option("--http-version", "HTTP version; auto takes 2 where the server offers it."):choices {"auto", "1.1", "2", "3"}:default("auto")
    parser:option("-X --method", "Request method; POST where there is a body, else GET."):argname("METHOD")
    parser:option("-H --header", "Request header; may be repeated."):argname("'NAME: VALUE'"):count("*")
    parser:option("-d --data", "Request body; @FILE reads it from a file, @- from standard input."):argname("BODY")
    parser:option("-u --user", "Basic credentials, USER:PASSWORD; never sent on to another server."):argname("USER:PASSWORD")
    parser:option("--follow", "Redirects to follow at most."):default("10"):convert(cli.integer):argname("N")
    parser:option("--proxy", "Proxy to go through; '' for none. By default that of the environment."):argname("URL")
    parser:option("--cert", "Client certificate, a PEM file."):argname("FILE")
    parser:option("--key", "Key of the client certificate, a PEM file."):argname("FILE")
    cli.certificate_flags(parser)
  end,
  options = function(args)
    local headers, wrong_header = read_headers(args.header)
    local body, wrong_body = read_body(args.data)
    if wrong_header or wrong_body then
      return nil, wrong_header or wrong_body
    end
    local user, password = (args.user or ""):match("^([^:]*):?(.*)$")
    return {
      version = args.http_version, method = args.method or body and "POST" or nil, headers = headers, body = body,
      auth = args.user and {user = user, password = password} or nil, follow = args.follow, proxy = args.proxy,
      tls = {ca = args.ca, cert = args.cert, key = args.key, verify = not args.insecure},
    }
  end,
}
