// A TCP connection to a name: looked up once, tried address by address (RFC 8305), timed by the kernel.
// Must hold: what is reported (address, times, error) is that of one address; every descriptor that
// did not win is closed before `done` is called; stopping closes the rest at once.
#pragma once

#include "runtime/addr.h"
#include "runtime/resolve.h"
#include "runtime/tcp_info.h"
#include "runtime/watch.h"

// The next address is tried after this long, or as soon as an attempt failed (RFC 8305 section 5).
#define WD_CONNECT_STAGGER (250 * WD_MS)

// How far off the kernel's round trip of a handshake is, 99 of 100 times: it has a resolution of 1 us, and what passes between the kernel's
// reading and the wire comes on top (measured against captures, also on a machine that had other work).
#define WD_CONNECT_ERROR (25 * WD_US)

// What results say of `connect` and `wall`, wherever they carry them.
#define WD_CONNECT_HELP "SYN to connected, by the kernel's clock; by waddle's where a SYN was sent again (tcp.retransmits)"
#define WD_CONNECT_WALL_HELP "the same by waddle's clock, until it came to see the connection; no phase of its own"

struct wd_connect_attempt;

// One connection, embedded in its owner. Fill in the questions, call wd_connect_start.
struct wd_connect {
  // questions; the strings must live until done or stopped
  const char *host;
  uint16_t port;
  const struct wd_common_opts *opts; // family, address, source, tos, resolver
  const struct wd_timer *deadline; // a connection that stood only after it counts as none; NULL: there is none
  void (*leaves)(struct wd_connect *c); // the first request for a connection is about to be sent; may be NULL
  void (*done)(struct wd_connect *c); // never called from within wd_connect_start
  // answers
  enum wd_err err;
  char detail[200];      // for people, when err
  int fd;                // the connected socket, non-blocking; from `done` on the owner's to watch or to close, by wd_watch_close_fd; -1 on failure
  struct wd_addr peer;   // who it is, or who the error is about; no address where none was tried
  wd_ns dns;             // the look-up; WD_NONE where nothing was asked
  wd_ns fallback;        // from the first attempt to the one that won; WD_NONE where it was the first
  wd_ns connect;         // SYN to connected; WD_NONE on failure
  wd_ns wall;            // the same by our own clock: until we came to see it; WD_NONE on failure
  bool dns_shared;       // the look-up was in flight already, for somebody else
  bool reset;            // connected, and reset by the peer before anybody looked; the error is not on the socket any more
  bool kernel_time;      // `connect` is the kernel's measure, not that of our wake-up
  struct wd_tcp_info tcp; // all fields WD_NONE where nothing was tried
  // inner
  struct wd_loop *loop;
  struct wd_resolve look_up;
  struct wd_connect_attempt *attempts; // one per address, malloc'ed
  size_t started, pending;
  wd_ns began;
  struct wd_timer stagger;
  struct wd_timer told;
};

void wd_connect_start(struct wd_loop *loop, struct wd_connect *c);

// Ends the attempt with what is known so far in peer, tcp and dns, and says in `err` and `detail` what
// was being waited for: for a deadline that passed. `done` is not called any more.
void wd_connect_expire(struct wd_connect *c);

// Lets go of everything but a connected fd that `done` has handed over. No harm when called twice.
void wd_connect_stop(struct wd_connect *c);

// Makes the close of a socket an RST, which leaves no TIME_WAIT behind at our end.
void wd_connect_abort(int fd);
