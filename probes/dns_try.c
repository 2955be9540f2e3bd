// See dns_try.h: what both ways have in common, and TCP.
#include "probes/dns_try.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/icmp_error.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/route.h"

enum { FOREIGN_MOST = 64 }; // messages on one TCP connection that answer something else

static void end(struct wd_dns_try *t, enum wd_dns_try_state state) {
  wd_dns_try_stop(t);
  t->state = state;
  t->ended(t);
}

void wd_dns_try_fail(struct wd_dns_try *t, enum wd_err err, const char *detail) {
  t->err = err;
  t->detail = detail;
  end(t, WD_DNS_TRY_FAILED);
}

static void fail_remote(struct wd_dns_try *t, int err) {
  wd_dns_try_fail(t, wd_neterr_remote(err), wd_neterr_detail_remote(err));
}

bool wd_dns_try_judge(struct wd_dns_try *t, const uint8_t *bytes, size_t len, wd_ns at) {
  char why[160] = "";
  switch (wd_dns_parse(&t->answer, t->arena, &t->query, bytes, len, why, sizeof(why))) {
  case WD_DNS_FOREIGN:
    t->ignored++;
    return false;
  case WD_DNS_MALFORMED: wd_dns_try_fail(t, WD_E_PROTOCOL, wd_arena_strdup(t->arena, why)); return true;
  case WD_DNS_OURS: break;
  }
  t->received = at;
  end(t, WD_DNS_TRY_ANSWERED);
  return true;
}

unsigned wd_dns_try_ignored(const struct wd_dns_try *t) {
  return t->ignored + wd_dns_udp_strays(t);
}

// ---- TCP ----

static void on_stream(struct wd_watch *w, uint32_t events);

// RFC 1035 section 4.2.2: two bytes of length, then the message.
static void read_stream(struct wd_dns_try *t) {
  for (int foreign = 0; foreign < FOREIGN_MOST;) {
    size_t len = (size_t)t->head[0] << 8 | t->head[1];
    bool head = t->got < sizeof(t->head);
    uint8_t *to = head ? t->head + t->got : t->body + (t->got - sizeof(t->head));
    ssize_t n = recv(t->watch.fd, to, head ? sizeof(t->head) - t->got : len + sizeof(t->head) - t->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 0) {
      fail_remote(t, errno);
      return;
    }
    if (n == 0) {
      wd_dns_try_fail(t, WD_E_PROTOCOL, "the server closed the connection before its answer was complete");
      return;
    }
    t->got += (size_t)n;
    wd_policy_charge(0, (size_t)n);
    if (t->got == sizeof(t->head) && head) {
      len = (size_t)t->head[0] << 8 | t->head[1];
      t->body = wd_arena_alloc(t->arena, len);
      if (!t->body || !len) {
        wd_dns_try_fail(t, len ? WD_E_LOCAL : WD_E_PROTOCOL, len ? "out of memory" : "the server sent an empty message");
        return;
      }
    } else if (!head && t->got == len + sizeof(t->head)) {
      wd_ns at = wd_clock_real();
      t->trip = (struct wd_packet_trip){.rtt = at - t->sent, .uncertainty = WD_NONE, .clock = "user"};
      if (wd_dns_try_judge(t, t->body, len, at)) return;
      t->got = 0;
      foreign++;
    }
  }
  wd_dns_try_fail(t, WD_E_PROTOCOL, "the server answers other questions");
}

static void write_stream(struct wd_dns_try *t) {
  ssize_t n = send(t->watch.fd, t->query.tcp + t->written, t->query.tcp_len - t->written, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
    fail_remote(t, errno);
    return;
  }
  if (n > 0) t->written += (size_t)n;
  if (n > 0) wd_policy_charge(0, (size_t)n);
  if (t->written == t->query.tcp_len) wd_watch_set(&t->watch, EPOLLIN);
}

static void on_stream(struct wd_watch *w, uint32_t events) {
  struct wd_dns_try *t = WD_CONTAINER(w, struct wd_dns_try, watch);
  if (t->connected == WD_NONE) {
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err) {
      const char *text = wd_neterr_detail_remote(err);
      enum wd_err heard = wd_icmp_heard(w->fd, wd_addr_family(&t->server), &text);
      wd_dns_try_fail(t, heard ? heard : wd_neterr_remote(err), text);
      return;
    }
    if (!(events & EPOLLOUT)) return;
    t->connected = wd_clock_real();
    wd_icmp_hear(w->fd, wd_addr_family(&t->server), false);
  }
  if (t->written < t->query.tcp_len)
    write_stream(t);
  else
    read_stream(t);
}

static int begin_stream(struct wd_dns_try *t, int fd) {
  t->sent = wd_clock_real();
  t->watch.on_event = on_stream;
  wd_icmp_hear(fd, wd_addr_family(&t->server), true);
  if (wd_policy_connect(fd, &t->server.sa, wd_addr_len(&t->server)) == 0 || errno == EINPROGRESS) return 0;
  return errno;
}

// ---- both ----

static bool refuse(struct wd_dns_try *t, int fd, enum wd_err err, const char *detail) {
  if (fd >= 0) close(fd);
  t->state = WD_DNS_TRY_FAILED;
  t->err = err;
  t->detail = detail;
  return false;
}

static void set_tos(int fd, int family, int64_t tos) {
  int value = (int)tos;
  if (tos == WD_NONE) return;
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
  else
    setsockopt(fd, IPPROTO_IP, IP_TOS, &value, sizeof(value));
}

static bool start_stream(struct wd_dns_try *t) {
  int family = wd_addr_family(&t->server);
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return refuse(t, fd, wd_neterr_local(errno), wd_neterr_detail_local(errno));
  set_tos(fd, family, t->opts->tos);
  if (t->opts->source) {
    char detail[200];
    enum wd_err err = wd_route_bind(fd, family, t->opts->source, detail, sizeof(detail));
    if (err) return refuse(t, fd, err, wd_arena_strdup(t->arena, detail));
  }
  int err = begin_stream(t, fd);
  if (err == ECONNREFUSED) return refuse(t, fd, wd_neterr_remote(err), wd_neterr_detail_remote(err));
  if (err) return refuse(t, fd, wd_neterr_local(err), wd_neterr_detail_local(err));
  err = wd_watch_start(t->loop, &t->watch, fd, EPOLLIN | EPOLLOUT);
  return err ? refuse(t, fd, WD_E_LOCAL, strerror(-err)) : true;
}

bool wd_dns_try_start(struct wd_dns_try *t) {
  t->state = WD_DNS_TRY_WAITING;
  t->sent = t->connected = t->received = WD_NONE;
  t->watch.fd = -1;
  if (t->tcp) return start_stream(t);
  return wd_dns_udp_start(t) || refuse(t, -1, t->err, t->detail);
}

void wd_dns_try_stop(struct wd_dns_try *t) {
  wd_watch_close(&t->watch);
  wd_dns_udp_stop(t);
}

void wd_dns_try_give_up(struct wd_dns_try *t) {
  if (t->state == WD_DNS_TRY_WAITING) {
    const char *fault = NULL; // of this machine
    if (!t->tcp && wd_packet_may_be_dropped(&t->packet))
      fault = WD_PACKET_OVERFLOWED;
    else if (!t->tcp && wd_packet_may_not_have_left(&t->packet))
      fault = WD_PACKET_NOT_LEFT;
    t->state = fault ? WD_DNS_TRY_FAILED : WD_DNS_TRY_UNANSWERED;
    t->err = fault ? WD_E_LOCAL : WD_OK;
    t->detail = fault;
  }
  wd_dns_try_stop(t);
}
