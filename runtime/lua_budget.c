// waddle.core.budget: the limits of what scripts may use. lua/waddle/budget.lua is what people see of it.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#include "runtime/lua_modules.h"
#include "runtime/reader.h"
#include "runtime/vm.h"
#include "runtime/writer.h"

// set({cpu="5s", memory="1GiB", ...}, function): changes the limits named, 0 for none; raises for a wrong one with the function's name.
static int l_set(lua_State *L) {
  struct wd_vm *vm = wd_vm_of(L);
  struct wd_limits given;
  struct wd_arena arena = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  wd_read(L, luaL_checkstring(L, 2), &wd_limits_desc, 1, 0, &arena, &given); // no text among the fields: the arena stays empty
  wd_budget_set(vm, &given);
  return 0;
}

// enforce(): code that is not waddle's own is about to run.
static int l_enforce(lua_State *L) {
  wd_budget_enforce(wd_vm_of(L));
  return 0;
}

// describe() -> list of the limits' names, types and defaults, as core.describe has them
static int l_describe(lua_State *L) {
  wd_write_desc(L, &wd_limits_desc);
  return 1;
}

// output(bytes): the running task is about to log so many.
static int l_output(lua_State *L) {
  wd_budget_output(L, (size_t)luaL_checkinteger(L, 1));
  return 0;
}

// ---- what scripts write by, counted: the function itself is the upvalue ----

enum { OTHER_BYTES = 8 }; // of what is no text, when printed: at least

static int go_on(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int l_print(lua_State *L) {
  size_t bytes = 1;
  for (int i = lua_gettop(L); i > 0; i--) bytes += 1 + (lua_type(L, i) == LUA_TSTRING ? lua_rawlen(L, i) : OTHER_BYTES);
  wd_budget_output(L, bytes);
  return go_on(L);
}

static size_t texts(lua_State *L, int first) {
  size_t bytes = 0, length;
  for (int i = first; i <= lua_gettop(L); i++) {
    luaL_checklstring(L, i, &length); // here, so that an error names the function that was called
    bytes += length;
  }
  return bytes;
}

static bool is_standard(const luaL_Stream *s) {
  return s && (s->f == stdout || s->f == stderr);
}

// io.write: to the standard output, or what io.output has put in its place.
static int l_write(lua_State *L) {
  size_t bytes = texts(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
  const luaL_Stream *s = luaL_testudata(L, -1, LUA_FILEHANDLE);
  lua_pop(L, 1);
  if (is_standard(s)) wd_budget_output(L, bytes);
  return go_on(L);
}

// file:write
static int l_file_write(lua_State *L) {
  const luaL_Stream *s = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  size_t bytes = texts(L, 2);
  if (is_standard(s)) wd_budget_output(L, bytes);
  return go_on(L);
}

// Puts a counting function in place of the field of the table on top.
static void count(lua_State *L, const char *name, lua_CFunction with) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, with, 1);
  lua_setfield(L, -2, name);
}

static void count_output(lua_State *L) {
  lua_pushglobaltable(L);
  count(L, "print", l_print);
  lua_getfield(L, -1, "io");
  count(L, "write", l_write);
  luaL_getmetatable(L, LUA_FILEHANDLE);
  lua_getfield(L, -1, "__index");
  count(L, "write", l_file_write);
  lua_pop(L, 4);
}

int wd_open_budget(lua_State *L) {
  static const luaL_Reg functions[] = {{"set", l_set}, {"enforce", l_enforce}, {"describe", l_describe}, {"output", l_output}, {NULL, NULL}};
  count_output(L);
  luaL_newlib(L, functions);
  return 1;
}
