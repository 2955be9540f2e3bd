// What a Lua handle that has a store begins with: the uploader's, and that of a spool nobody sends from.
#pragma once

#include <lua.h>

#include "runtime/upload_store.h"

struct wd_lua_store {
  struct wd_store *store;
  bool open;
};

// The method h:ask{request="list"|"requeue"|"purge", quarantine=, id=, after=, most=} of every such handle; lua_spool.c tells it all.
int wd_lua_store_ask(lua_State *L);

// The store's part of an open handle at argument 1; raises when it is closed or no handle of ours.
struct wd_lua_store *wd_lua_store_check(lua_State *L, const char *what);
