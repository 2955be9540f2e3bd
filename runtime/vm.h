// The Lua state and what belongs to it. One a process. Functions here are the only doors from the
// host into Lua besides the scheduler's resume.
#pragma once

#include <lua.h>
#include <signal.h>

#include "runtime/budget.h"
#include "runtime/loop.h"
#include "runtime/slab.h"
#include "runtime/wd.h"

struct wd_task;

enum { WD_GC_STEP_MUL = 4 }; // the collector's speed as long as little memory is in use

struct wd_task_list {
  struct wd_task *first, *last;
};

struct wd_vm {
  struct wd_loop *loop;
  struct wd_slab memory;    // of the state
  lua_State *L;             // the main thread; scripts never run on it
  struct wd_budget budget;  // of the scripts
  struct wd_task *current;  // the task that runs now, NULL between resumes
  lua_State *running;       // its coroutine, or the one of its own making that it has resumed
  struct wd_task *root;     // the script; the process ends with it
  struct wd_task_list ready; // run in the next pass
  struct wd_task_list aside; // in the middle of something: the first of them is run in the next pass, after the others
  struct wd_task *live;     // every task that is not done
  unsigned live_count, waiting;
  uint64_t spawned, resumes, passes;
  int exit_code;            // asked for by sys.exit, -1 = not asked
  bool gc_stress;           // WADDLE_GC_STRESS: collect before resumes, for a quarter of the time
  wd_ns gc_next;            // then: not before
  volatile sig_atomic_t interrupt; // signal number that must end the script, 0 = none
  volatile sig_atomic_t breaking;  // the running task is a foreground one and must end, but not the script
};

// The vm of any thread of its state. [-0, +0, -]
static inline struct wd_vm *wd_vm_of(lua_State *L) {
  return *(struct wd_vm **)lua_getextraspace(L);
}

// Makes the state, the libraries and the searchers. 0, or -1 with a message on stderr.
int wd_vm_open(struct wd_vm *vm, struct wd_loop *loop);

// Closes the state; every task must be done.
void wd_vm_close(struct wd_vm *vm);

// Calls `fn` on the main thread with `arg` as its light userdata, protected. True when it returned;
// false when it raised: the message with its traceback is then written to the log. Never raises.
bool wd_vm_call(struct wd_vm *vm, lua_CFunction fn, void *arg);

// Text for an error value of any type, with a traceback of `co`, malloc'ed; NULL when memory ran
// out. The value is at the top of `co` and stays. Never raises.
char *wd_vm_traceback(struct wd_vm *vm, lua_State *co);

// Pushes a string on a coroutine that does not run; nothing is pushed when memory runs out. Never
// raises.
void wd_vm_push_text(struct wd_vm *vm, lua_State *co, const char *text);

// Writes "FILE:LINE" of the nearest caller from level `level` on that is not part of waddle itself; false where there is none. `out` has
// room for WD_PLACE_LEN bytes. L runs, is suspended or has failed; a signal handler may ask. [-0, +0, -]
bool wd_vm_place(lua_State *L, int level, char *out);

// Pushes "FILE:LINE: " of the nearest caller that is not part of waddle itself, or "". [-0, +1, m]
void wd_vm_where(lua_State *L);

// Raises with the position of the nearest caller that is not part of waddle itself. [-0, +0, v]
int wd_vm_error(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
