// The result writer: from a C struct to a Lua table by its description. Absent fields are nil; to
// read a field that the description does not know raises with the nearest name.
#pragma once

#include <lua.h>

#include "runtime/desc.h"

// Pushes the table. [-0, +1, m]
void wd_write(lua_State *L, const struct wd_desc *desc, const void *st);

// Pushes a list of the description's fields: {name=, type=, default=, unit=, min=, max=, names=,
// required=, positional=, fields= (of a nested table), help=}. [-0, +1, m]
void wd_write_desc(lua_State *L, const struct wd_desc *desc);
