// See packet_clock.h.
#include "probes/packet_clock.h"

#include <string.h>

#include "runtime/clock.h"

enum {
  SANDWICH_TRIES = 5,
  SANDWICH_NS = 1000, // a wider one was preempted: its middle is no better than its width
  STEP_NS = 10000,    // ten times what two readings differ by without a step
};

static wd_ns of_timespec(const struct timespec *t) {
  return (wd_ns)t->tv_sec * WD_S + t->tv_nsec;
}

struct wd_packet_clock wd_packet_clock_next(const struct wd_packet_clock *last, wd_ns offset, wd_ns width, wd_ns now) {
  struct wd_packet_clock clock = {.offset = offset, .width = width, .since = last ? last->since : INT64_MIN};
  wd_ns back = last ? last->offset - offset : 0, moved = back < 0 ? -back : back;
  if (!last || moved <= STEP_NS + width + last->width) return clock;
  // Set forward, an old stamp seems to be before now. Set back, it seems to be later by as much, unless that is in the future.
  wd_ns since = back > 0 && back < WD_PACKET_STAMP_AGE ? now + back : now;
  if (since > clock.since) clock.since = since;
  return clock;
}

struct wd_packet_clock wd_packet_clock_read(void) {
  static struct wd_packet_clock clock;
  static bool known;
  wd_ns narrowest = INT64_MAX, offset = 0;
  for (int i = 0; i < SANDWICH_TRIES && narrowest > SANDWICH_NS; i++) {
    struct timespec wall;
    wd_ns before = wd_clock_real();
    clock_gettime(CLOCK_REALTIME, &wall);
    wd_ns width = wd_clock_real() - before;
    if (width >= narrowest) continue;
    narrowest = width;
    offset = of_timespec(&wall) - before - width / 2;
  }
  clock = wd_packet_clock_next(known ? &clock : NULL, offset, narrowest, wd_clock_real());
  known = true;
  return clock;
}

wd_ns wd_packet_clock_place(const struct wd_packet_clock *clock, const struct timespec *stamp, wd_ns now) {
  if (stamp->tv_sec == 0) return WD_NONE;
  wd_ns at = of_timespec(stamp) - clock->offset;
  return at < clock->since || at < now - WD_PACKET_STAMP_AGE || at > now + clock->width ? WD_NONE : at;
}

struct wd_packet_trip wd_packet_clock_trip(const struct wd_packet_sent *sent, const struct wd_packet_reply *reply, wd_ns read_late) {
  if (sent->hardware != WD_NONE && reply->hardware != WD_NONE && reply->hardware >= sent->hardware)
    return (struct wd_packet_trip){.rtt = reply->hardware - sent->hardware, .uncertainty = WD_US, .clock = "hardware"};
  struct wd_packet_trip trip = {.uncertainty = WD_PACKET_STAMP_ERROR + sent->window, .clock = "kernel"};
  if (!reply->kernel) trip.uncertainty += read_late;
  if (sent->user || !reply->kernel) trip.clock = "user";
  if (reply->at > sent->at)
    trip.rtt = reply->at - sent->at;
  else if (reply->at + sent->window > sent->at) // it may have left as much earlier, and in any case before its reply came
    trip.rtt = (reply->at + sent->window - sent->at) / 2;
  if (sent->user && sent->queueing) trip.uncertainty += trip.rtt;
  return trip;
}

const char *wd_packet_clock_worse(const char *a, const char *b) {
  static const char *const clocks[] = {"user", "kernel", "hardware"};
  for (size_t i = 0; i < WD_COUNT(clocks); i++)
    if ((a && strcmp(a, clocks[i]) == 0) || strcmp(b, clocks[i]) == 0) return clocks[i];
  return b;
}
