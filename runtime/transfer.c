// The life of a transfer: a connection of the pool, or a new one over TCP (connect.h) or QUIC (one try
// for each address), then libcurl, then the end.
#include "runtime/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cert.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/transfer_inner.h"

enum { REQUEST_BYTES = 100 << 10 }; // of memory that a request may take

static void connect_or_pool(struct wd_transfer_inner *in);

// Frees everything that the answers do not need.
static void release(struct wd_transfer_inner *in) {
  struct wd_loop *loop = in->loop;
  wd_timer_stop(&loop->timers, &in->stagger);
  wd_timer_stop(&loop->timers, &in->connect_bound);
  wd_transfer_look_free(in->look);
  wd_connect_stop(&in->connect);
  wd_resolve_clear(&in->look_up);
  for (size_t i = 0; i < in->tried; i++) {
    wd_transfer_multi_remove(in->multi, in->tries[i]);
    wd_transfer_easy_free(in->tries[i]);
    free(in->tries[i]);
  }
  if (in->store) wd_cert_store_release(in->store);
  if (in->ca_fd >= 0) close(in->ca_fd);
  wd_transfer_multi_forget(in->multi, in);
  in->t->inner = NULL;
  free(in->lines);
  free(in);
}

static void finish(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  release(in);
  t->done(t);
}

static void on_soon(struct wd_timer *timer) {
  struct wd_transfer *t = WD_CONTAINER(timer, struct wd_transfer, soon);
  if (t->inner) release(t->inner);
  t->done(t);
}

// Ends with a failure that was there before anything was sent; told in the next pass.
static void fail_soon(struct wd_transfer *t, enum wd_err err, const char *detail) {
  t->err = err;
  t->detail = wd_arena_strdup(t->arena, detail);
  if (!t->detail) t->detail = "out of memory";
  wd_loop_arm(t->loop, &t->soon, 0);
}

static void end_with(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  if (in->ended == WD_NONE) in->ended = wd_clock_now();
  wd_transfer_report(in);
  if (wd_transfer_look_needed(in, try) && wd_transfer_look_start(in, try)) {
    wd_timer_stop(&in->loop->timers, &in->connect_bound);
    wd_timer_stop(&in->loop->timers, &in->stagger);
    return;
  }
  wd_transfer_looked(in, try);
}

void wd_transfer_looked(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  wd_transfer_judge(in, try);
  finish(in);
}

static struct wd_transfer_try *new_try(struct wd_transfer_inner *in) {
  struct wd_transfer_try *try = calloc(1, sizeof(*try));
  if (!try) return NULL;
  try->t = in->t;
  try->fd = -1;
  in->tries[in->tried++] = try;
  return try;
}

void wd_transfer_give_back(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  if (wd_timer_armed(&in->connect_bound)) wd_loop_arm_at(in->loop, &in->connect_bound, in->began + t->connect_timeout + wd_loop_lag(in->loop, in->began));
  if (t->heard) t->heard(t);
}

// ---- TCP ----

static void on_leaving(struct wd_connect *c) {
  wd_transfer_give_back(WD_CONTAINER(c, struct wd_transfer_inner, connect));
}

// What the connection's own report says, on its success, its failure and when time is up.
static void note_connect(struct wd_transfer_inner *in) {
  const struct wd_connect *c = &in->connect;
  in->t->tcp.retransmits = c->tcp.retransmits;
  in->t->tcp.rtt = c->tcp.rtt;
  in->t->peer = c->peer;
  in->t->times.connect_wall = c->wall;
  if (c->started == 0) return;
  in->literal = in->literal || c->dns == WD_NONE; // a kept answer: nobody was asked
  in->first_attempt = c->began;
  in->attempt = c->began + (c->fallback == WD_NONE ? 0 : c->fallback);
  if (in->literal) in->began = c->began;
}

static void connect_failed(struct wd_transfer_inner *in, enum wd_err err, const char *detail) {
  struct wd_transfer *t = in->t;
  bool ours = err == WD_E_LOCAL || err == WD_E_PERMISSION;
  t->err = in->proxy.host && !ours ? WD_E_PROXY : err;
  t->detail =
      in->proxy.host ? wd_arena_printf(t->arena, "proxy %s: %s", in->proxy.authority, detail) : wd_arena_strdup(t->arena, detail);
}

