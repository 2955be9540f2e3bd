// See stream.h.
#include "runtime/stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/text.h"

#define T struct wd_stream_tcp
static const struct wd_field tcp_fields[] = {
  WD_FIELD(T, rtt, "rtt_ms", WD_T_MS, .help = "round trip of the TCP handshake; absent where a SYN was sent again"),
  WD_FIELD(T, retransmits, "retransmits", WD_T_INT, .help = "segments sent again, SYNs too"),
  {0}};
#undef T
const struct wd_desc wd_stream_tcp_desc = {"tcp", tcp_fields, sizeof(struct wd_stream_tcp)};

const char *wd_stream_check(struct wd_probe_op *p, const char *target, int default_port) {
  struct wd_hostport at;
  char error[256];
  return wd_hostport_split(&at, target, default_port, error, sizeof(error)) ? NULL : wd_arena_strdup(&p->arena, error);
}

static void note_address(struct wd_stream *s) {
  struct wd_common_result *r = wd_probe_result(s->probe);
  char text[WD_ADDR_TEXT];
  if (wd_addr_family(&s->connect.peer)) r->target_ip = wd_arena_strdup(&s->probe->arena, wd_addr_format(&s->connect.peer, text));
}

static void note_tcp(struct wd_stream *s, const struct wd_tcp_info *info) {
  if (info->retransmits == WD_NONE) return;
  s->result->tcp.retransmits = info->retransmits;
  s->result->tcp_shown = &s->result->tcp;
}

static void note_connect(struct wd_stream *s) {
  struct wd_stream_result *r = s->result;
  note_address(s);
  r->timings.dns = s->connect.dns;
  r->timings.fallback = s->connect.fallback;
  r->timings.connect = s->connect.connect;
  r->timings.connect_wall = s->connect.wall;
  if (s->connect.dns_shared) r->dns_shared = 1;
  note_tcp(s, &s->connect.tcp);
  r->tcp.rtt = s->connect.tcp.rtt;
  if (s->connect.fd < 0) return;
  r->quality.timestamp_source = s->connect.kernel_time ? "kernel" : "user";
  r->quality.uncertainty = s->connect.kernel_time ? WD_CONNECT_ERROR : WD_NONE;
}

void wd_stream_done(struct wd_stream *s, enum wd_err err, const char *detail, bool abort) {
  struct wd_tcp_info now;
  if (s->used) {
    wd_tcp_info_read(s->fd, &now);
    note_tcp(s, &now);
  }
  if (s->tls) wd_tls_bye(s->tls);
  if (abort && s->fd >= 0) wd_connect_abort(s->fd);
  if (detail)
    wd_probe_done(s->probe, err, "%s", detail);
  else
    wd_probe_done(s->probe, err, NULL);
}

static void describe(struct wd_stream *s) {
  if (s->tls) s->result->tls = wd_tls_describe(s->tls, &s->probe->arena, s->tls_opts, s->at.host, &s->verdict, &s->why);
}

// Calls on_socket at these events; false = that cannot be, and the probe has ended.
static bool wait_for(struct wd_stream *s, uint32_t events) {
  int rc = 0;
  if (wd_watch_active(&s->watch))
    wd_watch_set(&s->watch, events);
  else
    rc = wd_watch_start(s->probe->op.loop, &s->watch, s->fd, events);
  if (rc < 0) wd_stream_done(s, wd_neterr_local(-rc), wd_neterr_detail_local(-rc), false);
  return rc == 0;
}

