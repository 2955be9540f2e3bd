// A wait: the one thing a task waits for. Started by a function that Lua called, completed once by
// whoever the wait is for, read by a continuation in the task.
// The memory is a Lua userdata that lies on the waiting coroutine's stack, so an op lives until the
// task has read it or has been finished; after `stop` nothing else may point at it.
#pragma once

#include "runtime/loop.h"
#include "runtime/wd.h"

struct lua_State;
struct wd_op;
struct wd_task;

struct wd_op_class {
  const char *name; // what `ps` shows: "sleep", "http.request"
  // Lets go of everything the wait holds open (sockets, timers, transfers), at once. Called when the
  // op completes and when it is cancelled; more than once does no harm.
  void (*stop)(struct wd_op *op);
  // Frees memory that `stop` must leave for the continuation. May be NULL.
  void (*destroy)(struct wd_op *op);
  // The deadline passed. NULL: complete with WD_E_TIMEOUT.
  void (*expire)(struct wd_op *op);
  // What `ps` shows in place of `name`, and of whom or what (*subject, NULL at first). NULL: the name, and of nobody.
  const char *(*about)(const struct wd_op *op, const char **subject);
};

struct wd_op {
  const struct wd_op_class *cls;
  struct wd_loop *loop;
  struct wd_task *task; // who waits; NULL before the start and after the end
  struct wd_timer deadline;
  wd_ns started;
  enum wd_err err;
  bool done, destroyed;
};

// Pushes a zeroed userdata of `size` bytes that begins with a struct wd_op. [-0, +1, m]
void *wd_op_new(struct lua_State *L, const struct wd_op_class *cls, size_t size);

// Makes the running task wait for the op; call just before the yield. Whatever the task may have
// held before is dropped. [-0, +0, -]
void wd_op_wait(struct lua_State *L, struct wd_op *op);

// Completes the op with WD_E_TIMEOUT (or calls `expire`) `after` from now; WD_NONE: never.
void wd_op_deadline(struct wd_op *op, wd_ns after);

// Ends the wait. The second and later calls do nothing. Never resumes: the task is queued.
void wd_op_complete(struct wd_op *op, enum wd_err err);

// Ends the wait and frees what it held; for the scheduler and the continuation.
void wd_op_release(struct wd_op *op);

void wd_op_setup(struct lua_State *L); // once a state, before any wd_op_new
