// Finding and loading Lua files. Chunks of ours are named "=lua/waddle/x.lua", those of people
// "@path", which is how an error tells whose line it should name.
#include "runtime/source.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/embed.h"

enum { LARGEST = 4 << 20 }; // bytes of one file in WADDLE_PATH

// Pushes the file's text. 1, or 0 with nothing pushed.
static int push_from_folder(lua_State *L, const char *path) {
  const char *folder = getenv("WADDLE_PATH");
  if (!folder || !*folder) return 0;
  lua_pushfstring(L, "%s/%s", folder, path);
  FILE *f = fopen(lua_tostring(L, -1), "rb");
  lua_pop(L, 1);
  if (!f) return 0;
  char *text = malloc(LARGEST);
  size_t n = text ? fread(text, 1, LARGEST, f) : 0;
  bool unread = ferror(f); // a folder
  fclose(f);
  if (!text) return luaL_error(L, "out of memory");
  if (unread) {
    free(text);
    return 0;
  }
  lua_pushlstring(L, text, n); // a failure here ends the process's start or the script, with 4 MiB lost
  free(text);
  return 1;
}

static int push_text(lua_State *L, const char *path) {
  if (push_from_folder(L, path)) return 1;
  for (const struct wd_embed_file *f = wd_embed_files; f->name; f++) {
    if (strcmp(f->name, path) != 0) continue;
    lua_pushlstring(L, (const char *)f->data, f->size);
    return 1;
  }
  return 0;
}

int wd_source_load(lua_State *L, const char *path) {
  if (!push_text(L, path)) return 0;
  size_t n;
  const char *text = lua_tolstring(L, -1, &n);
  const char *name = lua_pushfstring(L, "=%s", path);
  if (luaL_loadbufferx(L, text, n, name, "t") != LUA_OK) return lua_error(L);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return 1;
}

bool wd_source_is_ours(const char *source) {
  return strncmp(source, "=lua/", 5) == 0 || strncmp(source, "=scripts/", 9) == 0 || strcmp(source, "=[C]") == 0;
}

int wd_source_l_read(lua_State *L) {
  return push_text(L, luaL_checkstring(L, 1));
}

int wd_source_l_list(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; wd_embed_files[i].name; i++) {
    lua_pushstring(L, wd_embed_files[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

int wd_source_l_searcher(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (strncmp(name, "waddle.", 7) != 0 && strcmp(name, "argparse") != 0) {
    lua_pushliteral(L, "\n\tnot a module of waddle");
    return 1;
  }
  lua_pushfstring(L, "lua/%s.lua", luaL_gsub(L, name, ".", "/"));
  const char *path = lua_tostring(L, -1);
  if (wd_source_load(L, path)) {
    lua_pushvalue(L, -2);
    return 2;
  }
  // A module written in C alone: waddle.tcp is waddle.core.tcp unless lua/waddle/tcp.lua extends it.
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  const char *core = lua_pushfstring(L, "waddle.core.%s", strncmp(name, "waddle.", 7) == 0 ? name + 7 : name);
  if (lua_getfield(L, -2, core) == LUA_TFUNCTION) {
    lua_pushstring(L, core);
    return 2;
  }
  lua_pushfstring(L, "\n\tno file '%s' in WADDLE_PATH or in the program", path);
  return 1;
}
