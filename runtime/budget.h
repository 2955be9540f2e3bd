// What the code of scripts may use of the process: time on the processor, memory, depth of calls. What uses more ends its own task.
// A timer ticks while tasks run. The tick puts a hook into the coroutine that has run for a slice; the hook yields, which no pcall can
// catch, and the scheduler goes on with others. Without a tick there is no hook, and Lua runs at its full speed.
// Must hold: waddle's own Lua files are never set aside in the middle and never ended: only a task that has code of others among its
// callers is judged; the tick runs in a signal handler and does nothing but set fields, hooks (which Lua allows it to) and the timer.
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "runtime/desc.h"
#include "runtime/wd.h"

struct wd_task;
struct wd_vm;

// What a task has used too much of.
enum wd_over { WD_OVER_NOTHING, WD_OVER_CPU, WD_OVER_MEMORY, WD_OVER_BLOCK, WD_OVER_DEPTH, WD_OVER_SOCKETS, WD_OVER_OUTPUT };

// 0: no limit.
struct wd_limits {
  wd_ns slice;    // after so long others get their turn
  wd_ns cpu;      // of one task between two of its waits
  int64_t memory; // bytes of the whole state
  int64_t block;  // bytes of one piece
  int64_t depth;  // calls within calls
  int64_t sockets; // probes under way at once
  int64_t output; // bytes that one task prints and logs between two of its waits
  wd_ns stall;    // after so long without a pass of the loop the process ends itself; for who is watched from outside
};

extern const struct wd_desc wd_limits_desc;

// What the watchdog waits to be told: nothing; who holds the loop; the same, and then the process ends.
enum wd_place_wanted { WD_PLACE_UNWANTED, WD_PLACE_WANTED, WD_PLACE_LAST };

enum { WD_PLACE_LEN = 128, WD_WHY_LEN = 256 };

struct wd_budget {
  struct wd_limits limits;
  bool on;                    // code of others runs in this process: the limits of memory hold
  int64_t large, full;        // those that hold now, INT64_MAX for none
  bool has_timer, closing;    // closing: the state is being closed, finalizers run
  timer_t timer;
  volatile bool ticking, slow;
  volatile uint64_t resume_seen, pass_seen; // at the tick before
  volatile unsigned ticks;      // that this slice has seen
  volatile unsigned unanswered; // ticks since the hook was set and did not run
  volatile unsigned events;     // of the hook since it was set
  volatile wd_ns cpu_from;      // processor time of the thread when this slice was first seen
  volatile wd_ns pass_from;     // when this pass of the loop was first seen, by the real clock
  volatile enum wd_place_wanted place_wanted;
  volatile wd_ns wanted_from, wanted_cpu; // since when, by the real clock and by the processor's
  volatile bool told, stalled;  // of this pass: the watchdog has logged it; the process is about to end
  bool set_aside;               // the last yield was the hook's
  bool condemned;               // `why` says what the running task ends for
  char why[WD_WHY_LEN];
  int refusals;               // times that memory is still to be refused, whatever for
  bool forgive;                 // the collector's debt: a large block was taken
  int reclaiming;               // cycles of the collector that are still to be hurried through
  bool trim;                    // then the memory goes back to the system
  bool hurried;
};

// Sets the limits to their defaults and gets the timer; without one (no resources) nothing is set aside, and that is logged.
void wd_budget_open(struct wd_vm *vm);
// Before the state is closed: from here on finalizers run, and the watchdog looks at them.
void wd_budget_closing(struct wd_vm *vm);
void wd_budget_close(struct wd_vm *vm);

// Puts the limits of memory into force, or those just changed: code of others is about to run.
void wd_budget_enforce(struct wd_vm *vm);

// Changes the limits that are not WD_NONE.
void wd_budget_set(struct wd_vm *vm, const struct wd_limits *given);

// A task is about to be resumed: vm->current and vm->running are set.
void wd_budget_resume(struct wd_vm *vm, struct wd_task *t);

// A coroutine is about to run although a signal has come: it gets a moment, to close what is to be closed.
void wd_budget_last_words(struct wd_vm *vm, lua_State *L);

// A task was set aside: what it has used so far is added up.
void wd_budget_charge(struct wd_vm *vm, struct wd_task *t);

// Whether a task that is not waiting must end for what it used; vm->budget.why then says so with FILE:LINE. `L` is where it was.
bool wd_budget_judge(struct wd_vm *vm, struct wd_task *t, lua_State *L);

// A task has ended for this: what was memory of it is to be collected soon.
void wd_budget_reclaim(struct wd_vm *vm, enum wd_over over);

// All garbage is to be collected soon, and the memory given back to the system.
void wd_budget_trim(struct wd_vm *vm);

// The running task is about to start a probe, `under_way` are going on: ends it where that is too many. [-0, +0, e]
void wd_budget_sockets(lua_State *L, int64_t under_way);

// The running task is about to write so many bytes to standard output or the log: ends it where that is too many. [-0, +0, e]
void wd_budget_output(lua_State *L, size_t bytes);

// Raises where the running task, or all of them, must end and Lua cannot yield; again at every instruction, until it is out.
void wd_budget_raise(lua_State *L) __attribute__((noreturn));

// Between two passes: helps the collector along when there is much to collect.
void wd_budget_after_pass(struct wd_vm *vm);

// Ends what runs now at its next instruction, where vm->interrupt or vm->breaking says so; may be called from a signal handler.
void wd_budget_interrupt(struct wd_vm *vm);
