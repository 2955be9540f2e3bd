# peers.sh: sourced by run.sh; start_peers DIR WADDLE-PEER starts the servers that the specs talk to, on free ports, and exports where they are.
#
#   variable                         what listens there (127.0.0.1:PORT; the same port on [::1] too, unless marked with *)
#   WADDLE_PEER_DIR                  the folder of this run: certificates in certs/, configurations, logs; gone afterwards
#   WADDLE_PEER_CA                   the authority to trust; the other certificates are listed in certs.sh
#   WADDLE_PEER_CLIENT_CERT _KEY     a client's certificate
#   WADDLE_PEER_LOG                  what clients did at waddle-peer (support/peer/log.c says how lines look; spec.lua reads them)
#   WADDLE_PEER_<SERVICE>            every service of waddle-peer: TCP_SILENT, HTTP, UDP_ECHO, DNS_TC ... (support/peer/*.c list them)
#   WADDLE_PEER_NGINX_HTTP           /          200 "ok\n"                    /bytes/1k /bytes/1m      files
#                                    /redirect  302 to /                      /to-tls   301 to NGINX_TLS
#                                    /basic     200 for user:secret, else 401 /headers  200 with the X-Test header as body
#                                    /proto     200 with "HTTP/2.0" and the like /empty 204
#   WADDLE_PEER_NGINX_TLS            the same over TLS with HTTP/2 and 1.1 by ALPN; /client 200 with a client certificate, else 403
#   WADDLE_PEER_NGINX_H1             the same over TLS without HTTP/2
#   WADDLE_PEER_TLS_RSA _CHAIN _LONELY _FUTURE _UNTRUSTED   nginx with that certificate of certs.sh
#   WADDLE_PEER_TLS12                nginx, TLS 1.2 only
#   WADDLE_PEER_MTLS                 nginx; without a client certificate: 400
#   WADDLE_PEER_UNIX                 path of a Unix socket where nginx speaks HTTP
#   WADDLE_PEER_CADDY_H3             HTTP/3 on UDP, 2 and 1.1 on TCP, certificate `good`, for the names localhost, peer.test, 127.0.0.1 and ::1:
#                                    / /proto /headers /redirect and /bytes/... as above
#   WADDLE_PEER_TLS_EXPIRED* _WRONG_NAME* _SELF_SIGNED* _OLD*   openssl s_server; OLD speaks TLS 1.0 and 1.1 only. One client at a time
#   WADDLE_PEER_SSH                  dropbear
#   WADDLE_PEER_UNBOUND              DNS over UDP and TCP, see zones() below; in the private network also on port 53
#
# A server that cannot be started is reported, and WADDLE_PEER_<NAME>_MISSING holds the reason in place of WADDLE_PEER_<NAME>.
# shellcheck shell=sh

pids=
ports=
READY_SECONDS=30 # a busy machine is slow, a broken server ends at once

# background COMMAND...: starts a process, remembers it in $pids, and lets it die with this shell where setpriv knows how. $! is its id.
background() {
  if [ -n "$leash" ]; then
    setpriv --pdeathsig KILL -- "$@" &
  else
    "$@" &
  fi
  pids="$pids $!"
}

if setpriv --pdeathsig KILL -- true 2>/dev/null; then leash=yes; else leash=; fi

stop_peers() {
  for pid in $pids; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  for pid in $pids; do
    wait "$pid" 2>/dev/null || true
  done
  pids=
}

upper() {
  printf '%s' "$1" | tr '[:lower:]' '[:upper:]'
}

# missing "NAME..." REASON: these peers do not exist in this run.
missing() {
  echo "run.sh: without $1: $2" >&2
  for name in $1; do
    export "WADDLE_PEER_$(upper "$name")_MISSING=$2"
  done
}

found() {
  export "WADDLE_PEER_$(upper "$1")=$2"
}

# program NAME...: the path of the first that is installed, daemons' folders included.
program() {
  for name in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$name" && return 0
  done
  return 1
}

# bound tcp|udp PORT: whether somebody listens there, read from the kernel's tables, so that no server is disturbed by a look.
bound() {
  awk -v port="$(printf '%04X' "$2")" -v state="$([ "$1" = tcp ] && echo 0A || echo 07)" '
    { n = split($2, local, ":"); if (local[n] == port && (state == "07" || $4 == state)) found = 1 }
    END { exit !found }' "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null
}

