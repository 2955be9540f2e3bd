// Opening, queueing and sending; what comes back is packet_receive.c's.
#include "probes/packet_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/net_tstamp.h>
#include <netinet/icmp6.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/neterr.h"
#include "runtime/route.h"

enum {
  BATCH = 64,              // one sendmmsg
  SCRATCH = 256 * 1024,    // bytes of one batch; holds the largest packet several times over
  STAMPS = 4096,           // packets whose stamp may be outstanding; older ones keep the user clock
  SEND_ROOM = 1024 * 1024, // SO_SNDBUF: a batch to many targets waits here, not in our queue
  OPT_ID_CMSG = 81,        // SCM_TS_OPT_ID (Linux 6.13, include/uapi/asm-generic/socket.h), not in older headers
};

static const int stamp_flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;

// Whether the kernel lets us name a packet for its stamp. Where it does not, it counts, and so do we.
static enum { NAMES_UNTRIED, NAMES_WORK, NAMES_UNKNOWN } stamp_names;
static uint32_t next_name;

static struct wd_packet *stamped[STAMPS];

uint64_t wd_packet_random(void) {
  static uint64_t ahead[64];
  static size_t left;
  if (left == 0) {
    // Never short: requests of up to 256 bytes are whole once the kernel's pool is seeded, which it is by blocking here (getrandom(2)).
    for (size_t i = 0; i < WD_COUNT(ahead); i += 32)
      if (getrandom(ahead + i, 256, 0) != 256) ahead[i] ^= (uint64_t)wd_clock_real();
    left = WD_COUNT(ahead);
  }
  return ahead[--left];
}

static size_t stamp_slot(const struct wd_packet_socket *s, uint32_t id) {
  // Sockets that count all begin at 0: the descriptor keeps them apart.
  return (id + (uint32_t)s->watch.fd * 61u) % STAMPS;
}

