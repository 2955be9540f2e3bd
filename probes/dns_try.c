// See dns_try.h. The datagram socket is not connected: answers from other addresses can then be counted, and the error queue
// (ip(7), IP_RECVERR) says what an ICMP message was about.
#include "probes/dns_try.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probes/icmp_wire.h"
#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/route.h"

enum {
  DATAGRAM_BYTES = 65535,
  READS_A_PASS = 64, // a flood must not hold the loop
  FOREIGN_MOST = 64, // messages on one TCP connection that answer something else
};

static void end(struct wd_dns_try *t, enum wd_dns_try_state state) {
  wd_watch_close(&t->watch);
  t->state = state;
  t->ended(t);
}

static void fail(struct wd_dns_try *t, enum wd_err err, const char *detail) {
  t->err = err;
  snprintf(t->detail, sizeof(t->detail), "%s", detail);
  end(t, WD_DNS_TRY_FAILED);
}

static void fail_remote(struct wd_dns_try *t, int err) {
  fail(t, wd_neterr_remote(err), wd_neterr_detail_remote(err));
}

// True when that was the end of the try.
static bool judge(struct wd_dns_try *t, const uint8_t *bytes, size_t len, wd_ns at) {
  char why[160] = "";
  switch (wd_dns_parse(&t->answer, t->arena, &t->query, bytes, len, why, sizeof(why))) {
  case WD_DNS_FOREIGN: t->ignored++; return false;
  case WD_DNS_MALFORMED: fail(t, WD_E_PROTOCOL, why); return true;
  case WD_DNS_OURS: break;
  }
  t->received = at;
  end(t, WD_DNS_TRY_ANSWERED);
  return true;
}

// ---- UDP ----

static bool read_error(struct wd_dns_try *t, const struct sock_extended_err *e) {
  int family = e->ee_origin == SO_EE_ORIGIN_ICMP6 ? AF_INET6 : AF_INET;
  enum wd_err err = wd_icmp_err(family, e->ee_type, e->ee_code);
  if (e->ee_origin == SO_EE_ORIGIN_LOCAL)
    fail(t, wd_neterr_local((int)e->ee_errno), wd_neterr_detail_local((int)e->ee_errno));
  else if (err)
    fail(t, err, wd_icmp_text(family, e->ee_type, e->ee_code));
  return e->ee_origin == SO_EE_ORIGIN_LOCAL || err;
}

// Reads ICMP errors; true when one ended the try.
static bool read_errors(struct wd_dns_try *t) {
  for (int i = 0; i < READS_A_PASS; i++) {
    char quoted[512], control[512];
    struct wd_addr to = {0};
    struct iovec iov = {quoted, sizeof(quoted)};
    struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
      .msg_controllen = sizeof(control)};
    if (recvmsg(t->watch.fd, &m, MSG_ERRQUEUE) < 0) return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
      bool ours = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
      if (!ours) continue;
      struct sock_extended_err e;
      memcpy(&e, CMSG_DATA(c), sizeof(e));
      if (read_error(t, &e)) return true;
    }
  }
  return false;
}

static void on_datagram(struct wd_watch *w, uint32_t events) {
  struct wd_dns_try *t = WD_CONTAINER(w, struct wd_dns_try, watch);
  static uint8_t bytes[DATAGRAM_BYTES];
  if (events & EPOLLERR && read_errors(t)) return;
  for (int i = 0; i < READS_A_PASS; i++) {
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    ssize_t n = recvfrom(w->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&ss, &len);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 0) continue; // an error of the queue that was read above, told once more
    wd_ns at = wd_clock_now();
    struct wd_addr from;
    if (!wd_addr_from_sockaddr(&from, (struct sockaddr *)&ss, len) || !wd_addr_equal(&from, &t->server))
      t->ignored++;
    else if (judge(t, bytes, (size_t)n, at))
      return;
  }
}

