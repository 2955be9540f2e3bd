// Kernel timestamps on our own clock. The kernel stamps packets on the wall clock (CLOCK_REALTIME); spans and deadlines here are
// monotonic. Both clocks are slewed alike, so their distance changes only when somebody sets the wall clock.
#pragma once

#include <time.h>

#include "runtime/wd.h"

// The distance between the two clocks, read anew. `stepped` tells that it is not the one of the last call: the wall clock was set
// in between, and stamps taken before cannot be placed.
struct wd_packet_clock {
  wd_ns offset; // wall clock minus monotonic clock
  wd_ns width;  // how far off that may be
  bool stepped;
};

struct wd_packet_clock wd_packet_clock_read(void);

// The stamp as a point on CLOCK_MONOTONIC; WD_NONE for an empty stamp, after a step, and for one outside [earliest, latest], which no
// honest stamp can be.
wd_ns wd_packet_clock_place(const struct wd_packet_clock *clock, const struct timespec *stamp, wd_ns earliest, wd_ns latest);
