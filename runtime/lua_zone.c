// waddle.core.zone: a DNS zone for scripts that answer queries.
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/lua_modules.h"
#include "runtime/zone.h"

static const char *const metatable = "waddle.zone";

// read(text) -> zone | nil, message: text in master file format
static int l_read(lua_State *L) {
  char error[200];
  const char *text = luaL_checkstring(L, 1);
  struct wd_zone **slot = lua_newuserdatauv(L, sizeof(*slot), 0);
  *slot = NULL;
  luaL_setmetatable(L, metatable);
  *slot = wd_zone_read(text, error, sizeof(error));
  if (*slot) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error);
  return 2;
}

// zone:answer(query [, tcp]) -> answer | nil for what is no query
static int l_answer(lua_State *L) {
  size_t n, len = 0;
  struct wd_zone **slot = luaL_checkudata(L, 1, metatable);
  const char *query = luaL_checklstring(L, 2, &n);
  luaL_Buffer b;
  uint8_t *wire = *slot ? wd_zone_answer(*slot, (const uint8_t *)query, n, lua_toboolean(L, 3), &len) : NULL;
  if (!wire) return 0;
  char *room = luaL_buffinitsize(L, &b, len);
  memcpy(room, wire, len);
  free(wire);
  luaL_pushresultsize(&b, len);
  return 1;
}

static int l_gc(lua_State *L) {
  struct wd_zone **slot = luaL_checkudata(L, 1, metatable);
  wd_zone_free(*slot);
  *slot = NULL;
  return 0;
}

int wd_open_zone(lua_State *L) {
  static const luaL_Reg methods[] = {{"answer", l_answer}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"read", l_read}, {NULL, NULL}};
  luaL_newmetatable(L, metatable);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, functions);
  return 1;
}
