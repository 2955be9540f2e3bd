// What the kernel has for a packet socket: replies, ICMP errors, moments of sending, and how much it dropped.
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/errqueue.h> // takes struct timespec from <time.h>

#include "probes/packet_clock.h"
#include "probes/packet_socket.h"
#include "runtime/clock.h"

enum {
  BATCH = 64, // one recvmmsg
  LARGEST = 65536,
  ROUNDS = 512, // batches at one go; more than any socket's budget holds, so only a flood meets it
};

struct slot {
  struct sockaddr_storage name;
  struct iovec data;
  union {
    char bytes[512];
    struct cmsghdr align;
  } control;
};

// Errors are read while replies wait to be handed out. Pages that no message reaches are never touched.
static struct batch {
  bool ready;
  struct slot slots[BATCH];
  struct mmsghdr headers[BATCH];
  uint8_t payloads[BATCH][LARGEST];
} replies, errors;

// What the control messages of one message say.
struct told {
  struct timespec stamp, card; // of the kernel, of the network card; zero where there is none
  int ttl;
  uint32_t drops;
  const struct sock_extended_err *err; // with the offender's address behind it
  size_t err_len;
};

// The kernel leaves lengths behind where it wrote: set them anew each time.
static int read_batch(struct wd_packet_socket *s, struct batch *b) {
  for (int i = 0; i < BATCH && !b->ready; i++) {
    struct slot *at = &b->slots[i];
    at->data = (struct iovec){b->payloads[i], LARGEST};
    b->headers[i].msg_hdr =
        (struct msghdr){.msg_name = &at->name, .msg_iov = &at->data, .msg_iovlen = 1, .msg_control = at->control.bytes};
  }
  b->ready = true;
  for (int i = 0; i < BATCH; i++) {
    b->headers[i].msg_hdr.msg_namelen = sizeof(b->slots[i].name);
    b->headers[i].msg_hdr.msg_controllen = sizeof(b->slots[i].control.bytes);
  }
  return recvmmsg(s->watch.fd, b->headers, BATCH, MSG_DONTWAIT | (b == &errors ? MSG_ERRQUEUE : 0), NULL);
}

static void read_control(struct msghdr *h, struct told *told) {
  *told = (struct told){.ttl = -1};
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
    const void *data = CMSG_DATA(c);
    size_t len = c->cmsg_len - CMSG_LEN(0);
    bool v4 = c->cmsg_level == IPPROTO_IP, v6 = c->cmsg_level == IPPROTO_IPV6;
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPING && len >= 3 * sizeof(told->stamp)) {
      memcpy(&told->stamp, data, sizeof(told->stamp));
      memcpy(&told->card, (const char *)data + 2 * sizeof(told->card), sizeof(told->card));
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL && len >= sizeof(told->drops)) {
      memcpy(&told->drops, data, sizeof(told->drops));
    } else if (((v4 && c->cmsg_type == IP_TTL) || (v6 && c->cmsg_type == IPV6_HOPLIMIT)) && len >= sizeof(told->ttl)) {
      memcpy(&told->ttl, data, sizeof(told->ttl));
    } else if (((v4 && c->cmsg_type == IP_RECVERR) || (v6 && c->cmsg_type == IPV6_RECVERR)) && len >= sizeof(*told->err)) {
      told->err = data;
      told->err_len = len;
    }
  }
}

static wd_ns card_time(const struct timespec *t) {
  return t->tv_sec || t->tv_nsec ? (wd_ns)t->tv_sec * WD_S + t->tv_nsec : WD_NONE;
}

static void take_stamp(struct wd_packet_socket *s, const struct told *told, const struct wd_packet_clock *clock, wd_ns now) {
  struct wd_packet_stamp stamp = {.hardware = card_time(&told->card)};
  if (told->stamp.tv_sec && s->stamps_due) s->stamps_due--;
  if (!wd_packet_stamp_id(s, told->err->ee_data, &stamp.id)) return;
  stamp.at = wd_packet_clock_place(clock, &told->stamp, now);
  s->proto->stamped(s, &stamp);
}

static void take_error(struct wd_packet_socket *s, const struct mmsghdr *m, const struct told *told) {
  const struct sockaddr *offender = SO_EE_OFFENDER(told->err);
  size_t room = told->err_len - sizeof(*told->err);
  struct wd_packet_error error = {.quote = m->msg_hdr.msg_iov->iov_base,
                                  .len = m->msg_len,
                                  .type = told->err->ee_type,
                                  .code = told->err->ee_code,
                                  .mtu = told->err->ee_info};
  if (!wd_addr_from_sockaddr(&error.to, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen)) return;
  wd_addr_from_sockaddr(&error.from, offender, (socklen_t)room);
  s->proto->error(s, &error);
}

