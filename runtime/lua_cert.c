// waddle.core.cert: making a certificate, and hashing.
#include <lauxlib.h>
#include <lua.h>

#include "runtime/cert.h"
#include "runtime/lua_modules.h"

enum { NAMES_MOST = 16 };

// self_signed({name, ...} [, days]) -> certificate PEM, key PEM, SHA-256 | nil, message
static int l_self_signed(lua_State *L) {
  const char *names[NAMES_MOST];
  char error[200];
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t n = lua_rawlen(L, 1);
  lua_Integer days = luaL_optinteger(L, 2, 30);
  luaL_argcheck(L, n >= 1 && n <= NAMES_MOST, 1, "expected 1 to 16 names");
  luaL_argcheck(L, days >= 1 && days <= 36500, 2, "expected 1 to 36500 days");
  luaL_checkstack(L, NAMES_MOST + 4, "names");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    names[i] = luaL_checkstring(L, -1);
  }
  struct wd_arena arena = {0};
  struct wd_cert_pair pair;
  bool ok = wd_cert_self_signed(&pair, &arena, names, n, (int)days, error, sizeof(error));
  if (ok) {
    lua_pushstring(L, pair.cert_pem);
    lua_pushstring(L, pair.key_pem);
    lua_pushstring(L, pair.sha256);
  } else {
    lua_pushnil(L);
    lua_pushstring(L, error);
  }
  wd_arena_free(&arena);
  return ok ? 3 : 2;
}

// sha256(bytes) -> 64 hex digits
static int l_sha256(lua_State *L) {
  size_t n;
  char hex[65];
  const char *bytes = luaL_checklstring(L, 1, &n);
  wd_cert_sha256_hex(bytes, n, hex);
  lua_pushstring(L, hex);
  return 1;
}

int wd_open_cert(lua_State *L) {
  static const luaL_Reg functions[] = {{"self_signed", l_self_signed}, {"sha256", l_sha256}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