static void on_connected(struct wd_connect *c) {
  struct wd_transfer_inner *in = WD_CONTAINER(c, struct wd_transfer_inner, connect);
  struct wd_transfer_try *try = in->tries[0];
  wd_ns now = wd_clock_now();
  note_connect(in);
  if (c->err || c->reset) {
    in->ended = now;
    try->to = c->peer;
    if (c->reset) {
      in->connected = now;
      wd_watch_close_fd(in->loop, c->fd);
    }
    wd_transfer_report(in);
    connect_failed(in, c->err ? c->err : WD_E_CONNECTION_RESET, c->err ? c->detail : "the server reset the connection at once");
    finish(in);
    return;
  }
  wd_transfer_give_back(in);
  in->connected = now;
  in->stall = now - in->attempt - c->connect; // the kernel had it connected before we came to look
  try->fd = c->fd;
  try->to = c->peer;
  if (wd_transfer_multi_add(in->multi, try)) {
    wd_transfer_multi_kick(in->multi);
    return;
  }
  try->rc = CURLE_OUT_OF_MEMORY;
  end_with(in, try);
}

// ---- QUIC ----

static void next_quic(struct wd_transfer_inner *in) {
  struct wd_transfer_try *try = new_try(in);
  wd_timer_stop(&in->loop->timers, &in->stagger);
  const struct wd_resolve_address *a = &in->look_up.addresses[in->next_address++];
  if (in->next_address < in->look_up.count && in->tried < WD_TRANSFER_TRIES)
    wd_loop_arm(in->loop, &in->stagger, WD_CONNECT_STAGGER);
  if (!try) return;
  try->quic = true;
  wd_addr_from_sockaddr(&try->to, (const struct sockaddr *)&a->sa, a->len);
  bool made = wd_transfer_easy_make(in, try);
  try->began = wd_clock_now();
  if (in->first_attempt == WD_NONE) in->first_attempt = in->attempt = try->began;
  if (in->literal && in->tried == 1) in->began = try->began;
  if (made && wd_transfer_multi_add(in->multi, try)) {
    wd_transfer_multi_kick(in->multi);
    return;
  }
  try->rc = CURLE_OUT_OF_MEMORY;
  end_with(in, try);
}

static bool more_addresses(const struct wd_transfer_inner *in) {
  return in->next_address < in->look_up.count && in->tried < WD_TRANSFER_TRIES;
}

static void on_stagger(struct wd_timer *timer) {
  struct wd_transfer_inner *in = WD_CONTAINER(timer, struct wd_transfer_inner, stagger);
  if (!in->winner && more_addresses(in)) next_quic(in);
}

static void on_addresses(struct wd_resolve *r) {
  struct wd_transfer_inner *in = WD_CONTAINER(r, struct wd_transfer_inner, look_up);
  if (r->err == WD_OK && r->count > 0) {
    in->t->dns_shared = r->shared;
    in->literal = in->literal || r->took == WD_NONE;
    next_quic(in);
    return;
  }
  in->ended = wd_clock_now();
  wd_transfer_report(in);
  in->t->err = r->err ? r->err : WD_E_LOCAL;
  in->t->detail = wd_arena_strdup(in->t->arena, r->err ? r->detail : "the look-up gave no address");
  finish(in);
}

// ---- what libcurl reports ----

void wd_transfer_settle(struct wd_transfer_inner *in) {
  struct wd_transfer_try *won = in->winner;
  wd_timer_stop(&in->loop->timers, &in->connect_bound);
  wd_timer_stop(&in->loop->timers, &in->stagger);
  if (won && won->quic) in->attempt = won->began;
  for (size_t i = 0; i < in->tried; i++)
    if (in->tries[i] != won) wd_transfer_multi_remove(in->multi, in->tries[i]);
}

// The pool had nothing, or what it had was dead: begin anew with a connection of our own.
static void leave_pool(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  wd_transfer_multi_remove(in->multi, try);
  wd_transfer_easy_free(try);
  free(try);
  in->tried = 0;
  in->winner = NULL;
  in->ready = in->first_byte = WD_NONE;
  in->session = (struct wd_tls_session){.bits = WD_NONE};
  in->pool_left = true;
  connect_or_pool(in);
}

static bool others_running(const struct wd_transfer_inner *in) {
  for (size_t i = 0; i < in->tried; i++)
    if (!in->tries[i]->failed) return true;
  return false;
}

void wd_transfer_try_over(struct wd_transfer_try *try, CURLcode rc) {
  struct wd_transfer_inner *in = try->t->inner;
  try->rc = rc;
  try->failed = rc != CURLE_OK;
  if (try->pool && try->wanted && rc != CURLE_OK) {
    leave_pool(in, try);
    return;
  }
  if (try->quic && try->failed && !in->winner) {
    if (!try->heard && more_addresses(in)) {
      next_quic(in);
      return;
    }
    if (!try->heard && others_running(in)) return;
  }
  end_with(in, try);
}

