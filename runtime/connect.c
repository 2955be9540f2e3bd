// See connect.h.
#include "runtime/connect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/icmp_error.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/route.h"
#include "runtime/text.h"

struct wd_connect_attempt {
  struct wd_watch watch;
  struct wd_connect *owner;
  struct wd_addr to;
  wd_ns began;
  enum wd_err err; // why it failed
  int weight;      // how much that counts among the failures of all addresses
  char detail[160];
};

// Which failure is told where every address had one: our own exhaustion before anything, for it
// means that nothing was learnt; then what the network said; a missing route last.
enum { OF_ADDRESS = 1, OF_NETWORK = 2, OF_PROCESS = 3 };

static void try_next(struct wd_connect *c);

void wd_connect_abort(int fd) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void close_attempts(struct wd_connect *c) {
  for (size_t i = 0; i < c->started; i++) wd_watch_close(&c->attempts[i].watch);
  c->pending = 0;
  wd_timer_stop(&c->loop->timers, &c->stagger);
}

static void finish(struct wd_connect *c) {
  close_attempts(c);
  wd_timer_stop(&c->loop->timers, &c->told);
  c->done(c);
}

static void on_told(struct wd_timer *t) {
  finish(WD_CONTAINER(t, struct wd_connect, told));
}

// The result is known while somebody may still be in wd_connect_start: tell it in the next pass.
static void finish_soon(struct wd_connect *c) {
  wd_loop_arm(c->loop, &c->told, 0);
}

static void tell_failure(struct wd_connect *c) {
  const struct wd_connect_attempt *worst = &c->attempts[0];
  for (size_t i = 1; i < c->started; i++)
    if (c->attempts[i].weight > worst->weight) worst = &c->attempts[i];
  c->err = worst->err;
  c->peer = worst->to;
  if (c->started > 1)
    snprintf(c->detail, sizeof(c->detail), "%s (%zu addresses tried)", worst->detail, c->started);
  else
    snprintf(c->detail, sizeof(c->detail), "%s", worst->detail);
  finish_soon(c);
}

static void attempt_failed(struct wd_connect_attempt *a) {
  struct wd_connect *c = a->owner;
  bool in_flight = wd_watch_active(&a->watch);
  if (in_flight) {
    wd_tcp_info_read(a->watch.fd, &c->tcp);
    c->tcp.rtt = WD_NONE;
    wd_watch_close(&a->watch);
    c->pending--;
  }
  if (c->started < c->look_up.count && a->weight != OF_PROCESS)
    try_next(c);
  else if (c->pending == 0 && !wd_timer_armed(&c->stagger))
    tell_failure(c);
}

static void fail_local(struct wd_connect_attempt *a, int err) {
  a->err = wd_neterr_local(err);
  bool of_address = err == ENETUNREACH || err == EHOSTUNREACH || err == EAFNOSUPPORT || err == EINVAL || err == WD_POLICY_DENIED;
  a->weight = of_address ? OF_ADDRESS : OF_PROCESS;
  snprintf(a->detail, sizeof(a->detail), "%s", wd_neterr_detail_local(err));
}

// Whether the connection certainly stood only after the deadline, however late we come to look. Where a SYN was sent again the
// kernel tells to a tick when its answer came, as long as nothing else did; where a server spoke already, nobody knows: that counts as in
// time, since it is our delay that keeps it from being known.
static bool is_late(const struct wd_connect *c, wd_ns began, wd_ns now, const struct wd_tcp_info *info) {
  wd_ns earliest = began;
  if (!c->deadline) return false;
  if (info->rtt != WD_NONE && info->rtt <= now - began)
    earliest = began + info->rtt;
  else if (info->quiet != WD_NONE)
    earliest = now - info->quiet;
  return wd_loop_is_past(c->deadline, earliest);
}

static void won(struct wd_connect_attempt *a) {
  struct wd_connect *c = a->owner;
  struct wd_tcp_info info;
  wd_ns now = wd_clock_real();
  wd_tcp_info_read(a->watch.fd, &info);
  if (is_late(c, a->began, now, &info)) { // the deadline is due in this very pass
    wd_watch_pause(&a->watch);
    return;
  }
  c->wall = now - a->began;
  c->fd = a->watch.fd;
  c->peer = a->to;
  c->err = WD_OK;
  c->tcp = info;
  // No later than our own clock saw the connection: anything else is not the time of this handshake.
  c->kernel_time = info.rtt != WD_NONE && info.rtt <= c->wall;
  c->connect = c->kernel_time ? info.rtt : c->wall;
  if (a != c->attempts) c->fallback = a->began - c->began;
  wd_watch_hand_over(&a->watch);
  wd_icmp_hear(c->fd, wd_addr_family(&a->to), false);
  finish(c);
}

static void on_attempt(struct wd_watch *w, uint32_t events) {
  struct wd_connect_attempt *a = WD_CONTAINER(w, struct wd_connect_attempt, watch);
  int err = 0;
  socklen_t len = sizeof(err);
  if (events & (EPOLLERR | EPOLLHUP) && getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) err = errno;
  // An RST that answers a SYN is ECONNREFUSED: with ECONNRESET the connection stood before it was reset, and
  // whether that is seen here or by the first read is a matter of microseconds.
  a->owner->reset = err == ECONNRESET || err == EPIPE;
  if (a->owner->reset || (err == 0 && events & (EPOLLOUT | EPOLLHUP))) {
    won(a);
  } else if (err) {
    const char *text = wd_neterr_detail_remote(err);
    a->err = wd_icmp_heard(w->fd, wd_addr_family(&a->to), &text);
    if (!a->err) a->err = wd_neterr_remote(err);
    a->weight = a->err == WD_E_LOCAL ? OF_PROCESS : OF_NETWORK;
    snprintf(a->detail, sizeof(a->detail), "%s", text);
    attempt_failed(a);
  }
}

