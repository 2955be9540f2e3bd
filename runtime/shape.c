// See shape.h.
#include "runtime/shape.h"

#include <lauxlib.h>

enum { MOST_FIELDS = 64 }; // the reader has a bit for each

void wd_shape_push(lua_State *L, const struct wd_desc *desc) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, desc) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  for (lua_Integer i = 0; desc->fields[i].name; i++) {
    if (i == MOST_FIELDS) luaL_error(L, "%s: too many fields", desc->name);
    lua_pushstring(L, desc->fields[i].name);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, WD_SHAPE_NAMES + i);
    lua_pushinteger(L, i);
    lua_rawset(L, -3);
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, desc);
}
