// The loop: one libuv loop, one timer heap, one epoll set for every socket of ours.
// A pass: wait, hand out socket events until none is left, expire timers, run what is ready.
// Must hold: nothing expires before the sockets were emptied, so that a stall of ours is never a
// loss of theirs; no callback of a pass is entered twice.
#pragma once

#include <uv.h>

#include "runtime/timer.h"
#include "runtime/wd.h"

struct wd_watch;

// Called before anything expires: reads what the kernel still holds (see wd_loop_on_drain).
struct wd_drain {
  void (*drain)(struct wd_drain *d);
  struct wd_drain *next;
};

// Called when the loop closes: lets go of what a module keeps for the life of the process.
struct wd_closer {
  void (*close)(struct wd_closer *c);
  struct wd_closer *next;
};

// The loop's own delay, as a list of maxima that fall from first to last: the first one that is
// not older than a point in time is the worst delay since then.
struct wd_lag {
  struct {
    wd_ns at, lag;
  } ring[64];
  unsigned first, count;
};

struct wd_loop {
  uv_loop_t uv;
  uv_poll_t socket_poll, timer_poll;
  uv_async_t waker;
  int epoll_fd, timer_fd;
  wd_ns armed_for; // what timer_fd is set to, INT64_MAX = nothing
  struct wd_timers timers;
  struct wd_watch **by_fd; // who watches a descriptor
  size_t by_fd_room;
  unsigned watches;    // descriptors watched
  uint32_t generation; // tells the events of a descriptor from those of the one that had its number before
  unsigned events;     // handed out in the present pass
  unsigned awaited;    // answers that other threads owe: a virtual clock stands still for them
  struct wd_drain *drains;
  struct wd_closer *closers;
  struct wd_lag lag;
  wd_ns slept, woke;            // when the present pass began to wait, and came back
  bool waiting;                 // it has not come back yet
  bool ready;                   // something waits in run_ready: do not sleep
  void (*run_ready)(void *ctx); // the scheduler
  void *ctx;
};

// 0 or a negative errno. The loop must not move in memory afterwards.
int wd_loop_open(struct wd_loop *loop);

// Closes what is left open and frees the memory. Every watch and timer must be stopped by then;
// gives the number of libuv handles that were not.
int wd_loop_close(struct wd_loop *loop);

// One pass; waits for at most `wait` (WD_NONE: until something happens).
void wd_loop_pass(struct wd_loop *loop, wd_ns wait);

// Arms a timer `after` nanoseconds from now (memory running out ends the process: a lost deadline
// would be worse).
void wd_loop_arm(struct wd_loop *loop, struct wd_timer *t, wd_ns after);

// Same for a point on the monotonic clock.
void wd_loop_arm_at(struct wd_loop *loop, struct wd_timer *t, wd_ns at);

// Whether a moment, on CLOCK_MONOTONIC also under a virtual clock, lies behind that at which the timer is due: what the kernel had by
// then came in time, whenever we come to read it.
bool wd_loop_is_past(const struct wd_timer *t, wd_ns at);

// Wakes a sleeping loop; may be called from a signal handler or another thread.
void wd_loop_wake(struct wd_loop *loop);

// Registers a hook for the time before timers expire; it stays until wd_loop_off_drain.
void wd_loop_on_drain(struct wd_loop *loop, struct wd_drain *d);
void wd_loop_off_drain(struct wd_loop *loop, struct wd_drain *d);

// Registers a hook for the loop's end; the last one registered runs first.
void wd_loop_on_close(struct wd_loop *loop, struct wd_closer *c);

// The worst delay the loop has had since `since`: how late it came to an event or a timer. Of a delay that began earlier, the part
// after `since` counts.
wd_ns wd_loop_lag(const struct wd_loop *loop, wd_ns since);
