// See sweep.h: pace, sending, and giving up. What comes back is sweep_match.c's.
#include "probes/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "probes/sweep_match.h"
#include "runtime/arena.h"
#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/probe.h"
#include "runtime/random.h"

enum {
  AT_ONCE = 256,       // packets before others get their turn, where no rate is asked for
  TICK_PACKETS = 32,   // what a tick is to be worth
  FAST = 2000,         // packets a second from which on reading waits for the tick
  ROOM = 8 << 20,      // SO_RCVBUF asked for: ten thousand stamps and replies at 832 bytes each
};

#define TICK_LEAST (1 * WD_MS)
#define TICK_MOST (5 * WD_MS)

static void on_tick(struct wd_timer *t);

bool wd_sweep_init(struct wd_sweep *s, struct wd_loop *loop, struct wd_arena *arena) {
  s->loop = loop;
  s->arena = arena;
  s->tick.fire = on_tick;
  s->secret = wd_random();
  s->probes = s->n * s->opts.count;
  s->slots = s->probes * (s->opts.retries + 1);
  s->at = wd_arena_array(arena, s->slots, sizeof(*s->at));
  s->window = wd_arena_array(arena, s->slots, sizeof(*s->window));
  s->state = wd_arena_array(arena, s->slots, sizeof(*s->state));
  s->order = wd_arena_array(arena, s->slots, sizeof(*s->order));
  s->again = wd_arena_array(arena, s->opts.retries ? s->slots : 1, sizeof(*s->again));
  return s->at && s->window && s->state && s->order && s->again;
}

// ---- what is sent ----

// The clock of timers, on the scale of stamps: they differ where the loop's clock is virtual.
static wd_ns clock_of(const struct wd_sweep *s) {
  return wd_clock_now() + s->ahead;
}

// Moves past probes of targets that are never sent to; false when there is none left, or their round is not due.
static bool next_fresh(const struct wd_sweep *s, uint32_t *next, wd_ns now) {
  while (*next < s->probes && s->targets[*next % s->n].off) ++*next;
  uint32_t round = *next / s->n;
  return *next < s->probes && (round < s->rounds || (round == s->rounds && now >= s->round_due));
}

// The slot to be sent after those that were pulled; false when there is none now.
static bool peek(const struct wd_sweep *s, struct wd_sweep_pulled *at) {
  if (at->again_at < s->again_n) {
    at->slot = s->again[at->again_at++];
    return true;
  }
  if (!next_fresh(s, &at->next, clock_of(s))) return false;
  at->slot = at->next++ * (s->opts.retries + 1);
  return true;
}

static bool pull(struct wd_packet_socket *socket, unsigned nth, struct wd_packet_message *m, uint8_t *out, size_t room) {
  struct wd_sweep *s = wd_sweep_of(socket);
  struct wd_sweep_pulled at = nth ? s->batch[nth - 1] : (struct wd_sweep_pulled){.next = s->next, .again_at = s->again_at};
  if (nth >= s->allowed || !peek(s, &at)) return false;
  m->to = &wd_sweep_target_of(s, at.slot)->to;
  if (wd_addr_family(m->to) != socket->family) return false;
  if (!(m->len = s->cls->build(socket, at.slot, wd_sweep_tag(s, at.slot), s->opts.size, out, room))) return false;
  m->ttl = s->opts.ttl;
  m->tos = s->opts.tos;
  m->stamp = s->opts.stamps == WD_SWEEP_EXACT || nth % WD_SWEEP_LEAN_EVERY == 0;
  m->id = at.slot;
  s->batch[nth] = at;
  return true;
}

// What is never sent to is not left to be sent.
static void skip_off(struct wd_sweep *s) {
  while (s->next < s->probes && s->targets[s->next % s->n].off) s->next++;
}

static void take_off(struct wd_sweep *s, unsigned n) {
  if (s->batch[n - 1].next > s->rounds * s->n) {
    s->rounds++;
    s->round_due = clock_of(s) + s->opts.interval;
  }
  s->next = s->batch[n - 1].next;
  skip_off(s);
  s->again_at = s->batch[n - 1].again_at;
  s->allowed -= n;
  s->paced += n;
}

