// The scheduler. See task.h for what must hold.
#include "runtime/task.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"

const char *const wd_task_metatable = "waddle.task";
const char *const wd_task_failed_metatable = "waddle.task.failed";

static const char failed_key; // of that metatable in the registry, where finding it cannot fail

enum { HOOK_EVERY = 10000 }; // instructions between two looks at vm->interrupt

static void enqueue(struct wd_task *t) {
  struct wd_vm *vm = t->vm;
  if (t->queued) return;
  t->queued = true;
  t->ready_next = NULL;
  if (vm->ready_last)
    vm->ready_last->ready_next = t;
  else
    vm->ready_first = t;
  vm->ready_last = t;
  vm->loop->ready = true;
}

void wd_task_wake(struct wd_task *t) {
  if (t->state == WD_TASK_WAITING) {
    t->state = WD_TASK_READY;
    t->vm->waiting--;
    enqueue(t);
  }
}

// Ends a script that a signal must end, however deep in pure Lua it is. A yield out of the hook
// cannot be caught by pcall; where Lua cannot yield, an error is raised again at every instruction
// until a place is reached where it can. A hook makes Lua half as fast again, so a task gets it when
// the signal comes; a coroutine of the user's own, which no signal handler finds, has it always.
static void count_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  struct wd_vm *vm = wd_vm_of(L);
  if (!vm->interrupt && !vm->breaking) return;
  lua_sethook(L, count_hook, LUA_MASKCOUNT, 1);
  if (vm->current && L == vm->current->co && lua_isyieldable(L))
    lua_yield(L, 0);
  else
    luaL_error(L, "interrupted");
}

void wd_task_interrupt(struct wd_vm *vm) {
  if (vm->current) lua_sethook(vm->current->co, count_hook, LUA_MASKCOUNT, 1);
}

static void make_current(struct wd_vm *vm, struct wd_task *t) {
  vm->current = t;
  atomic_signal_fence(memory_order_seq_cst); // a signal comes before the next line, or finds the task
  if (vm->interrupt && !lua_gethook(t->co)) lua_sethook(t->co, count_hook, LUA_MASKCOUNT, HOOK_EVERY);
}

struct wd_task *wd_task_spawn(lua_State *L, int nargs, struct wd_task *parent) {
  struct wd_vm *vm = wd_vm_of(L);
  struct wd_task *t = lua_newuserdatauv(L, sizeof(*t), 1);
  *t = (struct wd_task){.vm = vm, .ref = LUA_NOREF, .nargs = nargs, .state = WD_TASK_DONE};
  luaL_setmetatable(L, wd_task_metatable);
  lua_insert(L, -(nargs + 2));
  t->co = lua_newthread(L);
  lua_setiuservalue(L, -(nargs + 3), 1);
  if (!lua_checkstack(t->co, nargs + LUA_MINSTACK)) wd_vm_error(L, "task.spawn: too many arguments");
  lua_xmove(L, t->co, nargs + 1);
  lua_pushvalue(L, -1);
  t->ref = luaL_ref(L, LUA_REGISTRYINDEX); // from here on nothing raises
  t->state = WD_TASK_READY;
  t->foreground = parent && parent->foreground;
  t->started = wd_clock_now();
  t->id = (unsigned long)++vm->spawned;
  t->parent = parent;
  if (t->parent) {
    t->sibling_next = t->parent->children;
    if (t->sibling_next) t->sibling_next->sibling_prev = t;
    t->parent->children = t;
  }
  t->live_next = vm->live;
  if (vm->live) vm->live->live_prev = t;
  vm->live = t;
  vm->live_count++;
  enqueue(t);
  return t;
}

void wd_task_cancel(struct wd_task *t) {
  if (t->state == WD_TASK_DONE || t->killed) return;
  t->killed = true;
  if (t->op) wd_op_release(t->op);
  if (t->state == WD_TASK_WAITING) {
    t->state = WD_TASK_READY;
    t->vm->waiting--;
  }
  if (t->state == WD_TASK_READY) enqueue(t);
}

void wd_task_cancel_all(struct wd_vm *vm) {
  for (struct wd_task *t = vm->live; t; t = t->live_next) wd_task_cancel(t);
}

static void unlink_live(struct wd_task *t) {
  struct wd_vm *vm = t->vm;
  if (t->live_prev)
    t->live_prev->live_next = t->live_next;
  else
    vm->live = t->live_next;
  if (t->live_next) t->live_next->live_prev = t->live_prev;
  vm->live_count--;
}

