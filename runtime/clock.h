// The one clock. Real by default; a test may make it virtual, and then it moves only when told.
#pragma once

#include "runtime/wd.h"

// Nanoseconds on the monotonic clock (CLOCK_MONOTONIC, or the virtual one).
wd_ns wd_clock_now(void);

// Nanoseconds on CLOCK_MONOTONIC even under a virtual clock: for waiting on real sockets.
wd_ns wd_clock_real(void);

// Nanoseconds the machine has spent suspended since it started, which the monotonic clock leaves out; 0 under a virtual clock.
wd_ns wd_clock_suspended(void);

// Microseconds since the epoch; under a virtual clock it moves with wd_clock_now.
int64_t wd_clock_wall_us(void);

// Freezes the clock at the present moment; from then on only wd_clock_advance moves it.
void wd_clock_make_virtual(void);
bool wd_clock_is_virtual(void);

// Moves a virtual clock forward to `to`; a point in the past changes nothing.
void wd_clock_advance(wd_ns to);