static void left(struct wd_packet_socket *socket, unsigned n, wd_ns before, wd_ns after) {
  struct wd_sweep *s = wd_sweep_of(socket);
  for (unsigned i = 0; i < n; i++) {
    uint32_t slot = s->batch[i].slot;
    s->state[slot] = WD_SWEEP_WAIT;
    wd_sweep_set_sent(s, slot, before + (after - before) * (2 * (wd_ns)i + 1) / (2 * (wd_ns)n), after - before, true);
    s->order[s->sent++] = slot;
  }
  s->waiting += n;
  wd_probe_count.sweep_sent += n;
  s->stuck_since = 0;
  take_off(s, n);
}

static void drained(struct wd_packet_socket *socket) {
  struct wd_sweep *s = wd_sweep_of(socket);
  if (s->opts.stamps == WD_SWEEP_LEAN) wd_sweep_interpolate(s);
}

static void refused(struct wd_packet_socket *socket, int err, uint32_t mtu) {
  struct wd_sweep *s = wd_sweep_of(socket);
  (void)mtu;
  if (err == ENOBUFS || err == ENOMEM) { // the device's queue, or the table of neighbours: it may pass
    s->allowed = 0;
    s->full = true;
    return;
  }
  wd_sweep_fail(s, s->batch[0].slot, wd_neterr_local(err), wd_neterr_detail_local(err));
  take_off(s, 1);
}

static const struct wd_packet_proto proto = {.pull = pull,
                                             .left = left,
                                             .drained = drained,
                                             .refused = refused,
                                             .stamped = wd_sweep_stamped,
                                             .reply = wd_sweep_reply,
                                             .error = wd_sweep_error};

// A packet that finds no room for as long as a reply may take is given up, and so are those behind it until one finds some.
static void give_up_if_stuck(struct wd_sweep *s) {
  wd_ns now = clock_of(s);
  if (s->stuck_since == 0) s->stuck_since = now;
  if (now - s->stuck_since < s->opts.timeout) return;
  wd_sweep_fail(s, s->batch[0].slot, WD_E_LOCAL, WD_PACKET_NOT_SENT);
  take_off(s, 1);
  s->full = false;
}

// One batch. False when nothing can be sent now.
static bool send_batch(struct wd_sweep *s, uint32_t most) {
  struct wd_sweep_pulled at = {.next = s->next, .again_at = s->again_at};
  if (most == 0 || !peek(s, &at)) return false;
  struct wd_packet_socket *socket = &s->sockets[wd_addr_family(&wd_sweep_target_of(s, at.slot)->to) == AF_INET6];
  uint64_t paced = s->paced;
  s->allowed = most < WD_PACKET_BATCH ? most : WD_PACKET_BATCH;
  s->full = false;
  if (wd_packet_flush(socket)) s->full = true;
  if (s->full) give_up_if_stuck(s);
  s->allowed = 0;
  return !s->full && s->paced > paced;
}

// ---- pace ----

static wd_ns tick_of(const struct wd_sweep *s) {
  wd_ns worth = (wd_ns)(TICK_PACKETS * 1e9 / s->opts.rate), one = (wd_ns)(1e9 / s->opts.rate);
  worth = worth < TICK_LEAST ? TICK_LEAST : worth > TICK_MOST ? TICK_MOST : worth;
  return worth > one ? worth : one;
}

// How many packets the rate allows by now. What a stall of ours missed does not leave in one burst.
static uint32_t due_now(struct wd_sweep *s, wd_ns now) {
  if (isnan(s->opts.rate)) return AT_ONCE;
  double most = s->opts.rate * (double)tick_of(s) / 1e9 * 2 + 1, due = (double)(now - s->paced_from) / 1e9 * s->opts.rate + 1;
  double behind = due - (double)s->paced;
  if (behind <= most) return behind < 1 ? 0 : (uint32_t)behind;
  s->paced = 0;
  s->paced_from = now - (wd_ns)((most - 1) / s->opts.rate * 1e9);
  return (uint32_t)most;
}