static void set_tos(int fd, int family, int64_t tos) {
  int value = (int)tos;
  if (tos == WD_NONE) return;
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
  else
    setsockopt(fd, IPPROTO_IP, IP_TOS, &value, sizeof(value));
}

// Opens the socket and sends the SYN; false when that failed at once, with the reason in the attempt.
static bool launch(struct wd_connect_attempt *a) {
  struct wd_connect *c = a->owner;
  int family = wd_addr_family(&a->to);
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fail_local(a, errno);
    return false;
  }
  set_tos(fd, family, c->opts->tos);
  wd_icmp_hear(fd, family, true);
  if (c->opts->source) {
    a->err = wd_route_bind(fd, family, c->opts->source, a->detail, sizeof(a->detail));
    a->weight = OF_ADDRESS;
  }
  wd_policy_pace(fd);
  a->began = wd_clock_real();
  if (!a->err && wd_policy_connect(fd, &a->to.sa, wd_addr_len(&a->to)) < 0 && errno != EINPROGRESS) fail_local(a, errno);
  int rc = a->err ? 0 : wd_watch_start(c->loop, &a->watch, fd, EPOLLOUT);
  if (rc < 0) fail_local(a, -rc);
  if (a->err) close(fd);
  return !a->err;
}

static void try_next(struct wd_connect *c) {
  struct wd_connect_attempt *a = &c->attempts[c->started++];
  wd_timer_stop(&c->loop->timers, &c->stagger);
  a->began = wd_clock_real();
  if (c->started == 1) c->began = a->began;
  if (c->started == 1 && c->leaves) c->leaves(c);
  if (!launch(a)) {
    attempt_failed(a); // at most as deep as there are addresses
    return;
  }
  c->pending++;
  if (c->started < c->look_up.count) wd_loop_arm(c->loop, &c->stagger, WD_CONNECT_STAGGER);
}

static void on_stagger(struct wd_timer *t) {
  try_next(WD_CONTAINER(t, struct wd_connect, stagger));
}

static void on_resolved(struct wd_resolve *r) {
  struct wd_connect *c = WD_CONTAINER(r, struct wd_connect, look_up);
  c->dns = r->took;
  c->dns_shared = r->shared;
  if (r->err == WD_OK && r->count > 0) c->attempts = calloc(r->count, sizeof(*c->attempts));
  if (!c->attempts) {
    c->err = r->err ? r->err : WD_E_LOCAL;
    snprintf(c->detail, sizeof(c->detail), "%s", r->err ? r->detail : "out of memory");
    finish(c);
    return;
  }
  for (size_t i = 0; i < r->count; i++) {
    c->attempts[i] = (struct wd_connect_attempt){.owner = c, .watch = {.fd = -1, .on_event = on_attempt}};
    wd_addr_from_sockaddr(&c->attempts[i].to, (const struct sockaddr *)&r->addresses[i].sa, r->addresses[i].len);
  }
  try_next(c);
}

void wd_connect_start(struct wd_loop *loop, struct wd_connect *c) {
  c->loop = loop;
  c->err = WD_OK;
  c->fd = -1;
  c->peer = (struct wd_addr){0};
  c->dns = c->fallback = c->connect = c->wall = WD_NONE;
  c->dns_shared = c->reset = c->kernel_time = false;
  c->tcp = wd_tcp_info_none;
  c->attempts = NULL;
  c->started = c->pending = 0;
  c->stagger = (struct wd_timer){.fire = on_stagger};
  c->told = (struct wd_timer){.fire = on_told};
  c->look_up = (struct wd_resolve){.name = c->host, .port = c->port, .opts = c->opts, .done = on_resolved};
  wd_resolve_start(loop, &c->look_up);
}

void wd_connect_expire(struct wd_connect *c) {
  char shown[128];
  const struct wd_connect_attempt *waiting = NULL;
  for (size_t i = 0; i < c->started && !waiting; i++)
    if (wd_watch_active(&c->attempts[i].watch)) waiting = &c->attempts[i];
  if (waiting) {
    c->peer = waiting->to;
    wd_tcp_info_read(waiting->watch.fd, &c->tcp);
    c->tcp.rtt = WD_NONE;
    snprintf(c->detail, sizeof(c->detail), "no answer to the connection request");
  } else {
    wd_text_escape(shown, sizeof(shown), c->host, strlen(c->host));
    snprintf(c->detail, sizeof(c->detail), "the look-up of %s did not end", shown);
    c->dns = wd_clock_now() - c->look_up.started;
  }
  c->err = waiting ? WD_E_TIMEOUT : WD_E_DNS_TIMEOUT;
  wd_connect_stop(c);
}

void wd_connect_stop(struct wd_connect *c) {
  if (!c->loop) return;
  close_attempts(c);
  wd_timer_stop(&c->loop->timers, &c->told);
  wd_resolve_clear(&c->look_up);
  free(c->attempts);
  c->attempts = NULL;
  c->started = 0;
}
