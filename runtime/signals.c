// From the kernel's signals to tasks. The handler only writes flags, sets a hook (which Lua allows it to) and wakes the loop.
#include "runtime/signals.h"

#include <string.h>

#include "runtime/clock.h"
#include "runtime/op.h"
#include "runtime/task.h"

static const struct {
  int number;
  const char *name;
  bool ends;
} known[] = {{SIGINT, "INT", true}, {SIGTERM, "TERM", true}, {SIGHUP, "HUP", false}};

// A signal that comes again within this time is the same one: timeout(1) and service managers send it to the process and to its
// group. A person who presses Ctrl-C twice, to end what does not stop by itself, is slower.
#define SAME (50 * WD_MS)

struct signal_op {
  struct wd_op op;
  struct signal_op *next;
  unsigned which;
  bool linked;
};

static struct wd_vm *the_vm; // a signal handler has no argument
static volatile sig_atomic_t pending[WD_COUNT(known)];
static volatile wd_ns last[WD_COUNT(known)]; // when each came; read and written by the handler alone
static volatile sig_atomic_t waiters, handed; // tasks that wait; ending signals given to them so far
static struct signal_op *first;

static void handler(int number) {
  for (unsigned i = 0; i < WD_COUNT(known); i++) {
    if (known[i].number != number) continue;
    wd_ns now = wd_clock_real(), before = last[i];
    last[i] = now;
    if (before && now - before < SAME) return;
    if (number == SIGINT && the_vm->current && the_vm->current->foreground)
      the_vm->breaking = 1;
    else if (known[i].ends && (waiters == 0 || handed || pending[i]))
      the_vm->interrupt = number;
    else
      pending[i] = 1;
  }
  if (the_vm->interrupt || the_vm->breaking) wd_budget_interrupt(the_vm);
  wd_loop_wake(the_vm->loop);
}

void wd_signals_open(struct wd_vm *vm) {
  the_vm = vm;
  for (unsigned i = 0; i < WD_COUNT(known); i++) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    sigaction(known[i].number, NULL, &old);
    if (old.sa_handler == SIG_IGN) continue; // nohup and background jobs of shells
    sigaction(known[i].number, &action, NULL);
  }
  signal(SIGPIPE, SIG_IGN);
}

void wd_signals_close(void) {
  for (unsigned i = 0; i < WD_COUNT(known); i++) {
    struct sigaction now;
    sigaction(known[i].number, NULL, &now);
    if (now.sa_handler == handler) signal(known[i].number, SIG_IGN);
  }
}

static void stop(struct wd_op *op) {
  struct signal_op *s = (struct signal_op *)op;
  if (!s->linked) return;
  s->linked = false;
  waiters--;
  for (struct signal_op **at = &first; *at; at = &(*at)->next) {
    if (*at != s) continue;
    *at = s->next;
    return;
  }
}

void wd_signals_deliver(struct wd_vm *vm) {
  for (unsigned i = 0; i < WD_COUNT(known); i++) {
    if (!pending[i] || (!first && !known[i].ends)) continue;
    pending[i] = 0;
    if (known[i].ends) handed = 1;
    if (!first) vm->interrupt = known[i].number;
    while (first) {
      first->which = i;
      wd_op_complete(&first->op, WD_OK);
    }
  }
  if (vm->interrupt) wd_task_cancel_all(vm);
}

static const struct wd_op_class signal_class = {.name = "signal", .stop = stop};

static int k_wait(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct signal_op *s = (struct signal_op *)ctx;
  lua_pushstring(L, known[s->which].name);
  wd_op_release(&s->op);
  return 1;
}

int wd_signals_l_wait(lua_State *L) {
  wd_task_check(L, "sys.signal");
  struct signal_op *s = wd_op_new(L, &signal_class, sizeof(*s));
  wd_op_wait(L, &s->op);
  s->next = first;
  first = s;
  s->linked = true;
  waiters++;
  handed = 0; // who waits again has dealt with the last one
  return lua_yieldk(L, 0, (lua_KContext)s, k_wait);
}
