// What comes back to a sweep: stamps, replies, errors. For sweep.c alone.
#pragma once

#include "probes/sweep.h"

struct wd_sweep *wd_sweep_of(struct wd_packet_socket *socket);

static inline struct wd_sweep_target *wd_sweep_target_of(const struct wd_sweep *s, uint32_t slot) {
  return &s->targets[slot / (s->opts.retries + 1) % s->n];
}

static inline const struct wd_packet_socket *wd_sweep_socket_of(const struct wd_sweep *s, uint32_t slot) {
  return &s->sockets[wd_addr_family(&wd_sweep_target_of(s, slot)->to) == AF_INET6];
}

// Whether this slot's packet, as far as we know, may not have left yet.
bool wd_sweep_is_queueing(const struct wd_sweep *s, uint32_t slot);

// What proves that a reply is to this slot: without the secret nobody can make it up.
uint32_t wd_sweep_tag(const struct wd_sweep *s, uint32_t slot);

// Notes when a slot's packet was sent, and how far off that may be; `user`: by our own clock.
void wd_sweep_set_sent(struct wd_sweep *s, uint32_t slot, wd_ns at, wd_ns window, bool user);

// Ends a slot with an error; `why` is static text.
void wd_sweep_fail(struct wd_sweep *s, uint32_t slot, enum wd_err err, const char *why);

// Places the packets without a stamp of their own between those with one, which is right where all leave by one device.
void wd_sweep_interpolate(struct wd_sweep *s);

// For struct wd_packet_proto.
void wd_sweep_stamped(struct wd_packet_socket *socket, const struct wd_packet_stamp *stamp);
void wd_sweep_reply(struct wd_packet_socket *socket, const struct wd_packet_reply *reply);
void wd_sweep_error(struct wd_packet_socket *socket, const struct wd_packet_error *error);

// All may be known now: look soon.
void wd_sweep_hasten(struct wd_sweep *s);
