// See packet_train.h.
#include "probes/packet_train.h"

#include <errno.h>
#include <stdio.h>

#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/random.h"

static void expire(struct wd_timer *timer);
static void launch_next(struct wd_timer *timer);

bool wd_train_resolved(struct wd_probe_op *probe, struct wd_packet_result *r, struct wd_packet_timings *timings,
                       const struct wd_resolve *resolve, struct wd_addr *to) {
  char text[WD_ADDR_TEXT];
  timings->dns = resolve->took;
  r->timings = timings;
  if (resolve->took != WD_NONE) r->dns_shared = resolve->shared;
  if (resolve->err) {
    wd_probe_done(probe, resolve->err, "%s", resolve->detail);
    return false;
  }
  if (!wd_addr_from_sockaddr(to, (const struct sockaddr *)&resolve->addresses[0].sa, resolve->addresses[0].len)) {
    wd_probe_done(probe, WD_E_LOCAL, "an address of neither IPv4 nor IPv6");
    return false;
  }
  wd_addr_specify(to);
  r->common.target_ip = wd_arena_strdup(&probe->arena, wd_addr_format(to, text));
  return true;
}

const char *wd_train_check(const struct wd_packet_opts *opts) {
  return opts->linger != WD_NONE && opts->linger < opts->common.timeout ? "field 'linger': shorter than the timeout" : NULL;
}

bool wd_train_init(struct wd_train *t, struct wd_loop *loop, const struct wd_train_class *cls, const struct wd_packet_opts *opts,
                   const struct wd_addr *to, struct wd_arena *arena) {
  *t = (struct wd_train){.loop = loop,
                         .cls = cls,
                         .count = (unsigned)opts->count,
                         .interval = opts->interval,
                         .timeout = opts->common.timeout,
                         .linger = opts->linger == WD_NONE ? 0 : opts->linger,
                         .next = {.fire = launch_next}};
  t->flow.to = *to;
  t->flow.ttl = opts->ttl > 0 ? (int)opts->ttl : -1;
  t->flow.size = (size_t)opts->size;
  t->flow.tos = opts->common.tos == WD_NONE ? -1 : (int)opts->common.tos;
  t->packets = wd_arena_array(arena, t->count, sizeof(*t->packets));
  if (!t->packets) return false;
  for (unsigned i = 0; i < t->count; i++)
    t->packets[i] = (struct wd_packet){.flow = &t->flow, .ttl = -1, .hardware = WD_NONE, .deadline = {.fire = expire}};
  return true;
}

static void finish(struct wd_train *t) {
  if (t->ended) return;
  t->ended = true;
  wd_train_stop(t);
  while (t->launched && t->packets[t->launched - 1].state == WD_PACKET_IDLE) t->launched--; // queued, and never sent
  t->cls->done(t);
}

static void decide(struct wd_packet *p, enum wd_packet_state state) {
  p->state = state;
  p->loop_lag = wd_loop_lag(wd_train_of(p)->loop, p->sent);
}

static void settle(struct wd_packet *p, enum wd_packet_state state) {
  struct wd_train *t = wd_train_of(p);
  wd_timer_stop(&t->loop->timers, &p->deadline);
  decide(p, state);
  t->open--;
}

static void finish_if_known(struct wd_train *t) {
  if (t->launched == t->count && t->open == 0 && t->lingering == 0) finish(t);
}

static void launch_next(struct wd_timer *timer) {
  struct wd_train *t = WD_CONTAINER(timer, struct wd_train, next);
  struct wd_packet *p = &t->packets[t->launched++];
  t->open++;
  p->nonce = wd_random();
  wd_loop_arm(t->loop, &p->deadline, t->timeout); // counts anew once it was sent
  if (t->launched < t->count) {
    // On absolute times; after a stall of ours the packets that were missed do not leave in one burst.
    wd_ns now = wd_clock_now();
    t->planned += t->interval;
    if (t->planned < now) t->planned = now;
    wd_loop_arm_at(t->loop, &t->next, t->planned);
  }
  t->cls->launch(p);
}

void wd_train_start(struct wd_train *t) {
  t->planned = wd_clock_now();
  launch_next(&t->next);
}

void wd_train_stop(struct wd_train *t) {
  if (!t->packets) return;
  wd_timer_stop(&t->loop->timers, &t->next);
  for (unsigned i = 0; i < t->launched; i++) {
    wd_timer_stop(&t->loop->timers, &t->packets[i].deadline);
    t->cls->forget(&t->packets[i]);
  }
}

