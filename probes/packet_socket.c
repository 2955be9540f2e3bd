// Opening and sending; what comes back is packet_receive.c's.
#include "probes/packet_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/net_tstamp.h>
#include <netinet/icmp6.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/random.h"
#include "runtime/route.h"

enum {
  SCRATCH = 256 * 1024,    // bytes of one batch; holds the largest packet several times over
  COUNTED = 4096,          // packets whose stamp may be outstanding where the kernel counts; older ones keep the user clock
  SEND_ROOM = 1024 * 1024, // SO_SNDBUF: a batch to many targets waits here, not in our queue
  OPT_ID_CMSG = 81,        // SCM_TS_OPT_ID (Linux 6.13, include/uapi/asm-generic/socket.h), not in older headers
};

// The card's stamps come where its driver gives them; the kernel's are asked for beside them in any case (OPT_TX_SWHW).
static const int stamp_flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_RAW_HARDWARE |
    SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_OPT_TX_SWHW | SOF_TIMESTAMPING_OPT_TSONLY;
static const uint32_t stamp_request = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_HARDWARE;

// What the kernel lets us ask for with a packet: the first of these that it does not refuse. Where it does not let us name packets it counts,
// and so do we; where it knows no stamps there are none.
static enum { STAMPS_NAMED, STAMPS_COUNTED, STAMPS_NONE } stamps;
static bool stamps_tried; // it took such a packet

// Where the kernel counts: whose packet had which number.
static struct counted {
  int fd;
  uint32_t number, id;
} counted[COUNTED];

// Sockets that count all begin at 0: the descriptor keeps them apart.
static struct counted *counted_at(const struct wd_packet_socket *s, uint32_t number) {
  return &counted[(number + (uint32_t)s->watch.fd * 61u) % COUNTED];
}

bool wd_packet_stamp_id(const struct wd_packet_socket *s, uint32_t told, uint32_t *id) {
  const struct counted *c = counted_at(s, told);
  *id = stamps == STAMPS_NAMED ? told : c->id;
  return stamps == STAMPS_NAMED || (c->fd == s->watch.fd && c->number == told);
}

// ---- opening ----

static void set(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof(value)); // what an older kernel refuses is done without
}

// Every raw ICMP socket gets every ICMP message of the machine: let none but answers to our own echoes take room (and wake us).
static void filter_raw(const struct wd_packet_socket *s, int fd) {
  struct sock_filter v4[] = {BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 4),
                             BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, s->ident, 0, 1), BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
                             BPF_STMT(BPF_RET | BPF_K, 0)};
  struct sock_filter v6[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, s->ident, 0, 1),
                             BPF_STMT(BPF_RET | BPF_K, UINT32_MAX), BPF_STMT(BPF_RET | BPF_K, 0)};
  struct sock_fprog program = {.len = WD_COUNT(v4), .filter = v4};
  if (s->family == AF_INET) {
    struct icmp_filter types = {.data = ~(1u << ICMP_ECHOREPLY)};
    setsockopt(fd, SOL_RAW, ICMP_FILTER, &types, sizeof(types));
  } else {
    struct icmp6_filter types;
    ICMP6_FILTER_SETBLOCKALL(&types);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &types);
    setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &types, sizeof(types));
    program = (struct sock_fprog){.len = WD_COUNT(v6), .filter = v6};
  }
  setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

// What an answer of so many bytes takes of the receive buffer at most: the kernel counts what it allocated.
static size_t footprint(size_t len) {
  return 2 * len + 1024;
}

static size_t receive_room(int fd) {
  int room = 0;
  socklen_t len = sizeof(room);
  return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, &len) == 0 && room > 0 ? (size_t)room : SIZE_MAX;
}

static void set_options(const struct wd_packet_socket *s, int fd, const struct wd_packet_socket_opts *opts) {
  // Stamps, errors and replies share one budget; only CAP_NET_ADMIN may go past the system's limit.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &opts->receive_bytes, sizeof(opts->receive_bytes)))
    set(fd, SOL_SOCKET, SO_RCVBUF, opts->receive_bytes);
  set(fd, SOL_SOCKET, SO_SNDBUF, SEND_ROOM);
  set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  // Neither takes heed of what other traffic taught the kernel about the path's MTU: PROBE sets DF, OMIT lets packets be fragmented.
  if (s->family == AF_INET) {
    set(fd, IPPROTO_IP, IP_RECVERR, 1);
    set(fd, IPPROTO_IP, IP_RECVTTL, !opts->no_ttl);
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, opts->dont_fragment ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT);
  } else {
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, !opts->no_ttl);
    set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, opts->dont_fragment ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_OMIT);
  }
  if (s->kind == WD_PACKET_RAW) filter_raw(s, fd);
  set(fd, SOL_SOCKET, SO_TIMESTAMPING, stamp_flags | SOF_TIMESTAMPING_OPT_ID);
}

