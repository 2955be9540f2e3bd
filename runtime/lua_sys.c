// waddle.core.sys: the process and its surroundings, for scripts.
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/lua_modules.h"
#include "runtime/memory.h"
#include "runtime/signals.h"
#include "runtime/task.h"
#include "runtime/words.h"


// env(name) -> string | nil;  env() -> table of all
static int l_env(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) {
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
  }
  lua_newtable(L);
  for (char **e = environ; *e; e++) {
    const char *eq = strchr(*e, '=');
    if (!eq) continue;
    lua_pushlstring(L, *e, (size_t)(eq - *e));
    lua_pushstring(L, eq + 1);
    lua_rawset(L, -3);
  }
  return 1;
}

// memory_left(bytes) -> whether they can be had outside of Lua now; for a library that ends the process where it gets none.
static int l_memory_left(lua_State *L) {
  lua_pushboolean(L, wd_memory_left((size_t)luaL_checkinteger(L, 1)));
  return 1;
}

// exit([code]): cancels every task and ends the process with the code; does not return.
static int l_exit(lua_State *L) {
  struct wd_vm *vm = wd_vm_of(L);
  if (lua_isboolean(L, 1))
    vm->exit_code = lua_toboolean(L, 1) ? 0 : 1;
  else
    vm->exit_code = (int)luaL_optinteger(L, 1, 0) & 255;
  wd_task_cancel_all(vm);
  if (vm->current && L == vm->current->co && lua_isyieldable(L)) return lua_yield(L, 0);
  return luaL_error(L, "exit"); // the task is finished as cancelled all the same
}

// uname() -> {sysname=, release=, version=, machine=, nodename=}
static int l_uname(lua_State *L) {
  struct utsname u;
  if (uname(&u)) return luaL_error(L, "sys.uname: %s", strerror(errno));
  lua_newtable(L);
  const char *const pairs[][2] = {
    {"sysname", u.sysname}, {"release", u.release}, {"version", u.version}, {"machine", u.machine}, {"nodename", u.nodename}};
  for (size_t i = 0; i < WD_COUNT(pairs); i++) {
    lua_pushstring(L, pairs[i][1]);
    lua_setfield(L, -2, pairs[i][0]);
  }
  return 1;
}

static int l_hostname(lua_State *L) {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  lua_pushstring(L, name);
  return 1;
}

// isatty(0|1|2) -> boolean
static int l_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

// columns() -> width of the terminal on stdout or stderr, nil where there is none
static int l_columns(lua_State *L) {
  struct winsize size;
  for (int fd = 1; fd <= 2; fd++) {
    if (ioctl(fd, TIOCGWINSZ, &size) || size.ws_col == 0) continue;
    lua_pushinteger(L, size.ws_col);
    return 1;
  }
  return 0;
}

// time() -> seconds since the epoch, with microseconds
static int l_time(lua_State *L) {
  lua_pushnumber(L, (double)wd_clock_wall_us() / 1e6);
  return 1;
}

// suspended() -> seconds the machine has spent suspended, which task.now() leaves out; right to within the time between two clock readings
static int l_suspended(lua_State *L) {
  lua_pushnumber(L, (double)wd_clock_suspended() / 1e9);
  return 1;
}

// timestamp([seconds]) -> RFC 3339 UTC text with microseconds
static int l_timestamp(lua_State *L) {
  char when[WD_TIME_LEN];
  double at = luaL_optnumber(L, 1, (double)wd_clock_wall_us() / 1e6);
  if (!(fabs(at) < 2.5e11)) return luaL_argerror(L, 1, "outside of the calendar");
  wd_words_time(llround(at * 1e6), when);
  lua_pushstring(L, when);
  return 1;
}

// random(n) -> n bytes from the kernel's generator, 4096 at most
static int l_random(lua_State *L) {
  char bytes[4096];
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0 && n <= (lua_Integer)sizeof(bytes), 1, "from 0 to 4096");
  if (getrandom(bytes, (size_t)n, 0) != n) return luaL_error(L, "sys.random: %s", strerror(errno));
  lua_pushlstring(L, bytes, (size_t)n);
  return 1;
}

// file_stamp(path) -> text that changes when the file is written or becomes another one, nil when there is none
static int l_file_stamp(lua_State *L) {
  struct stat s;
  if (stat(luaL_checkstring(L, 1), &s)) return 0;
  lua_pushfstring(L, "%I:%I:%I.%d", (lua_Integer)s.st_ino, (lua_Integer)s.st_size, (lua_Integer)s.st_mtim.tv_sec, (int)s.st_mtim.tv_nsec);
  return 1;
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

// trim(): has all garbage collected, in pieces between other work, and then gives the memory back to the system, which a process that grew for a
// while else keeps
static int l_trim(lua_State *L) {
  wd_budget_trim(wd_vm_of(L));
  return 0;
}

// virtual_clock(): freezes time; from then on it jumps to the next timer whenever nothing is ready. For tests.
static int l_virtual_clock(lua_State *L) {
  (void)L;
  wd_clock_make_virtual();
  return 0;
}

// log(level, text)
static int l_log(lua_State *L) {
  int level = wd_log_level_of(luaL_checkstring(L, 1));
  luaL_argcheck(L, level >= 0, 1, "expected debug, info, warning or error");
  wd_log((enum wd_log_level)level, "%s", luaL_checkstring(L, 2));
  return 0;
}

// log_level(name)
static int l_log_level(lua_State *L) {
  int level = wd_log_level_of(luaL_checkstring(L, 1));
  luaL_argcheck(L, level >= 0, 1, "expected debug, info, warning or error");
  wd_log_set_level((enum wd_log_level)level);
  return 0;
}

int wd_open_sys(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"env", l_env},           {"exit", l_exit},       {"uname", l_uname},   {"hostname", l_hostname}, {"isatty", l_isatty},
    {"columns", l_columns},   {"time", l_time},       {"random", l_random}, {"timestamp", l_timestamp}, {"pid", l_pid},
    {"suspended", l_suspended}, {"signal", wd_signals_l_wait}, {"virtual_clock", l_virtual_clock}, {"log", l_log}, {"log_level", l_log_level},
    {"memory_left", l_memory_left},
    {"trim", l_trim},         {"file_stamp", l_file_stamp},
    {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
