// See budget.h.
#include "runtime/budget.h"

#include <errno.h>
#include <lauxlib.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/log.h"
#include "runtime/source.h"
#include "runtime/task.h"
#include "runtime/watchdog.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
  TICKS_A_SLICE = 4,    // a slice has lasted long enough when it was there at so many ticks after its first
  FEW_EVENTS = 64,      // lines the hook looks at before it leaves a place alone that cannot be left, until the next tick
  MANY_UNANSWERED = 50, // ticks without an instruction of Lua, after which they come less often
  DEEP = 1000,          // calls from which on a large block is taken for their frames
  LAST_WORDS = 10000,   // instructions for what closes after a signal
  REFUSED_BYTES = 1 << 20, // more than the state has at hand
  OVERDRAFT = 2,        // times a limit of memory up to which the hook, and not a failed allocation, ends a task
  SMALL_STATE = 2 << 20, // bytes of small blocks up to which a large one is refused all the same: to collect takes less than to fill it
  MUCH_MEMORY = 4,      // part of the limit from which on the collector hurries
  HURRY_MUL = 40,       // the collector's speed then
  HURRY_PERCENT = 110, PATIENCE_PERCENT = 200, // the collector's pause with much and with little in use
  LARGE_BYTES = 256 << 10, // of a block that the collector would make up for by one long step
  RECLAIM_CYCLES = 2,   // the one under way may have seen what is now garbage
  GC_SLICE_STEPS = 16,
};
#define TICK_LEAST (WD_MS / 2)
#define TICK_WITHOUT_SLICE (10 * WD_MS)
#define TICK_SLOW (50 * WD_MS)
#define TELL_AFTER WD_S    // without a pass of the loop: the watchdog logs it
#define PLACE_WORK WD_MS   // of processor time without an instruction of Lua, after which its place is asked for from outside
#define PLACE_PATIENCE (100 * WD_MS) // the same for who sleeps in the kernel; a busy machine may not let a script go on for as long
#define GC_SLICE WD_MS     // of hurried collecting a pass
#define TICK_SIGNAL (SIGRTMIN + 1)

#define L_ struct wd_limits
static const struct wd_field fields[] = {
  WD_FIELD(L_, slice, "slice", WD_T_DURATION, .max = 3600, .help = "after so long without waiting, others get their turn (default 2ms)"),
  WD_FIELD(L_, cpu, "cpu", WD_T_DURATION, .max = 1e6, .help = "processor time a task may use without waiting (default 1s)"),
  WD_FIELD(L_, memory, "memory", WD_T_BYTES, .max = 1e15, .help = "of the whole script (default 256MiB)"),
  WD_FIELD(L_, block, "block", WD_T_BYTES, .max = 1e15, .help = "of one text or table (default 8MiB)"),
  WD_FIELD(L_, depth, "depth", WD_T_INT, .max = 1e9, .help = "calls within calls (default 20000)"),
  WD_FIELD(L_, sockets, "sockets", WD_T_INT, .max = 1e9, .help = "probes under way at once, each with its sockets (default 20000)"),
  WD_FIELD(L_, output, "output", WD_T_BYTES, .max = 1e15, .help = "a task may print and log without waiting (default 64MiB)"),
  WD_FIELD(L_, stall, "stall", WD_T_DURATION, .max = 1e6, .flags = WD_F_HIDDEN, .help = "without a pass of the loop"),
  {0}};
#undef L_
const struct wd_desc wd_limits_desc = {"limits", fields, sizeof(struct wd_limits)};

static const struct wd_limits defaults = {
  .slice = 2 * WD_MS, .cpu = WD_S, .memory = 256 << 20, .block = 8 << 20, .depth = 20000, .sockets = 20000, .output = 64 << 20};

static struct wd_vm *the_vm; // a signal handler has no argument

static wd_ns clock_of(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return t.tv_sec * WD_S + t.tv_nsec;
}

static wd_ns cpu_now(void) {
  return clock_of(CLOCK_THREAD_CPUTIME_ID);
}

static void run_timer(struct wd_budget *b, wd_ns first, wd_ns every) {
  struct itimerspec spec = {{every / WD_S, every % WD_S}, {first / WD_S, first % WD_S}};
  timer_settime(b->timer, 0, &spec, NULL);
}

