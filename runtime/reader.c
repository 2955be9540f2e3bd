// See reader.h. Must hold: nothing is owned here, so that an error may leave at any point; the
// struct is written field by field and only after its value was checked.
#include "runtime/reader.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/shape.h"
#include "runtime/text.h"
#include "runtime/vm.h"
#include "runtime/words.h"

enum { LONGEST_LIST = 1 << 24, LONGEST_MAP = 1000, DEEPEST = 4 };

struct reader {
  lua_State *L;
  const char *function;
  struct wd_arena *arena;
  char path[96]; // of the table being read: "", "tls.", "dialogue[2]."
  int depth;
};

static void got(lua_State *L, int index, char *out, size_t room) {
  char text[60];
  size_t n;
  switch (lua_type(L, index)) {
  case LUA_TNONE:
  case LUA_TNIL: snprintf(out, room, "nothing"); break;
  case LUA_TSTRING: {
    const char *s = lua_tolstring(L, index, &n);
    wd_text_escape(text, sizeof(text), s, n);
    snprintf(out, room, n > 50 ? "\"%.50s...\"" : "\"%s\"", text);
    break;
  }
  case LUA_TNUMBER:
    if (lua_isinteger(L, index))
      snprintf(out, room, "%lld", (long long)lua_tointeger(L, index));
    else
      snprintf(out, room, "%.14g", lua_tonumber(L, index));
    break;
  case LUA_TBOOLEAN: snprintf(out, room, "%s", lua_toboolean(L, index) ? "true" : "false"); break;
  default: snprintf(out, room, "a %s", luaL_typename(L, index));
  }
}

static void fail(struct reader *r, const struct wd_field *f, int index, const char *why) {
  char expected[400], came[80];
  // A text in place of a table may be the secret that belonged into it: auth = "token".
  if (f->type == WD_T_TABLE && lua_type(r->L, index) == LUA_TSTRING)
    snprintf(came, sizeof(came), "a string");
  else
    got(r->L, index, came, sizeof(came));
  if (why) {
    wd_vm_error(r->L, "%s: field '%s%s': %s, got %s", r->function, r->path, f->name, why, came);
  } else {
    wd_desc_expected(f, expected, sizeof(expected));
    wd_vm_error(r->L, "%s: field '%s%s': expected %s, got %s", r->function, r->path, f->name, expected, came);
  }
}

static void *must(struct reader *r, void *memory) {
  if (!memory) wd_vm_error(r->L, "%s: out of memory", r->function);
  return memory;
}

static bool in_range(const struct wd_field *f, double v) {
  return (f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max);
}

static void read_text(struct reader *r, const struct wd_field *f, int index, void *at) {
  size_t n;
  if (lua_type(r->L, index) != LUA_TSTRING) fail(r, f, index, NULL);
  const char *s = lua_tolstring(r->L, index, &n);
  if (!in_range(f, (double)n)) fail(r, f, index, NULL);
  char *copy = must(r, wd_arena_strndup(r->arena, s, n));
  if (f->type == WD_T_DATA) {
    *(struct wd_data *)at = (struct wd_data){copy, n};
    return;
  }
  if (memchr(s, '\0', n)) fail(r, f, index, "expected text without NUL bytes");
  const char *wrong = f->valid ? f->valid(copy) : NULL;
  if (wrong) fail(r, f, index, wrong);
  *(const char **)at = copy;
}

