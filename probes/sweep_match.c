// See sweep_match.h.
#include "probes/sweep_match.h"

#include <stdlib.h>
#include <string.h>

#include "probes/icmp_wire.h"
#include "probes/packet_clock.h"
#include "runtime/arena.h"
#include "runtime/icmp_error.h"
#include "runtime/probe.h"

enum { USER = 1u << 31 }; // in `window`

struct wd_sweep *wd_sweep_of(struct wd_packet_socket *socket) {
  struct wd_packet_socket *first = socket - (socket->family == AF_INET6);
  return WD_CONTAINER(first, struct wd_sweep, sockets);
}

// The finalizer of splitmix64 over secret and slot.
uint32_t wd_sweep_tag(const struct wd_sweep *s, uint32_t slot) {
  uint64_t x = s->secret + slot * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)(x >> 32);
}

void wd_sweep_set_sent(struct wd_sweep *s, uint32_t slot, wd_ns at, wd_ns window, bool user) {
  s->at[slot] = at;
  s->window[slot] = (window < USER ? (uint32_t)window : USER - 1) | (user ? USER : 0);
}

void wd_sweep_fail(struct wd_sweep *s, uint32_t slot, enum wd_err err, const char *why) {
  if (s->state[slot] == WD_SWEEP_WAIT) s->waiting--;
  s->state[slot] = WD_SWEEP_ERROR;
  s->at[slot] = err;
  s->why = why;
  wd_sweep_target_of(s, slot)->err = (uint8_t)err;
}

static void note_hardware(struct wd_sweep *s, uint32_t slot, wd_ns at) {
  if (!s->hardware) {
    if (!(s->hardware = wd_arena_array(s->arena, s->slots, sizeof(*s->hardware)))) return;
    for (uint32_t i = 0; i < s->slots; i++) s->hardware[i] = WD_NONE;
  }
  s->hardware[slot] = at;
}

void wd_sweep_stamped(struct wd_packet_socket *socket, const struct wd_packet_stamp *stamp) {
  struct wd_sweep *s = wd_sweep_of(socket);
  uint32_t slot = stamp->id;
  if (slot >= s->slots || s->state[slot] != WD_SWEEP_WAIT) return;
  if (stamp->hardware != WD_NONE) note_hardware(s, slot, stamp->hardware);
  if (stamp->at == WD_NONE) return;
  // No packet left before we asked for it.
  if (s->window[slot] == 0 || stamp->at < s->at[slot] - (wd_ns)(s->window[slot] & ~USER)) return;
  wd_sweep_set_sent(s, slot, stamp->at, 0, false);
}

static bool has_stamp(const struct wd_sweep *s, uint32_t place) {
  uint32_t slot = s->order[place];
  return s->state[slot] == WD_SWEEP_WAIT && s->window[slot] == 0;
}

// A packet without a stamp of its own left between the stamp of one before it and that of one behind it, `step` of `steps` of the way, and
// not before we handed it over. Where it was handed over after the first and the second is far off, our own clock tells more.
static void place_between(struct wd_sweep *s, uint32_t slot, wd_ns from, wd_ns to, uint32_t step, uint32_t steps) {
  wd_ns handed = s->at[slot], window = (wd_ns)(s->window[slot] & ~USER);
  if (s->state[slot] != WD_SWEEP_WAIT || to < from) return;
  if (handed <= from || to - from <= window + WD_MS)
    wd_sweep_set_sent(s, slot, from + (to - from) * (wd_ns)step / (wd_ns)steps, to - from, false);
  else if (to > handed)
    wd_sweep_set_sent(s, slot, handed, to - handed, true);
}

// One that no stamp follows yet did not leave before the last that is known.
static void place_after(struct wd_sweep *s, uint32_t slot, wd_ns from) {
  if (s->state[slot] == WD_SWEEP_WAIT && s->at[slot] < from) wd_sweep_set_sent(s, slot, from, (wd_ns)(s->window[slot] & ~USER), true);
}

void wd_sweep_interpolate(struct wd_sweep *s) {
  for (uint32_t i = s->placed; i < s->sent; i++) {
    if (!has_stamp(s, i)) continue;
    wd_ns at = s->at[s->order[i]];
    // Further apart there is one missing between the two: it waits in another queue, and so may those beside it.
    uint32_t steps = s->placed_at && i - s->placed <= WD_SWEEP_LEAN_EVERY ? i - s->placed : 0;
    for (uint32_t step = 1; step < steps; step++) place_between(s, s->order[s->placed + step], s->placed_at, at, step, steps);
    s->placed = i;
    s->placed_at = at;
  }
  for (uint32_t k = s->placed + 1; s->placed_at && k < s->sent; k++) place_after(s, s->order[k], s->placed_at);
}

bool wd_sweep_is_queueing(const struct wd_sweep *s, uint32_t slot) {
  return s->window[slot] & USER && wd_packet_socket_is_queueing(wd_sweep_socket_of(s, slot));
}

// Echoes have no ports, whatever a name of theirs carries in that place.
static bool is_target(const struct wd_packet_socket *socket, const struct wd_addr *a, const struct wd_addr *target) {
  return socket->kind == WD_PACKET_UDP ? wd_addr_equal(a, target) : wd_addr_same_host(a, target);
}