static wd_ns tick_of(const struct wd_budget *b) {
  wd_ns tick = b->limits.slice / TICKS_A_SLICE;
  return b->limits.slice == 0 ? TICK_WITHOUT_SLICE : tick < TICK_LEAST ? TICK_LEAST : tick;
}

static bool is_ours(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  return wd_source_is_ours(ar->source);
}

// At least so many calls within calls, to within a factor of two: each look walks over them.
static int depth_of(lua_State *L) {
  lua_Debug ar;
  int depth = 0;
  for (int next = DEEP; lua_getstack(L, next, &ar); next *= 2) depth = next;
  return depth;
}

static void say_why(struct wd_budget *b, struct wd_task *t, lua_State *L, const char *place) {
  const struct wd_limits *most = &b->limits;
  int n = snprintf(b->why, sizeof(b->why), "%s: budget: ", place);
  char *out = b->why + n;
  size_t room = sizeof(b->why) - (size_t)n;
  int depth = t->over == WD_OVER_BLOCK ? depth_of(L) : 0;
  if (depth) t->over = WD_OVER_DEPTH;
  switch (t->over) {
  case WD_OVER_CPU:
    snprintf(out, room, "cpu: %g s of processor time without waiting; task.sleep(0) gives others their turn", (double)most->cpu / 1e9);
    break;
  case WD_OVER_MEMORY: snprintf(out, room, "memory: the script uses more than %g MiB", (double)most->memory / (1 << 20)); break;
  case WD_OVER_BLOCK: snprintf(out, room, "memory: one text or table of more than %g MiB", (double)most->block / (1 << 20)); break;
  case WD_OVER_SOCKETS: snprintf(out, room, "sockets: more than %lld probes under way", (long long)most->sockets); break;
  case WD_OVER_OUTPUT: snprintf(out, room, "output: more than %g MiB printed and logged without waiting", (double)most->output / (1 << 20)); break;
  default: snprintf(out, room, "depth: more than %lld calls within calls", (long long)(depth ? depth : most->depth));
  }
}

bool wd_budget_judge(struct wd_vm *vm, struct wd_task *t, lua_State *L) {
  char place[WD_PLACE_LEN];
  if (!t->over || vm->budget.condemned) return t->over;
  if (wd_vm_place(L, 0, place)) {
    say_why(&vm->budget, t, L, place);
    vm->budget.condemned = true;
    return true;
  }
  t->over = WD_OVER_NOTHING; // only waddle itself is at work
  t->spent = t->written = 0;
  vm->budget.cpu_from = cpu_now();
  return false;
}

static void tell(struct wd_budget *b, const char *place) {
  bool fatal = b->place_wanted == WD_PLACE_LAST;
  b->place_wanted = WD_PLACE_UNWANTED; // before the watchdog runs, which may come at once
  atomic_signal_fence(memory_order_seq_cst);
  wd_watchdog_tell(place, fatal);
}

static void hook(lua_State *L, lua_Debug *ar);

static void arm(lua_State *L, int mask) {
  lua_sethook(L, hook, mask, 1);
}

static void disarm(lua_State *L) {
  lua_sethook(L, NULL, 0, 0);
}

// The error is that of a failed allocation: every other one would call the script's message handler first, into which hooks do not follow.
void wd_budget_raise(lua_State *L) {
  struct wd_budget *b = &wd_vm_of(L)->budget;
  arm(L, LUA_MASKCOUNT);
  b->refusals = 2; // Lua collects garbage and tries again
  lua_newuserdatauv(L, REFUSED_BYTES, 0);
  abort(); // it does not return; this tells the compiler
}

void wd_budget_sockets(lua_State *L, int64_t under_way) {
  struct wd_vm *vm = wd_vm_of(L);
  if (!vm->budget.on || !vm->budget.limits.sockets || under_way < vm->budget.limits.sockets) return;
  vm->current->over = WD_OVER_SOCKETS;
  if (!wd_budget_judge(vm, vm->current, L)) return;
  vm->budget.set_aside = true;
  lua_yield(L, 0); // does not return
}

