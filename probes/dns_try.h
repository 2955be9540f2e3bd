// One DNS query to one server, with an id of its own: a datagram from a port that few others use at the same time (dns_udp.c), or a
// TCP connection.
// Must hold: what is not an answer of that server to this query changes nothing but a counter; `ended` is called at most once,
// never from within wd_dns_try_start.
#pragma once

#include "probes/dns_wire.h"
#include "probes/packet_queue.h"
#include "runtime/probe.h"

enum wd_dns_try_state {
  WD_DNS_TRY_IDLE,
  WD_DNS_TRY_WAITING,
  WD_DNS_TRY_ANSWERED, // the answer is there, whatever it says
  WD_DNS_TRY_FAILED,   // err and detail say why
  WD_DNS_TRY_UNANSWERED, // it was given up
};

struct wd_dns_port;

struct wd_dns_try {
  // what to do; must live until the try is stopped
  struct wd_loop *loop;
  struct wd_arena *arena; // for the answer and texts
  const struct wd_common_opts *opts; // source, tos
  struct wd_addr server;
  struct wd_dns_query query;
  bool tcp;
  const struct wd_timer *deadline; // an answer by UDP that came after it is none
  void *owner;
  void (*left)(struct wd_dns_try *t);  // UDP: the datagram was sent
  void (*ended)(struct wd_dns_try *t);
  // what came of it; points in time are on CLOCK_MONOTONIC
  enum wd_dns_try_state state;
  struct wd_dns_answer answer;
  enum wd_err err;
  const char *detail;
  wd_ns sent;          // when the datagram was sent, or the connection was begun; WD_NONE before
  wd_ns connected;     // TCP; WD_NONE before
  wd_ns received;      // WD_NONE without an answer
  struct wd_packet_trip trip; // of the answer
  unsigned ignored;    // messages that were no answer to this query; while it waits see wd_dns_try_ignored
  // inner
  struct wd_watch watch; // TCP
  uint8_t head[2], *body; // TCP: the message's length, then the message
  size_t got, written;
  struct wd_packet packet; // UDP
  struct wd_packet_flow flow;
  struct wd_dns_port *port; // NULL before and after
  struct wd_dns_try *before, *after; // on the port
  unsigned strays; // of the port when the query joined it
};

// False when it failed at once: err and detail are set, `ended` is not called.
bool wd_dns_try_start(struct wd_dns_try *t);

// Lets go of the socket; `ended` is not called any more. No harm when called twice or never started.
void wd_dns_try_stop(struct wd_dns_try *t);

// As wd_dns_try_stop, of a query that may still wait: it is unanswered then, or has failed where its answer may be among the datagrams
// that our own socket dropped.
void wd_dns_try_give_up(struct wd_dns_try *t);

// How many messages came so far that answer another question, or nobody's.
unsigned wd_dns_try_ignored(const struct wd_dns_try *t);

// ---- between dns_try.c and dns_udp.c ----

bool wd_dns_udp_start(struct wd_dns_try *t);
void wd_dns_udp_stop(struct wd_dns_try *t);
unsigned wd_dns_udp_strays(const struct wd_dns_try *t);

// Ends the try with a failure; `detail` is static text, or the arena's.
void wd_dns_try_fail(struct wd_dns_try *t, enum wd_err err, const char *detail);

// Reads a message that came for this query; true when that was the end of the try. trip must be set.
bool wd_dns_try_judge(struct wd_dns_try *t, const uint8_t *bytes, size_t len, wd_ns at);