static void fail(struct wd_packet *p, enum wd_err err, const char *why, const struct wd_addr *from, uint32_t mtu) {
  settle(p, WD_PACKET_ERROR);
  p->err = (uint8_t)err;
  p->why = why;
  p->mtu = mtu;
  if (from) p->from = *from;
}

static void give_up(struct wd_packet *p) {
  struct wd_train *t = wd_train_of(p);
  if (wd_packet_may_be_dropped(p)) {
    t->overflowed++;
    fail(p, WD_E_LOCAL, WD_PACKET_OVERFLOWED, NULL, 0);
    return;
  }
  if (wd_packet_may_not_have_left(p)) {
    fail(p, WD_E_LOCAL, WD_PACKET_NOT_LEFT, NULL, 0);
    return;
  }
  settle(p, WD_PACKET_LOST);
  if (t->cls->lost) {
    t->cls->lost(p);
  } else if (t->linger > t->timeout) {
    t->lingering++;
    wd_loop_arm(t->loop, &p->deadline, t->linger - t->timeout);
  }
}

// How long a packet still has that left later than it was handed to the kernel; its deadline counts from when it left.
static wd_ns time_left(const struct wd_packet *p) {
  bool stamped = p->window == 0 && !wd_clock_is_virtual();
  return stamped ? p->sent + wd_train_of(p)->timeout - wd_clock_real() : 0;
}

static void expire(struct wd_timer *timer) {
  struct wd_packet *p = WD_CONTAINER(timer, struct wd_packet, deadline);
  struct wd_train *t = wd_train_of(p);
  if (p->state == WD_PACKET_SENT && time_left(p) > 0) {
    wd_loop_arm(t->loop, &p->deadline, time_left(p));
    return;
  }
  if (p->state == WD_PACKET_SENT) {
    give_up(p);
  } else if (p->state == WD_PACKET_LOST) {
    t->lingering--;
  } else {
    t->cls->forget(p);
    fail(p, WD_E_LOCAL, WD_PACKET_NOT_SENT, NULL, 0);
  }
  finish_if_known(t);
}

void wd_train_sent(struct wd_packet *p) {
  struct wd_train *t = wd_train_of(p);
  wd_loop_arm(t->loop, &p->deadline, t->timeout);
}

// Another packet would meet the same refusal.
static bool is_lasting(int err) {
  return err != ENOBUFS && err != ENOMEM;
}

void wd_train_unsent(struct wd_packet *p, int err, uint32_t mtu) {
  struct wd_train *t = wd_train_of(p);
  fail(p, wd_neterr_local(err), wd_neterr_detail_local(err), NULL, mtu);
  bool none_left = true;
  for (unsigned i = 0; i < t->launched; i++) none_left = none_left && t->packets[i].state == WD_PACKET_ERROR;
  if (none_left && is_lasting(err))
    finish(t);
  else
    finish_if_known(t);
}

void wd_train_reply(struct wd_packet *p, const struct wd_packet_reply *reply) {
  struct wd_train *t = wd_train_of(p);
  unsigned place = (unsigned)(p - t->packets) + 1;
  if (p->state == WD_PACKET_OK || p->state == WD_PACKET_LATE) {
    t->duplicates++;
    return;
  }
  if (p->state != WD_PACKET_SENT && p->state != WD_PACKET_LOST) return;
  struct wd_packet_trip trip = wd_packet_trip(p, reply, wd_loop_lag(t->loop, p->sent));
  p->rtt = trip.rtt;
  enum wd_packet_state fate = p->rtt <= t->timeout ? WD_PACKET_OK : WD_PACKET_LATE;
  p->ttl = (int16_t)reply->ttl;
  p->from = reply->from;
  if (place < t->highest)
    t->reordered++;
  else
    t->highest = place;
  if (p->state == WD_PACKET_SENT) {
    settle(p, fate);
  } else {
    if (wd_timer_armed(&p->deadline)) t->lingering--;
    wd_timer_stop(&t->loop->timers, &p->deadline);
    decide(p, fate);
  }
  if (fate == WD_PACKET_OK) {
    if (trip.uncertainty > t->uncertainty) t->uncertainty = trip.uncertainty;
    t->clock = wd_packet_clock_worse(t->clock, trip.clock);
    t->answered++;
    wd_packet_jitter_add(&t->jitter, p->rtt);
  }
  finish_if_known(t);
}

