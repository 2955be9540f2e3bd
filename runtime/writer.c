// See writer.h.
#include "runtime/writer.h"

#include <lauxlib.h>
#include <string.h>

#include "runtime/shape.h"
#include "runtime/vm.h"
#include "runtime/words.h"

static const char *const type_names[] = {
  [WD_T_BOOL] = "boolean",      [WD_T_INT] = "integer", [WD_T_NUM] = "number",  [WD_T_STR] = "string",
  [WD_T_DATA] = "string",       [WD_T_ENUM] = "enum",   [WD_T_DURATION] = "duration", [WD_T_BYTES] = "bytes",
  [WD_T_MAP] = "map",           [WD_T_TABLE] = "table", [WD_T_LIST] = "list",   [WD_T_LUA] = "table",
  [WD_T_MS] = "number",         [WD_T_TIME] = "time",   [WD_T_ERR] = "error",
};

// __index of a result: the upvalue is its description.
static int l_unknown(lua_State *L) {
  const struct wd_desc *desc = lua_touserdata(L, lua_upvalueindex(1));
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *key = lua_tostring(L, 2);
  if (wd_desc_find(desc, key)) return 0;
  const char *near = wd_desc_nearest(desc, key);
  if (near) return wd_vm_error(L, "%s: no field '%s'; did you mean '%s'?", desc->name, key, near);
  return wd_vm_error(L, "%s: no field '%s'; rawget(result, '%s') reads a field of your own that may be absent", desc->name, key, key);
}

// Pushes the metatable of the results of a description, whose shape is at `shape`.
static void push_metatable(lua_State *L, const struct wd_desc *desc, int shape) {
  if (lua_rawgeti(L, shape, WD_SHAPE_METATABLE) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushlightuserdata(L, (void *)(uintptr_t)desc);
  lua_pushcclosure(L, l_unknown, 1);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, desc->name);
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_rawseti(L, shape, WD_SHAPE_METATABLE);
}

static bool is_absent(enum wd_type type, const void *at) {
  switch (type) {
  case WD_T_BOOL: return *(const int8_t *)at < 0;
  case WD_T_ENUM: return *(const int *)at < 0;
  case WD_T_NUM: return isnan(*(const double *)at);
  case WD_T_STR:
  case WD_T_TABLE: return !*(void *const *)at;
  case WD_T_DATA: return !((const struct wd_data *)at)->p;
  case WD_T_ERR: return *(const enum wd_err *)at == WD_OK;
  case WD_T_MAP: return !((const struct wd_map *)at)->items;
  case WD_T_LIST: return !((const struct wd_list *)at)->given && !((const struct wd_list *)at)->n;
  case WD_T_LUA: return true;
  default: return *(const int64_t *)at == WD_NONE;
  }
}

static void push_value(lua_State *L, const struct wd_field *f, enum wd_type type, const void *at);

