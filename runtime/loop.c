// The loop's pass, its clock and its delay.
#include "runtime/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/watch.h"

enum {
  DRAIN_ROUNDS = 64, // batches of events handed out before timers get their turn
  VIRTUAL_GRACE_MS = 20 // real time a virtual clock leaves to sockets that are being waited for
};

static void note_lag(struct wd_lag *q, wd_ns at, wd_ns lag) {
  while (q->count && q->ring[(q->first + q->count - 1) % WD_COUNT(q->ring)].lag <= lag) q->count--;
  if (q->count == WD_COUNT(q->ring)) q->count--; // the newest small one gives way: maxima stay right, a little early
  unsigned last = (q->first + q->count++) % WD_COUNT(q->ring);
  q->ring[last].at = at;
  q->ring[last].lag = lag;
}

// How much of the delay of `lag` up to `at` was after `since`.
static wd_ns lag_after(wd_ns at, wd_ns lag, wd_ns since) {
  wd_ns after = at > since ? at - since : 0;
  return lag < after ? lag : after;
}

wd_ns wd_loop_lag(const struct wd_loop *loop, wd_ns since) {
  const struct wd_lag *q = &loop->lag;
  wd_ns now = wd_clock_now(), worst = lag_after(now, now - loop->woke, since);
  for (unsigned i = 0, hits = 0; i < q->count && hits < 2; i++) {
    unsigned k = (q->first + i) % WD_COUNT(q->ring);
    if (q->ring[k].at < since) continue;
    hits++; // delays follow one another: only the first may have begun before `since`, and the second is the worst of the rest
    wd_ns lag = lag_after(q->ring[k].at, q->ring[k].lag, since);
    if (lag > worst) worst = lag;
  }
  return worst;
}

// The wait is over; called by whatever comes first after it. Lateness to a timer that the wait itself caused is noted here.
static void wake(struct wd_loop *loop) {
  if (!loop->waiting) return;
  loop->waiting = false;
  loop->woke = wd_clock_now();
  wd_ns due = wd_timers_next(&loop->timers);
  if (due > loop->woke) return;
  note_lag(&loop->lag, loop->woke, loop->woke - (due > loop->slept ? due : loop->slept));
}

static void on_sockets(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  wake(poll->data);
  wd_watch_dispatch(poll->data, DRAIN_ROUNDS);
}

static void on_timer_fd(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct wd_loop *loop = poll->data;
  wake(loop);
  uint64_t times;
  ssize_t n = read(loop->timer_fd, &times, sizeof(times));
  (void)n; // EAGAIN after a re-arm is as good as an expiry: the heap decides what is due
  loop->armed_for = INT64_MAX;
}

static void on_wake(uv_async_t *waker) {
  (void)waker;
}

int wd_loop_open(struct wd_loop *loop) {
  *loop = (struct wd_loop){.armed_for = INT64_MAX, .epoll_fd = -1, .timer_fd = -1};
  prctl(PR_SET_TIMERSLACK, 1UL); // the default lets every wake-up be 50 us late
  int rc = uv_loop_init(&loop->uv);
  if (rc) return rc;
  if (wd_timers_grow(&loop->timers)) return UV_ENOMEM;
  loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (loop->epoll_fd < 0 || loop->timer_fd < 0) return -errno;
  loop->socket_poll.data = loop->timer_poll.data = loop;
  if ((rc = uv_poll_init(&loop->uv, &loop->socket_poll, loop->epoll_fd))) return rc;
  if ((rc = uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd))) return rc;
  if ((rc = uv_async_init(&loop->uv, &loop->waker, on_wake))) return rc;
  if ((rc = uv_poll_start(&loop->socket_poll, UV_READABLE, on_sockets))) return rc;
  if ((rc = uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer_fd))) return rc;
  loop->woke = wd_clock_now();
  return 0;
}

static void on_left_open(uv_handle_t *handle, void *count) {
  if (uv_is_closing(handle)) return;
  wd_log(WD_LOG_WARNING, "loop: a %s was left open", uv_handle_type_name(handle->type));
  ++*(int *)count;
  uv_close(handle, NULL);
}