// Before the first byte is sent. What is only connected does without: a system call.
static void use(struct wd_stream *s) {
  int on = 1;
  if (s->used) return;
  s->used = true;
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void shake_hands(struct wd_stream *s) {
  const char *detail;
  enum wd_tls_step step = wd_tls_handshake(s->tls);
  if (step == WD_TLS_READ || step == WD_TLS_WRITE) {
    wait_for(s, step == WD_TLS_READ ? EPOLLIN : EPOLLOUT);
    return;
  }
  s->securing = false;
  if (step == WD_TLS_DONE) {
    s->result->timings.tls = wd_stream_lap(s);
    describe(s);
    s->mark = wd_clock_real(); // judging the certificate took our time, not the peer's
    s->secured(s);
  } else {
    describe(s);
    enum wd_err err = wd_tls_error(s->tls, &detail);
    wd_stream_done(s, err, detail, false);
  }
}

void wd_stream_secure(struct wd_stream *s, const struct wd_tls_opts *opts) {
  char error[240];
  use(s);
  s->tls_opts = opts;
  s->tls = wd_tls_client(s->probe->op.loop, s->fd, opts, s->at.host, error, sizeof(error));
  if (!s->tls) {
    wd_stream_done(s, WD_E_LOCAL, error, false);
    return;
  }
  s->securing = true;
  wd_stream_lap(s);
  shake_hands(s);
}

bool wd_stream_trusts(struct wd_stream *s) {
  if (s->verdict == WD_OK || s->tls_opts->verify == 0) return true;
  wd_stream_done(s, s->verdict, s->why, false);
  return false;
}

wd_ns wd_stream_lap(struct wd_stream *s) {
  wd_ns now = wd_clock_real(), took = now - s->mark;
  s->mark = now;
  return took;
}

static void on_socket(struct wd_watch *w, uint32_t events) {
  struct wd_stream *s = WD_CONTAINER(w, struct wd_stream, watch);
  (void)events;
  wd_probe_give_back(s->probe); // nobody knows when it came: our own delay does not count
  if (s->securing)
    shake_hands(s);
  else
    s->ready(s);
}

static void on_leaving(struct wd_connect *c) {
  wd_probe_give_back(WD_CONTAINER(c, struct wd_stream, connect)->probe);
}

static void on_connected(struct wd_connect *c) {
  struct wd_stream *s = WD_CONTAINER(c, struct wd_stream, connect);
  s->opening = false;
  note_connect(s);
  if (c->err) {
    wd_stream_done(s, c->err, c->detail, false);
    return;
  }
  wd_probe_give_back(s->probe);
  s->fd = c->fd;
  s->mark = wd_clock_real();
  s->opened(s);
}

void wd_stream_start(struct wd_stream *s, struct wd_probe_op *p, struct wd_stream_result *result, const char *target, int default_port) {
  struct wd_common_result *r = wd_probe_result(p);
  struct wd_stream_timings none = {WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE, WD_NONE};
  char error[256];
  s->probe = p;
  s->result = result;
  s->fd = -1;
  s->watch = (struct wd_watch){.fd = -1, .on_event = on_socket};
  result->timings = none;
  result->timings_shown = &result->timings;
  result->tcp = (struct wd_stream_tcp){WD_NONE, WD_NONE};
  result->quality = (struct wd_quality){.uncertainty = WD_NONE};
  r->quality = &result->quality;
  if (!wd_hostport_split(&s->at, target, default_port, error, sizeof(error))) { // the check let it pass
    wd_probe_done(p, WD_E_LOCAL, "%s", error);
    return;
  }
  r->target = target;
  r->target_host = s->at.host;
  r->target_port = s->at.port;
  s->opening = true;
  s->connect = (struct wd_connect){.host = s->at.host,
                                   .port = s->at.port,
                                   .opts = wd_probe_opts(p),
                                   .deadline = &p->op.deadline,
                                   .leaves = on_leaving,
                                   .done = on_connected};
  wd_connect_start(p->op.loop, &s->connect);
}

static enum wd_stream_io fail(struct wd_stream *s, enum wd_err err, const char *detail) {
  wd_stream_done(s, err, detail, false);
  return WD_STREAM_FAILED;
}

static enum wd_stream_io again(struct wd_stream *s, uint32_t events) {
  return wait_for(s, events) ? WD_STREAM_AGAIN : WD_STREAM_FAILED;
}

static enum wd_stream_io after_tls(struct wd_stream *s, enum wd_tls_step step) {
  const char *detail;
  switch (step) {
  case WD_TLS_DONE: return WD_STREAM_OK;
  case WD_TLS_READ: return again(s, EPOLLIN);
  case WD_TLS_WRITE: return again(s, EPOLLOUT);
  case WD_TLS_END: return WD_STREAM_END;
  default: break;
  }
  enum wd_err err = wd_tls_error(s->tls, &detail);
  return fail(s, err == WD_E_TLS_HANDSHAKE ? WD_E_PROTOCOL : err, detail); // the handshake is long over
}

static enum wd_stream_io read_some(struct wd_stream *s, void *bytes, size_t room, size_t *got) {
  *got = 0;
  use(s);
  if (s->tls) return after_tls(s, wd_tls_read(s->tls, bytes, room, got));
  if (s->connect.reset) return fail(s, WD_E_CONNECTION_RESET, wd_neterr_detail_remote(ECONNRESET));
  ssize_t n = recv(s->fd, bytes, room, 0);
  if (n == 0) return WD_STREAM_END;
  if (n > 0) {
    *got = (size_t)n;
    return WD_STREAM_OK;
  }
  if (errno == EAGAIN || errno == EINTR) return again(s, EPOLLIN);
  return fail(s, wd_neterr_remote(errno), wd_neterr_detail_remote(errno));
}

static enum wd_stream_io write_some(struct wd_stream *s, const void *bytes, size_t len, size_t *put) {
  *put = 0;
  use(s);
  if (s->tls) return after_tls(s, wd_tls_write(s->tls, bytes, len, put));
  if (s->connect.reset) return fail(s, WD_E_CONNECTION_RESET, wd_neterr_detail_remote(ECONNRESET));
  ssize_t n = send(s->fd, bytes, len, MSG_NOSIGNAL);
  if (n >= 0) {
    *put = (size_t)n;
    return WD_STREAM_OK;
  }
  if (errno == EAGAIN || errno == EINTR) return again(s, EPOLLOUT);
  return fail(s, wd_neterr_remote(errno), wd_neterr_detail_remote(errno));
}

enum wd_stream_io wd_stream_read(struct wd_stream *s, void *bytes, size_t room, size_t *got) {
  enum wd_stream_io how = read_some(s, bytes, room, got);
  wd_policy_charge(0, *got);
  return how;
}

enum wd_stream_io wd_stream_write(struct wd_stream *s, const void *bytes, size_t len, size_t *put) {
  enum wd_stream_io how = write_some(s, bytes, len, put);
  wd_policy_charge(0, *put);
  return how;
}

bool wd_stream_expire(struct wd_stream *s) {
  char detail[300];
  double seconds = (double)wd_probe_opts(s->probe)->timeout / 1e9;
  if (!s->opening && !s->securing) return false;
  enum wd_err err = WD_E_TIMEOUT;
  if (s->opening) {
    wd_connect_expire(&s->connect);
    err = s->connect.err;
    note_connect(s);
    snprintf(detail, sizeof(detail), "%s within %g s", s->connect.detail, seconds);
  } else {
    describe(s);
    snprintf(detail, sizeof(detail), "connected, but the TLS handshake did not end within %g s", seconds);
  }
  wd_stream_done(s, err, detail, false);
  return true;
}

void wd_stream_stop(struct wd_stream *s) {
  if (!s->probe) return;
  wd_connect_stop(&s->connect);
  wd_watch_hand_over(&s->watch);
  if (s->fd >= 0) wd_watch_close_fd(s->probe->op.loop, s->fd);
  s->fd = -1;
  wd_tls_free(s->tls);
  s->tls = NULL;
}
