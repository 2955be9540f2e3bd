// waddle.core.task: the waits that tasks are made of. lua/waddle/task.lua builds all, race, map,
// timeout and channels on them.
#include <lauxlib.h>
#include <lua.h>

#include "runtime/clock.h"
#include "runtime/lua_modules.h"
#include "runtime/reader.h"
#include "runtime/task.h"

static struct wd_task *check_task(lua_State *L, int index, const char *function) {
  struct wd_task *t = luaL_testudata(L, index, wd_task_metatable);
  if (!t) t = luaL_testudata(L, index, wd_task_failed_metatable);
  if (!t) wd_vm_error(L, "%s: expected a task, got %s", function, luaL_typename(L, index));
  return t;
}

static int spawn(lua_State *L, struct wd_task *parent) {
  if (!lua_isfunction(L, 1)) wd_vm_error(L, "task.spawn: expected a function, got %s", luaL_typename(L, 1));
  if (!parent) wd_vm_error(L, "task.spawn: called outside of a task");
  if (parent->state == WD_TASK_CLOSING || parent->state == WD_TASK_DONE) wd_vm_error(L, "task.spawn: the parent task is ending");
  wd_task_spawn(L, lua_gettop(L) - 1, parent);
  return 1;
}

// spawn(fn, ...) -> task: runs fn(...) as a child of the calling task, from the next pass on.
static int l_spawn(lua_State *L) {
  return spawn(L, wd_vm_of(L)->current);
}

// spawn_under(task, fn, ...) -> task: as spawn, as a child of another task.
static int l_spawn_under(lua_State *L) {
  struct wd_task *parent = check_task(L, 1, "task.spawn_under");
  lua_remove(L, 1);
  return spawn(L, parent);
}

static const struct wd_op_class sleep_class = {.name = "sleep"};

static int k_done(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  wd_op_release((struct wd_op *)ctx);
  return 0;
}

// sleep(duration): lets other tasks run meanwhile; 0 lets each of them run once.
static int l_sleep(lua_State *L) {
  wd_task_check(L, "task.sleep");
  wd_ns span = wd_read_duration(L, 1, "task.sleep", "duration");
  struct wd_op *op = wd_op_new(L, &sleep_class, sizeof(*op));
  wd_op_wait(L, op);
  if (span > 0)
    wd_op_deadline(op, span);
  else
    wd_op_complete(op, WD_OK);
  return lua_yieldk(L, 0, (lua_KContext)op, k_done);
}

// now() -> seconds on the monotonic clock.
static int l_now(lua_State *L) {
  lua_pushnumber(L, (double)wd_clock_now() / 1e9);
  return 1;
}

struct wait_op {
  struct wd_op op;
  size_t n;
  struct wd_waiter waiters[];
};

static void wait_stop(struct wd_op *op) {
  struct wait_op *w = (struct wait_op *)op;
  for (size_t i = 0; i < w->n; i++) wd_task_unawait(&w->waiters[i]);
}

static const struct wd_op_class wait_class = {.name = "wait", .stop = wait_stop};

// Gives the index of the first task of the list at 1 that is done; 0 pushes nil.
static int push_first_done(lua_State *L) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    struct wd_task *t = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (t->state != WD_TASK_DONE) continue;
    lua_pushinteger(L, i);
    return 1;
  }
  lua_pushnil(L);
  return 1;
}

static int k_wait(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  wd_op_release((struct wd_op *)ctx);
  return push_first_done(L);
}

// wait({task, ...} [, timeout]) -> index of one that is done, or nil when the time is up.
static int l_wait(lua_State *L) {
  wd_task_check(L, "task.wait");
  luaL_checktype(L, 1, LUA_TTABLE);
  wd_ns bound = lua_isnoneornil(L, 2) ? WD_NONE : wd_read_duration(L, 2, "task.wait", "timeout");
  size_t n = lua_rawlen(L, 1);
  bool some_done = n == 0;
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i);
    struct wd_task *t = check_task(L, -1, "task.wait");
    if (t == wd_vm_of(L)->current) wd_vm_error(L, "task.wait: a task cannot wait for itself");
    some_done = some_done || t->state == WD_TASK_DONE;
    lua_pop(L, 1);
  }
  lua_settop(L, 1);
  struct wait_op *w = wd_op_new(L, &wait_class, sizeof(*w) + n * sizeof(struct wd_waiter));
  if (some_done) return push_first_done(L);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    wd_task_await(lua_touserdata(L, -1), &w->waiters[i], &w->op);
    lua_pop(L, 1);
  }
  w->n = n;
  wd_op_wait(L, &w->op);
  wd_op_deadline(&w->op, bound);
  return lua_yieldk(L, 0, (lua_KContext)w, k_wait);
}

static int k_join(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  wd_op_release((struct wd_op *)ctx);
  return wd_task_push_results(L, lua_touserdata(L, 1));
}

// t:join() -> what its function returned; raises what it raised.
static int l_join(lua_State *L) {
  struct wd_task *t = check_task(L, 1, "task.join");
  if (t->state == WD_TASK_DONE) return wd_task_push_results(L, t);
  struct wd_task *me = wd_task_check(L, "task.join");
  for (struct wd_task *up = me; up; up = up->parent)
    if (up == t) wd_vm_error(L, "task.join: a task cannot wait for itself or for a task that waits for it");
  struct wait_op *w = wd_op_new(L, &wait_class, sizeof(*w) + sizeof(struct wd_waiter));
  w->n = 1;
  wd_task_await(t, &w->waiters[0], &w->op);
  wd_op_wait(L, &w->op);
  return lua_yieldk(L, 0, (lua_KContext)w, k_join);
}

