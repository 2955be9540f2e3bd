// See random.h.
#include "runtime/random.h"

#include <stddef.h>
#include <sys/random.h>

#include "runtime/clock.h"
#include "runtime/wd.h"

uint64_t wd_random(void) {
  static uint64_t ahead[32];
  static size_t left;
  if (left == 0) {
    // Requests of up to 256 bytes are whole (getrandom(2)); a kernel that has no such call is older than any that is supported.
    if (getrandom(ahead, sizeof(ahead), 0) != sizeof(ahead)) ahead[0] ^= (uint64_t)wd_clock_real();
    left = WD_COUNT(ahead);
  }
  return ahead[--left];
}
