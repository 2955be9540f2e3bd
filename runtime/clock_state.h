// How far the system's clock can be trusted, by the kernel's own reckoning (adjtimex(2)).
#pragma once

#include "runtime/wd.h"

struct timex;

struct wd_clock_state {
  int8_t synchronized; // 1 or 0; -1 = the kernel does not say
  wd_ns error;         // most that the clock may be off; WD_NONE while it is not synchronized
};

// Of what adjtimex(2) returned and wrote. Pure.
struct wd_clock_state wd_clock_state_of(int returned, const struct timex *told);

// The state at `now` on the monotonic clock; asks the kernel at most once a second.
struct wd_clock_state wd_clock_state_at(wd_ns now);
