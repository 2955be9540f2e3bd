// The scheduler. See task.h for what must hold.
#include "runtime/task.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"

const char *const wd_task_metatable = "waddle.task";
const char *const wd_task_failed_metatable = "waddle.task.failed";

static const char failed_key; // of that metatable in the registry, where finding it cannot fail

static void append(struct wd_task_list *list, struct wd_task *t) {
  t->ready_next = NULL;
  if (list->last)
    list->last->ready_next = t;
  else
    list->first = t;
  list->last = t;
}

static void enqueue(struct wd_task_list *list, struct wd_task *t) {
  if (t->queued) return;
  t->queued = true;
  append(list, t);
  t->vm->loop->ready = true;
}

void wd_task_wake(struct wd_task *t) {
  if (t->state == WD_TASK_WAITING) {
    t->state = WD_TASK_READY;
    t->vm->waiting--;
    enqueue(&t->vm->ready, t);
  }
}

static void make_current(struct wd_vm *vm, struct wd_task *t) {
  vm->current = t;
  vm->running = t->co;
  vm->resumes++;
  wd_budget_resume(vm, t);
}

static void leave_current(struct wd_vm *vm) {
  vm->running = NULL;
  vm->current = NULL;
}

int wd_task_switch(lua_State *co, lua_State *from, int nargs, int *nresults) {
  struct wd_vm *vm = wd_vm_of(co);
  lua_State *before = vm->running;
  if (lua_gethookmask(co)) lua_sethook(co, NULL, 0, 0); // of a slice that is over
  vm->running = co;
  wd_budget_last_words(vm, co);
  int rc = lua_resume(co, from, nargs, nresults);
  vm->running = before;
  if (!vm->budget.set_aside && lua_gethookmask(co)) lua_sethook(co, NULL, 0, 0);
  return rc;
}

int wd_task_close_coroutine(lua_State *co, lua_State *from) {
  struct wd_vm *vm = wd_vm_of(co);
  lua_State *before = vm->running;
  vm->running = co;
#if LUA_VERSION_RELEASE_NUM >= 50406
  int rc = lua_closethread(co, from);
#else
  (void)from;
  int rc = lua_resetthread(co);
#endif
  vm->running = before;
  return rc;
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
  enqueue(&t->vm->ready, t);
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
  if (t->state == WD_TASK_READY) enqueue(&t->vm->ready, t);
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
// longer, and looks at it while everything stands still. Giving it one walks over all objects that are younger than the task: where a task
// has filled the memory, the trace is freed when it has been handed up.
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
    if (t->over_budget && parent) { // the text is left on its coroutine
      free(t->trace);
      t->trace = NULL;
    }
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

// The one end of every task. Its waits are let go, its to-be-closed variables closed, its children
// cancelled; the rest waits for those. `error` is what a task that did not raise fails with, else NULL.
static void finish(struct wd_task *t, enum wd_task_end end, const char *error) {
  struct wd_vm *vm = t->vm;
  bool over = t->over, deep = t->over == WD_OVER_DEPTH; // to trace back that many calls takes long
  if (t->op) wd_op_release(t->op);
  t->state = WD_TASK_CLOSING;
  t->end = end;
  t->over = WD_OVER_NOTHING; // what is to be closed has a budget of its own
  t->spent = t->written = 0;
  if (end == WD_END_ERROR) {
    if (error && !deep) wd_vm_push_text(vm, t->co, error);
    t->trace = error && deep ? strdup(error) : wd_vm_traceback(vm, t->co);
    t->over_budget = over;
    if (!over || !t->parent) own_traces(t);
  }
  if (end != WD_END_OK) {
    make_current(vm, t);
    int rc = wd_task_close_coroutine(t->co, vm->L);
    leave_current(vm);
    if (error) wd_vm_push_text(vm, t->co, error);
    if (end == WD_END_CANCELLED && rc != LUA_OK && !vm->interrupt) {
      char *why = wd_vm_traceback(vm, t->co);
      wd_log(WD_LOG_WARNING, "task: closing a cancelled task failed: %s", why ? why : "out of memory");
      free(why);
    }
  }
  for (struct wd_task *c = t->children; c; c = c->sibling_next) wd_task_cancel(c);
  settle(t);
}

// It was set aside in the middle: others get their turn, then it goes on, one such task a pass: that of one slice is all that others wait.
static void go_on_later(struct wd_task *t) {
  wd_budget_charge(t->vm, t);
  t->state = WD_TASK_READY;
  enqueue(&t->vm->aside, t);
}

static void fail_over_budget(struct wd_task *t) {
  char why[WD_WHY_LEN];
  memcpy(why, t->vm->budget.why, sizeof(why));
  wd_budget_reclaim(t->vm, (enum wd_over)t->over);
  finish(t, WD_END_ERROR, why);
}

// All that nothing holds on to goes before a task is resumed, wherever the collector has not had a quarter of the time: with a large state
// nothing else would get done.
static void stress_collector(struct wd_vm *vm) {
  wd_ns began = wd_clock_real();
  if (began < vm->gc_next) return;
  lua_gc(vm->L, LUA_GCCOLLECT);
  wd_ns ended = wd_clock_real();
  vm->gc_next = ended + 3 * (ended - began);
}

static void step(struct wd_task *t) {
  struct wd_vm *vm = t->vm;
  if (t->killed) {
    finish(t, WD_END_CANCELLED, NULL);
    return;
  }
  int nargs = t->nargs, nresults = 0;
  t->nargs = 0;
  t->state = WD_TASK_RUNNING;
  make_current(vm, t);
  if (vm->gc_stress) stress_collector(vm);
  int rc = wd_task_switch(t->co, vm->L, nargs, &nresults);
  leave_current(vm);
  if (vm->breaking) t->killed = true;
  vm->breaking = 0;
  if (t->killed || (vm->interrupt && rc != LUA_OK)) {
    finish(t, WD_END_CANCELLED, NULL);
  } else if (rc == LUA_OK) {
    t->nresults = nresults;
    finish(t, WD_END_OK, NULL);
  } else if (t->over && wd_budget_judge(vm, t, t->co)) {
    fail_over_budget(t);
  } else if (rc != LUA_YIELD) {
    finish(t, WD_END_ERROR, NULL);
  } else if (vm->budget.set_aside) {
    go_on_later(t);
  } else if (!t->op) {
    finish(t, WD_END_ERROR, "coroutine.yield outside of a coroutine of your own: nothing would ever wake this task; "
                            "use task.sleep, a channel or a probe to wait");
  } else {
    lua_pop(t->co, nresults);
    t->state = WD_TASK_WAITING;
    t->spent = t->written = 0;
    vm->waiting++;
    if (t->op->done) wd_task_wake(t);
  }
}

void wd_task_run_ready(void *ctx) {
  struct wd_vm *vm = ctx;
  struct wd_task *t = vm->aside.first;
  if (t) {
    vm->aside.first = t->ready_next;
    if (!vm->aside.first) vm->aside.last = NULL;
    if (vm->aside.first) vm->loop->ready = true;
    append(&vm->ready, t);
  }
  t = vm->ready.first;
  vm->ready = (struct wd_task_list){0}; // what becomes ready meanwhile waits for the next pass
  vm->passes++;
  while (t) {
    struct wd_task *next = t->ready_next;
    t->queued = false;
    if (vm->interrupt) t->killed = true;
    step(t);
    t = next;
  }
  wd_budget_after_pass(vm);
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
  wd_task_setup_coroutines(L);
}
