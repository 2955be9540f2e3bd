// The packets of one probe: when each leaves, how long it is waited for, what became of it, and when all is known.
// Must hold: a packet's fate is decided once, by the first of reply, error and deadline; a reply is judged by when it came, not by when
// it was read.
#pragma once

#include "probes/packet_queue.h"
#include "probes/packet_stats.h"
#include "runtime/resolve.h"

struct wd_train;

// What a protocol brings.
struct wd_train_class {
  void (*launch)(struct wd_packet *p); // sends it: wd_train_sent or wd_train_unsent must follow, now or later
  void (*lost)(struct wd_packet *p);   // it is no longer waited for; may be NULL: then a late reply may still be told
  void (*forget)(struct wd_packet *p); // nothing must point at it any more
  void (*done)(struct wd_train *t);    // every packet's fate is known; called once
  bool flow_errors;                    // an ICMP error speaks of the whole flow, and ends it where nothing was answered
};

struct wd_train {
  struct wd_loop *loop;
  const struct wd_train_class *cls;
  struct wd_packet_flow flow;
  struct wd_packet *packets;
  unsigned count, launched, open, lingering; // open: launched, fate unknown; lingering: lost, and a late reply may still be told
  wd_ns interval, timeout, linger, planned;
  struct wd_timer next;
  struct wd_packet_jitter jitter;
  unsigned answered, highest; // highest: place of the latest packet that was answered, plus one
  int64_t duplicates, reordered, foreign, overflowed;
  wd_ns uncertainty;
  const char *clock; // whose readings the round trips are made of: the least precise of all
  bool ended;
};

// For struct wd_probe.check: what is wrong with the options, or NULL.
const char *wd_train_check(const struct wd_packet_opts *opts);

// The train whose packet that is.
static inline struct wd_train *wd_train_of(const struct wd_packet *p) {
  return WD_CONTAINER(p->flow, struct wd_train, flow);
}

// Takes the answers of the look-up: fills target_ip, timings and the first address. False when there is none: the probe is then done.
bool wd_train_resolved(struct wd_probe_op *probe, struct wd_packet_result *r, struct wd_packet_timings *timings,
                       const struct wd_resolve *resolve, struct wd_addr *to);

// Makes room for the packets in the arena; false when memory is out.
bool wd_train_init(struct wd_train *t, struct wd_loop *loop, const struct wd_train_class *cls, const struct wd_packet_opts *opts,
                   const struct wd_addr *to, struct wd_arena *arena);

void wd_train_start(struct wd_train *t);

// Lets go of timers and packets, at once. No harm before the start and twice.
void wd_train_stop(struct wd_train *t);

// For struct wd_packet_class.
void wd_train_sent(struct wd_packet *p);
void wd_train_unsent(struct wd_packet *p, int err, uint32_t mtu);

// A reply that is proven to be this packet's.
void wd_train_reply(struct wd_packet *p, const struct wd_packet_reply *reply);

// Ends the packet with an error that `from` reported; `why` is static text, `from` may be NULL.
void wd_train_error(struct wd_packet *p, enum wd_err err, const char *why, const struct wd_addr *from, uint32_t mtu);

// Fills the result and ends the probe. For `done`.
void wd_train_report(struct wd_train *t, struct wd_probe_op *probe, struct wd_packet_result *r);