static void push_list(lua_State *L, const struct wd_field *f, const struct wd_list *list) {
  size_t size = wd_desc_elem_size(f), width = list->width > 1 ? list->width : 1;
  luaL_checkstack(L, 4, f->name);
  lua_createtable(L, (int)list->n, 0);
  for (size_t i = 0; i < list->n; i++) {
    const char *item = (const char *)list->items + i * width * size;
    if (width > 1)
      push_list(L, f, &(struct wd_list){.items = (void *)(uintptr_t)item, .n = width});
    else if (f->elem == WD_T_TABLE)
      wd_write(L, f->sub, item);
    else if (is_absent(f->elem, item))
      lua_pushboolean(L, 0); // a hole would end the list
    else
      push_value(L, f, f->elem, item);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  // Marked as json.array marks a list, so that an empty one is not written as an object.
  luaL_newmetatable(L, "json.array");
  lua_setmetatable(L, -2);
}

static void push_map(lua_State *L, const struct wd_map *map) {
  lua_createtable(L, 0, (int)map->n);
  for (size_t i = 0; i < map->n; i++) {
    lua_pushlstring(L, map->items[i].value.p, map->items[i].value.n);
    lua_setfield(L, -2, map->items[i].name);
  }
}

// Pushes a value that is there.
static void push_value(lua_State *L, const struct wd_field *f, enum wd_type type, const void *at) {
  char when[WD_TIME_LEN];
  switch (type) {
  case WD_T_BOOL: lua_pushboolean(L, *(const int8_t *)at); break;
  case WD_T_NUM: lua_pushnumber(L, *(const double *)at); break;
  case WD_T_MS: lua_pushnumber(L, (double)*(const wd_ns *)at / 1e6); break;
  case WD_T_TIME:
    wd_words_time(*(const int64_t *)at, when);
    lua_pushstring(L, when);
    break;
  case WD_T_STR: lua_pushstring(L, *(const char *const *)at); break;
  case WD_T_DATA: {
    const struct wd_data *data = at;
    lua_pushlstring(L, data->p, data->n);
    break;
  }
  case WD_T_ENUM: lua_pushstring(L, f->names[*(const int *)at]); break;
  case WD_T_ERR: lua_pushstring(L, wd_err_name(*(const enum wd_err *)at)); break;
  case WD_T_MAP: push_map(L, at); break;
  case WD_T_TABLE: wd_write(L, f->sub, *(void *const *)at); break;
  case WD_T_LIST: push_list(L, f, at); break;
  default: lua_pushinteger(L, *(const int64_t *)at);
  }
}

void wd_write(lua_State *L, const struct wd_desc *desc, const void *st) {
  int present = 0;
  luaL_checkstack(L, 8, desc->name);
  for (const struct wd_field *f = desc->fields; f->name; f++) present += !is_absent(f->type, (const char *)st + f->offset);
  wd_shape_push(L, desc);
  int shape = lua_gettop(L);
  lua_createtable(L, 0, present);
  for (int i = 0; desc->fields[i].name; i++) {
    const struct wd_field *f = &desc->fields[i];
    const char *at = (const char *)st + f->offset;
    if (is_absent(f->type, at)) continue;
    lua_rawgeti(L, shape, WD_SHAPE_NAMES + i);
    push_value(L, f, f->type, at);
    lua_rawset(L, -3);
  }
  push_metatable(L, desc, shape);
  lua_setmetatable(L, -2);
  lua_replace(L, shape);
}

static void set_text(lua_State *L, const char *key, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

static void set_flag(lua_State *L, const char *key, bool on) {
  if (!on) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, key);
}

static void write_field(lua_State *L, const struct wd_field *f) {
  char expected[400];
  lua_createtable(L, 0, 10);
  set_text(L, "name", f->name);
  set_text(L, "type", type_names[f->type]);
  set_text(L, "default", f->def);
  set_text(L, "unit", f->type == WD_T_MS ? "ms" : f->unit);
  set_text(L, "help", f->help);
  set_flag(L, "required", f->flags & WD_F_REQUIRED);
  set_flag(L, "positional", f->flags & WD_F_POSITIONAL);
  wd_desc_expected(f, expected, sizeof(expected));
  set_text(L, "expected", expected);
  if (f->type == WD_T_LIST) set_text(L, "elem", type_names[f->elem]);
  if (f->names) {
    lua_newtable(L);
    for (int i = 0; f->names[i]; i++) {
      lua_pushstring(L, f->names[i]);
      lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "names");
  }
  if (f->sub) {
    wd_write_desc(L, f->sub);
    lua_setfield(L, -2, "fields");
  }
}

void wd_write_desc(lua_State *L, const struct wd_desc *desc) {
  luaL_checkstack(L, 8, desc->name);
  lua_newtable(L);
  lua_Integer n = 0;
  for (const struct wd_field *f = desc->fields; f->name; f++) {
    if (f->flags & WD_F_HIDDEN) continue;
    write_field(L, f);
    lua_rawseti(L, -2, ++n);
  }
}
