// coroutine.resume and coroutine.wrap for scripts. A coroutine of their own, however deep, is set aside like the task it runs in: the
// hook's yield is handed up to the scheduler, and the coroutine goes on where it was when its task does.
// Must hold: to the script nothing shows of that; a coroutine that was set aside is resumed by its own task alone.
#include <lauxlib.h>
#include <lualib.h>

#include "runtime/task.h"

enum { FAILED = -1 }; // the error is on top of the coroutine

static int give(lua_State *L, lua_State *co, int n) {
  if (lua_checkstack(L, n + 1)) {
    lua_xmove(co, L, n);
    return n;
  }
  lua_pop(co, n);
  lua_pushliteral(co, "too many results to resume");
  return FAILED;
}

// Runs the coroutine until it yields by itself, ends or fails: moves its results to L and gives their number. Where it was set aside, L
// yields and goes on in `k`; where L cannot yield, the coroutine goes on at once, unless all of it is to end.
static int run(lua_State *L, lua_State *co, int nargs, lua_KFunction k) {
  struct wd_vm *vm = wd_vm_of(L);
  for (;; nargs = 0) {
    int n = 0, rc = wd_task_switch(co, L, nargs, &n);
    if (rc != LUA_OK && rc != LUA_YIELD) return FAILED;
    if (!vm->budget.set_aside) return give(L, co, n);
    if (lua_isyieldable(L)) return lua_yieldk(L, 0, (lua_KContext)co, k);
    vm->budget.set_aside = false;
    if (!vm->budget.condemned && !vm->interrupt && !vm->breaking) continue;
    wd_budget_raise(L);
  }
}

// As run, with the values on L above its first `keep` as arguments.
static int begin(lua_State *L, lua_State *co, int keep, lua_KFunction k) {
  int nargs = lua_gettop(L) - keep;
  if (lua_status(co) == LUA_YIELD && lua_gethookmask(co)) {
    lua_pushliteral(co, "cannot resume non-suspended coroutine");
    return FAILED;
  }
  if (!lua_checkstack(co, nargs)) {
    lua_pushliteral(co, "too many arguments to resume");
    return FAILED;
  }
  lua_xmove(L, co, nargs);
  return run(L, co, nargs, k);
}

// true and the results, or false and the error.
static int answer(lua_State *L, lua_State *co, int n) {
  lua_pushboolean(L, n != FAILED);
  if (n == FAILED) {
    lua_xmove(co, L, 1);
    return 2;
  }
  lua_insert(L, -(n + 1));
  return n + 1;
}

static int k_resume(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lua_State *co = (lua_State *)ctx;
  return answer(L, co, run(L, co, 0, k_resume));
}

static int l_resume(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return answer(L, co, begin(L, co, 1, k_resume));
}

// The results, or the error raised, with the place of the call before a text; a coroutine that failed is closed.
static int answer_wrap(lua_State *L, lua_State *co, int n) {
  if (n != FAILED) return n;
  if (lua_status(co) != LUA_OK && lua_status(co) != LUA_YIELD) wd_task_close_coroutine(co, L);
  lua_xmove(co, L, 1);
  if (lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int k_wrapped(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lua_State *co = (lua_State *)ctx;
  return answer_wrap(L, co, run(L, co, 0, k_wrapped));
}

static int l_wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  return answer_wrap(L, co, begin(L, co, 0, k_wrapped));
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, l_wrapped, 1);
  return 1;
}

void wd_task_setup_coroutines(lua_State *L) {
  static const luaL_Reg functions[] = {{"resume", l_resume}, {"wrap", l_wrap}, {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
