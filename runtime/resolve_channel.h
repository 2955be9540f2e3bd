// Questions to name servers: c-ares channels on the loop, one for each server set, the least recently used one goes.
// Must hold: c-ares is never entered from within one of its own callbacks, and an idle channel holds no socket and no timer.
#pragma once

#include "runtime/addr.h"
#include "runtime/loop.h"

enum { WD_CHANNEL_ADDRESSES = 64 }; // kept of one answer

// As `server`: the system's servers, but one that answers SERVFAIL or REFUSED is passed over, and its answer is not told.
#define WD_CHANNEL_PASS_OVER "*"

// One question, allocated with malloc by its owner (alone, or as the first member of a larger struct).
struct wd_channel_query {
  // question
  char name[WD_HOST_TEXT];
  int family;                                   // AF_UNSPEC, AF_INET or AF_INET6
  void (*answered)(struct wd_channel_query *q); // never from within wd_channel_ask; the query is its owner's again
  // answer
  enum wd_err err;
  char detail[160];                           // for people, when err
  struct wd_addr found[WD_CHANNEL_ADDRESSES]; // without ports, in the order of the answer
  size_t count;
  int servers;   // how many could have been asked
  int64_t ttl_s; // the smallest of the records; 0 where the answer did not come from a server
  // inner
  struct wd_channel *channel;
  struct wd_channel_query *next;
  wd_ns launched;
  bool dropped, alone;
};

// Queues the question. `server` is "address:port", or "" for the system's own servers, hosts file and search list.
void wd_channel_ask(struct wd_loop *loop, const char *server, struct wd_channel_query *q);

// Nobody wants the answer any more: `answered` is not called, and the query is freed here or later.
void wd_channel_drop(struct wd_channel_query *q);