static int bound_ident(const struct wd_packet_socket *s, int fd, uint16_t *ident) {
  struct sockaddr_storage bound = {0};
  socklen_t len = sizeof(bound);
  struct wd_addr at;
  if (getsockname(fd, (struct sockaddr *)&bound, &len)) return errno;
  if (!wd_addr_from_sockaddr(&at, (struct sockaddr *)&bound, len)) return EAFNOSUPPORT;
  *ident = s->kind == WD_PACKET_PING ? wd_addr_port(&at) : (uint16_t)wd_random();
  return 0;
}

// A ping socket's id is its port. The kernel would hand them out in order, the same in every container: take one at random.
static int choose_ident(struct wd_packet_socket *s, int fd) {
  struct wd_addr at = {0};
  int rc = bound_ident(s, fd, &s->ident);
  at.sa.sa_family = (sa_family_t)s->family;
  if (s->kind != WD_PACKET_PING) return rc;
  for (int i = 0; i < 32 && rc == 0 && s->ident == 0; i++) { // unless it is bound to a source address already
    wd_addr_set_port(&at, (uint16_t)(1 + wd_random() % 65535));
    if (bind(fd, &at.sa, wd_addr_len(&at)) == 0)
      rc = bound_ident(s, fd, &s->ident);
    else if (errno != EADDRINUSE)
      rc = errno;
  }
  return rc == 0 && s->ident == 0 ? EADDRINUSE : rc;
}

static void flush_now(struct wd_timer *t) {
  wd_packet_flush(WD_CONTAINER(t, struct wd_packet_socket, flush));
}

static void on_socket(struct wd_watch *w, uint32_t events) {
  struct wd_packet_socket *s = WD_CONTAINER(w, struct wd_packet_socket, watch);
  wd_packet_receive(s, events);
  if (!(events & EPOLLOUT) || !wd_packet_socket_is_open(s)) return;
  wd_watch_set(w, w->events & ~(uint32_t)EPOLLOUT);
  wd_packet_flush(s);
}

enum wd_err wd_packet_socket_open(struct wd_packet_socket *s, struct wd_loop *loop, const struct wd_packet_proto *proto,
                                  const struct wd_packet_socket_opts *opts, char *detail, size_t detail_size) {
  static const int types[] = {SOCK_DGRAM, SOCK_RAW, SOCK_DGRAM};
  int icmp = opts->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  *s = (struct wd_packet_socket){.watch = {.fd = -1, .on_event = on_socket},
                                 .proto = proto,
                                 .kind = opts->kind,
                                 .family = opts->family,
                                 .flush = {.fire = flush_now}};
  enum wd_err err = WD_OK;
  int rc = 0, fd = socket(s->family, types[s->kind] | SOCK_NONBLOCK | SOCK_CLOEXEC, s->kind == WD_PACKET_UDP ? 0 : icmp);
  if (fd < 0) {
    rc = errno;
    goto out;
  }
  if (opts->source && (err = wd_route_bind(fd, s->family, opts->source, detail, detail_size))) goto out;
  if (s->kind != WD_PACKET_UDP && (rc = choose_ident(s, fd))) goto out;
  set_options(s, fd, opts);
  s->room = receive_room(fd);
  rc = -wd_watch_start(loop, &s->watch, fd, EPOLLIN);
out:
  if (rc) {
    err = wd_neterr_local(rc);
    snprintf(detail, detail_size, "%s", wd_neterr_detail_local(rc));
  }
  if (err && fd >= 0) close(fd);
  return err;
}

void wd_packet_socket_close(struct wd_packet_socket *s) {
  if (!wd_packet_socket_is_open(s)) return;
  wd_timer_stop(&s->watch.loop->timers, &s->flush);
  wd_watch_close(&s->watch);
}

// ---- sending ----

void wd_packet_socket_ready(struct wd_packet_socket *s) {
  // Due at the next pass and not in this one.
  if (!wd_timer_armed(&s->flush) && !(s->watch.events & EPOLLOUT)) wd_loop_arm(s->watch.loop, &s->flush, 0);
}

struct control {
  struct iovec data;
  union {
    char bytes[4 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } room;
};

static struct wd_packet_message messages[WD_PACKET_BATCH];
static struct control controls[WD_PACKET_BATCH];
static struct mmsghdr headers[WD_PACKET_BATCH];
static uint8_t scratch[SCRATCH];

static void add_control(struct msghdr *h, int level, int type, uint32_t value) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)h->msg_control + h->msg_controllen);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sizeof(value));
  memcpy(CMSG_DATA(c), &value, sizeof(value));
  h->msg_controllen += CMSG_SPACE(sizeof(value));
}

static void fill(const struct wd_packet_socket *s, struct msghdr *h, struct control *c, const struct wd_packet_message *m) {
  bool v6 = s->family == AF_INET6;
  *h = (struct msghdr){.msg_name = (void *)(uintptr_t)&m->to->sa,
                       .msg_namelen = wd_addr_len(m->to),
                       .msg_iov = &c->data,
                       .msg_iovlen = 1,
                       .msg_control = c->room.bytes};
  if (m->ttl >= 0) add_control(h, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HOPLIMIT : IP_TTL, (uint32_t)m->ttl);
  if (m->tos >= 0) add_control(h, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, (uint32_t)m->tos);
  if (!m->stamp || stamps == STAMPS_NONE) return;
  add_control(h, SOL_SOCKET, SO_TIMESTAMPING, stamp_request);
  // With every packet: on ping and raw sockets the name of the one before would stick.
  if (stamps == STAMPS_NAMED) add_control(h, SOL_SOCKET, OPT_ID_CMSG, m->id);
}

