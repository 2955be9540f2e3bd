// Where Lua code comes from: the folder in WADDLE_PATH first, then the files inside the binary.
#pragma once

#include <lua.h>
#include <stdbool.h>

// Loads a file of the repository by its path ("scripts/ping.lua") as a text chunk. 1 and a
// function pushed; 0 and nothing pushed when there is no such file; raises on a syntax error. [-0, +0|1, e]
int wd_source_load(lua_State *L, const char *path);

// True when a chunk name (lua_Debug.source) is one of ours, so that errors name the caller's line.
bool wd_source_is_ours(const char *source);

// core.source(path) -> text | nil;  core.files() -> list of the paths inside the binary.
int wd_source_l_read(lua_State *L);
int wd_source_l_list(lua_State *L);

// A package.searchers entry for waddle.* and argparse.
int wd_source_l_searcher(lua_State *L);