struct wd_packet *wd_packet_stamped(struct wd_packet_socket *s, uint32_t id) {
  struct wd_packet *p = stamped[stamp_slot(s, id)];
  return p && p->socket == s && p->stamp_id == id ? p : NULL;
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

static void set_options(const struct wd_packet_socket *s, int fd, const struct wd_packet_socket_opts *opts) {
  // Stamps, errors and replies share one budget; only CAP_NET_ADMIN may go past the system's limit.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &opts->receive_bytes, sizeof(opts->receive_bytes)))
    set(fd, SOL_SOCKET, SO_RCVBUF, opts->receive_bytes);
  set(fd, SOL_SOCKET, SO_SNDBUF, SEND_ROOM);
  // Neither takes heed of what other traffic taught the kernel about the path's MTU: PROBE sets DF, OMIT lets packets be fragmented.
  if (s->family == AF_INET) {
    set(fd, IPPROTO_IP, IP_RECVERR, 1);
    set(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, opts->dont_fragment ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT);
  } else {
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
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
  *ident = s->kind == WD_PACKET_PING ? wd_addr_port(&at) : (uint16_t)wd_packet_random();
  return 0;
}

// A ping socket's id is its port. The kernel would hand them out in order, the same in every container: take one at random.
static int choose_ident(struct wd_packet_socket *s, int fd) {
  struct wd_addr at = {0};
  int rc = bound_ident(s, fd, &s->ident);
  at.sa.sa_family = (sa_family_t)s->family;
  for (int i = 0; i < 32 && rc == 0 && s->ident == 0; i++) { // unless it is bound to a source address already
    wd_addr_set_port(&at, (uint16_t)(1 + wd_packet_random() % 65535));
    if (bind(fd, &at.sa, wd_addr_len(&at)) == 0 || errno != EADDRINUSE) rc = bound_ident(s, fd, &s->ident);
  }
  return rc;
}

static void flush(struct wd_packet_socket *s);

static void flush_now(struct wd_timer *t) {
  flush(WD_CONTAINER(t, struct wd_packet_socket, flush));
}

static void on_socket(struct wd_watch *w, uint32_t events) {
  struct wd_packet_socket *s = WD_CONTAINER(w, struct wd_packet_socket, watch);
  wd_packet_receive(s, events);
  if (!(events & EPOLLOUT) || !wd_packet_socket_is_open(s)) return;
  wd_watch_set(w, EPOLLIN);
  flush(s);
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

// ---- the queue ----

void wd_packet_send(struct wd_packet_socket *s, struct wd_packet *p) {
  p->socket = s;
  p->state = WD_PACKET_QUEUED;
  p->next = NULL;
  p->prev = s->last;
  *(s->last ? &s->last->next : &s->first) = p;
  s->last = p;
  // Due at the next pass and not in this one: what other timers of this pass send leaves in the same batch.
  if (!wd_timer_armed(&s->flush) && !(s->watch.events & EPOLLOUT)) wd_loop_arm(s->watch.loop, &s->flush, 0);
}

static void unqueue(struct wd_packet *p) {
  struct wd_packet_socket *s = p->socket;
  *(p->prev ? &p->prev->next : &s->first) = p->next;
  *(p->next ? &p->next->prev : &s->last) = p->prev;
  p->prev = p->next = NULL;
}

void wd_packet_forget(struct wd_packet *p) {
  if (!p->socket) return;
  if (p->state == WD_PACKET_QUEUED) {
    unqueue(p);
    p->state = WD_PACKET_IDLE;
  } else if (wd_packet_socket_is_open(p->socket) && wd_packet_stamped(p->socket, p->stamp_id) == p) {
    stamped[stamp_slot(p->socket, p->stamp_id)] = NULL;
  }
  p->socket = NULL;
}

// ---- sending ----

struct message {
  struct wd_packet *packet;
  struct iovec data;
  union {
    char bytes[4 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
};

static struct message messages[BATCH];
static struct mmsghdr headers[BATCH];
static uint8_t scratch[SCRATCH];

static void add_control(struct msghdr *h, int level, int type, uint32_t value) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)h->msg_control + h->msg_controllen);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sizeof(value));
  memcpy(CMSG_DATA(c), &value, sizeof(value));
  h->msg_controllen += CMSG_SPACE(sizeof(value));
}

static void fill(struct wd_packet_socket *s, struct msghdr *h, struct message *m, uint32_t nth) {
  const struct wd_packet_flow *flow = m->packet->flow;
  bool v6 = s->family == AF_INET6;
  *h = (struct msghdr){.msg_name = (void *)(uintptr_t)&flow->to.sa,
                       .msg_namelen = wd_addr_len(&flow->to),
                       .msg_iov = &m->data,
                       .msg_iovlen = 1,
                       .msg_control = m->control.bytes};
  if (flow->ttl >= 0) add_control(h, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HOPLIMIT : IP_TTL, (uint32_t)flow->ttl);
  if (flow->tos >= 0) add_control(h, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, (uint32_t)flow->tos);
  add_control(h, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_TX_SOFTWARE);
  m->packet->stamp_id = s->stamps + nth;
  if (stamp_names == NAMES_UNKNOWN) return;
  m->packet->stamp_id = next_name++;
  // With every packet: on ping and raw sockets the name of the one before would stick.
  add_control(h, SOL_SOCKET, OPT_ID_CMSG, m->packet->stamp_id);
}

// Builds messages from the head of the queue; their number.
static unsigned build(struct wd_packet_socket *s) {
  unsigned n = 0;
  size_t used = 0;
  for (struct wd_packet *p = s->first; p && n < BATCH; p = p->next, n++) {
    size_t len = s->proto->build(p, scratch + used, SCRATCH - used);
    if (len == 0) break;
    messages[n].packet = p;
    messages[n].data = (struct iovec){.iov_base = scratch + used, .iov_len = len};
    fill(s, &headers[n].msg_hdr, &messages[n], n);
    used += len;
  }
  return n;
}

static void mark_sent(struct wd_packet_socket *s, unsigned n, wd_ns before, wd_ns after) {
  for (unsigned i = 0; i < n; i++) {
    struct wd_packet *p = messages[i].packet;
    unqueue(p);
    p->state = WD_PACKET_SENT;
    // Where the kernel gives no stamp, the packets are taken to have left evenly over the call.
    p->window = after - before;
    p->sent = before + p->window * (2 * (wd_ns)i + 1) / (2 * (wd_ns)n);
    stamped[stamp_slot(s, p->stamp_id)] = p;
    s->proto->sent(p);
  }
  s->stamps += n;
}

// A send that failed may or may not have used up a count: begin anew at 0.
static void recount(struct wd_packet_socket *s) {
  if (stamp_names != NAMES_UNKNOWN || !wd_packet_socket_is_open(s)) return;
  set(s->watch.fd, SOL_SOCKET, SO_TIMESTAMPING, stamp_flags);
  set(s->watch.fd, SOL_SOCKET, SO_TIMESTAMPING, stamp_flags | SOF_TIMESTAMPING_OPT_ID);
  s->stamps = 0;
}

// The kernel refused the packet at the head of the queue.
static void refuse(struct wd_packet_socket *s, struct wd_packet *p, int err) {
  unqueue(p);
  p->state = WD_PACKET_ERROR;
  s->proto->unsent(p, err, err == EMSGSIZE ? s->local_mtu : 0);
}

static void flush(struct wd_packet_socket *s) {
  const struct wd_packet *again = NULL;
  while (wd_packet_socket_is_open(s) && s->first) {
    unsigned n = build(s);
    wd_ns before = wd_clock_real();
    int r = sendmmsg(s->watch.fd, headers, n, 0), err = errno;
    wd_ns after = wd_clock_real();
    if (r > 0 && stamp_names == NAMES_UNTRIED) stamp_names = NAMES_WORK;
    if (r > 0) mark_sent(s, (unsigned)r, before, after);
    // At once: stamps that lie about take the room of replies.
    wd_packet_drain_errors(s);
    if (r == (int)n) continue;
    if (r < 0 && (err == EAGAIN || err == EINTR)) {
      if (err == EINTR) continue;
      if (wd_packet_socket_is_open(s)) wd_watch_set(&s->watch, EPOLLIN | EPOLLOUT);
      return;
    }
    recount(s);
    if (r >= 0 || !s->first || s->first != messages[0].packet || !wd_packet_socket_is_open(s)) continue;
    if (err == EINVAL && stamp_names == NAMES_UNTRIED) {
      stamp_names = NAMES_UNKNOWN; // before Linux 6.13; a packet with a fault of its own fails again below
      recount(s);
      continue;
    }
    // The first failure may be an ICMP error to another packet, which the socket had pending (ip(7), IP_RECVERR).
    if (again == s->first)
      refuse(s, s->first, err);
    else
      again = s->first;
  }
}
