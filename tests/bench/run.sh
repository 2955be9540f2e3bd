#!/bin/sh
# run.sh [--json] [--quick] [ROW...]: the benchmarks of rows.lua: each figure of waddle beside the peer's and a bare loop's, taken in the same run, and its
# limit. --quick runs everything once and shorter; names select rows. Prints a table, or with --json one document; exit code 1 when a limit is missed or a row fails.
#
# Everything happens in a network namespace that has a loopback alone, as root of the machine or of a user namespace. Where neither can be had, the rows
# that need it are left out. Peers that are not installed are left out too; ./dev bench installs them. All of it takes about thirteen minutes.
set -eu
cd "$(dirname "$0")/../.."
build=$PWD/build

if [ -z "${BENCH_INSIDE:-}" ]; then
  export BENCH_INSIDE=yes
  for own in "unshare --net" "unshare --map-root-user --net"; do
    if $own -- ip link set lo up 2>/dev/null; then
      export BENCH_NETNS=yes
      exec $own -- sh "$0" "$@"
    fi
  done
  export BENCH_NETNS_MISSING="no network namespace: neither as root nor as root of a user namespace"
fi

export BENCH_WADDLE="${WADDLE:-$build/waddle}" BENCH_DIR=tests/bench BENCH_BARE="$build/bench" BENCH_PLOT="$build/bench.svg"
work=$(mktemp -d)
export BENCH_WORK="$work"
pids=
# shellcheck disable=SC2317 # called by the trap
finish() {
  for pid in $pids; do
    kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

found() { export "BENCH_$(echo "$1" | tr '[:lower:]' '[:upper:]')=$2"; }
PATH=$PATH:/usr/sbin:/sbin
for program in fping wrk dnsperf gnuplot; do
  if path=$(command -v "$program"); then found "$program" "$path"; else found "${program}_missing" "$program is not installed"; fi
done

# the simulated internet of the accuracy rows
if [ -x "$build/tests/waddle-sim" ]; then found sim "$build/tests/waddle-sim"; else found sim_missing "waddle-sim is not built"; fi
found versions "$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' fping prometheus-blackbox-exporter dnsperf wrk iputils-ping curl nginx unbound \
  2>/dev/null | awk '$1 == "installed" { printf "%s %s ", $2, $3 }')"

# server NAME PORT COMMAND...: starts a server of the private network and waits until it listens; BENCH_NAME is its port, BENCH_NAME_PID itself.
server() {
  name=$1
  port=$2
  shift 2
  if [ -z "${BENCH_NETNS:-}" ]; then found "${name}_missing" "$BENCH_NETNS_MISSING"; return; fi
  if ! command -v "$1" >/dev/null; then found "${name}_missing" "$1 is not installed"; return; fi
  setpriv --pdeathsig KILL -- "$@" >"$work/$name.log" 2>&1 &
  pids="$pids $!"
  found "${name}_pid" $!
  until grep -qi "0100007F:$(printf %04X "$port") 00000000:0000 0A" /proc/net/tcp; do
    if ! kill -0 $! 2>/dev/null; then found "${name}_missing" "$1 does not start: $(tail -n 1 "$work/$name.log")"; return; fi
    sleep 0.05
  done
  found "$name" "$port"
}

if [ -n "${BENCH_NETNS:-}" ]; then
  ip link set lo up
  # ping sockets for everybody, which in a user namespace is one group; no TIME_WAIT, which triples the price of a connection after some thousands
  ip4=/proc/sys/net/ipv4
  if ! { { echo 0 2147483647 || echo 0 0; } >$ip4/ping_group_range && echo 0 >$ip4/tcp_max_tw_buckets; } 2>/dev/null; then
    unset BENCH_NETNS
    export BENCH_NETNS_MISSING="the settings of a network of our own cannot be changed here"
  fi
fi

mkdir "$work/nginx" # which nginx gives to its own user
cat >"$work/nginx.conf" <<TEXT
daemon off; master_process off; pid $work/nginx.pid; error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx; uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
  server { listen 127.0.0.1:8080 backlog=4096; location / { return 200 "ok\n"; } }
}
TEXT
cat >"$work/unbound.conf" <<TEXT
server:
  interface: 127.0.0.1@5353
  username: ""
  chroot: ""
  directory: "$work"
  pidfile: "$work/unbound.pid"
  do-daemonize: no
  use-syslog: no
  num-threads: 1
  so-rcvbuf: 4m
  module-config: "iterator"
  local-zone: "bench.test." static
  local-data: "www.bench.test. 300 IN A 192.0.2.1"
TEXT
cat >"$work/blackbox.yml" <<TEXT
modules:
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
  tcp: {prober: tcp, timeout: 5s, tcp: {preferred_ip_protocol: ip4}}
  http: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  dns: {prober: dns, timeout: 5s, dns: {preferred_ip_protocol: ip4, query_name: www.bench.test, query_type: A}}
TEXT
echo "www.bench.test A" >"$work/queries"
server nginx 8080 nginx -e stderr -c "$work/nginx.conf"
server unbound 5353 unbound -c "$work/unbound.conf"
server blackbox 9115 prometheus-blackbox-exporter --config.file="$work/blackbox.yml" --web.listen-address=127.0.0.1:9115

# list COUNT TEXT: TEXT COUNT times, with commas.
list() { seq "$1" | awk -v text="$2" '{ printf "%s%s", (NR > 1 ? "," : ""), text }'; }

: >"$work/ports"
setpriv --pdeathsig KILL -- "$BENCH_WADDLE" run tests/bench/peers.lua >"$work/ports" &
pids="$pids $!"
until grep -q '^ready$' "$work/ports"; do
  kill -0 $! || exit 2
  sleep 0.05
done
for name in http tcp udp manager; do
  found $name "$(sed -n "s/^$name=//p" "$work/ports")"
done
found targets "HTTP_TARGETS=$(list 50 "http://127.0.0.1:$BENCH_HTTP/") TCP_TARGETS=$(list 50 "127.0.0.1:$BENCH_TCP") \
UDP_TARGETS=$(list 20 "127.0.0.1:$BENCH_UDP") ICMP_TARGETS=$(list 20 127.0.0.1)"
found libraries "$(ldd "$BENCH_WADDLE" | awk '$3 ~ /^\// { printf "%s%s", (n++ ? ":" : ""), $3 }')"

# It waits for what it measures outside of its loop: no limit is meant for that.
"$BENCH_WADDLE" --budget cpu=0 run tests/bench/run.lua "$@"