void wd_train_error(struct wd_packet *p, enum wd_err err, const char *why, const struct wd_addr *from, uint32_t mtu) {
  struct wd_train *t = wd_train_of(p);
  if (p->state != WD_PACKET_SENT && p->state != WD_PACKET_QUEUED) return;
  if (!t->cls->flow_errors || t->answered > 0) {
    fail(p, err, why, from, mtu);
    finish_if_known(t);
    return;
  }
  for (unsigned i = 0; i < t->launched; i++) {
    struct wd_packet *other = &t->packets[i];
    if (other->state == WD_PACKET_SENT) fail(other, err, why, from, mtu);
  }
  finish(t);
}

// ---- the result ----

static void write_sample(struct wd_packet_sample *s, const struct wd_packet *p, const char *target_ip, struct wd_arena *arena) {
  char text[WD_ADDR_TEXT];
  *s = (struct wd_packet_sample){.status = WD_SAMPLE_LOST, .rtt = WD_NONE, .ttl = WD_NONE, .mtu = WD_NONE, .loop_lag = WD_NONE};
  if (p->sent) s->loop_lag = p->loop_lag;
  if (p->ttl >= 0) s->ttl = p->ttl;
  if (wd_addr_same_host(&p->from, &p->flow->to))
    s->from = target_ip;
  else if (wd_addr_family(&p->from))
    s->from = wd_arena_strdup(arena, wd_addr_format(&p->from, text));
  if (p->state == WD_PACKET_OK || p->state == WD_PACKET_LATE) {
    s->status = p->state == WD_PACKET_OK ? WD_SAMPLE_OK : WD_SAMPLE_LATE;
    s->rtt = p->rtt;
  } else if (p->state == WD_PACKET_ERROR) {
    s->status = WD_SAMPLE_ERROR;
    s->error = p->err;
    if (p->mtu) s->mtu = p->mtu;
  }
}

static void report_failure(struct wd_train *t, struct wd_probe_op *probe, const struct wd_packet_result *r) {
  const struct wd_packet *blamed = NULL, *local = NULL;
  const struct wd_packet_sample *samples = r->samples.items;
  unsigned which = 0;
  for (unsigned i = 0; i < r->samples.n; i++) {
    const struct wd_packet *p = &t->packets[i];
    if (p->state != WD_PACKET_ERROR) continue;
    if (p->sent == 0)
      local = p;
    else if (!blamed)
      blamed = p, which = i;
  }
  char mtu[48] = "";
  if (!blamed && r->sent == 0) blamed = local;
  if (blamed && blamed->mtu) snprintf(mtu, sizeof(mtu), ", the next hop carries %u bytes", blamed->mtu);
  if (!blamed)
    wd_probe_done(probe, WD_E_TIMEOUT, "none of %d packets was answered within %g s", (int)r->sent, (double)t->timeout / 1e9);
  else if (samples[which].from && blamed != local)
    wd_probe_done(probe, blamed->err, "%s%s, said by %s", blamed->why, mtu, samples[which].from);
  else
    wd_probe_done(probe, blamed->err, "%s%s", blamed->why, mtu);
}

void wd_train_report(struct wd_train *t, struct wd_probe_op *probe, struct wd_packet_result *r) {
  struct wd_packet_sample *samples = wd_arena_array(&probe->arena, t->launched, sizeof(*samples));
  struct wd_quality *quality = wd_arena_alloc(&probe->arena, sizeof(*quality));
  if (!samples || !quality) {
    wd_probe_done(probe, WD_E_LOCAL, "out of memory");
    return;
  }
  r->sent = 0;
  for (unsigned i = 0; i < t->launched; i++) {
    write_sample(&samples[i], &t->packets[i], r->common.target_ip, &probe->arena);
    if (t->packets[i].sent) r->sent++;
  }
  r->samples = (struct wd_list){.items = samples, .n = t->launched, .given = true};
  r->duplicates = t->duplicates;
  r->reordered = t->reordered;
  r->foreign = t->foreign;
  r->overflowed = t->overflowed;
  wd_packet_stats(r, &t->jitter);
  *quality = (struct wd_quality){.uncertainty = WD_NONE};
  r->common.quality = quality;
  if (r->received > 0) {
    quality->timestamp_source = t->clock;
    quality->uncertainty = t->uncertainty;
    wd_probe_done(probe, WD_OK, NULL);
  } else {
    report_failure(t, probe, r);
  }
}