// Builds at most so many messages from what there is to pull, and whose answers find room; their number. Where the first is to somebody whom
// the policy denies, it is the only one.
static unsigned build(struct wd_packet_socket *s, unsigned most) {
  unsigned n = 0;
  size_t used = 0, answers = s->unread;
  for (; n < most && (n == 0 || answers < s->room / 2); n++) {
    messages[n] = (struct wd_packet_message){.ttl = -1, .tos = -1};
    if (!s->proto->pull(s, n, &messages[n], scratch + used, SCRATCH - used)) break;
    if (n > 0 && !wd_policy_allows(messages[n].to)) break;
    controls[n].data = (struct iovec){.iov_base = scratch + used, .iov_len = messages[n].len};
    used += messages[n].len;
    answers += footprint(messages[n].len);
  }
  if (n > 0) messages[n - 1].stamp = true; // those between two stamps are known to have left between them
  for (unsigned i = 0; i < n; i++) fill(s, &headers[i].msg_hdr, &controls[i], &messages[i]);
  return n;
}

static void count(struct wd_packet_socket *s, unsigned n) {
  for (unsigned i = 0; i < n && stamps != STAMPS_NONE; i++) {
    if (!messages[i].stamp) continue;
    s->stamps_due++;
    if (stamps == STAMPS_NAMED) continue;
    uint32_t number = s->counted++;
    *counted_at(s, number) = (struct counted){.fd = s->watch.fd, .number = number, .id = messages[i].id};
  }
}

// A send that failed may or may not have used up a count: begin anew at 0.
static void recount(struct wd_packet_socket *s) {
  if (stamps != STAMPS_COUNTED || !wd_packet_socket_is_open(s)) return;
  set(s->watch.fd, SOL_SOCKET, SO_TIMESTAMPING, stamp_flags);
  set(s->watch.fd, SOL_SOCKET, SO_TIMESTAMPING, stamp_flags | SOF_TIMESTAMPING_OPT_ID);
  s->counted = 0;
}

enum { IP4_HEADER = 20, IP6_HEADER = 40, UDP_HEADER = 8 };

// Counts the first `n` messages, which were sent, against what the policy allows: with their headers of IP and ICMP or UDP.
static void charge(const struct wd_packet_socket *s, unsigned n) {
  size_t bytes = n * (size_t)((s->family == AF_INET6 ? IP6_HEADER : IP4_HEADER) + (s->kind == WD_PACKET_UDP ? UDP_HEADER : 0));
  for (unsigned i = 0; i < n; i++) bytes += messages[i].len;
  wd_policy_charge(n, bytes);
}

bool wd_packet_flush(struct wd_packet_socket *s) {
  int64_t again = WD_NONE; // the id of a packet that was refused once
  while (wd_packet_socket_is_open(s)) {
    unsigned room = wd_policy_room(WD_PACKET_BATCH), n = build(s, room > 0 ? room : 1);
    if (n == 0) return false;
    if (!wd_policy_allows(messages[0].to)) {
      s->proto->refused(s, WD_POLICY_DENIED, 0);
      continue;
    }
    if (room == 0) {
      wd_loop_arm(s->watch.loop, &s->flush, wd_policy_wait());
      return true;
    }
    if (s->unread >= s->room / 2) {
      wd_packet_receive(s, EPOLLIN);
      continue;
    }
    wd_ns before = wd_clock_real();
    int r = sendmmsg(s->watch.fd, headers, n, 0), err = errno;
    wd_ns after = wd_clock_real();
    if (r > 0) {
      stamps_tried = stamps_tried || messages[0].stamp;
      count(s, (unsigned)r);
      charge(s, (unsigned)r);
      for (int i = 0; i < r; i++) s->unread += footprint(messages[i].len);
      s->proto->left(s, (unsigned)r, before, after);
    }
    // At once: stamps that lie about take the room of replies.
    wd_packet_drain_errors(s);
    wd_packet_settle_stamps(s);
    if (r == (int)n) continue;
    if (r < 0 && err == EINTR) continue;
    if (r < 0 && err == EAGAIN) {
      if (wd_packet_socket_is_open(s)) wd_watch_set(&s->watch, s->watch.events | EPOLLOUT);
      return true;
    }
    recount(s);
    if (r >= 0 || !wd_packet_socket_is_open(s)) continue;
    if (err == EINVAL && !stamps_tried && messages[0].stamp && stamps != STAMPS_NONE) {
      stamps++;
      recount(s);
    } else if (again == messages[0].id) {
      if (!stamps_tried) stamps = STAMPS_NAMED; // the fault was the packet's own
      s->proto->refused(s, err, err == EMSGSIZE ? s->local_mtu : 0);
    } else {
      // The first failure may be an ICMP error to another packet, which the socket had pending (ip(7), IP_RECVERR).
      again = messages[0].id;
    }
  }
  return false;
}