static void read_number(struct reader *r, const struct wd_field *f, int index, void *at) {
  lua_State *L = r->L;
  int type = lua_type(L, index);
  int64_t whole = 0;
  bool ok = false;
  double v = type == LUA_TNUMBER ? lua_tonumber(L, index) : 0;
  switch (f->type) {
  case WD_T_NUM:
    ok = type == LUA_TNUMBER && isfinite(v) && in_range(f, v);
    if (ok) *(double *)at = v;
    break;
  case WD_T_DURATION:
    if (type == LUA_TSTRING)
      ok = wd_words_duration(lua_tostring(L, index), &whole) == 0;
    else if (type == LUA_TNUMBER && v >= 0 && v <= 3650.0 * 86400)
      whole = (wd_ns)llround(v * 1e9), ok = true;
    ok = ok && in_range(f, (double)whole / 1e9);
    if (ok) *(wd_ns *)at = whole;
    break;
  default:
    if (f->type == WD_T_BYTES && type == LUA_TSTRING) {
      ok = wd_words_bytes(lua_tostring(L, index), &whole) == 0;
    } else if (type == LUA_TNUMBER) {
      int exact;
      whole = lua_tointegerx(L, index, &exact);
      ok = exact;
    }
    ok = ok && in_range(f, (double)whole);
    if (ok) *(int64_t *)at = whole;
  }
  if (!ok) fail(r, f, index, NULL);
}

static void read_enum(struct reader *r, const struct wd_field *f, int index, void *at) {
  lua_State *L = r->L;
  char number[32];
  const char *s = number;
  if (lua_isinteger(L, index))
    snprintf(number, sizeof(number), "%lld", (long long)lua_tointeger(L, index));
  else if (lua_type(L, index) == LUA_TSTRING)
    s = lua_tostring(L, index);
  else
    fail(r, f, index, NULL);
  for (int i = 0; f->names[i]; i++) {
    if (strcasecmp(f->names[i], s) != 0) continue;
    *(int *)at = i;
    return;
  }
  fail(r, f, index, NULL);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct wd_pair *)a)->name, ((const struct wd_pair *)b)->name);
}

static void read_map(struct reader *r, const struct wd_field *f, int index, void *at) {
  lua_State *L = r->L;
  struct wd_map map = {0};
  if (!lua_istable(L, index)) fail(r, f, index, NULL);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) map.n++;
  if (map.n > LONGEST_MAP) fail(r, f, index, "too many entries (1000 at most)");
  map.items = must(r, wd_arena_array(r->arena, map.n, sizeof(*map.items)));
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    size_t n;
    int type = lua_type(L, -1);
    if (lua_type(L, -2) != LUA_TSTRING) fail(r, f, -2, "expected names as keys");
    if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN) fail(r, f, lua_gettop(L), NULL);
    map.items[i].name = must(r, wd_arena_strdup(r->arena, lua_tostring(L, -2)));
    const char *s = luaL_tolstring(L, -1, &n);
    map.items[i++].value = (struct wd_data){must(r, wd_arena_strndup(r->arena, s, n)), n};
    lua_pop(L, 1);
  }
  qsort(map.items, map.n, sizeof(*map.items), by_name);
  *(struct wd_map *)at = map;
}

static void read_struct(struct reader *r, const struct wd_desc *desc, int index, int positional, void *st);
static void read_value(struct reader *r, const struct wd_field *f, int index, void *at);

static void read_nested(struct reader *r, const struct wd_field *f, int index, long item, void *st) {
  char saved[sizeof(r->path)];
  memcpy(saved, r->path, sizeof(saved));
  if (!lua_istable(r->L, index)) fail(r, f, index, NULL);
  if (++r->depth > DEEPEST) fail(r, f, index, "nested too deeply");
  size_t at = strlen(r->path), room = sizeof(r->path) - at;
  if (item)
    snprintf(r->path + at, room, "%s[%ld].", f->name, item);
  else
    snprintf(r->path + at, room, "%s.", f->name);
  read_struct(r, f->sub, index, 0, st);
  r->depth--;
  memcpy(r->path, saved, sizeof(saved));
}

static bool has_names(lua_State *L, int index) {
  lua_pushnil(L);
  if (!lua_next(L, index)) return false;
  lua_pop(L, 2);
  return true;
}