// Out of the hook and of all that runs. A yield cannot be caught by pcall; an error can, but not for long.
static void leave(struct wd_vm *vm, lua_State *L) {
  if (!lua_isyieldable(L)) wd_budget_raise(L);
  vm->budget.set_aside = true;
  lua_yield(L, 0);
}

void wd_budget_output(lua_State *L, size_t bytes) {
  struct wd_vm *vm = wd_vm_of(L);
  struct wd_task *t = vm->current;
  if (!vm->budget.on || !vm->budget.limits.output || !t) return;
  t->written += bytes < INT32_MAX ? (int64_t)bytes : INT32_MAX;
  if (t->written <= vm->budget.limits.output) return;
  t->over = WD_OVER_OUTPUT;
  if (wd_budget_judge(vm, t, L)) leave(vm, L);
}

// The first event of a line after the hook was set may be one in the middle of that line: Lua compares with the line it knew last. From the
// next one on a task is set aside between two lines only, so that `n = n + 1` is whole.
static void hook(lua_State *L, lua_Debug *ar) {
  struct wd_vm *vm = wd_vm_of(L);
  struct wd_budget *b = &vm->budget;
  struct wd_task *t = vm->current;
  lua_Debug deep;
  if (!t || L != vm->running) {
    disarm(L);
    return;
  }
  b->unanswered = 0;
  if (b->forgive) {
    b->forgive = false;
    if (lua_gc(L, LUA_GCISRUNNING)) lua_gc(L, LUA_GCRESTART);
  }
  if (b->place_wanted) {
    char place[WD_PLACE_LEN];
    tell(b, wd_vm_place(L, 0, place) ? place : "");
  }
  if (b->limits.depth && b->events == 0 && !t->over && lua_getstack(L, (int)b->limits.depth, &deep)) t->over = WD_OVER_DEPTH;
  if (vm->interrupt || vm->breaking || wd_budget_judge(vm, t, L)) {
    arm(L, LUA_MASKCOUNT);
    leave(vm, L);
    return;
  }
  if (ar->event != LUA_HOOKLINE) {
    disarm(L);
    return;
  }
  if (b->events++ == 0) return;
  if (b->limits.slice && t->state == WD_TASK_RUNNING && lua_isyieldable(L) && !is_ours(L, ar))
    leave(vm, L);
  else if (b->events > FEW_EVENTS)
    disarm(L);
}

void wd_budget_interrupt(struct wd_vm *vm) {
  if (vm->running) arm(vm->running, LUA_MASKCOUNT);
}

// The hook tells the place at the next instruction of Lua.
static void want_place(struct wd_budget *b, enum wd_place_wanted how, wd_ns now) {
  b->place_wanted = how;
  b->wanted_from = now;
  b->wanted_cpu = cpu_now();
}

// How long this pass of the loop lasts, and what is to be done about it.
static void look_at_pass(struct wd_vm *vm) {
  struct wd_budget *b = &vm->budget;
  wd_ns now = clock_of(CLOCK_MONOTONIC);
  if (vm->passes != b->pass_seen) {
    b->pass_seen = vm->passes;
    b->pass_from = now;
    b->told = b->stalled = false;
    b->place_wanted = WD_PLACE_UNWANTED;
    return;
  }
  wd_ns held = now - b->pass_from;
  if (!b->told && held >= TELL_AFTER) {
    b->told = true;
    want_place(b, WD_PLACE_WANTED, now);
  } else if (!b->stalled && b->limits.stall && held >= b->limits.stall) {
    b->stalled = true;
    want_place(b, WD_PLACE_LAST, now);
  } else if (b->place_wanted && (cpu_now() - b->wanted_cpu >= PLACE_WORK || now - b->wanted_from >= PLACE_PATIENCE)) {
    // No instruction of Lua meanwhile: a function in C, or a finalizer, which hooks do not enter.
    char place[WD_PLACE_LEN] = "a finalizer, at the end";
    // Level 0 may be about to change; those above it stand still meanwhile.
    if (vm->running && !wd_vm_place(vm->running, 1, place)) *place = '\0';
    tell(b, place);
  }
}

