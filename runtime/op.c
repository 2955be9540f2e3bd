// The life of a wait. Must hold: a completed or released op has stopped, and never runs again.
#include "runtime/op.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/task.h"

static const char *const metatable = "waddle.op";

static int l_gc(lua_State *L) {
  wd_op_release(lua_touserdata(L, 1));
  return 0;
}

void wd_op_setup(lua_State *L) {
  luaL_newmetatable(L, metatable);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

static void on_deadline(struct wd_timer *t) {
  struct wd_op *op = WD_CONTAINER(t, struct wd_op, deadline);
  if (op->cls->expire)
    op->cls->expire(op);
  else
    wd_op_complete(op, WD_E_TIMEOUT);
}

void *wd_op_new(lua_State *L, const struct wd_op_class *cls, size_t size) {
  struct wd_op *op = lua_newuserdatauv(L, size, 0);
  memset(op, 0, size);
  op->cls = cls;
  op->loop = wd_vm_of(L)->loop;
  op->deadline.fire = on_deadline;
  luaL_setmetatable(L, metatable);
  return op;
}

void wd_op_wait(lua_State *L, struct wd_op *op) {
  struct wd_task *t = wd_vm_of(L)->current;
  if (t->op) wd_op_release(t->op);
  t->op = op;
  op->task = t;
  op->started = wd_clock_now();
}

void wd_op_deadline(struct wd_op *op, wd_ns after) {
  if (after != WD_NONE && !op->done) wd_loop_arm(op->loop, &op->deadline, after);
}

void wd_op_complete(struct wd_op *op, enum wd_err err) {
  if (op->done) return;
  op->done = true;
  op->err = err;
  wd_timer_stop(&op->loop->timers, &op->deadline);
  if (op->cls->stop) op->cls->stop(op);
  if (op->task) wd_task_wake(op->task);
}

void wd_op_release(struct wd_op *op) {
  if (op->destroyed) return;
  if (op->task && op->task->op == op) op->task->op = NULL;
  op->task = NULL;
  wd_op_complete(op, WD_E_CANCELLED);
  op->destroyed = true;
  if (op->cls->destroy) op->cls->destroy(op);
}