// t:cancel(): what it waits for is let go at once, its children end with it. No harm when done.
static int l_cancel(lua_State *L) {
  struct wd_task *t = check_task(L, 1, "task.cancel");
  wd_task_cancel(t);
  if (t == wd_vm_of(L)->current && L == t->co && lua_isyieldable(L)) return lua_yield(L, 0);
  return 0;
}

static const char *const states[] = {"ready", "running", "waiting", "ending", "done"};

// t:status() -> "ready" | "running" | "waiting" | "done" | "failed" | "cancelled" [, what it waits for]
static int l_status(lua_State *L) {
  static const char *const ends[] = {"done", "done", "failed", "cancelled"};
  struct wd_task *t = check_task(L, 1, "task.status");
  lua_pushstring(L, t->state == WD_TASK_DONE ? ends[t->end] : states[t->state]);
  if (!t->op) return 1;
  lua_pushstring(L, t->op->cls->name);
  return 2;
}

static const struct wd_op_class park_class = {.name = "park"};

static int k_park(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_op *op = (struct wd_op *)ctx;
  lua_pushboolean(L, op->err == WD_OK);
  wd_op_release(op);
  return 1;
}

// park([timeout]) -> true when wake(task) was called, false when the time is up.
static int l_park(lua_State *L) {
  wd_task_check(L, "task.park");
  wd_ns bound = lua_isnoneornil(L, 1) ? WD_NONE : wd_read_duration(L, 1, "task.park", "timeout");
  struct wd_op *op = wd_op_new(L, &park_class, sizeof(*op));
  wd_op_wait(L, op);
  wd_op_deadline(op, bound);
  return lua_yieldk(L, 0, (lua_KContext)op, k_park);
}

// wake(task) -> whether it was parked.
static int l_wake(lua_State *L) {
  struct wd_task *t = check_task(L, 1, "task.wake");
  bool parked = t->op && t->op->cls == &park_class && !t->op->done;
  if (parked) wd_op_complete(t->op, WD_OK);
  lua_pushboolean(L, parked);
  return 1;
}

// current() -> the task that runs, nil outside of tasks.
static int l_current(lua_State *L) {
  struct wd_task *t = wd_vm_of(L)->current;
  if (!t) return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);
  return 1;
}

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_since(lua_State *L, const char *name, wd_ns since) {
  lua_pushnumber(L, (double)(wd_clock_now() - since) / 1e6);
  lua_setfield(L, -2, name);
}

static void push_about(lua_State *L, struct wd_task *t) {
  char place[WD_PLACE_LEN];
  const char *subject = NULL;
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, (lua_Integer)t->id);
  lua_setfield(L, -2, "id");
  if (t->parent) {
    lua_pushinteger(L, (lua_Integer)t->parent->id);
    lua_setfield(L, -2, "parent");
  }
  set_text(L, "state", states[t->state]);
  set_text(L, "place", wd_vm_place(t->co, 0, place) ? place : NULL);
  set_since(L, "age_ms", t->started);
  if (!t->op) return;
  set_text(L, "waits_on", t->op->cls->about ? t->op->cls->about(t->op, &subject) : t->op->cls->name);
  set_text(L, "subject", subject);
  set_since(L, "waits_ms", t->op->started);
}

// list() -> {{id=, parent=, state=, place="FILE:LINE", age_ms=, waits_on="sleep"|"tcp.connect"..., subject=, waits_ms=}, ...}: every task,
// the newest first.
static int l_list(lua_State *L) {
  lua_Integer n = 0;
  lua_newtable(L);
  // Making tables may run finalizers, which start and end no tasks.
  for (struct wd_task *t = wd_vm_of(L)->live; t; t = t->live_next) {
    push_about(L, t);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

// alone() -> whether the calling task has nothing that would end with it or fail it: no children left, and none that failed.
static int l_alone(lua_State *L) {
  const struct wd_task *t = wd_task_check(L, "task.alone");
  lua_pushboolean(L, !t->children && !t->child_failed);
  return 1;
}

// foreground(task): Ctrl-C ends this task and what it spawns, even in pure Lua, but not the script.
static int l_foreground(lua_State *L) {
  check_task(L, 1, "task.foreground")->foreground = true;
  return 0;
}

// check(what): raises where a task could not wait now.
static int l_check(lua_State *L) {
  wd_task_check(L, luaL_checkstring(L, 1));
  return 0;
}

static int l_tostring(lua_State *L) {
  lua_pushfstring(L, "task %d", (int)check_task(L, 1, "task")->id);
  return 1;
}

int wd_open_task(lua_State *L) {
  static const luaL_Reg functions[] = {{"spawn", l_spawn}, {"spawn_under", l_spawn_under},
                                       {"sleep", l_sleep},     {"now", l_now},   {"wait", l_wait},
                                       {"park", l_park},   {"wake", l_wake},       {"check", l_check}, {"current", l_current},
                                       {"foreground", l_foreground}, {"alone", l_alone}, {"list", l_list},
                                       {NULL, NULL}};
  static const luaL_Reg methods[] = {{"join", l_join}, {"cancel", l_cancel}, {"status", l_status}, {NULL, NULL}};
  const char *const metatables[] = {wd_task_metatable, wd_task_failed_metatable};
  for (int i = 0; i < 2; i++) {
    luaL_getmetatable(L, metatables[i]);
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
  }
  luaL_newlib(L, functions);
  return 1;
}
