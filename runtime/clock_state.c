// See clock_state.h.
#include "runtime/clock_state.h"

#include <sys/timex.h>

struct wd_clock_state wd_clock_state_of(int returned, const struct timex *told) {
  if (returned < 0) return (struct wd_clock_state){.synchronized = -1, .error = WD_NONE};
  bool synchronized = !(told->status & STA_UNSYNC);
  return (struct wd_clock_state){.synchronized = synchronized, .error = synchronized ? told->maxerror * WD_US : WD_NONE};
}

struct wd_clock_state wd_clock_state_at(wd_ns now) {
  static struct wd_clock_state last;
  static wd_ns asked = WD_NONE;
  if (asked != WD_NONE && now - asked < WD_S) return last;
  struct timex told = {.modes = 0};
  asked = now;
  last = wd_clock_state_of(adjtimex(&told), &told);
  return last;
}
