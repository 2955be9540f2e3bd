// waddle.core.budget: the limits of what scripts may use. lua/waddle/budget.lua is what people see of it.
#include <lauxlib.h>
#include <lua.h>

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

int wd_open_budget(lua_State *L) {
  static const luaL_Reg functions[] = {{"set", l_set}, {"enforce", l_enforce}, {"describe", l_describe}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