// ---- the beginning ----

static bool prepare_ca(struct wd_transfer_inner *in, const char *ca) {
  struct stat st;
  if (!ca) return true;
  if (strstr(ca, "-----BEGIN")) {
    size_t n = strlen(ca);
    in->ca_fd = memfd_create("waddle-ca", MFD_CLOEXEC);
    in->ca_file = wd_arena_printf(in->t->arena, "/proc/self/fd/%d", in->ca_fd);
    return in->ca_fd >= 0 && write(in->ca_fd, ca, n) == (ssize_t)n && in->ca_file;
  }
  if (stat(ca, &st) == 0 && S_ISDIR(st.st_mode))
    in->ca_folder = ca;
  else
    in->ca_file = ca;
  return true;
}

// Reads what TLS will need before the clock starts: a system's bundle takes 5 to 20 ms the first time.
static bool prepare_tls(struct wd_transfer_inner *in, char *error, size_t room) {
  const struct wd_tls_opts *tls = in->t->tls;
  if (!in->t->url.tls) return true;
  in->store = wd_cert_store(tls ? tls->ca : NULL, error, room);
  if (!in->store && (!tls || tls->verify != 0)) return false;
  if (tls && tls->cert && !wd_cert_check_pair(tls->cert, tls->key, error, room)) return false;
  if (prepare_ca(in, tls ? tls->ca : NULL)) return true;
  snprintf(error, room, "out of memory");
  return false;
}

// The earlier one of the two that end the wait for a connection; NULL where there is none.
static const struct wd_timer *first_deadline(const struct wd_transfer_inner *in) {
  const struct wd_timer *all = in->t->deadline, *own = wd_timer_armed(&in->connect_bound) ? &in->connect_bound : NULL;
  return all && own ? (own->at < all->at ? own : all) : all ? all : own;
}

static void connect_new(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  const char *host = in->proxy.host ? in->proxy.host : t->url.host;
  uint16_t port = in->proxy.host ? in->proxy.port : t->url.port;
  struct wd_addr addr;
  in->literal = in->net.address || wd_addr_parse(&addr, host, port);
  if (t->version == WD_HTTP_3) {
    in->look_up = (struct wd_resolve){.name = host, .port = port, .opts = &in->net, .done = on_addresses};
    wd_resolve_start(in->loop, &in->look_up);
    return;
  }
  struct wd_transfer_try *try = new_try(in);
  if (!try || !wd_transfer_easy_make(in, try)) {
    fail_soon(in->t, WD_E_LOCAL, "out of memory");
    return;
  }
  in->connect.host = host;
  in->connect.port = port;
  in->connect.opts = &in->net;
  in->connect.deadline = first_deadline(in);
  in->connect.leaves = on_leaving;
  in->connect.done = on_connected;
  wd_connect_start(in->loop, &in->connect);
}

static void connect_or_pool(struct wd_transfer_inner *in) {
  if (!in->t->reuse || in->pool_left) {
    connect_new(in);
    return;
  }
  struct wd_transfer_try *try = new_try(in);
  if (try) try->pool = true;
  if (!try || !wd_transfer_easy_make(in, try) || !wd_transfer_multi_add(in->multi, try))
    fail_soon(in->t, WD_E_LOCAL, "out of memory");
}

static void on_connect_bound(struct wd_timer *timer) {
  struct wd_transfer_inner *in = WD_CONTAINER(timer, struct wd_transfer_inner, connect_bound);
  struct wd_transfer *t = in->t;
  wd_transfer_expire(t, t->connect_timeout);
  t->done(t);
}

static void clear_answers(struct wd_transfer *t) {
  t->err = WD_OK;
  t->detail = t->protocol = t->through = NULL;
  t->status = 0;
  t->answer = (struct wd_map){0};
  t->headers_dropped = WD_NONE;
  t->kept = (struct wd_data){0};
  t->body_bytes = 0;
  t->looked_twice = t->truncated = t->one_read = t->reused = t->dns_shared = false;
  t->peer = (struct wd_addr){0};
  t->times = (struct wd_transfer_times){WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE};
  t->tcp = (struct wd_transfer_tcp){WD_NONE, WD_NONE, WD_NONE};
  t->tls_facts = NULL;
  t->jar_after = (struct wd_list){0};
}