static void look_at_slice(struct wd_vm *vm, struct wd_task *t) {
  struct wd_budget *b = &vm->budget;
  lua_State *L = vm->running;
  if (vm->resumes != b->resume_seen) {
    b->resume_seen = vm->resumes;
    b->ticks = b->unanswered = 0;
    if (!t->spent) b->cpu_from = cpu_now();
  }
  if (b->slow) {
    b->slow = false;
    run_timer(b, tick_of(b), tick_of(b));
  }
  if (b->limits.cpu && !t->over && t->spent + cpu_now() - b->cpu_from >= b->limits.cpu) t->over = WD_OVER_CPU;
  if (++b->ticks <= TICKS_A_SLICE) return;
  if (lua_gethookmask(L) == 0) {
    b->events = b->unanswered = 0;
    arm(L, t->over ? LUA_MASKCOUNT : LUA_MASKLINE);
  } else if (t->over && lua_gethookmask(L) != LUA_MASKCOUNT) { // setting a hook again walks over all calls
    arm(L, LUA_MASKCOUNT);
  }
  if (++b->unanswered > MANY_UNANSWERED) { // it waits in the kernel, or works in C
    b->slow = true;
    run_timer(b, TICK_SLOW, TICK_SLOW);
  }
}

static void on_tick(int signal) {
  (void)signal;
  int saved = errno;
  struct wd_vm *vm = the_vm;
  struct wd_task *t = vm->current;
  if (t || vm->budget.closing) {
    look_at_pass(vm);
    if (t && vm->running) look_at_slice(vm, t);
  } else {
    vm->budget.ticking = false; // nothing runs; the next resume starts it again
    run_timer(&vm->budget, 0, 0);
  }
  errno = saved;
}

static void start(struct wd_vm *vm) {
  struct wd_budget *b = &vm->budget;
  if (!b->has_timer) return;
  b->resume_seen = vm->resumes;
  b->pass_seen = vm->passes - 1;
  b->ticks = TICKS_A_SLICE; // the first tick comes when the slice is over
  b->unanswered = 0;
  b->slow = false;
  b->cpu_from = cpu_now();
  b->ticking = true;
  run_timer(b, tick_of(b) * TICKS_A_SLICE, tick_of(b));
}

void wd_budget_resume(struct wd_vm *vm, struct wd_task *t) {
  struct wd_budget *b = &vm->budget;
  b->set_aside = b->condemned = false;
  atomic_signal_fence(memory_order_seq_cst); // a tick comes before, or finds the task
  if (!b->ticking) start(vm);
  if (t->spent) b->cpu_from = cpu_now();
  wd_budget_last_words(vm, t->co);
}

void wd_budget_last_words(struct wd_vm *vm, lua_State *L) {
  if (vm->interrupt) lua_sethook(L, hook, LUA_MASKCOUNT, LAST_WORDS);
}

void wd_budget_charge(struct wd_vm *vm, struct wd_task *t) {
  wd_ns used = cpu_now() - vm->budget.cpu_from;
  t->spent += used > 0 ? used : 1;
}

// ---- memory ----

static void set_limits(struct wd_budget *b) {
  b->large = b->on && b->limits.block ? b->limits.block : INT64_MAX;
  b->full = b->on && b->limits.memory ? b->limits.memory : INT64_MAX;
}

static int64_t bytes_in_use(const struct wd_vm *vm) {
  return (int64_t)lua_gc(vm->L, LUA_GCCOUNT) * 1024; // negative inside the collector
}

// A refusal makes Lua collect all garbage while everything stands still, and raises what pcall can catch.
static bool is_refused_at_once(const struct wd_slab *slab, lua_State *L) {
  char place[WD_PLACE_LEN];
  return slab->small_bytes <= SMALL_STATE && wd_vm_place(L, 0, place);
}

