// What the Lua state keeps of a description once it was used, so that no call makes it again: the names of its fields as strings,
// and whatever the reader and the writer derive from it.
#pragma once

#include <lua.h>

#include "runtime/desc.h"

// Places in a description's table. Its i-th field (from 0) has its name at WD_SHAPE_NAMES + i, and i at that name.
enum { WD_SHAPE_METATABLE = 1, WD_SHAPE_DEFAULTS, WD_SHAPE_NAMES };

// Pushes the table, which lives as long as the state; the places before the names are its users' to fill. [-0, +1, m]
void wd_shape_push(lua_State *L, const struct wd_desc *desc);