static void read_list(struct reader *r, const struct wd_field *f, int index, void *at) {
  lua_State *L = r->L;
  size_t size = wd_desc_elem_size(f);
  struct wd_field elem = *f;
  struct wd_list list = {.given = true, .n = 1};
  elem.type = f->elem;
  bool is_list = lua_istable(L, index) && !(f->elem == WD_T_TABLE && lua_rawlen(L, index) == 0 && has_names(L, index));
  if (is_list) list.n = lua_rawlen(L, index);
  if (list.n > LONGEST_LIST) fail(r, f, index, "too many entries");
  list.items = must(r, wd_arena_array(r->arena, list.n, size));
  for (size_t i = 0; i < list.n; i++) {
    void *slot = (char *)list.items + i * size;
    if (is_list)
      lua_rawgeti(L, index, (lua_Integer)i + 1);
    else
      lua_pushvalue(L, index); // one value in place of a list of one
    if (f->elem == WD_T_TABLE)
      read_nested(r, f, lua_gettop(L), (long)i + 1, slot);
    else
      read_value(r, &elem, lua_gettop(L), slot);
    lua_pop(L, 1);
  }
  *(struct wd_list *)at = list;
}

static void read_value(struct reader *r, const struct wd_field *f, int index, void *at) {
  luaL_checkstack(r->L, 12, r->function);
  switch (f->type) {
  case WD_T_BOOL:
    if (!lua_isboolean(r->L, index)) fail(r, f, index, NULL);
    *(int8_t *)at = (int8_t)lua_toboolean(r->L, index);
    break;
  case WD_T_STR:
  case WD_T_DATA: read_text(r, f, index, at); break;
  case WD_T_ENUM: read_enum(r, f, index, at); break;
  case WD_T_MAP: read_map(r, f, index, at); break;
  case WD_T_TABLE:
    *(void **)at = must(r, wd_arena_alloc(r->arena, f->sub->size)); // the default is not ours to write
    read_nested(r, f, index, 0, *(void **)at);
    break;
  case WD_T_LIST: read_list(r, f, index, at); break;
  case WD_T_LUA:
    if (!lua_istable(r->L, index)) fail(r, f, index, NULL);
    break;
  default: read_number(r, f, index, at);
  }
}

static const void *defaults(lua_State *L, const struct wd_desc *desc, int shape);

// A default is text as a user would write it.
static void set_default(struct reader *r, const struct wd_field *f, void *at) {
  lua_State *L = r->L;
  if (f->type == WD_T_TABLE && !(f->flags & WD_F_OPTIONAL)) {
    wd_shape_push(L, f->sub);
    *(const void **)at = defaults(L, f->sub, lua_gettop(L));
    lua_pop(L, 1);
  }
  if (!f->def) return;
  if (f->type == WD_T_STR) {
    *(const char **)at = f->def;
    return;
  }
  lua_pushstring(L, f->def);
  if (f->type == WD_T_INT || f->type == WD_T_NUM) {
    if (lua_stringtonumber(L, f->def)) lua_replace(L, -2);
  } else if (f->type == WD_T_BOOL) {
    lua_pushboolean(L, strcmp(f->def, "true") == 0);
    lua_replace(L, -2);
  }
  read_value(r, f, lua_gettop(L), at);
  lua_pop(L, 1);
}

// The struct with nothing but defaults in it, made once; tables in it that nobody gave are shared by all who read. The description's
// shape is at `shape`.
static const void *defaults(lua_State *L, const struct wd_desc *desc, int shape) {
  luaL_checkstack(L, 12, desc->name);
  if (lua_rawgeti(L, shape, WD_SHAPE_DEFAULTS) == LUA_TNIL) {
    struct reader r = {.L = L, .function = desc->name};
    lua_pop(L, 1);
    char *st = lua_newuserdatauv(L, desc->size, 0);
    wd_desc_clear(desc, st);
    for (const struct wd_field *f = desc->fields; f->name; f++) set_default(&r, f, st + f->offset);
    lua_pushvalue(L, -1);
    lua_rawseti(L, shape, WD_SHAPE_DEFAULTS);
  }
  const void *st = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return st;
}

