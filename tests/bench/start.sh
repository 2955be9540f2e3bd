#!/bin/sh
# start.sh WADDLE HOST:PORT: how long after its start waddle's first probe starts, the median of five, as a row of the table. The probe's started_at
# is the wall clock to the microsecond.
set -eu
start() {
  before=$(date +%s%N)
  at=$("$1" tcp "$2" --json | sed -n 's/.*"started_at": *"\([^"]*\)".*/\1/p')
  echo $((($(date -d "$at" +%s%N) - before) / 1000))
}
for _ in 1 2 3 4 5; do start "$@"; done | sort -n |
  awk 'NR == 3 { printf "{\"what\": \"start to first probe\", \"unit\": \"ms\", \"waddle\": %.1f, \"limit\": 20, \"known\": 200}\n", $1 / 1000 }'