static int send_datagram(struct wd_dns_try *t, int fd) {
  int on = 1;
  bool v6 = wd_addr_family(&t->server) == AF_INET6;
  setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof(on));
  t->sent = wd_clock_now();
  if (sendto(fd, t->query.udp, t->query.udp_len, 0, &t->server.sa, wd_addr_len(&t->server)) < 0) return errno;
  t->watch.on_event = on_datagram;
  return 0;
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
      fail(t, WD_E_PROTOCOL, "the server closed the connection before its answer was complete");
      return;
    }
    t->got += (size_t)n;
    if (t->got == sizeof(t->head) && head) {
      len = (size_t)t->head[0] << 8 | t->head[1];
      t->body = wd_arena_alloc(t->arena, len);
      if (!t->body || !len) {
        fail(t, len ? WD_E_LOCAL : WD_E_PROTOCOL, len ? "out of memory" : "the server sent an empty message");
        return;
      }
    } else if (!head && t->got == len + sizeof(t->head)) {
      if (judge(t, t->body, len, wd_clock_now())) return;
      t->got = 0;
      foreign++;
    }
  }
  fail(t, WD_E_PROTOCOL, "the server answers other questions");
}

static void write_stream(struct wd_dns_try *t) {
  ssize_t n = send(t->watch.fd, t->query.tcp + t->written, t->query.tcp_len - t->written, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
    fail_remote(t, errno);
    return;
  }
  if (n > 0) t->written += (size_t)n;
  if (t->written == t->query.tcp_len) wd_watch_set(&t->watch, EPOLLIN);
}

static void on_stream(struct wd_watch *w, uint32_t events) {
  struct wd_dns_try *t = WD_CONTAINER(w, struct wd_dns_try, watch);
  if (t->connected == WD_NONE) {
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err) {
      fail_remote(t, err);
      return;
    }
    if (!(events & EPOLLOUT)) return;
    t->connected = wd_clock_now();
    wd_route_hear_icmp(w->fd, wd_addr_family(&t->server), false);
  }
  if (t->written < t->query.tcp_len)
    write_stream(t);
  else
    read_stream(t);
}

static int begin_stream(struct wd_dns_try *t, int fd) {
  t->sent = wd_clock_now();
  t->watch.on_event = on_stream;
  wd_route_hear_icmp(fd, wd_addr_family(&t->server), true);
  if (connect(fd, &t->server.sa, wd_addr_len(&t->server)) == 0 || errno == EINPROGRESS) return 0;
  return errno;
}

// ---- both ----

static bool refuse(struct wd_dns_try *t, int fd, enum wd_err err, const char *detail) {
  if (fd >= 0) close(fd);
  t->state = WD_DNS_TRY_FAILED;
  t->err = err;
  if (detail != t->detail) snprintf(t->detail, sizeof(t->detail), "%s", detail);
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

bool wd_dns_try_start(struct wd_dns_try *t) {
  int family = wd_addr_family(&t->server);
  t->state = WD_DNS_TRY_WAITING;
  t->sent = t->connected = t->received = WD_NONE;
  t->watch.fd = -1;
  if (!wd_dns_build(&t->query, t->arena, t->ask, t->detail, sizeof(t->detail))) return refuse(t, -1, WD_E_LOCAL, t->detail);
  int fd = socket(family, (t->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return refuse(t, fd, wd_neterr_local(errno), wd_neterr_detail_local(errno));
  set_tos(fd, family, t->opts->tos);
  if (t->opts->source) {
    enum wd_err err = wd_route_bind(fd, family, t->opts->source, t->detail, sizeof(t->detail));
    if (err) return refuse(t, fd, err, t->detail);
  }
  int err = t->tcp ? begin_stream(t, fd) : send_datagram(t, fd);
  if (err == ECONNREFUSED) return refuse(t, fd, wd_neterr_remote(err), wd_neterr_detail_remote(err));
  if (err) return refuse(t, fd, wd_neterr_local(err), wd_neterr_detail_local(err));
  err = wd_watch_start(t->loop, &t->watch, fd, t->tcp ? EPOLLIN | EPOLLOUT : EPOLLIN);
  return err ? refuse(t, fd, WD_E_LOCAL, strerror(-err)) : true;
}

void wd_dns_try_stop(struct wd_dns_try *t) {
  wd_watch_close(&t->watch);
}
