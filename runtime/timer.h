// The one timer heap: every deadline, sleep, packet timeout and schedule hangs on it.
// A timer is embedded in its owner; the heap allocates only when it grows.
#pragma once

#include "runtime/wd.h"

struct wd_timer {
  wd_ns at;                         // due, on the monotonic clock
  void (*fire)(struct wd_timer *t); // called once, with the timer already out of the heap
  size_t slot;                      // place in the heap plus one; 0 = not armed
};

// The heap has the due times, too: comparing them leaves the owners' memory alone.
struct wd_timers_entry {
  wd_ns at;
  struct wd_timer *timer;
};

struct wd_timers {
  struct wd_timers_entry *heap;
  size_t count, room;
};

// Doubles the room. 0, or -1 when memory ran out.
int wd_timers_grow(struct wd_timers *set);

// Arms or moves the timer. 0, or -1 when memory ran out (the timer is then not armed).
int wd_timer_arm(struct wd_timers *set, struct wd_timer *t, wd_ns at);

// Takes the timer out of the heap; nothing happens if it is not armed.
void wd_timer_stop(struct wd_timers *set, struct wd_timer *t);

static inline bool wd_timer_armed(const struct wd_timer *t) {
  return t->slot != 0;
}

// The earliest due time, INT64_MAX when no timer is armed.
wd_ns wd_timers_next(const struct wd_timers *set);

// Fires all that are due at `now`, in order of due time; as many as were armed at the start of
// the call and no more, so that timers which arm timers cannot hold the loop.
void wd_timers_expire(struct wd_timers *set, wd_ns now);

void wd_timers_free(struct wd_timers *set);
