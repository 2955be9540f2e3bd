#!/bin/sh
# run.sh FOLDER [--runs N | SECONDS] [NAME...]: runs the fuzzers that were built under FOLDER/tests, all or those named, as many side by side as there are
# processors: for SECONDS each (default 10), or for N executions each. Prints a line for each and, last, how many passed and failed; ends with 1 on a finding.
#
# A finding is a crash, a broken rule of the fuzzer, a report of a sanitizer, a leak, an input that takes over ONE_S, or more memory than
# MIB. Its input stays in FOLDER/findings and its log beside it; `FOLDER/tests/fuzz_NAME FILE` runs it again. What was learned stays in FOLDER/corpus, for the next run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
SECONDS_EACH=10 ONE_S=10 MIB=1024 LONGEST_INPUT=65536

die() { echo "fuzz: $*" >&2; exit 2; }

# fuzz FOLDER LIMIT NAME: one fuzzer; a line for it, and counts.
fuzz() {
  folder=$1 limit=$2 name=$3
  log="$folder/findings/$name.log"
  mkdir -p "$folder/corpus/$name" "$folder/findings"
  set -- "$limit" "-max_len=$LONGEST_INPUT" "-timeout=$ONE_S" "-rss_limit_mb=$MIB" -print_final_stats=1 "-artifact_prefix=$folder/findings/$name-"
  [ ! -f "$here/fuzz_$name.lua" ] || set -- "$@" -detect_leaks=0 # lua_driver.c looks for them itself
  [ ! -f "$here/$name.dict" ] || set -- "$@" "-dict=$here/$name.dict"
  set -- "$@" "$folder/corpus/$name"
  [ ! -d "$here/seeds/$name" ] || set -- "$@" "$here/seeds/$name"
  status=0
  "$folder/tests/fuzz_$name" "$@" >"$log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if [ "$status" = 0 ] && [ "${runs:-0}" -gt 0 ]; then
    printf 'fuzz %s: %s executions\n1 passed, 0 failed, 0 skipped\n' "$name" "$runs"
    rm -f "$log"
  else
    printf 'fuzz %s: exit status %s, from %s\n%s\n0 passed, 1 failed, 0 skipped\n' "$name" "$status" "$log" "$(grep -av '^#[0-9]' "$log" | tail -n 40)"
  fi
}

if [ "${1:-}" = --one ]; then
  shift
  fuzz "$@"
  exit
fi

[ -d "${1:-}/tests" ] || die "expected the folder of a build with fuzzers"
folder=$(cd "$1" && pwd)
shift
limit=-max_total_time=$SECONDS_EACH
case ${1:-} in
--runs)
  case ${2:-} in '' | *[!0-9]*) die "--runs: expected a number of executions" ;; esac
  limit=-runs=$2
  shift 2
  ;;
[1-9]*)
  case $1 in *[!0-9]*) die "expected a number of seconds, got '$1'" ;; esac
  limit=-max_total_time=$1
  shift
  ;;
esac
if [ $# = 0 ]; then
  for source in "$here"/fuzz_*.c "$here"/fuzz_*.lua; do
    name=${source##*/fuzz_}
    set -- "$@" "${name%.*}"
  done
fi
for name in "$@"; do
  [ -x "$folder/tests/fuzz_$name" ] || die "no fuzzer '$name', its file would be $here/fuzz_$name.c or .lua"
done

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
# Each tells all it has to tell at once, so that two do not mix.
# shellcheck disable=SC2016 # to be expanded by the inner shell
printf '%s\n' "$@" | xargs -P "$(nproc)" -I NAME sh -c 'told=$(sh "$0" --one "$1" "$2" NAME); printf "%s\n" "$told"' "$0" "$folder" "$limit" | tee "$lines" |
  grep -av '^[0-9]* passed, ' || true
awk '
  /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3 }
  END { printf "%d passed, %d failed, 0 skipped\n", p, f; exit f > 0 || p == 0 }' "$lines"