static void unlink_child(struct wd_task *t) {
  struct wd_task *parent = t->parent;
  if (t->sibling_prev)
    t->sibling_prev->sibling_next = t->sibling_next;
  else
    parent->children = t->sibling_next;
  if (t->sibling_next) t->sibling_next->sibling_prev = t->sibling_prev;
  t->parent = NULL;
}

// A task that holds a trace gets a finalizer. All others go without: the collector keeps what has one, with all it refers to, for a cycle
// longer, and looks at it while everything stands still.
static void own_traces(struct wd_task *t) {
  lua_State *L = t->vm->L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &failed_key);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

// A failure that nobody waits for becomes the parent's when the parent ends; the first one counts.
static void hand_failure_up(struct wd_task *t) {
  struct wd_task *parent = t->parent;
  if (!parent || t->end != WD_END_ERROR || t->joined || parent->child_trace) return;
  parent->child_trace = t->trace ? strdup(t->trace) : NULL;
  parent->child_failed = t;
  own_traces(parent);
}

// The last step of every task: its children are gone, so its own end is final.
static void settle(struct wd_task *t) {
  while (t && t->state == WD_TASK_CLOSING && !t->children) {
    struct wd_task *parent = t->parent;
    t->state = WD_TASK_DONE;
    if (t->end == WD_END_OK && t->child_failed) {
      t->end = WD_END_ERROR;
      t->failed_by_child = true;
      t->trace = t->child_trace;
      t->child_trace = NULL;
    }
    hand_failure_up(t);
    if (parent) unlink_child(t);
    unlink_live(t);
    while (t->waiters) {
      struct wd_waiter *w = t->waiters;
      struct wd_op *op = w->op;
      wd_task_unawait(w);
      wd_op_complete(op, WD_OK);
    }
    luaL_unref(t->vm->L, LUA_REGISTRYINDEX, t->ref);
    t = parent;
  }
}

static int close_coroutine(struct wd_task *t) {
#if LUA_VERSION_RELEASE_NUM >= 50406
  return lua_closethread(t->co, t->vm->L);
#else
  return lua_resetthread(t->co);
#endif
}

// The one end of every task. Its waits are let go, its to-be-closed variables closed, its children
// cancelled; the rest waits for those.
static void finish(struct wd_task *t, enum wd_task_end end) {
  struct wd_vm *vm = t->vm;
  if (t->op) wd_op_release(t->op);
  t->state = WD_TASK_CLOSING;
  t->end = end;
  if (end == WD_END_ERROR) {
    t->trace = wd_vm_traceback(vm, t->co);
    own_traces(t);
  }
  if (end != WD_END_OK) {
    make_current(vm, t);
    int rc = close_coroutine(t);
    vm->current = NULL;
    if (end == WD_END_CANCELLED && rc != LUA_OK && !vm->interrupt) {
      char *why = wd_vm_traceback(vm, t->co);
      wd_log(WD_LOG_WARNING, "task: closing a cancelled task failed: %s", why ? why : "out of memory");
      free(why);
    }
  }
  for (struct wd_task *c = t->children; c; c = c->sibling_next) wd_task_cancel(c);
  settle(t);
}

static void fail_with(struct wd_task *t, const char *message) {
  wd_vm_push_text(t->vm, t->co, message);
  finish(t, WD_END_ERROR);
}

static void step(struct wd_task *t) {
  struct wd_vm *vm = t->vm;
  if (t->killed) {
    finish(t, WD_END_CANCELLED);
    return;
  }
  int nargs = t->nargs, nresults = 0;
  t->nargs = 0;
  t->state = WD_TASK_RUNNING;
  make_current(vm, t);
  vm->resumes++;
  if (vm->gc_stress) lua_gc(vm->L, LUA_GCCOLLECT);
  int rc = lua_resume(t->co, vm->L, nargs, &nresults);
  vm->current = NULL;
  if (vm->breaking) t->killed = true;
  vm->breaking = 0;
  if (t->killed || (vm->interrupt && rc != LUA_OK)) {
    finish(t, WD_END_CANCELLED);
  } else if (rc == LUA_OK) {
    t->nresults = nresults;
    finish(t, WD_END_OK);
  } else if (rc != LUA_YIELD) {
    finish(t, WD_END_ERROR);
  } else if (!t->op) {
    fail_with(t, "coroutine.yield outside of a coroutine of your own: nothing would ever wake this task; "
                 "use task.sleep, a channel or a probe to wait");
  } else {
    lua_pop(t->co, nresults);
    t->state = WD_TASK_WAITING;
    vm->waiting++;
    if (t->op->done) wd_task_wake(t);
  }
}

