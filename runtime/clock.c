// Real and virtual time. Must hold: now never goes back, and a virtual clock has one offset to
// the wall clock for ever, so that spans agree whichever of the two a result uses.
#include "runtime/clock.h"

#include <time.h>

static struct {
  bool is_virtual;
  wd_ns now;
  int64_t wall_offset_us; // wall clock minus monotonic clock at the moment of freezing
} clock_state;

static wd_ns read_clock(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (wd_ns)ts.tv_sec * WD_S + ts.tv_nsec;
}

wd_ns wd_clock_now(void) {
  return clock_state.is_virtual ? clock_state.now : read_clock(CLOCK_MONOTONIC);
}

wd_ns wd_clock_real(void) {
  return read_clock(CLOCK_MONOTONIC);
}

wd_ns wd_clock_suspended(void) {
  return clock_state.is_virtual ? 0 : read_clock(CLOCK_BOOTTIME) - read_clock(CLOCK_MONOTONIC);
}

int64_t wd_clock_wall_us(void) {
  if (clock_state.is_virtual) return clock_state.now / WD_US + clock_state.wall_offset_us;
  return read_clock(CLOCK_REALTIME) / WD_US;
}

void wd_clock_make_virtual(void) {
  if (clock_state.is_virtual) return;
  clock_state.now = read_clock(CLOCK_MONOTONIC);
  clock_state.wall_offset_us = (read_clock(CLOCK_REALTIME) - clock_state.now) / WD_US;
  clock_state.is_virtual = true;
}

bool wd_clock_is_virtual(void) {
  return clock_state.is_virtual;
}

void wd_clock_advance(wd_ns to) {
  if (clock_state.is_virtual && to > clock_state.now) clock_state.now = to;
}