void wd_transfer_start(struct wd_loop *loop, struct wd_transfer *t) {
  char error[512];
  struct wd_transfer_inner *in = calloc(1, sizeof(*in));
  clear_answers(t);
  t->loop = loop;
  t->soon = (struct wd_timer){.fire = on_soon};
  t->inner = in;
  if (!in) {
    fail_soon(t, WD_E_LOCAL, "out of memory");
    return;
  }
  in->t = t;
  in->loop = loop;
  in->net = *t->net;
  in->ca_fd = -1;
  in->session.bits = WD_NONE;
  in->stagger.fire = on_stagger;
  in->connect_bound.fire = on_connect_bound;
  in->began = in->first_attempt = in->attempt = in->connected = in->tunnelled = in->ready = in->first_byte = in->ended = WD_NONE;
  in->multi = wd_transfer_multi_get(loop);
  const char *wrong = wd_transfer_proxy_find(&in->proxy, t->arena, &t->url, t->proxy);
  if (!in->multi) {
    fail_soon(t, WD_E_LOCAL, "libcurl does not start");
  } else if (!wd_memory_left(REQUEST_BYTES)) { // libraries below libcurl end the process where they get none
    fail_soon(t, WD_E_LOCAL, "out of memory");
  } else if (wrong) {
    fail_soon(t, WD_E_PROXY, wd_arena_printf(t->arena, "the proxy's URL: %s", wrong));
  } else if (in->proxy.host && t->version == WD_HTTP_3) {
    fail_soon(t, WD_E_PROXY, "HTTP/3 does not pass a proxy; proxy = \"\" asks for none");
  } else if (!prepare_tls(in, error, sizeof(error))) {
    fail_soon(t, WD_E_LOCAL, error);
  } else {
    if (in->proxy.host) {
      in->net.address = NULL; // that is the target's
      t->through = in->proxy.authority;
      in->tunnel = t->url.tls;
    }
    in->began = wd_clock_now();
    if (t->connect_timeout != WD_NONE) wd_loop_arm(loop, &in->connect_bound, t->connect_timeout);
    connect_or_pool(in);
  }
}

// ---- the end from outside ----

static void name_timeout(struct wd_transfer_inner *in, double seconds) {
  struct wd_transfer *t = in->t;
  const char *what;
  bool heard = false;
  for (size_t i = 0; i < in->tried; i++) heard = heard || in->tries[i]->heard;
  t->err = WD_E_TIMEOUT;
  if (in->first_byte != WD_NONE) {
    what = "the answer was not complete";
  } else if (in->ready != WD_NONE) {
    what = "no answer to the request";
  } else if (in->first_attempt == WD_NONE) {
    t->err = in->literal ? WD_E_TIMEOUT : WD_E_DNS_TIMEOUT;
    what = "the look-up of the name did not end";
  } else if (t->version == WD_HTTP_3) {
    if (!heard) t->err = WD_E_QUIC_BLOCKED;
    what = heard ? "the QUIC handshake did not end" : "not one UDP packet came back";
  } else if (in->connected == WD_NONE) {
    what = in->proxy.host ? "no answer to the connection request to the proxy" : "no answer to the connection request";
    if (in->proxy.host) t->err = WD_E_PROXY;
  } else if (in->tunnel && in->tunnelled == WD_NONE) {
    what = "the proxy did not open a tunnel";
  } else {
    what = "the TLS handshake did not end";
  }
  t->detail = wd_arena_printf(t->arena, "%s within %g s", what, seconds);
}

void wd_transfer_expire(struct wd_transfer *t, wd_ns after) {
  struct wd_transfer_inner *in = t->inner;
  if (t->loop) wd_timer_stop(&t->loop->timers, &t->soon);
  if (!in) return;
  if (in->look) { // all but the certificates is known
    wd_transfer_judge(in, in->winner ? in->winner : in->tries[in->tried - 1]);
    release(in);
    return;
  }
  in->ended = wd_clock_now();
  if (in->connect.loop && in->connected == WD_NONE) {
    note_connect(in);
    wd_connect_expire(&in->connect);
    t->peer = in->connect.peer;
    t->tcp.retransmits = in->connect.tcp.retransmits;
    if (in->tried) in->tries[0]->to = t->peer;
  }
  wd_transfer_report(in);
  if (!t->err) name_timeout(in, (double)after / 1e9);
  release(in);
}

void wd_transfer_stop(struct wd_transfer *t) {
  if (t->loop) wd_timer_stop(&t->loop->timers, &t->soon);
  if (t->inner) release(t->inner);
}

void wd_transfer_clear(struct wd_transfer *t) {
  wd_transfer_stop(t);
  free((char *)(uintptr_t)t->kept.p);
  t->kept = (struct wd_data){0};
}

const char *wd_transfer_header(const struct wd_transfer *t, const char *name) {
  for (size_t i = 0; i < t->answer.n; i++)
    if (strcmp(t->answer.items[i].name, name) == 0) return t->answer.items[i].value.p;
  return NULL;
}
