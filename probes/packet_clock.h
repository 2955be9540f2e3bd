// Kernel timestamps on our own clock. The kernel stamps packets on the wall clock (CLOCK_REALTIME); spans and deadlines here are
// monotonic. Both clocks are slewed alike, so their distance changes only when somebody sets the wall clock.
#pragma once

#include <time.h>

#include "probes/packet_socket.h"

// A stamp is read this long after it was taken at most: none of ours lies unread longer.
#define WD_PACKET_STAMP_AGE (60 * WD_S)

// The distance between the two clocks. Stamps that were taken before the wall clock was last set may be read after it, and look like later ones:
// those that would be before `since` are not believed.
struct wd_packet_clock {
  wd_ns offset; // wall clock minus monotonic clock
  wd_ns width;  // how far off that may be
  wd_ns since;
};

// Read anew.
struct wd_packet_clock wd_packet_clock_read(void);

// What a reading of `offset` within `width` makes of the last one, NULL at the first. Pure.
struct wd_packet_clock wd_packet_clock_next(const struct wd_packet_clock *last, wd_ns offset, wd_ns width, wd_ns now);

// The stamp as a point on CLOCK_MONOTONIC; WD_NONE for an empty stamp, one that cannot be believed, and one that is after `now` or too old.
wd_ns wd_packet_clock_place(const struct wd_packet_clock *clock, const struct timespec *stamp, wd_ns now);

// The worst error of a pair of kernel stamps against a packet capture (loopback, veth and TUN devices, busy machine). A card that holds
// interrupts back adds its own delay, which no stamp in software can see.
#define WD_PACKET_STAMP_ERROR (60 * WD_US)

// When a packet was sent.
struct wd_packet_sent {
  wd_ns at, window; // on CLOCK_MONOTONIC, and how far off that may be
  wd_ns hardware;   // on the network card's clock; WD_NONE where it has none
  bool user;        // `at` is a reading of ours
  bool queueing;    // packets that were handed to the kernel wait in a queue: with a reading of ours it may have left any time since
};

struct wd_packet_trip {
  wd_ns rtt, uncertainty;
  const char *clock; // whose readings it is made of: "hardware", "kernel" or "user"
};

// The round trip to a reply. `read_late`: by how much a reading of ours may be late.
struct wd_packet_trip wd_packet_clock_trip(const struct wd_packet_sent *sent, const struct wd_packet_reply *reply, wd_ns read_late);

// The less precise of two clocks; `a` may be NULL for none yet.
const char *wd_packet_clock_worse(const char *a, const char *b);
