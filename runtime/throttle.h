// Whether the kernel held this process back because its CPU control group, or one that it is in, had used up its quota.
// Must hold: the figures are read at most once in WD_THROTTLE_PERIOD, however many ask; a rise is told within that.
#pragma once

#include "runtime/wd.h"

#define WD_THROTTLE_PERIOD (10 * WD_MS)

// Takes a reading where the last one is older than the period.
void wd_throttle_look(wd_ns now);

// Whether a reading after `since` found that the process was throttled: 1 or 0; -1 where the system does not tell.
int8_t wd_throttle_since(wd_ns since);
