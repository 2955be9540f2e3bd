// waddle.core.confine: least privilege, for lua/waddle/confine.lua. A function that may fail gives true, or nil and the reason.
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#include "probes/icmp_socket.h"
#include "runtime/confine.h"
#include "runtime/lua_modules.h"
#include "runtime/policy.h"
#include "runtime/task.h"

enum { MOST_PATHS = 64 };

static const char *reason(int err) {
  switch (err) {
  case ENOSYS: return "the kernel has none";
  case EOPNOTSUPP: return "the kernel has it switched off";
  default: return strerror(err);
  }
}

static int push_outcome(lua_State *L, int err) {
  if (!err) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, reason(err));
  return 2;
}

// capabilities(keep_net_raw, bounding)
static int l_capabilities(lua_State *L) {
  return push_outcome(L, wd_confine_capabilities(lua_toboolean(L, 1), lua_toboolean(L, 2)));
}

static int l_no_new_privs(lua_State *L) {
  return push_outcome(L, wd_confine_no_new_privs());
}

static int l_no_dump(lua_State *L) {
  return push_outcome(L, wd_confine_no_dump());
}

// seccomp(programs)
static int l_seccomp(lua_State *L) {
  return push_outcome(L, wd_confine_seccomp(lua_toboolean(L, 1)));
}

// landlock({path, ...}, programs)
static int l_landlock(lua_State *L) {
  const char *paths[MOST_PATHS];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Unsigned n = lua_rawlen(L, 1);
  luaL_argcheck(L, n <= MOST_PATHS, 1, "64 paths at most");
  luaL_checkstack(L, MOST_PATHS, NULL); // they stay there, so that the texts do
  for (lua_Unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    paths[i] = luaL_checkstring(L, -1);
  }
  return push_outcome(L, wd_confine_landlock(paths, n, lua_toboolean(L, 2)));
}

// open_icmp() -> "ping" or "raw": opens the sockets that all pings share, of both families, and says of which kind they are; nil when this
// process may open neither.
static int l_open_icmp(lua_State *L) {
  static const int families[] = {AF_INET, AF_INET6};
  static const char *const kinds[] = {[WD_PACKET_PING] = "ping", [WD_PACKET_RAW] = "raw"};
  const char *kind = NULL;
  for (size_t i = 0; i < WD_COUNT(families); i++) {
    char detail[200];
    enum wd_err err = WD_OK;
    const struct wd_packet_queue *s = wd_icmp_socket_shared(wd_vm_of(L)->loop, families[i], &err, detail, sizeof(detail));
    if (s && !kind) kind = kinds[s->socket.kind];
  }
  lua_pushstring(L, kind);
  return 1;
}

// hide_argument(i, text): what ps(1) shows in place of the i-th argument of the command line
static int l_hide_argument(lua_State *L) {
  lua_pushboolean(L, wd_confine_hide_argument((int)luaL_checkinteger(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

// hide_variable(name): takes it out of the environment, also where others could read it
static int l_hide_variable(lua_State *L) {
  wd_confine_hide_variable(luaL_checkstring(L, 1));
  return 0;
}

// policy({network, ...}, packets, bytes, listen): begins the policy of runtime/policy.h; rates a second, 0 for none.
static int l_policy(lua_State *L) {
  char error[300];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Unsigned n = lua_rawlen(L, 1);
  bool ok = true;
  for (lua_Unsigned i = 1; ok && i <= n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i);
    ok = wd_policy_allow(luaL_checkstring(L, -1), error, sizeof(error));
    lua_pop(L, 1);
  }
  if (ok && !wd_policy_begin(luaL_checknumber(L, 2), luaL_checknumber(L, 3), lua_toboolean(L, 4))) {
    snprintf(error, sizeof(error), "the policy has begun");
    ok = false;
  }
  lua_pushboolean(L, ok);
  if (ok) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error);
  return 2;
}

int wd_open_confine(lua_State *L) {
  static const luaL_Reg functions[] = {{"capabilities", l_capabilities}, {"no_new_privs", l_no_new_privs},   {"no_dump", l_no_dump},
                                       {"seccomp", l_seccomp},           {"landlock", l_landlock},           {"open_icmp", l_open_icmp},
                                       {"hide_argument", l_hide_argument}, {"hide_variable", l_hide_variable}, {"policy", l_policy},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
