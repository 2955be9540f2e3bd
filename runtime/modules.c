// Registers the C modules under package.preload, and one module a protocol made of its probes.
#include "runtime/modules.h"

#include <lauxlib.h>
#include <lua-cjson.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "runtime/lua_modules.h"
#include "runtime/probe.h"

// lua-cjson exports it but its header does not say so.
int luaopen_cjson_safe(lua_State *L);

static const luaL_Reg modules[] = {
  {"waddle.core", wd_open_core},
  {"waddle.core.task", wd_open_task},
  {"waddle.core.budget", wd_open_budget},
  {"waddle.core.isolate", wd_open_isolate},
  {"waddle.core.sys", wd_open_sys},
  {"waddle.core.confine", wd_open_confine},
  {"waddle.core.listen", wd_open_listen},
  {"waddle.core.datagram", wd_open_datagram},
  {"waddle.core.httpd", wd_open_httpd},
  {"waddle.core.cert", wd_open_cert},
  {"waddle.core.edit", wd_open_edit},
  {"waddle.core.zone", wd_open_zone},
  {"waddle.core.upload", wd_open_upload},
  {"waddle.core.spool", wd_open_spool},
  {"cjson", luaopen_cjson},
  {"cjson.safe", luaopen_cjson_safe},
  {NULL, NULL},
};

static int l_probe(lua_State *L) {
  return wd_probe_call(L, lua_touserdata(L, lua_upvalueindex(1)));
}

// Opens waddle.core.tcp: a table of the probes named "tcp.*". The module's name is argument 1.
static int l_open_protocol(lua_State *L) {
  const char *name = strrchr(luaL_checkstring(L, 1), '.') + 1;
  size_t n = strlen(name);
  lua_newtable(L);
  for (const struct wd_probe *const *p = wd_probes; *p; p++) {
    if (strncmp((*p)->name, name, n) != 0 || (*p)->name[n] != '.') continue;
    lua_pushlightuserdata(L, (void *)(uintptr_t)*p);
    lua_pushcclosure(L, l_probe, 1);
    lua_setfield(L, -2, (*p)->name + n + 1);
  }
  return 1;
}

void wd_modules_open(lua_State *L) {
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, modules, 0);
  for (const struct wd_probe *const *p = wd_probes; *p; p++) {
    int n = (int)strcspn((*p)->name, ".");
    lua_pushfstring(L, "waddle.core.%s", (*p)->name);
    lua_pushlstring(L, lua_tostring(L, -1), strlen("waddle.core.") + (size_t)n);
    lua_pushcfunction(L, l_open_protocol);
    lua_settable(L, -4);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}