static void refuse_key(struct reader *r, const struct wd_desc *desc, int key) {
  lua_State *L = r->L;
  char safe[80];
  if (lua_type(L, key) != LUA_TSTRING) {
    got(L, key, safe, sizeof(safe));
    wd_vm_error(L, "%s: unexpected key %s in %s", r->function, safe, *r->path ? r->path : "the options");
  }
  const char *name = lua_tostring(L, key), *near = wd_desc_nearest(desc, name);
  wd_text_escape(safe, sizeof(safe), name, strlen(name));
  if (near)
    wd_vm_error(L, "%s: unknown field '%s%s'; did you mean '%s'?", r->function, r->path, safe, near);
  else
    wd_vm_error(L, "%s: unknown field '%s%s'; help \"%s\" lists them", r->function, r->path, safe, r->function);
}

// Which fields the table has, a bit each; raises where it has something else.
static uint64_t given_fields(struct reader *r, const struct wd_desc *desc, int index, int shape) {
  lua_State *L = r->L;
  uint64_t given = 0;
  bool takes_first = false;
  for (const struct wd_field *f = desc->fields; f->name; f++)
    if (f->flags & WD_F_POSITIONAL) takes_first = true;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    bool first = takes_first && lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1;
    if (first) continue;
    lua_pushvalue(L, -2);
    if (lua_type(L, -1) != LUA_TSTRING || lua_rawget(L, shape) != LUA_TNUMBER) refuse_key(r, desc, lua_gettop(L) - 2);
    given |= UINT64_C(1) << lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  if (!lua_getmetatable(L, index)) return given;
  lua_pop(L, 1);
  return UINT64_MAX; // it may have more than its keys
}

static void read_struct(struct reader *r, const struct wd_desc *desc, int index, int positional, void *st) {
  lua_State *L = r->L;
  luaL_checkstack(L, 12, r->function);
  wd_shape_push(L, desc);
  int shape = lua_gettop(L);
  memcpy(st, defaults(L, desc, shape), desc->size);
  uint64_t given = index ? given_fields(r, desc, index, shape) : 0;
  for (int i = 0; desc->fields[i].name; i++) {
    const struct wd_field *f = &desc->fields[i];
    bool is_given = given >> i & 1;
    if (!is_given && !(f->flags & (WD_F_POSITIONAL | WD_F_REQUIRED))) continue;
    if (is_given) {
      lua_rawgeti(L, shape, WD_SHAPE_NAMES + i);
      lua_gettable(L, index);
    } else {
      lua_pushnil(L);
    }
    if (f->flags & WD_F_POSITIONAL && lua_isnil(L, -1)) {
      lua_pop(L, 1);
      if (positional)
        lua_pushvalue(L, positional);
      else if (index)
        lua_rawgeti(L, index, 1);
      else
        lua_pushnil(L);
    }
    if (!lua_isnil(L, -1))
      read_value(r, f, lua_gettop(L), (char *)st + f->offset);
    else if (f->flags & WD_F_REQUIRED && (index || r->depth == 0))
      fail(r, f, lua_gettop(L), NULL);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void wd_read(lua_State *L, const char *function, const struct wd_desc *desc, int index, int positional,
             struct wd_arena *arena, void *st) {
  struct reader r = {.L = L, .function = function, .arena = arena};
  if (index && !lua_istable(L, index)) {
    char came[80];
    got(L, index, came, sizeof(came));
    wd_vm_error(L, "%s: expected a table of options, got %s", function, came);
  }
  read_struct(&r, desc, index, positional, st);
}

wd_ns wd_read_duration(lua_State *L, int index, const char *function, const char *name) {
  static const struct wd_field duration = {.name = "", .type = WD_T_DURATION};
  struct reader r = {.L = L, .function = function};
  struct wd_field f = duration;
  wd_ns out;
  f.name = name;
  read_number(&r, &f, index, &out);
  return out;
}
