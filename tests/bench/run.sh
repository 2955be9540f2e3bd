#!/bin/sh
# run.sh [--json]: the benchmarks: what a round of the agent costs, what a large body costs, how soon the first probe starts. Prints each figure with its
# limit and with what the reference client took (measured once, elsewhere), and beside them the same targets probed here and now with curl, bash and
# ping, one after another, as the reference does it; beside the memory, what the libraries take before a line of ours runs. With --json one document
# in place of the table. Exit code 1 when a limit is missed. Takes a little over a minute, most of it waiting for ping.
set -eu
cd "$(dirname "$0")/../.."
waddle=${WADDLE:-$PWD/build/waddle}
json=
case ${1:-} in
'') ;;
--json) json=yes ;;
*) echo "bench: no option '$1', expected --json" >&2; exit 2 ;;
esac

work=$(mktemp -d)
"$waddle" run tests/bench/peers.lua >"$work/ports" &
peers=$!
# shellcheck disable=SC2317 # called by the trap
finish() {
  kill "$peers" 2>/dev/null && wait "$peers" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
until grep -q '^ready$' "$work/ports"; do
  kill -0 "$peers" || exit 2
  sleep 0.05
done

port() { sed -n "s/^$1=//p" "$work/ports"; }
http=$(port http)
tcp=$(port tcp)
udp=$(port udp)

# list COUNT TEXT: TEXT COUNT times, with commas.
list() { seq "$1" | awk -v text="$2" '{ printf "%s%s", (NR > 1 ? "," : ""), text }'; }

# measured FILE COMMAND...: runs a command and writes its wall seconds, CPU seconds and resident KiB to FILE.
measured() {
  file=$1
  shift
  status=0
  /usr/bin/time -o "$file" -f '%e %U %S %M' "$@" >"$work/out" 2>"$work/err" || status=$?
  if [ $status != 0 ]; then
    echo "bench: '$*' ended with $status" >&2
    tail -n 5 "$work/out" "$work/err" >&2
    exit 2
  fi
}
wall() { awk 'END { print $1 }' "$1"; }
cpu() { awk 'END { print $2 + $3 }' "$1"; }
memory() { awk 'END { printf "%.1f", $4 / 1024 }' "$1"; }

# row NAME UNIT WADDLE LIMIT REFERENCE HERE: figures of that unit, HERE - where there is none.
missed=
row() {
  verdict=ok
  awk -v have="$3" -v limit="$4" 'BEGIN { exit !(have < limit) }' || { verdict=missed; missed=yes; }
  if [ -z "$json" ]; then
    printf '%-40s %10s %10s %10s %10s  %s\n' "$1" "$3 $2" "$4 $2" "$5 $2" "$([ "$6" = - ] && echo - || echo "$6 $2")" "$verdict"
  else
    printf '%s  {"name": "%s", "unit": "%s", "waddle": %s, "limit": %s, "reference_known": %s, "here": %s, "ok": %s}' "$separator" "$1" "$2" "$3" "$4" \
      "$5" "$([ "$6" = - ] && echo null || echo "$6")" "$([ $verdict = ok ] && echo true || echo false)"
    separator=',
'
  fi
}

echo "140 targets once, a large body, a start; then curl, bash and ping do the same one after another, which takes a minute ..." >&2
measured "$work/round" env MANAGER_URL="http://127.0.0.1:$(port manager)" AUTH_TYPE=none DEVICE_SERIAL=bench DEVICE_HOSTNAME=bench \
  HTTP_TARGETS="$(list 50 "http://127.0.0.1:$http/")" TCP_TARGETS="$(list 50 "127.0.0.1:$tcp")" \
  UDP_TARGETS="$(list 20 "127.0.0.1:$udp")" ICMP_TARGETS="$(list 20 127.0.0.1)" "$waddle" agent
measured "$work/body" "$waddle" -e 'assert(http.get(arg[1], {timeout = "1m"}).success)' "http://127.0.0.1:$http/bytes/$((200 * 1024 * 1024))"

# started_at is the wall clock when the probe started, to the microsecond.
start() {
  before=$(date +%s%N)
  at=$("$waddle" tcp "127.0.0.1:$tcp" --json | sed -n 's/.*"started_at": *"\([^"]*\)".*/\1/p')
  echo $((($(date -d "$at" +%s%N) - before) / 1000))
}
first=$(for _ in 1 2 3 4 5; do start; done | sort -n | sed -n 3p | awk '{ printf "%.1f", $1 / 1000 }')

# shellcheck disable=SC2016 # the inner shell expands it
measured "$work/tools" sh -c '
  for i in $(seq 50); do curl -s -o /dev/null "http://127.0.0.1:$1/"; done
  for i in $(seq 50); do bash -c "exec 3<>/dev/tcp/127.0.0.1/$2"; done
  for i in $(seq 20); do ping -q -c 4 127.0.0.1; done' sh "$http" "$tcp"
measured "$work/curl_body" curl -s -o /dev/null "http://127.0.0.1:$http/bytes/$((200 * 1024 * 1024))"

# The libraries alone: loaded into a program that does nothing.
libraries=$(ldd "$waddle" | awk '$3 ~ /^\// { printf "%s ", $3 }')
measured "$work/libraries" env LD_PRELOAD="$libraries" true

separator=
if [ -z "$json" ]; then printf '%-40s %10s %10s %10s %10s\n' "" waddle limit reference "here"; else echo '['; fi
row "50 http, 50 tcp, 20 udp, 20 icmp: time" s "$(wall "$work/round")" 4 60.4 "$(wall "$work/tools")"
row "50 http, 50 tcp, 20 udp, 20 icmp: CPU" s "$(cpu "$work/round")" 0.15 0.49 "$(cpu "$work/tools")"
row "50 http, 50 tcp, 20 udp, 20 icmp: memory" MiB "$(memory "$work/round")" 18 39.6 "$(memory "$work/libraries")"
row "a body of 200 MiB: memory" MiB "$(memory "$work/body")" 24 441 "$(memory "$work/curl_body")"
row "start to first probe (median of 5)" ms "$first" 20 200 -
if [ -z "$json" ]; then
  echo "reference: known figures of the reference client, not measured here"
  echo "here: the same with curl, bash and ping, one after another, without the 20 udp targets; of the round's memory, the libraries alone"
else
  printf '\n]\n'
fi
[ -z "$missed" ]
