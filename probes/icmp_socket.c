// See icmp_socket.h.
#include "probes/icmp_socket.h"

#include "probes/icmp_wire.h"
#include "runtime/icmp_error.h"
#include "runtime/random.h"

enum {
  SLOTS = 65536,         // of the index: one for each sequence
  SHARED_ROOM = 8 << 20, // SO_RCVBUF asked for: ten thousand stamps and replies at 832 bytes each
  OWN_ROOM = 1 << 20,
};

static struct wd_packet
    *index_of[SLOTS]; // chains by (socket's id, sequence); packets of several sockets and addresses may share one
static struct wd_packet_queue shared[2];
static uint16_t next_seq;

static struct wd_packet **slot(const struct wd_packet_queue *s, uint32_t seq) {
  return &index_of[(seq + s->socket.ident) % SLOTS];
}

static bool taken(const struct wd_packet_queue *s, uint32_t seq, const struct wd_addr *to) {
  for (const struct wd_packet *p = *slot(s, seq); p; p = p->chain)
    if (p->queue == s && p->seq == seq && wd_addr_same_host(&p->flow->to, to)) return true;
  return false;
}

void wd_icmp_socket_send(struct wd_packet_queue *s, struct wd_packet *p) {
  // With all 65536 in flight to one address the last one tried serves twice; the nonce still tells them apart.
  uint16_t seq = next_seq++;
  for (int i = 0; i < SLOTS && taken(s, seq, &p->flow->to); i++) seq = next_seq++;
  p->seq = seq;
  struct wd_packet **at = slot(s, seq);
  p->chain = *at;
  *at = p;
  wd_packet_send(s, p);
}

void wd_icmp_socket_forget(struct wd_packet *p) {
  if (!p->queue) return;
  struct wd_packet **at = slot(p->queue, p->seq);
  while (*at && *at != p) at = &(*at)->chain;
  if (*at) *at = p->chain;
  p->chain = NULL;
  wd_packet_forget(p);
}

static size_t build(const struct wd_packet *p, uint8_t *out, size_t cap) {
  return wd_icmp_build(out, cap, p->queue->socket.family, p->queue->socket.ident, (uint16_t)p->seq, p->nonce, p->flow->size);
}

static void unsent(struct wd_packet *p, int err, uint32_t mtu) {
  wd_icmp_socket_forget(p);
  wd_train_unsent(p, err, mtu);
}

static bool nonce_is_whole(const struct wd_packet *p, const struct wd_icmp_echo *echo) {
  size_t carried = p->flow->size < WD_ICMP_NONCE_BYTES ? p->flow->size : WD_ICMP_NONCE_BYTES;
  return echo->nonce_len >= carried && wd_icmp_nonce_fits(echo, p->nonce);
}

static void take_reply(struct wd_packet_queue *s, const struct wd_packet_reply *reply) {
  struct wd_icmp_message m;
  struct wd_packet *near = NULL;
  if (!wd_icmp_parse(&m, s->socket.family, s->socket.kind == WD_PACKET_RAW, reply->bytes, reply->len)) return;
  if (m.kind != WD_ICMP_REPLY || m.echo.id != s->socket.ident) return;
  for (struct wd_packet *p = *slot(s, m.echo.seq); p; p = p->chain) {
    if (p->queue != s || p->seq != m.echo.seq) continue;
    bool from_target = wd_addr_same_host(&reply->from, &p->flow->to), whole = nonce_is_whole(p, &m.echo);
    if (from_target && whole) {
      wd_train_reply(p, reply);
      return;
    }
    if (from_target || (whole && p->flow->size >= WD_ICMP_NONCE_BYTES)) near = p;
  }
  if (near) wd_train_of(near)->foreign++;
}

static void take_error(struct wd_packet_queue *s, const struct wd_packet_error *error) {
  struct wd_icmp_echo echo;
  enum wd_err err = wd_icmp_err(s->socket.family, error->type, error->code);
  // Raw sockets are told of the errors of every ping on the machine: the id sorts them out.
  if (err == WD_OK || !wd_icmp_parse_quote(&echo, s->socket.family, error->quote, error->len) || echo.id != s->socket.ident) return;
  for (struct wd_packet *p = *slot(s, echo.seq); p; p = p->chain) {
    if (p->queue != s || p->seq != echo.seq || !wd_addr_same_host(&error->to, &p->flow->to)) continue;
    if (!wd_icmp_nonce_fits(&echo, p->nonce)) continue;
    wd_train_error(p, err, wd_icmp_text(s->socket.family, error->type, error->code), &error->from,
                   err == WD_E_MESSAGE_TOO_BIG ? error->mtu : 0);
    return;
  }
}

static const struct wd_packet_class packet_class = {
    .build = build, .sent = wd_train_sent, .unsent = unsent, .reply = take_reply, .error = take_error};

static enum wd_err open_either(struct wd_packet_queue *s, struct wd_loop *loop, struct wd_packet_socket_opts *opts, char *detail,
                               size_t detail_size) {
  enum wd_err err = wd_packet_queue_open(s, loop, &packet_class, opts, detail, detail_size);
  if (err != WD_E_PERMISSION) return err;
  opts->kind = WD_PACKET_RAW;
  return wd_packet_queue_open(s, loop, &packet_class, opts, detail, detail_size);
}

enum wd_err wd_icmp_socket_open(struct wd_packet_queue *s, struct wd_loop *loop, int family, const char *source,
                                bool dont_fragment, char *detail, size_t detail_size) {
  struct wd_packet_socket_opts opts = {
      .kind = WD_PACKET_PING, .family = family, .source = source, .dont_fragment = dont_fragment, .receive_bytes = OWN_ROOM};
  return open_either(s, loop, &opts, detail, detail_size);
}

static void close_shared(struct wd_closer *c) {
  (void)c;
  for (size_t i = 0; i < WD_COUNT(shared); i++) wd_packet_queue_close(&shared[i]);
}

struct wd_packet_queue *wd_icmp_socket_shared(struct wd_loop *loop, int family, enum wd_err *err, char *detail,
                                               size_t detail_size) {
  static struct wd_closer closer = {.close = close_shared};
  static bool registered;
  struct wd_packet_queue *s = &shared[family == AF_INET6];
  struct wd_packet_socket_opts opts = {.kind = WD_PACKET_PING, .family = family, .receive_bytes = SHARED_ROOM};
  if (wd_packet_queue_is_open(s)) return s;
  if (!registered) {
    wd_loop_on_close(loop, &closer);
    next_seq = (uint16_t)wd_random();
    registered = true;
  }
  *err = open_either(s, loop, &opts, detail, detail_size);
  return *err == WD_OK ? s : NULL;
}
