// Names to addresses: c-ares on the loop, never a thread, never blocking. Literals and a pinned
// address answer at once; look-ups for the same name that are in flight are shared and marked.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "runtime/loop.h"
#include "runtime/probe.h"

enum { WD_RESOLVE_MOST = 64 }; // addresses kept of one answer

struct wd_resolve_address {
  struct sockaddr_storage sa; // port filled in
  socklen_t len;
};

// One look-up, embedded in its owner. Fill in the questions, call wd_resolve_start; the answers are
// valid when `done` is called, which is never from within wd_resolve_start.
struct wd_resolve {
  // questions; `name` and `opts` must live until done or cancelled
  const char *name;                  // name or literal
  uint16_t port;                     // put into the addresses, host byte order
  const struct wd_common_opts *opts; // family, address, source (for the order by route), resolver
  void (*done)(struct wd_resolve *r);
  // answers
  enum wd_err err;                      // WD_E_DNS_..., WD_E_LOCAL, WD_E_TIMEOUT never (deadlines are the owner's)
  char detail[160];                     // for people, when err
  struct wd_resolve_address *addresses; // RFC 6724 order, a family without a route last; freed by wd_resolve_clear
  size_t count;
  wd_ns took;  // WD_NONE where nothing was asked (literal, pinned address, kept answer)
  bool shared; // joined a look-up that was in flight
  // inner
  struct wd_loop *loop;
  struct wd_timer soon; // answers known at once are told in the next pass
  void *query;
  wd_ns started;
  struct wd_resolve *next;
};

// The family that the options leave, else AF_UNSPEC; a source address allows its own only.
int wd_resolve_family(const struct wd_common_opts *o);

void wd_resolve_start(struct wd_loop *loop, struct wd_resolve *r);

// Forgets the look-up: `done` is not called any more. No harm when it is done or was never started.
void wd_resolve_cancel(struct wd_resolve *r);

// Cancels and frees the addresses.
void wd_resolve_clear(struct wd_resolve *r);

const char *wd_resolve_library(void); // version of the c-ares in use