// Asked where the state gets memory from the system. A task that asks for too much ends at its next instruction. Where the state has many objects,
// or waddle itself is at work, it gets that much, within bounds.
static bool may_grow(struct wd_slab *slab, size_t size) {
  struct wd_vm *vm = WD_CONTAINER(slab, struct wd_vm, memory);
  struct wd_budget *b = &vm->budget;
  struct wd_task *t = vm->current;
  if (b->refusals) {
    b->refusals--;
    return false;
  }
  if (!t || !vm->running) return true; // waddle itself
  int64_t after = bytes_in_use(vm) + (int64_t)size;
  bool block = (int64_t)size > b->large, memory = after > b->full;
  if (size >= LARGE_BYTES && !b->forgive) {
    b->forgive = true;
    if (lua_gethookmask(vm->running) == 0) arm(vm->running, LUA_MASKCOUNT);
  }
  if (!block && !memory) return true;
  if (!t->over && (block || !b->reclaiming)) {
    t->over = block ? WD_OVER_BLOCK : WD_OVER_MEMORY;
    arm(vm->running, LUA_MASKCOUNT);
  }
  int64_t overdraft = block && is_refused_at_once(slab, vm->running) ? 1 : OVERDRAFT;
  return !(block && (int64_t)size / overdraft > b->large) && !(memory && after / OVERDRAFT > b->full);
}

static int l_collect(lua_State *L) {
  struct wd_budget *b = lua_touserdata(L, 1);
  wd_ns until = clock_of(CLOCK_MONOTONIC) + GC_SLICE;
  do
    for (int i = 0; i < GC_SLICE_STEPS && b->reclaiming; i++) b->reclaiming -= lua_gc(L, LUA_GCSTEP, 0);
  while (b->reclaiming && clock_of(CLOCK_MONOTONIC) < until);
  return 0;
}

void wd_budget_reclaim(struct wd_vm *vm, enum wd_over over) {
  if (over != WD_OVER_CPU && over != WD_OVER_SOCKETS && over != WD_OVER_OUTPUT) vm->budget.reclaiming = RECLAIM_CYCLES;
}

void wd_budget_trim(struct wd_vm *vm) {
  vm->budget.reclaiming = RECLAIM_CYCLES;
  vm->budget.trim = vm->loop->ready = true;
}

void wd_budget_after_pass(struct wd_vm *vm) {
  struct wd_budget *b = &vm->budget;
  bool much = bytes_in_use(vm) > b->full / MUCH_MEMORY;
  if (much != b->hurried) {
    b->hurried = much;
    lua_gc(vm->L, LUA_GCINC, much ? HURRY_PERCENT : PATIENCE_PERCENT, much ? HURRY_MUL : WD_GC_STEP_MUL, 0);
  }
  if (!b->reclaiming) return;
  wd_vm_call(vm, l_collect, b);
  if (b->reclaiming) {
    vm->loop->ready = true;
  } else if (b->trim) {
    b->trim = false;
    malloc_trim(0);
  }
}

void wd_budget_enforce(struct wd_vm *vm) {
  if (!vm->budget.on) wd_watchdog_open(); // a thread: only now, after the process has given up what it does not need
  vm->budget.on = true;
  set_limits(&vm->budget);
}

void wd_budget_set(struct wd_vm *vm, const struct wd_limits *given) {
  struct wd_budget *b = &vm->budget;
  for (const struct wd_field *f = fields; f->name; f++) {
    const int64_t *from = (const int64_t *)((const char *)given + f->offset);
    if (*from != WD_NONE) *(int64_t *)((char *)&b->limits + f->offset) = *from;
  }
  b->ticking = false; // the next resume starts the timer anew, for the new slice
  set_limits(b);
}

void wd_budget_open(struct wd_vm *vm) {
  struct wd_budget *b = &vm->budget;
  b->limits = defaults;
  set_limits(b);
  vm->memory.may_grow = may_grow;
  the_vm = vm;
  struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
  event.sigev_notify_thread_id = gettid();
  sigaction(TICK_SIGNAL, &action, NULL);
  b->has_timer = timer_create(CLOCK_MONOTONIC, &event, &b->timer) == 0;
  if (!b->has_timer) wd_log(WD_LOG_WARNING, "budget: no timer: %s; a task that does not wait holds up all others", strerror(errno));
}

void wd_budget_closing(struct wd_vm *vm) {
  vm->budget.closing = true;
  vm->passes++;
  if (!vm->budget.ticking) start(vm);
}

void wd_budget_close(struct wd_vm *vm) {
  if (vm->budget.has_timer) timer_delete(vm->budget.timer);
  signal(TICK_SIGNAL, SIG_IGN);
}