int wd_loop_close(struct wd_loop *loop) {
  int left = 0;
  while (loop->closers) {
    struct wd_closer *c = loop->closers;
    loop->closers = c->next;
    c->close(c);
  }
  uv_close((uv_handle_t *)&loop->socket_poll, NULL);
  uv_close((uv_handle_t *)&loop->timer_poll, NULL);
  uv_close((uv_handle_t *)&loop->waker, NULL);
  uv_walk(&loop->uv, on_left_open, &left);
  for (int i = 0; i < 8 && uv_loop_close(&loop->uv) == UV_EBUSY; i++) uv_run(&loop->uv, UV_RUN_NOWAIT);
  close(loop->epoll_fd);
  close(loop->timer_fd);
  free(loop->by_fd);
  wd_timers_free(&loop->timers);
  return left;
}

void wd_loop_arm_at(struct wd_loop *loop, struct wd_timer *t, wd_ns at) {
  if (wd_timer_arm(&loop->timers, t, at) == 0) return;
  wd_log(WD_LOG_ERROR, "loop: out of memory for a timer");
  abort();
}

void wd_loop_arm(struct wd_loop *loop, struct wd_timer *t, wd_ns after) {
  wd_ns now = wd_clock_now();
  wd_loop_arm_at(loop, t, after > INT64_MAX - now ? INT64_MAX : now + (after > 0 ? after : 0));
}

bool wd_loop_is_past(const struct wd_timer *t, wd_ns at) {
  wd_ns ahead = wd_clock_is_virtual() ? wd_clock_real() - wd_clock_now() : 0;
  return at - ahead > t->at;
}

void wd_loop_wake(struct wd_loop *loop) {
  uv_async_send(&loop->waker);
}

void wd_loop_on_drain(struct wd_loop *loop, struct wd_drain *d) {
  d->next = loop->drains;
  loop->drains = d;
}

void wd_loop_off_drain(struct wd_loop *loop, struct wd_drain *d) {
  for (struct wd_drain **at = &loop->drains; *at; at = &(*at)->next) {
    if (*at != d) continue;
    *at = d->next;
    return;
  }
}

void wd_loop_on_close(struct wd_loop *loop, struct wd_closer *c) {
  c->next = loop->closers;
  loop->closers = c;
}

// Sets the timer descriptor to the earliest timer or to `bound`, whichever comes first.
static void set_alarm(struct wd_loop *loop, wd_ns bound) {
  wd_ns at = wd_timers_next(&loop->timers);
  if (bound < at) at = bound;
  if (at == loop->armed_for) return;
  struct itimerspec spec = {{0, 0}, {0, 0}};
  if (at != INT64_MAX) {
    wd_ns due = at > 0 ? at : 1; // zero would disarm
    spec.it_value = (struct timespec){due / WD_S, due % WD_S};
  }
  timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
  loop->armed_for = at;
}

// Waits for sockets under a virtual clock; when nothing stirs, time jumps to the next timer.
static void wait_virtual(struct wd_loop *loop) {
  if (loop->ready) {
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    return;
  }
  wd_ns next = wd_timers_next(&loop->timers);
  loop->events = 0;
  loop->armed_for = WD_NONE;
  bool waits = loop->watches || loop->awaited;
  unsigned awaited = loop->awaited;
  if (waits) set_alarm(loop, wd_clock_real() + VIRTUAL_GRACE_MS * WD_MS);
  uv_run(&loop->uv, waits ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  if (loop->events == 0 && awaited == 0 && next != INT64_MAX) wd_clock_advance(next);
}

static void expire(struct wd_loop *loop) {
  wd_ns now = wd_clock_now();
  if (wd_timers_next(&loop->timers) > now) return;
  wd_watch_dispatch(loop, DRAIN_ROUNDS);
  for (struct wd_drain *d = loop->drains; d; d = d->next) d->drain(d);
  wd_timers_expire(&loop->timers, now);
}

void wd_loop_pass(struct wd_loop *loop, wd_ns wait) {
  loop->slept = wd_clock_now();
  note_lag(&loop->lag, loop->slept, loop->slept - loop->woke);
  if (wd_clock_is_virtual()) {
    wait_virtual(loop);
    loop->woke = wd_clock_now();
  } else {
    set_alarm(loop, wait == WD_NONE ? INT64_MAX : loop->slept + wait);
    loop->waiting = true;
    uv_run(&loop->uv, loop->ready || wait == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    wake(loop);
  }
  expire(loop);
  if (!loop->ready) return;
  loop->ready = false;
  loop->run_ready(loop->ctx);
}