# new_port: sets $port to one that nobody uses, below the range from which the kernel gives ports to clients.
new_port() {
  while :; do
    port=$((10000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
    case " $ports " in
    *" $port "*) continue ;;
    esac
    bound tcp $port || bound udp $port || break
  done
  ports="$ports $port"
}

# ready PID tcp|udp PORT: waits until the port is bound; fails when the process has ended or time is up.
ready() {
  deadline=$(($(date +%s) + READY_SECONDS))
  until bound "$2" "$3"; do
    kill -0 "$1" 2>/dev/null || return 1
    [ "$(date +%s)" -lt $deadline ] || return 1
    sleep 0.02
  done
}

# why LOG: the last line of a server's log, for a report.
why() {
  tail -n 1 "$1" 2>/dev/null | cut -c 1-200
}

# ---- nginx ------------------------------------------------------------------------------------------------------------------------------

# nginx_server CERTIFICATE PORT PARAMETER...: one TLS server block; further directives come on standard input.
nginx_server() {
  cat <<TEXT
server {
  listen 127.0.0.1:$2 ssl $3; ${six:+listen [::1]:$2 ssl $3;}
  ssl_certificate $dir/certs/$1.pem; ssl_certificate_key $dir/certs/$1.key;
  include $dir/nginx-locations.conf;
$(cat)
}
TEXT
}

nginx_config() {
  cat >"$dir/nginx-locations.conf" <<TEXT
location = / { return 200 "ok\n"; }
location = /empty { return 204; }
location = /redirect { return 302 /; }
location = /to-tls { return 301 https://localhost:$tls_port/; }
location = /headers { return 200 "\$http_x_test"; }
location = /proto { return 200 "\$server_protocol"; }
location = /basic { auth_basic peer; auth_basic_user_file $dir/users; try_files /ok.txt =404; }
location /bytes/ { root $dir/www; }
root $dir/www;
TEXT
  cat <<TEXT
error_log $dir/nginx.log;
pid $dir/nginx.pid;
daemon off;
master_process off;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path $dir/nginx-tmp; proxy_temp_path $dir/nginx-tmp; fastcgi_temp_path $dir/nginx-tmp;
  uwsgi_temp_path $dir/nginx-tmp; scgi_temp_path $dir/nginx-tmp;
  ssl_protocols TLSv1.2 TLSv1.3;
  default_type text/plain;
  keepalive_requests 100000;
  server {
    listen 127.0.0.1:$http_port; ${six:+listen [::1]:$http_port;} listen unix:$dir/nginx.sock;
    include $dir/nginx-locations.conf;
  }
TEXT
  nginx_server good "$tls_port" http2 <<TEXT
  ssl_client_certificate $dir/certs/ca.pem; ssl_verify_client optional;
  location = /client { if (\$ssl_client_verify != SUCCESS) { return 403; } return 200 "\$ssl_client_s_dn"; }
TEXT
  nginx_server good "$h1_port" "" </dev/null
  for name in $nginx_certificates; do
    eval "nginx_server $name \$${name}_port http2" </dev/null
  done
  echo 'ssl_protocols TLSv1.2;' | nginx_server good "$tls12_port" http2
  echo "ssl_client_certificate $dir/certs/ca.pem; ssl_verify_client on;" | nginx_server good "$mtls_port" http2
  echo '}'
}

nginx_certificates="rsa chain lonely future untrusted"

start_nginx() {
  tls_names=$(for name in $nginx_certificates; do printf 'tls_%s ' "$name"; done)
  all="nginx_http nginx_tls nginx_h1 $tls_names tls12 mtls unix"
  nginx=$(program nginx) || { missing "$all" "nginx is not installed"; return; }
  for name in $nginx_certificates; do
    new_port
    eval "${name}_port=$port"
  done
  new_port; http_port=$port
  new_port; tls_port=$port
  new_port; h1_port=$port
  new_port; tls12_port=$port
  new_port; mtls_port=$port
  mkdir -p "$dir/nginx-tmp" "$dir/www/bytes"
  echo ok >"$dir/www/ok.txt"
  head -c 1024 /dev/zero | tr '\0' x >"$dir/www/bytes/1k"
  head -c 1048576 /dev/zero | tr '\0' x >"$dir/www/bytes/1m"
  printf 'user:%s\n' "$(openssl passwd -apr1 secret)" >"$dir/users"
  nginx_config >"$dir/nginx.conf"
  background "$nginx" -e "$dir/nginx.log" -p "$dir" -c "$dir/nginx.conf" 2>"$dir/nginx.err"
  if ! ready $! tcp "$http_port"; then
    missing "$all" "nginx does not start: $(why "$dir/nginx.err")"
    tls_port=
    return
  fi
  found nginx_http "127.0.0.1:$http_port"
  found nginx_tls "127.0.0.1:$tls_port"
  found nginx_h1 "127.0.0.1:$h1_port"
  for name in $nginx_certificates; do
    eval "found tls_$name 127.0.0.1:\$${name}_port"
  done
  found tls12 "127.0.0.1:$tls12_port"
  found mtls "127.0.0.1:$mtls_port"
  found unix "$dir/nginx.sock"
}

# ---- caddy ------------------------------------------------------------------------------------------------------------------------------

start_caddy() {
  caddy=$(program caddy) || { missing caddy_h3 "caddy is not installed"; return; }
  new_port
  cat >"$dir/Caddyfile" <<TEXT
{
  admin off
  auto_https disable_redirects
  default_sni localhost
}
https://localhost:$port, https://127.0.0.1:$port, https://[::1]:$port, https://peer.test:$port {
  bind 127.0.0.1 ${six:+::1}
  tls $dir/certs/good.pem $dir/certs/good.key
  respond / "ok
"
  respond /proto "{http.request.proto}"
  respond /headers "{http.request.header.X-Test}"
  redir /redirect / 302
  file_server /bytes/* {
    root $dir/www
  }
}
TEXT
  background env HOME="$dir" XDG_DATA_HOME="$dir" XDG_CONFIG_HOME="$dir" "$caddy" run --adapter caddyfile --config "$dir/Caddyfile" \
    >"$dir/caddy.log" 2>&1
  caddy_port=$port caddy_pid=$!
}

# Caddy takes half a second; the others start meanwhile.
await_caddy() {
  [ -n "${caddy_port:-}" ] || return 0
  if ready "$caddy_pid" udp "$caddy_port" && ready "$caddy_pid" tcp "$caddy_port"; then
    found caddy_h3 "127.0.0.1:$caddy_port"
  else
    missing caddy_h3 "caddy does not start: $(why "$dir/caddy.log")"
  fi
}

# ---- openssl s_server -------------------------------------------------------------------------------------------------------------------

# s_server NAME CERTIFICATE OPTION...
s_server() {
  peer=$1 certificate=$2
  shift 2
  new_port
  background openssl s_server -accept "127.0.0.1:$port" -www -cert "$dir/certs/$certificate.pem" -key "$dir/certs/$certificate.key" "$@" \
    </dev/null >"$dir/$peer.log" 2>&1
  if ready $! tcp "$port"; then
    found "$peer" "127.0.0.1:$port"
  else
    missing "$peer" "openssl s_server does not start: $(why "$dir/$peer.log")"
  fi
}

start_s_servers() {
  s_server tls_expired expired
  s_server tls_wrong_name wrong_name
  s_server tls_self_signed self_signed
  # Below security level 1 OpenSSL still has the old versions (SSL_CTX_set_security_level(3)).
  s_server tls_old rsa -min_protocol TLSv1 -max_protocol TLSv1.1 -cipher DEFAULT:@SECLEVEL=0
}

# ---- dropbear ---------------------------------------------------------------------------------------------------------------------------

start_dropbear() {
  if ! dropbear=$(program dropbear) || ! dropbearkey=$(program dropbearkey); then
    missing ssh "dropbear is not installed"
    return
  fi
  new_port
  "$dropbearkey" -t ed25519 -f "$dir/dropbear.key" >"$dir/dropbear.log" 2>&1
  background "$dropbear" -F -E -r "$dir/dropbear.key" -P "$dir/dropbear.pid" -p "127.0.0.1:$port" ${six:+-p "[::1]:$port"} >>"$dir/dropbear.log" 2>&1
  if ready $! tcp "$port"; then
    found ssh "127.0.0.1:$port"
  else
    missing ssh "dropbear does not start: $(why "$dir/dropbear.log")"
  fi
}

# ---- unbound ----------------------------------------------------------------------------------------------------------------------------

# What unbound knows. servfail.test and late.test are answered by waddle-peer behind it.
zones() {
  cat <<'TEXT'
  local-zone: "zone.test." static
  local-data: "zone.test. 300 IN SOA ns1.zone.test. hostmaster.zone.test. 7 3600 600 86400 300"
  local-data: "zone.test. 300 IN NS ns1.zone.test."
  local-data: "zone.test. 300 IN NS ns2.zone.test."
  local-data: "zone.test. 300 IN MX 10 mail.zone.test."
  local-data: "zone.test. 300 IN MX 20 mail2.zone.test."
  local-data: "zone.test. 300 IN TXT 'v=spf1 -all'"
  local-data: "zone.test. 300 IN CAA 0 issue 'ca.test'"
  local-data: "ns1.zone.test. 300 IN A 127.0.0.1"
  local-data: "a.zone.test. 300 IN A 127.0.0.1"
  local-data: "aaaa.zone.test. 300 IN AAAA ::1"
  local-data: "both.zone.test. 300 IN A 127.0.0.1"
  local-data: "both.zone.test. 300 IN AAAA ::1"
  local-data: "two.zone.test. 300 IN A 127.0.0.1"
  local-data: "two.zone.test. 300 IN A 127.0.0.2"
  local-data: "text.zone.test. 300 IN TXT 'two' 'strings'"
  local-data: "_sip._tcp.zone.test. 300 IN SRV 1 2 5060 a.zone.test."
  local-data: "alias.zone.test. 300 IN CNAME a.zone.test."
  local-data: "ghost.zone.test. 300 IN A 192.0.2.77"
  local-zone: "1.0.0.127.in-addr.arpa." static
  local-data-ptr: "127.0.0.1 300 peer.zone.test"
  local-zone: "search.test." static
  local-data: "short.search.test. 300 IN A 127.0.0.1"
  local-data: "dotted.name.search.test. 300 IN A 127.0.0.1"
  local-zone: "refused.test." refuse
  local-zone: "servfail.test." transparent
  local-zone: "late.test." transparent
TEXT
  # 20 strings of 100 characters: over 1232 bytes, over 512 many times
  i=0
  while [ $i -lt 20 ]; do
    printf '  local-data: "big.zone.test. 300 IN TXT %s"\n' "$(printf '%03d' $i | awk '{ s = $1; while (length(s) < 100) s = s "x"; print s }')"
    i=$((i + 1))
  done
}

unbound_config() {
  cat <<TEXT
server:
  interface: 127.0.0.1@$port
${six:+  interface: ::1@$port}
${WADDLE_PEER_PRIVATE:+  interface: 127.0.0.1@53}
  directory: "$dir"
  chroot: ""
  username: ""
  pidfile: "$dir/unbound.pid"
  logfile: "$dir/unbound.log"
  use-syslog: no
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  root-hints: ""
  edns-buffer-size: 1232
  max-udp-size: 1232
  cache-max-ttl: 0
  unblock-lan-zones: yes
$(zones)
remote-control:
  control-enable: no
forward-zone:
  name: "servfail.test."
  forward-addr: 127.0.0.1@${WADDLE_PEER_DNS_SERVFAIL##*:}
forward-zone:
  name: "late.test."
  forward-addr: 127.0.0.1@${WADDLE_PEER_DNS_LATE_300##*:}
TEXT
}

start_unbound() {
  unbound=$(program unbound) || { missing unbound "unbound is not installed"; return; }
  new_port
  unbound_config >"$dir/unbound.conf"
  background "$unbound" -d -p -c "$dir/unbound.conf" >>"$dir/unbound.log" 2>&1
  if ready $! udp "$port" && ready $! tcp "$port"; then
    found unbound "127.0.0.1:$port"
  else
    missing unbound "unbound does not start: $(why "$dir/unbound.log")"
  fi
}

# ---- waddle-peer ------------------------------------------------------------------------------------------------------------------------

# It says itself where it listens; the list ends with an empty line.
start_waddle_peer() {
  # shellcheck disable=SC2086 # no port is no argument
  background "$1" "$dir/waddle-peer.log" ${tls_port:-} >"$dir/waddle-peer.ports"
  until grep -q '^$' "$dir/waddle-peer.ports"; do
    kill -0 $! 2>/dev/null || { echo "run.sh: $1 does not start" >&2; return 1; }
    sleep 0.02
  done
  while IFS='=' read -r name at && [ -n "$name" ]; do
    case "${tls_port:-no} $name" in
    "no smtp" | "no smtp_injected" | "no imap" | "no pop3" | "no ftp" | "no postgres") missing "$name" "no nginx behind it" ;;
    *) found "$name" "127.0.0.1:$at" ;;
    esac
  done <"$dir/waddle-peer.ports"
  export WADDLE_PEER_LOG="$dir/waddle-peer.log"
}

start_peers() {
  dir=$1
  # where the machine has no ::1, nothing listens there
  if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; then six=yes; else six=; fi
  make_certs "$dir/certs" >"$dir/certs.log" 2>&1 || { cat "$dir/certs.log" >&2; return 1; }
  export WADDLE_PEER_DIR="$dir" WADDLE_PEER_CA="$dir/certs/ca.pem"
  export WADDLE_PEER_CLIENT_CERT="$dir/certs/client.pem" WADDLE_PEER_CLIENT_KEY="$dir/certs/client.key"
  start_caddy
  start_nginx
  start_waddle_peer "$2" || return 1
  start_s_servers
  start_dropbear
  start_unbound
  await_caddy
}
