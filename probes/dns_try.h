// One DNS query to one server: a datagram or a TCP connection of its own, with its own id and port, so that an answer tells
// which query it answers.
// Must hold: what is not an answer of that server to this query changes nothing but a counter; `ended` is called at most once,
// never from within wd_dns_try_start.
#pragma once

#include "probes/dns_wire.h"
#include "runtime/addr.h"
#include "runtime/probe.h"
#include "runtime/watch.h"

enum wd_dns_try_state {
  WD_DNS_TRY_IDLE,
  WD_DNS_TRY_WAITING,
  WD_DNS_TRY_ANSWERED, // the answer is there, whatever it says
  WD_DNS_TRY_FAILED,   // err and detail say why
};

struct wd_dns_try {
  // what to do; must live until the try is stopped
  struct wd_loop *loop;
  struct wd_arena *arena; // for the query and the answer
  const struct wd_dns_ask *ask;
  const struct wd_common_opts *opts; // source, tos
  struct wd_addr server;
  bool tcp;
  void *owner;
  void (*ended)(struct wd_dns_try *t);
  // what came of it
  enum wd_dns_try_state state;
  struct wd_dns_query query;
  struct wd_dns_answer answer;
  enum wd_err err;
  char detail[200];
  wd_ns sent;      // when the datagram was sent, or the connection was begun; WD_NONE before
  wd_ns connected; // TCP; WD_NONE before
  wd_ns received;  // WD_NONE without an answer
  unsigned ignored; // messages that were no answer to this query
  // inner
  struct wd_watch watch;
  uint8_t head[2], *body; // TCP: the message's length, then the message
  size_t got, written;
};

// False when it failed at once: err and detail are set, `ended` is not called.
bool wd_dns_try_start(struct wd_dns_try *t);

// Closes the socket; `ended` is not called any more. No harm when called twice or never started.
void wd_dns_try_stop(struct wd_dns_try *t);
