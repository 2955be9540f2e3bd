// Connections as Lua values.
#pragma once

#include <lua.h>

#include "runtime/conn.h"

void wd_lua_conn_setup(lua_State *L); // once, before any push

// Pushes a connection that is not open yet; the value at `anchor` lives as long as it does. [-0, +1, m]
struct wd_conn *wd_lua_conn_push(lua_State *L, int anchor);