static bool more_to_send(const struct wd_sweep *s) {
  return s->next < s->probes || s->again_at < s->again_n;
}

static void watch(struct wd_sweep *s) {
  bool fast = more_to_send(s) && (isnan(s->opts.rate) || s->opts.rate >= FAST);
  if (fast == s->ticking) return;
  s->ticking = fast;
  for (size_t i = 0; i < WD_COUNT(s->sockets); i++) {
    if (fast)
      wd_watch_pause(&s->sockets[i].watch);
    else
      wd_watch_resume(&s->sockets[i].watch, EPOLLIN);
  }
}

static void receive(struct wd_sweep *s, uint32_t events) {
  for (size_t i = 0; i < WD_COUNT(s->sockets) && !s->ended; i++)
    if (wd_packet_socket_is_open(&s->sockets[i])) wd_packet_receive(&s->sockets[i], events);
}

static wd_ns earliest(wd_ns a, wd_ns b) {
  return a < b ? a : b;
}

// When the next packet may leave; INT64_MAX when none is left.
static wd_ns next_send(const struct wd_sweep *s, wd_ns now) {
  uint32_t next = s->next;
  bool again = s->again_at < s->again_n;
  if (!again && !next_fresh(s, &next, INT64_MAX)) return INT64_MAX;
  if (!again && !next_fresh(s, &next, now)) return s->round_due;
  if (s->full) return now + TICK_LEAST;
  if (isnan(s->opts.rate)) return now;
  wd_ns at = s->paced_from + (wd_ns)((double)s->paced / s->opts.rate * 1e9), tick = now + tick_of(s);
  return s->ticking && at < tick ? tick : at;
}

// When something is to be done next, INT64_MAX when all is known.
static wd_ns next_moment(struct wd_sweep *s, wd_ns now) {
  wd_ns at = next_send(s, now);
  while (s->expired < s->sent && s->state[s->order[s->expired]] != WD_SWEEP_WAIT) s->expired++;
  if (s->expired < s->sent) at = earliest(at, s->at[s->order[s->expired]] + s->opts.timeout);
  while (s->lingered < s->expired && (!s->opts.linger || s->state[s->order[s->lingered]] != WD_SWEEP_LOST)) s->lingered++;
  if (s->lingered < s->expired) at = earliest(at, s->at[s->order[s->lingered]] + s->opts.linger);
  return at;
}

// ---- giving up ----

static void lose(struct wd_sweep *s, uint32_t slot) {
  const struct wd_packet_socket *socket = wd_sweep_socket_of(s, slot);
  bool last = slot % (s->opts.retries + 1) == s->opts.retries;
  s->waiting--;
  s->state[slot] = WD_SWEEP_LOST;
  if (socket->overflowed >= s->at[slot]) {
    s->overflowed++;
    wd_sweep_fail(s, slot, WD_E_LOCAL, WD_PACKET_OVERFLOWED);
  } else if (wd_sweep_is_queueing(s, slot)) {
    wd_sweep_fail(s, slot, WD_E_LOCAL, WD_PACKET_NOT_LEFT);
  } else if (last) {
    wd_sweep_target_of(s, slot)->err = WD_E_TIMEOUT;
  }
  if (!last) s->again[s->again_n++] = slot + 1;
}

static bool is_overdue(const struct wd_sweep *s, uint32_t slot, wd_ns now) {
  return s->state[slot] == WD_SWEEP_WAIT && s->at[slot] + s->opts.timeout <= now;
}

static void expire(struct wd_sweep *s, wd_ns now) {
  bool drained = false;
  for (; s->expired < s->sent; s->expired++) {
    uint32_t slot = s->order[s->expired];
    if (is_overdue(s, slot, now) && !drained) { // what the kernel holds comes first
      receive(s, EPOLLIN | EPOLLERR);
      for (size_t i = 0; i < WD_COUNT(s->sockets); i++) wd_packet_take_stock(&s->sockets[i]);
      drained = true;
    }
    if (is_overdue(s, slot, now))
      lose(s, slot);
    else if (s->state[slot] == WD_SWEEP_WAIT)
      break;
  }
  for (; s->lingered < s->expired; s->lingered++) {
    uint32_t slot = s->order[s->lingered];
    if (s->state[slot] == WD_SWEEP_LOST && s->at[slot] + s->opts.linger > now) break;
  }
}

