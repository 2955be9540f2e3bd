// Tasks: Lua coroutines that wait for one op at a time, and the scheduler that resumes them.
// Must hold: lua_resume appears in task.c alone; a finished, failed, timed out and cancelled task
// all go through one function; a task outlives its children; a completed op only queues its task.
#pragma once

#include <lua.h>

#include "runtime/op.h"
#include "runtime/vm.h"

enum wd_task_state { WD_TASK_READY, WD_TASK_RUNNING, WD_TASK_WAITING, WD_TASK_CLOSING, WD_TASK_DONE };
enum wd_task_end { WD_END_NONE, WD_END_OK, WD_END_ERROR, WD_END_CANCELLED };

// One op that waits for the end of a task.
struct wd_waiter {
  struct wd_op *op;
  struct wd_task *task; // whose end is awaited; NULL once unlinked
  struct wd_waiter *next;
};

struct wd_task {
  struct wd_vm *vm;
  lua_State *co;            // lives as the first user value of the task's userdata
  int ref;                  // registry reference to the userdata while the task is live
  enum wd_task_state state;
  enum wd_task_end end;
  bool killed;              // to be finished as cancelled at its next turn
  bool queued;              // in the ready list
  bool joined;              // somebody asked for its end, so a failure has an owner
  bool foreground;          // Ctrl-C ends it even in pure Lua, and leaves the script alone
  bool over_budget;         // it failed for what it used
  bool failed_by_child;     // its function returned, but a child of it had failed unjoined
  int nargs;                // values to hand to the next resume
  int nresults;             // values left on co by a normal end
  struct wd_op *op;
  struct wd_task *parent, *children, *sibling_next, *sibling_prev;
  struct wd_task *ready_next;
  struct wd_task *live_next, *live_prev;
  struct wd_waiter *waiters;
  char *trace;              // message and traceback of a failure; malloc'ed
  char *child_trace;        // of the first child that failed and was not joined
  const void *child_failed; // that child, only to be compared with
  wd_ns started;
  wd_ns spent;              // processor time since its last wait, without the present slice
  int64_t written; // bytes, likewise
  volatile sig_atomic_t over; // enum wd_over: what it has used too much of
  unsigned long id;
};

extern const char *const wd_task_metatable, *const wd_task_failed_metatable; // of a task, and of one that has failed or has a child that did

// Makes a task of the function at -(nargs+1) and its arguments, a child of `parent` (NULL: of none);
// queues it. Replaces function and arguments by the task's userdata. [-(nargs+1), +1, m]
struct wd_task *wd_task_spawn(lua_State *L, int nargs, struct wd_task *parent);

// Queues a task whose op completed. For op.c.
void wd_task_wake(struct wd_task *t);

// Ends a task at its next turn; what it waits for is let go at once. Its children end with it.
void wd_task_cancel(struct wd_task *t);

// Ends all tasks that are live.
void wd_task_cancel_all(struct wd_vm *vm);

// lua_resume for who makes coroutines. When the budget's hook has set `co` aside, the result is LUA_YIELD and vm->budget.set_aside.
int wd_task_switch(lua_State *co, lua_State *from, int nargs, int *nresults);

// lua_closethread, or what older versions have: closes what is to be closed in a coroutine that is suspended or has failed.
int wd_task_close_coroutine(lua_State *co, lua_State *from);

// Replaces coroutine.resume and coroutine.wrap by ones that can be set aside. (task_coroutine.c)
void wd_task_setup_coroutines(lua_State *L);

// Runs what is ready, once over the list; the loop's run_ready hook (ctx is the vm).
void wd_task_run_ready(void *ctx);

// The task that runs L, or an error that says why `what` cannot wait here. [-0, +0, v]
struct wd_task *wd_task_check(lua_State *L, const char *what);

// Links the op to the task's end. For join and wait.
void wd_task_await(struct wd_task *t, struct wd_waiter *w, struct wd_op *op);
void wd_task_unawait(struct wd_waiter *w);

// Pushes the results of a task that is done, or raises its error. [-0, +n, v]
int wd_task_push_results(lua_State *L, struct wd_task *t);

// Once a state, after its libraries are open.
void wd_task_setup(lua_State *L);
