// Making and closing the state, and the protected door into it. lua_pcall appears here alone.
#include "runtime/vm.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/modules.h"
#include "runtime/op.h"
#include "runtime/source.h"
#include "runtime/task.h"

// Turns an error value of any type at the top of L into a string there, as lua(1) does.
static void push_message(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TSTRING || lua_type(L, index) == LUA_TNUMBER) {
    lua_pushvalue(L, index);
    lua_tostring(L, -1);
  } else if (lua_isnil(L, index)) {
    lua_pushliteral(L, "(the error value is nil)");
  } else if (luaL_callmeta(L, index, "__tostring") && lua_type(L, -1) == LUA_TSTRING) {
    return;
  } else {
    lua_pushfstring(L, "(the error value is a %s)", luaL_typename(L, index));
  }
}

static int l_handler(lua_State *L) {
  push_message(L, 1);
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  return 1;
}

bool wd_vm_call(struct wd_vm *vm, lua_CFunction fn, void *arg) {
  lua_State *L = vm->L;
  if (!lua_checkstack(L, 4)) return false;
  lua_pushcfunction(L, l_handler);
  int handler = lua_gettop(L);
  lua_pushcfunction(L, fn);
  lua_pushlightuserdata(L, arg);
  bool ok = lua_pcall(L, 1, 0, handler) == LUA_OK;
  if (!ok) wd_log(WD_LOG_ERROR, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "out of memory");
  lua_settop(L, handler - 1);
  return ok;
}

struct text_call {
  lua_State *co;
  const char *text;
  char *out;
};

// From here on a traceback tells how waddle came to run the script.
#define RUNS_SCRIPTS "\n\tlua/waddle/run.lua:"

// Replaces the text on top by what waddle.redact leaves of it: a message may quote a URL with its password.
static void redact(lua_State *L) {
  if (!strstr(lua_tostring(L, -1), "://")) return;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "waddle.redact");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "text");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 1);
}

static int l_traceback(lua_State *L) {
  struct text_call *call = lua_touserdata(L, 1);
  if (lua_gettop(call->co) > 0 && lua_checkstack(call->co, 1)) {
    lua_pushvalue(call->co, -1);
    lua_xmove(call->co, L, 1);
  } else {
    lua_pushnil(L);
  }
  push_message(L, 2);
  // A message that was caught and raised again brings its own traceback: that of where it happened.
  if (!strstr(lua_tostring(L, -1), "\nstack traceback:\n")) luaL_traceback(L, call->co, lua_tostring(L, -1), 0);
  redact(L);
  const char *text = lua_tostring(L, -1);
  const char *ours = strstr(text, RUNS_SCRIPTS);
  call->out = strndup(text, ours ? (size_t)(ours - text) : strlen(text));
  return 0;
}

char *wd_vm_traceback(struct wd_vm *vm, lua_State *co) {
  struct text_call call = {.co = co};
  wd_vm_call(vm, l_traceback, &call);
  return call.out;
}

static int l_push_text(lua_State *L) {
  struct text_call *call = lua_touserdata(L, 1);
  lua_pushstring(L, call->text);
  if (lua_checkstack(call->co, 1)) lua_xmove(L, call->co, 1);
  return 0;
}

void wd_vm_push_text(struct wd_vm *vm, lua_State *co, const char *text) {
  struct text_call call = {.co = co, .text = text};
  wd_vm_call(vm, l_push_text, &call);
}

_Static_assert(WD_PLACE_LEN >= LUA_IDSIZE + 16, "a place has room for a file's short name and a line");

// "FILE:LINE"; by hand, since a signal handler may not call snprintf.
static void write_place(char *out, const char *file, int line) {
  char digits[16], *at = digits + sizeof(digits);
  size_t n = strlen(file);
  memcpy(out, file, n);
  out[n++] = ':';
  *--at = '\0';
  do *--at = (char)('0' + line % 10);
  while (line /= 10);
  memcpy(out + n, at, (size_t)(digits + sizeof(digits) - at));
}

bool wd_vm_place(lua_State *L, int level, char *out) {
  lua_Debug ar;
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0 || wd_source_is_ours(ar.source)) continue;
    write_place(out, ar.short_src, ar.currentline);
    return true;
  }
  return false;
}

void wd_vm_where(lua_State *L) {
  char place[WD_PLACE_LEN];
  if (wd_vm_place(L, 1, place))
    lua_pushfstring(L, "%s: ", place);
  else
    lua_pushliteral(L, "");
}

int wd_vm_error(lua_State *L, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  wd_vm_where(L);
  lua_pushstring(L, text);
  lua_concat(L, 2);
  lua_error(L);
  abort(); // lua_error does not return; this tells the compiler
}

// Warnings arrive in pieces; "@on" and the like are commands of the default handler.
static void on_warning(void *ud, const char *piece, int more) {
  static char line[512];
  static size_t at;
  (void)ud;
  if (at == 0 && !more && piece[0] == '@') return;
  at += (size_t)snprintf(line + at, sizeof(line) - at, "%s", piece);
  if (at >= sizeof(line)) at = sizeof(line) - 1;
  if (more) return;
  wd_log(WD_LOG_WARNING, "lua: %s", line);
  at = 0;
}

static int on_panic(lua_State *L) {
  (void)L;
  static const char text[] = "waddle: an error outside of every protected call, or out of memory\n";
  fputs(text, stderr);
  return 0; // Lua then aborts
}

// The collector works in small steps. Lua's own ones look at a hundred thousand objects at a time: with many targets that is milliseconds
// in which no probe starts.
enum { GC_KEEP = 0, GC_STEP_LOG2_BYTES = 9 };

static int l_open(lua_State *L) {
  struct wd_vm *vm = lua_touserdata(L, 1);
  lua_gc(L, LUA_GCINC, GC_KEEP, WD_GC_STEP_MUL, GC_STEP_LOG2_BYTES);
  lua_gc(L, LUA_GCSTOP);
  wd_op_setup(L);
  wd_modules_open(L);
  wd_task_setup(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "package");
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) { // ours comes second, after preload
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, wd_source_l_searcher);
  lua_rawseti(L, -2, 2);
  lua_gc(L, LUA_GCRESTART);
  vm->gc_stress = getenv("WADDLE_GC_STRESS") != NULL;
  return 0;
}

int wd_vm_open(struct wd_vm *vm, struct wd_loop *loop) {
  *vm = (struct wd_vm){.loop = loop, .exit_code = -1};
  wd_budget_open(vm);
#ifdef WADDLE_SANITIZED // every block is malloc's, so that none is used after it was freed unseen
  vm->L = lua_newstate(wd_slab_plain_realloc, &vm->memory);
#else
  vm->L = lua_newstate(wd_slab_realloc, &vm->memory);
#endif
  if (!vm->L) {
    fputs("waddle: out of memory\n", stderr);
    return -1;
  }
  *(struct wd_vm **)lua_getextraspace(vm->L) = vm;
  lua_atpanic(vm->L, on_panic);
  lua_setwarnf(vm->L, on_warning, NULL);
  loop->run_ready = wd_task_run_ready;
  loop->ctx = vm;
  return wd_vm_call(vm, l_open, vm) ? 0 : -1;
}

void wd_vm_close(struct wd_vm *vm) {
  wd_budget_closing(vm);
  lua_close(vm->L);
  wd_budget_close(vm);
  vm->L = NULL;
  wd_slab_free(&vm->memory);
}
