// The option reader: from a Lua table to a C struct by its description. Every misuse raises a
// message that names the function, the field, what was expected and what came.
#pragma once

#include <lua.h>

#include "runtime/arena.h"
#include "runtime/desc.h"

// Reads the table at `index` (0: none, all defaults) into *st; strings and lists go to the arena.
// `positional` is the stack index of the first argument, 0 when the call had none: it fills the
// field flagged WD_F_POSITIONAL, as [1] of the table does. [-0, +0, e]
void wd_read(lua_State *L, const char *function, const struct wd_desc *desc, int index, int positional,
             struct wd_arena *arena, void *st);

// A duration argument: seconds or text. Raises "FUNCTION: NAME: expected a duration..., got ...". [-0, +0, e]
wd_ns wd_read_duration(lua_State *L, int index, const char *function, const char *name);