void wd_task_run_ready(void *ctx) {
  struct wd_vm *vm = ctx;
  struct wd_task *t = vm->ready_first;
  vm->ready_first = vm->ready_last = NULL; // what becomes ready meanwhile waits for the next pass
  while (t) {
    struct wd_task *next = t->ready_next;
    t->queued = false;
    if (vm->interrupt) t->killed = true;
    step(t);
    t = next;
  }
}

struct wd_task *wd_task_check(lua_State *L, const char *what) {
  struct wd_task *t = wd_vm_of(L)->current;
  if (!t) wd_vm_error(L, "%s: called outside of a task; only scripts and task.spawn can wait", what);
  if (L != t->co)
    wd_vm_error(L, "%s: called in a coroutine of your own, which cannot wait; use task.spawn in place of coroutine.create", what);
  if (!lua_isyieldable(L))
    wd_vm_error(L, "%s: called where Lua cannot wait (inside require, table.sort, string.gsub, load, a finalizer or a closing "
                   "task); call it before and hand the result in", what);
  return t;
}

void wd_task_await(struct wd_task *t, struct wd_waiter *w, struct wd_op *op) {
  *w = (struct wd_waiter){.op = op, .task = t, .next = t->waiters};
  t->waiters = w;
  t->joined = true;
}

void wd_task_unawait(struct wd_waiter *w) {
  if (!w->task) return;
  for (struct wd_waiter **at = &w->task->waiters; *at; at = &(*at)->next) {
    if (*at != w) continue;
    *at = w->next;
    break;
  }
  w->task = NULL;
}

int wd_task_push_results(lua_State *L, struct wd_task *t) {
  struct wd_task *me = wd_vm_of(L)->current;
  if (me && me->child_failed == t) { // the failure has found its owner after all
    free(me->child_trace);
    me->child_trace = NULL;
    me->child_failed = NULL;
  }
  if (t->end == WD_END_CANCELLED) return wd_vm_error(L, "task %d was cancelled", (int)t->id);
  luaL_checkstack(L, t->nresults + 1, "too many results");
  if (t->end == WD_END_ERROR && (t->failed_by_child || lua_gettop(t->co) == 0)) { // only the text is left
    lua_pushstring(L, t->trace ? t->trace : "out of memory");
    return lua_error(L);
  }
  int n = t->end == WD_END_ERROR ? 1 : t->nresults, base = lua_gettop(t->co) - n;
  if (!lua_checkstack(t->co, n)) return luaL_error(L, "out of memory");
  for (int i = 1; i <= n; i++) lua_pushvalue(t->co, base + i);
  lua_xmove(t->co, L, n);
  return t->end == WD_END_ERROR ? lua_error(L) : n;
}

// coroutine.create or coroutine.wrap (the upvalue), with a coroutine that can be interrupted.
static int l_coroutine(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  lua_State *co = lua_tothread(L, 1);
  if (!co && lua_getupvalue(L, 1, 1)) co = lua_tothread(L, -1); // wrap's function holds it
  if (co) lua_sethook(co, count_hook, LUA_MASKCOUNT, HOOK_EVERY);
  lua_settop(L, 1);
  return 1;
}

static int l_gc(lua_State *L) {
  struct wd_task *t = lua_touserdata(L, 1);
  free(t->trace);
  free(t->child_trace);
  t->trace = t->child_trace = NULL;
  return 0;
}

void wd_task_setup(lua_State *L) {
  luaL_newmetatable(L, wd_task_metatable);
  luaL_newmetatable(L, wd_task_failed_metatable);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &failed_key);
  lua_getglobal(L, LUA_COLIBNAME);
  for (int i = 0; i < 2; i++) {
    static const char *const makers[] = {"create", "wrap"};
    lua_getfield(L, -1, makers[i]);
    lua_pushcclosure(L, l_coroutine, 1);
    lua_setfield(L, -2, makers[i]);
  }
  lua_pop(L, 2);
}
