#!/bin/sh
# lint.sh [DIR]: the rules that no compiler knows, checked with grep and awk; names each rule broken, with file and line.
# The table of layers and the lists of files that may touch a library are below: a new file under runtime/ has to be put in its layer.
# shellcheck disable=SC2086 # lists of file names are split on purpose, none of ours has a blank
set -eu
cd "${1:-$(dirname "$0")/..}"

broken=0
# rule TEXT FINDINGS: reports the findings, if there are any, under the rule's text.
rule() {
  [ -n "$2" ] || return 0
  printf 'rule broken: %s\n' "$1"
  printf '%s\n' "$2" | sed 's/^/  /'
  broken=1
}

# Layers, lowest first. A file includes headers of its own layer and of lower ones only.
layer_of() {
  case ${1#runtime/} in
  main.c) echo 4 ;;
  wd.* | arena.* | memory.h | slab.* | text.* | addr.* | addr_range.* | words.* | log.* | watchdog.* | clock.* | clock_state.* | timer.* | embed.h | neterr.* | icmp_error.* | tcp_info.* | random.* | pages.* | cgroup.* | throttle.* | confine.* | confine_* | fork_server.* | policy.*) echo 0 ;;
  loop* | watch.* | budget.* | op.* | task* | vm* | modules.h | source* | signals* | desc* | shape* | reader* | writer* | probe.*) echo 1 ;;
  resolve* | spool_file* | route* | conn* | stream* | socket* | zone* | tls* | cert* | transfer* | probes/*_wire.*) echo 2 ;;
  modules.c | lua_* | httpd* | upload* | spool* | edit* | repl* | control* | probes/*) echo 3 ;;
  *) echo unknown ;;
  esac
}

# Files that may include a library's headers: the fewer, the fewer places have to know its rules.
curl_files='^runtime/transfer[a-z_]*[.][ch]$'
sqlite_files='^runtime/spool_file[a-z_]*[.][ch]$'
openssl_files='^runtime/(tls|cert)[a-z0-9_]*[.][ch]$'

# files PATTERN...: the files of the repository of these names.
files() {
  for pattern in "$@"; do
    find . \( -name .git -o -path ./build -o -path './build-*' \) -prune -o -type f -name "$pattern" -print
  done | sed 's|^\./||' | sort -u
}

sources=$(files '*.c' '*.h' | grep -E '^(runtime|probes)/[^/]*$' || true)
written=$(files '*.c' '*.h' '*.lua' '*.sh' '*.cmake' CMakeLists.txt dev)
texts="$written $(files '*.md' '*.yml' '*.yaml' '*.json' '*.service' Dockerfile run)"

# code: prints FILE:LINE:TEXT of the C sources without comments, so that words in comments break no rule.
code() {
  awk '
    FNR == 1 { inside = 0 }
    {
      text = $0
      if (inside) {
        if (!match(text, /\*\//)) next
        text = substr(text, RSTART + 2)
        inside = 0
      }
      gsub(/\/\*([^*]|\*[^\/])*\*\//, "", text)
      if (match(text, /\/\*/)) { text = substr(text, 1, RSTART - 1); inside = 1 }
      sub(/(^|[^:"])\/\/.*/, "", text)
      print FILENAME ":" FNR ":" text
    }' $sources /dev/null
}

code=$(mktemp)
trap 'rm -f "$code"' EXIT
code >"$code"

# includes PATTERN ALLOWED: lines that include a header beginning with PATTERN in a file that does not match ALLOWED.
includes() {
  grep -E "^[^:]*:[0-9]*:[[:blank:]]*#[[:blank:]]*include[[:blank:]]*[<\"]$1" "$code" | awk -F: -v allowed="$2" '$1 !~ allowed'
}

# one_file WORD: the calls of a function when they are in more than one file.
one_file() {
  found=$(grep -E "(^|[^A-Za-z0-9_])$1[[:blank:]]*\(" "$code" || true)
  [ "$(printf '%s\n' "$found" | cut -d: -f1 | sort -u | wc -l)" -le 1 ] || printf '%s\n' "$found"
}

# A definition begins in column 0 and ends with a brace there; its header may take several lines.
callbacks_with_lua() {
  awk '
    { split($0, part, ":"); where = part[1] ":" part[2]; text = substr($0, length(where) + 2) }
    text ~ /^[A-Za-z].*[ *]on_[a-z0-9_]+[ \t]*\(/ { name = text; sub(/[ \t]*\(.*/, "", name); sub(/.*[ *]/, "", name) }
    text ~ /^}/ || text ~ /^[^ \t{].*;[ \t]*$/ { name = "" }
    name != "" && text ~ /(^|[^A-Za-z0-9_])luaL?_[a-z]/ { print where ": " name " calls Lua" }' "$code"
}

layers() {
  for file in $sources; do
    [ "$(layer_of "$file")" != unknown ] || echo "$file: in no layer, add it to layer_of in tests/lint.sh"
  done
  sed -n 's/^\([^:]*\):\([0-9]*\):[[:blank:]]*#[[:blank:]]*include[[:blank:]]*"\([^"]*\)".*/\1 \2 \3/p' "$code" |
    while read -r file line header; do
      case $header in
      */*) ;;
      *) header=${file%/*}/$header ;;
      esac
      own=$(layer_of "$file")
      other=$(layer_of "$header")
      if [ "$other" = unknown ]; then
        echo "$file:$line: includes $header, which is in no layer"
      elif [ "$own" != unknown ] && [ "$other" -gt "$own" ]; then
        echo "$file:$line: layer $own includes $header of layer $other"
      fi
    done
}

# A command line that a shell reads, in the program and its scripts; os.execute and io.popen are for people's own scripts.
shells() {
  grep -E '(^|[^A-Za-z0-9_])(system|popen|execl|execlp|execle)[[:blank:]]*\(' "$code" || true
  scripts=$(printf '%s\n' "$written" | grep -E '^(lua|scripts)/.*[.]lua$' || true)
  [ -z "$scripts" ] || grep -nE '(os[.]execute|io[.]popen)[[:blank:]]*[("{[]' $scripts /dev/null | grep -vE ':[0-9]+:[[:blank:]]*--' || true
}

# Calls that give a socket a destination, but for those in files that ask the policy where it is due: a look-up's to the system's own servers, a
# question about routes, which sends nothing, and Unix sockets.
destinations() {
  grep -E '(^|[^A-Za-z0-9_])(connect|sendto|sendmsg|sendmmsg)[[:blank:]]*\(' "$code" | while IFS=: read -r file line text; do
    case $file in
    runtime/policy.c | runtime/route.c | runtime/fork_server.c) ;;
    *) grep -q 'wd_policy_' "$file" || echo "$file:$line:$text" ;;
    esac
  done
}

without_pragma() {
  for header in $(printf '%s\n' "$sources" | grep '\.h$'); do
    grep -q '^#pragma once$' "$header" || echo "$header"
  done
}

rule "a function registered with a library (on_*) never calls Lua" "$(callbacks_with_lua)"
rule "files under probes/ do not include Lua's headers" "$(includes '(lua|lauxlib|lualib)[.]h' '^runtime/')"
rule "lua_resume appears in one file" "$(one_file lua_resume)"
rule "lua_pcall appears in one file" "$(one_file 'lua_pcallk?')"
rule "<curl/...> is included by the transfer files only" "$(includes curl/ "$curl_files")"
rule "<openssl/...> is included by the TLS and certificate files only" "$(includes openssl/ "$openssl_files")"
rule "<sqlite3.h> is included by the spool's file only" "$(includes sqlite3 "$sqlite_files")"
rule "a file includes only its own layer and lower ones" "$(layers)"
rule "a header has #pragma once" "$(without_pragma)"
rule "no shell is ever run" "$(shells)"
rule "what gives a socket a destination asks the policy: runtime/policy.h" "$(destinations)"
rule "structs have no typedef" "$(grep -E 'typedef[[:blank:]]+struct' "$code")"
rule "a file has at most 500 lines" "$(wc -l $written /dev/null | awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines" }')"
rule "no blank at the end of a line" "$(grep -nE '[[:blank:]]+$' $texts /dev/null)"
rule "nothing is left for later" "$(grep -nwE 'TO[D]O|FIX[M]E|XX[X]' $texts /dev/null)"
exit $broken
