// The table of C modules: what `require "waddle.core.X"` finds.
#pragma once

#include <lua.h>

// Opens the standard libraries and registers every C module for require. [-0, +0, e]
void wd_modules_open(lua_State *L);