bool wd_packet_drain_errors(struct wd_packet_socket *s) {
  bool some = false;
  uint32_t due = s->stamps_due;
  for (int round = 0, n = BATCH; round < ROUNDS && n == BATCH && wd_packet_socket_is_open(s); round++) {
    n = read_batch(s, &errors);
    if (n <= 0) break;
    some = true;
    struct wd_packet_clock clock = wd_packet_clock_read();
    wd_ns now = wd_clock_real();
    for (int i = 0; i < n && wd_packet_socket_is_open(s); i++) {
      struct told told;
      read_control(&errors.headers[i].msg_hdr, &told);
      if (!told.err) continue;
      if (told.err->ee_origin == SO_EE_ORIGIN_TIMESTAMPING)
        take_stamp(s, &told, &clock, now);
      else if (told.err->ee_origin == SO_EE_ORIGIN_LOCAL)
        s->local_mtu = told.err->ee_info;
      else if (told.err->ee_origin == SO_EE_ORIGIN_ICMP || told.err->ee_origin == SO_EE_ORIGIN_ICMP6)
        take_error(s, &errors.headers[i], &told);
    }
  }
  if (s->stamps_due != due && s->proto->drained && wd_packet_socket_is_open(s)) s->proto->drained(s);
  return some;
}

// What the kernel counts of the socket's memory; false where it does not tell.
static bool read_memory(const struct wd_packet_socket *s, uint32_t info[SK_MEMINFO_VARS]) {
  socklen_t len = SK_MEMINFO_VARS * sizeof(info[0]);
  return wd_packet_socket_is_open(s) && getsockopt(s->watch.fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0;
}

void wd_packet_settle_stamps(struct wd_packet_socket *s) {
  uint32_t info[SK_MEMINFO_VARS] = {0};
  if (s->stamps_due == 0) return;
  // First ask, then read: what had left by then has its stamp in the queue, or gets none.
  bool all_left = read_memory(s, info) && info[SK_MEMINFO_WMEM_ALLOC] == 0;
  wd_packet_drain_errors(s);
  if (all_left) s->stamps_due = 0;
}

static void note_drops(struct wd_packet_socket *s, uint32_t drops, wd_ns at) {
  if (drops == s->drops) return;
  s->drops = drops;
  s->overflowed = at;
}

// What was dropped last is told by no datagram: ask.
void wd_packet_take_stock(struct wd_packet_socket *s) {
  uint32_t info[SK_MEMINFO_VARS] = {0};
  if (!read_memory(s, info)) return;
  note_drops(s, info[SK_MEMINFO_DROPS], wd_clock_real());
  if (info[SK_MEMINFO_WMEM_ALLOC] == 0) s->stamps_due = 0;
}

static void take_reply(struct wd_packet_socket *s, struct mmsghdr *m, const struct wd_packet_clock *clock, wd_ns now) {
  struct told told;
  struct wd_packet_reply reply = {.bytes = m->msg_hdr.msg_iov->iov_base, .len = m->msg_len, .at = now};
  if (!wd_addr_from_sockaddr(&reply.from, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen)) return;
  read_control(&m->msg_hdr, &told);
  reply.ttl = told.ttl;
  reply.hardware = card_time(&told.card);
  wd_ns at = wd_packet_clock_place(clock, &told.stamp, now);
  reply.kernel = at != WD_NONE;
  if (reply.kernel) reply.at = at;
  if (told.drops) note_drops(s, told.drops, reply.at);
  s->proto->reply(s, &reply);
}

static void drain_replies(struct wd_packet_socket *s) {
  s->unread = 0;
  for (int round = 0, n = BATCH; round < ROUNDS && n != 0 && wd_packet_socket_is_open(s); round++) {
    n = read_batch(s, &replies);
    if (n < 0 && (errno == EAGAIN || errno == EBADF)) return;
    if (n <= 0) continue; // an error that is pending fails one call
    // What was answered has left: by now its stamp is told, though it may not have been when the packet was sent.
    wd_packet_settle_stamps(s);
    struct wd_packet_clock clock = wd_packet_clock_read();
    wd_ns now = wd_clock_real();
    for (int i = 0; i < n && wd_packet_socket_is_open(s); i++) take_reply(s, &replies.headers[i], &clock, now);
    if (n < BATCH) return;
  }
}

void wd_packet_receive(struct wd_packet_socket *s, uint32_t events) {
  if (events & EPOLLERR && !wd_packet_drain_errors(s) && wd_packet_socket_is_open(s)) {
    // Pending, but nothing queued (the queue was full): unread, it would wake us for ever.
    int err;
    socklen_t len = sizeof(err);
    getsockopt(s->watch.fd, SOL_SOCKET, SO_ERROR, &err, &len);
  }
  if (events & EPOLLIN && wd_packet_socket_is_open(s)) drain_replies(s);
}