static void finish(struct wd_sweep *s) {
  s->ended = true;
  wd_sweep_stop(s);
  s->done(s);
}

static void go_on(struct wd_sweep *s) {
  wd_ns now = clock_of(s);
  if (more_to_send(s)) {
    uint32_t allowed = due_now(s, now);
    uint64_t until = s->paced + allowed;
    while (s->paced < until && send_batch(s, (uint32_t)(until - s->paced))) continue;
    if (isnan(s->opts.rate)) receive(s, EPOLLIN);
  }
  watch(s);
  now = clock_of(s);
  wd_ns at = next_moment(s, now);
  if (at == INT64_MAX)
    finish(s);
  else
    wd_loop_arm(s->loop, &s->tick, at > now ? at - now : 0);
}

static void on_tick(struct wd_timer *t) {
  struct wd_sweep *s = WD_CONTAINER(t, struct wd_sweep, tick);
  receive(s, EPOLLIN);
  expire(s, clock_of(s));
  go_on(s);
}

void wd_sweep_hasten(struct wd_sweep *s) {
  if (s->waiting == 0 && !more_to_send(s)) wd_loop_arm(s->loop, &s->tick, 0);
}

// ---- beginning and end ----

static enum wd_err open_socket(struct wd_sweep *s, int family) {
  struct wd_packet_socket *socket = &s->sockets[family == AF_INET6];
  // What fits everywhere (RFC 791: 576 bytes) may as well say so: the kernel then needs no id for the fragments.
  struct wd_packet_socket_opts opts = {
      .family = family, .source = s->opts.source, .dont_fragment = s->opts.size <= 512, .no_ttl = true, .receive_bytes = ROOM};
  enum wd_err err = WD_OK;
  for (size_t i = 0; i < WD_COUNT(s->cls->kinds); i++) {
    opts.kind = s->cls->kinds[i];
    err = wd_packet_socket_open(socket, s->loop, &proto, &opts, s->detail, sizeof(s->detail));
    if (err != WD_E_PERMISSION) break;
  }
  return err;
}

// Opens the family's socket where there is a target of it. Where that fails they are not sent to.
static enum wd_err open_family(struct wd_sweep *s, int family) {
  enum wd_err err = WD_OK;
  for (uint32_t i = 0; i < s->n; i++) {
    struct wd_sweep_target *target = &s->targets[i];
    if (target->off || wd_addr_family(&target->to) != family) continue;
    if (!err && !wd_packet_socket_is_open(&s->sockets[family == AF_INET6])) err = open_socket(s, family);
    if (!err) return WD_OK;
    target->off = true;
    target->err = (uint8_t)err;
  }
  return err;
}

enum wd_err wd_sweep_start(struct wd_sweep *s) {
  enum wd_err v4 = open_family(s, AF_INET), v6 = open_family(s, AF_INET6);
  bool some = wd_packet_socket_is_open(&s->sockets[0]) || wd_packet_socket_is_open(&s->sockets[1]);
  if (!some && (v4 || v6)) return v4 ? v4 : v6;
  skip_off(s);
  double most = wd_policy_packets();
  if (most > 0 && !(s->opts.rate <= most)) s->opts.rate = most;
  s->ahead = wd_clock_real() - wd_clock_now();
  if (!wd_clock_is_virtual()) s->ahead = 0;
  s->paced_from = s->round_due = clock_of(s);
  wd_probe_count.sweep_packets += s->probes;
  wd_loop_arm(s->loop, &s->tick, 0);
  return WD_OK;
}

void wd_sweep_stop(struct wd_sweep *s) {
  if (!s->loop) return;
  wd_timer_stop(&s->loop->timers, &s->tick);
  for (size_t i = 0; i < WD_COUNT(s->sockets); i++) wd_packet_socket_close(&s->sockets[i]);
  free(s->by_address);
  s->by_address = NULL;
}