void wd_sweep_reply(struct wd_packet_socket *socket, const struct wd_packet_reply *reply) {
  struct wd_sweep *s = wd_sweep_of(socket);
  uint32_t slot, tag;
  bool ours = s->cls->parse(socket, reply, s->opts.size, &slot, &tag) && slot < s->slots && tag == wd_sweep_tag(s, slot);
  if (!ours || !is_target(socket, &reply->from, &wd_sweep_target_of(s, slot)->to)) {
    s->foreign++;
    return;
  }
  uint8_t state = s->state[slot];
  if (state == WD_SWEEP_OK || state == WD_SWEEP_LATE) s->duplicates++;
  if (state != WD_SWEEP_WAIT && state != WD_SWEEP_LOST) return;
  struct wd_packet_sent sent = {.at = s->at[slot],
                                .window = s->window[slot] & ~USER,
                                .hardware = s->hardware ? s->hardware[slot] : WD_NONE,
                                .user = s->window[slot] & USER,
                                .queueing = wd_packet_socket_is_queueing(socket)};
  struct wd_packet_trip trip = wd_packet_clock_trip(&sent, reply, reply->kernel ? 0 : wd_loop_lag(s->loop, sent.at));
  bool in_time = trip.rtt <= s->opts.timeout;
  s->at[slot] = trip.rtt;
  s->state[slot] = in_time ? WD_SWEEP_OK : WD_SWEEP_LATE;
  if (state == WD_SWEEP_WAIT) s->waiting--;
  if (in_time) {
    if (trip.uncertainty > s->uncertainty) s->uncertainty = trip.uncertainty;
    s->clock = wd_packet_clock_worse(s->clock, trip.clock);
    s->received++;
    wd_probe_count.sweep_received++;
  } else {
    s->late++;
  }
  wd_sweep_hasten(s);
}

// ---- errors ----

static int compare(const struct wd_addr *a, const struct wd_addr *b) {
  int family = wd_addr_family(a);
  if (family != wd_addr_family(b)) return family < wd_addr_family(b) ? -1 : 1;
  int host = family == AF_INET6 ? memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr))
                                : memcmp(&a->v4.sin_addr, &b->v4.sin_addr, sizeof(a->v4.sin_addr));
  return host ? host : (int)wd_addr_port(a) - (int)wd_addr_port(b);
}

static int compare_targets(const void *a, const void *b, void *targets) {
  const struct wd_sweep_target *all = targets;
  return compare(&all[*(const uint32_t *)a].to, &all[*(const uint32_t *)b].to);
}

// The first target in the order of addresses that is not before `to`; made once, for who quotes nothing.
static uint32_t first_not_before(struct wd_sweep *s, const struct wd_addr *to) {
  if (!s->by_address) {
    if (!(s->by_address = malloc(s->n * sizeof(*s->by_address)))) return s->n;
    for (uint32_t i = 0; i < s->n; i++) s->by_address[i] = i;
    qsort_r(s->by_address, s->n, sizeof(*s->by_address), compare_targets, s->targets);
  }
  uint32_t low = 0, high = s->n;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (compare(&s->targets[s->by_address[middle]].to, to) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The slot that an error is about which tells no more than the address: one that is waited for. `seq` -1: any.
static bool find(struct wd_sweep *s, const struct wd_addr *to, int seq, uint32_t *out) {
  uint32_t attempts = s->opts.retries + 1;
  for (uint32_t i = first_not_before(s, to); i < s->n && compare(&s->targets[s->by_address[i]].to, to) == 0; i++) {
    for (uint32_t round = 0; round < s->opts.count; round++) {
      for (uint32_t slot = (round * s->n + s->by_address[i]) * attempts, end = slot + attempts; slot < end; slot++) {
        if (s->state[slot] != WD_SWEEP_WAIT || (seq >= 0 && (slot & 0xffff) != (uint32_t)seq)) continue;
        *out = slot;
        return true;
      }
    }
  }
  return false;
}

void wd_sweep_error(struct wd_packet_socket *socket, const struct wd_packet_error *error) {
  struct wd_sweep *s = wd_sweep_of(socket);
  enum wd_err err = wd_icmp_err(socket->family, error->type, error->code);
  uint32_t slot = 0, tag = 0;
  int known = err == WD_OK ? -1 : s->cls->parse_quote(socket, error, &slot, &tag);
  struct wd_addr to = error->to;
  if (known < 0) return;
  if (socket->kind != WD_PACKET_UDP) wd_addr_set_port(&to, 0);
  if (known == 2) {
    if (slot >= s->slots || tag != wd_sweep_tag(s, slot) || !is_target(socket, &error->to, &wd_sweep_target_of(s, slot)->to)) return;
  } else if (!find(s, &to, known ? (int)(slot & 0xffff) : -1, &slot)) {
    return;
  }
  if (s->state[slot] != WD_SWEEP_WAIT) return;
  wd_sweep_fail(s, slot, err, wd_icmp_text(socket->family, error->type, error->code));
  wd_sweep_hasten(s);
}
