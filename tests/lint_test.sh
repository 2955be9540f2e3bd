#!/bin/sh
# lint_test.sh: lint.sh must pass a clean tree and must name the rule for each violation planted in it. Prints the counts of the tests.
set -eu
lint=$(cd "$(dirname "$0")" && pwd)/lint.sh
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
passed=0
failed=0

# plant FILE: writes standard input to a file of a new tree that breaks no rule otherwise.
plant() {
  rm -rf "$root/tree"
  mkdir -p "$root/tree/runtime" "$root/tree/probes" "$root/tree/lua"
  printf '#pragma once\n' >"$root/tree/runtime/wd.h"
  printf '#pragma once\n' >"$root/tree/runtime/loop.h"
  printf '#include <lua.h>\nint resume(lua_State *L) { return lua_resume(L) + lua_pcall(L); }\n' >"$root/tree/runtime/task.c"
  cat >"$root/tree/$1"
}

# matches WANTED: true if lint.sh said WANTED, or nothing at all where WANTED is empty.
matches() {
  if [ -z "$1" ]; then
    [ "$status" = 0 ] && [ -z "$report" ]
  else
    [ "$status" = 1 ] && printf '%s\n' "$report" | grep -qF -- "$1"
  fi
}

# expect WANTED: runs lint.sh; WANTED is a part of its report, or empty for a clean tree.
expect() {
  status=0
  report=$(sh "$lint" "$root/tree" 2>&1) || status=$?
  if matches "$1"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'lint.sh: expected "%s", exit status %s and:\n%s\n' "$1" "$status" "$report"
  fi
}

plant runtime/loop.c <<'C'
#include "runtime/wd.h"
// lua_resume, #include <curl/curl.h> and a callback of Lua in a comment are fine
/* so is lua_pcall(L)
   on two lines: lua_resume(L) */
static void on_timer(void *handle);
static void on_timer(void *handle)
{
  wd_timer_run(handle);
}
static int l_call(lua_State *L)
{
  return lua_gettop(L);
}
C
expect ''

plant runtime/loop.c <<'C'
static void on_timer(uv_timer_t *timer,
                     int status)
{
  lua_pushnil(timer->data);
}
C
expect 'runtime/loop.c:4: on_timer calls Lua'

plant runtime/loop.c <<'C'
static void *on_alloc(void *p) { luaL_ref(p); }
C
expect 'never calls Lua'

plant probes/tcp.c <<'C'
#include <lua.h>
C
expect 'probes/tcp.c:1:#include <lua.h>'

plant probes/icmp.c <<'C'
int ping(const char *host) { return system(host); }
C
expect 'probes/icmp.c:1:int ping'

plant runtime/loop.c <<'C'
// popen(x) in a comment, and wd_filesystem(x), are fine
int wd_filesystem(int x) { return x; }
C
expect ''

plant lua/ping.lua <<'LUA'
-- os.execute(x) in a comment is fine
return function(host) return os.execute("ping " .. host) end
LUA
expect 'lua/ping.lua:2:return'

plant runtime/vm.c <<'C'
int again(lua_State *L) { return lua_resume(L); }
C
expect 'lua_resume appears in one file'

plant runtime/vm.c <<'C'
int again(lua_State *L) { return lua_pcallk(L); }
C
expect 'lua_pcall appears in one file'

plant probes/http.c <<'C'
#include <curl/curl.h>
C
expect 'included by the transfer files only'

plant runtime/loop.c <<'C'
#  include <openssl/ssl.h>
C
expect 'included by the TLS and certificate files only'

plant runtime/wd.c <<'C'
#include "runtime/loop.h"
C
expect 'runtime/wd.c:1: layer 0 includes runtime/loop.h of layer 1'

plant runtime/wd.c <<'C'
#include "loop.h"
C
expect 'layer 0 includes runtime/loop.h of layer 1'

plant runtime/oddity.c <<'C'
int wd_oddity;
C
expect 'runtime/oddity.c: in no layer'

plant runtime/log.h <<'C'
struct wd_log;
C
expect 'a header has #pragma once'

plant runtime/log.c <<'C'
typedef struct { int a; } wd_log_t;
C
expect 'structs have no typedef'

seq 501 | plant lua/long.lua
expect 'lua/long.lua: 501 lines'

plant probes/udp.c <<'C'
int tell(int fd) { return sendto(fd, "", 0, 0, 0, 0); }
C
expect 'probes/udp.c:1:int tell'

seq 500 | plant lua/long.lua
expect ''

printf 'local a = 1 \n' | plant lua/blank.lua
expect 'lua/blank.lua:1:local a = 1'

printf 'int a; // TO%s: later\n' DO | plant runtime/log.c
expect 'nothing is left for later'

printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
