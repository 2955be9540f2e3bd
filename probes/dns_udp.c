// Queries as datagrams. Those that are under way at the same time share a socket, some hundreds to one: its port is random and so is each
// query's id, so that nobody off the path can answer in the server's place; and its batches cost a fraction of a socket each. A socket
// closes with the last of its queries.
// Must hold: an answer belongs to a query when socket, server and id are its own, and then the question must be, too.
#include <stdlib.h>
#include <string.h>

#include "probes/dns_try.h"
#include "runtime/clock.h"
#include "runtime/icmp_error.h"
#include "runtime/neterr.h"

enum {
  MOST = 256,        // queries that may join one socket
  ROOM = 1 << 20,    // SO_RCVBUF asked for
  SLOTS = 4096,      // of the index by id
};

struct wd_dns_port {
  struct wd_packet_queue queue;
  struct wd_dns_try *first;
  unsigned joined, open;
  unsigned strays; // messages that nobody waits for
  struct wd_timer end;
  struct wd_dns_port *next, *prev;
};

static struct wd_packet *by_id[SLOTS]; // chains
static struct wd_dns_port *ports;      // all there are
static struct wd_dns_port *shared[2];  // which the next queries join, by family; NULL: a new one

static struct wd_dns_port *port_of(struct wd_packet_queue *q) {
  return WD_CONTAINER(q, struct wd_dns_port, queue);
}

static struct wd_dns_try *try_of(const struct wd_packet *p) {
  return WD_CONTAINER(p, struct wd_dns_try, packet);
}

// ---- ports ----

static void drop(struct wd_dns_port *port) {
  *(port->prev ? &port->prev->next : &ports) = port->next;
  if (port->next) port->next->prev = port->prev;
  free(port);
}

static void at_end(struct wd_timer *t) {
  drop(WD_CONTAINER(t, struct wd_dns_port, end));
}

static void close_all(struct wd_closer *c) {
  (void)c;
  while (ports) {
    wd_packet_queue_close(&ports->queue);
    drop(ports);
  }
}

// The socket closes now; its memory stays for the rest of the pass, since it may be just being read.
static void leave(struct wd_dns_try *t) {
  struct wd_dns_port *port = t->port;
  *(t->before ? &t->before->after : &port->first) = t->after;
  if (t->after) t->after->before = t->before;
  t->before = t->after = NULL;
  t->port = NULL;
  if (--port->open > 0) return;
  for (size_t i = 0; i < WD_COUNT(shared); i++)
    if (shared[i] == port) shared[i] = NULL;
  wd_packet_queue_close(&port->queue);
  wd_loop_arm(t->loop, &port->end, 0);
}

static void join(struct wd_dns_try *t, struct wd_dns_port *port) {
  t->port = port;
  t->strays = port->strays;
  t->before = NULL;
  t->after = port->first;
  if (port->first) port->first->before = t;
  port->first = t;
  port->open++;
  port->joined++;
}

static struct wd_packet **slot(uint16_t id) {
  return &by_id[id % SLOTS];
}

static struct wd_dns_try *find(const struct wd_dns_port *port, uint16_t id, const struct wd_addr *server) {
  for (struct wd_packet *p = *slot(id); p; p = p->chain)
    if (p->queue == &port->queue && p->seq == id && wd_addr_equal(&p->flow->to, server)) return try_of(p);
  return NULL;
}

// ---- what the queue asks and tells ----

static size_t build(const struct wd_packet *p, uint8_t *out, size_t cap) {
  const struct wd_dns_query *q = &try_of(p)->query;
  if (q->udp_len > cap) return 0;
  memcpy(out, q->udp, q->udp_len);
  return q->udp_len;
}

static void sent(struct wd_packet *p) {
  struct wd_dns_try *t = try_of(p);
  t->sent = p->sent;
  t->left(t);
}

static void unsent(struct wd_packet *p, int err, uint32_t mtu) {
  (void)mtu;
  wd_dns_try_fail(try_of(p), wd_neterr_local(err), wd_neterr_detail_local(err));
}

static void take_reply(struct wd_packet_queue *q, const struct wd_packet_reply *reply) {
  struct wd_dns_port *port = port_of(q);
  struct wd_dns_try *t = reply->len < 2 ? NULL : find(port, (uint16_t)(reply->bytes[0] << 8 | reply->bytes[1]), &reply->from);
  if (!t || t->packet.state != WD_PACKET_SENT) {
    port->strays++;
    return;
  }
  t->sent = t->packet.sent;
  wd_ns lag = wd_loop_lag(t->loop, t->sent);
  // Where a reading of ours is all there is, it may have come as much earlier as we may have been late.
  if (wd_loop_is_past(t->deadline, reply->kernel ? reply->at : reply->at - lag)) return;
  t->trip = wd_packet_trip(&t->packet, reply, lag);
  wd_dns_try_judge(t, reply->bytes, reply->len, reply->at);
}

// An error quotes our datagram from its id on; where the quote ends before that, it speaks of a query to that server that still waits.
static void take_error(struct wd_packet_queue *q, const struct wd_packet_error *error) {
  struct wd_dns_port *port = port_of(q);
  enum wd_err err = wd_icmp_err(q->socket.family, error->type, error->code);
  struct wd_dns_try *t = port->first;
  if (error->len >= 2)
    t = find(port, (uint16_t)(error->quote[0] << 8 | error->quote[1]), &error->to);
  else
    while (t && !wd_addr_equal(&t->server, &error->to)) t = t->after;
  if (t && err) wd_dns_try_fail(t, err, wd_icmp_text(q->socket.family, error->type, error->code));
}

static const struct wd_packet_class packets = {
    .build = build, .sent = sent, .unsent = unsent, .reply = take_reply, .error = take_error};

// ---- for dns_try.c ----

static struct wd_dns_port *open_port(struct wd_dns_try *t) {
  static struct wd_closer closer = {.close = close_all};
  static bool registered;
  char detail[200];
  struct wd_packet_socket_opts opts = {
      .kind = WD_PACKET_UDP, .family = wd_addr_family(&t->server), .source = t->opts->source, .no_ttl = true, .receive_bytes = ROOM};
  struct wd_dns_port *port = calloc(1, sizeof(*port));
  t->err = WD_E_LOCAL;
  t->detail = "out of memory";
  if (!port) return NULL;
  if (!registered) wd_loop_on_close(t->loop, &closer);
  registered = true;
  port->end.fire = at_end;
  t->err = wd_packet_queue_open(&port->queue, t->loop, &packets, &opts, detail, sizeof(detail));
  if (t->err) {
    t->detail = wd_arena_strdup(t->arena, detail);
    free(port);
    return NULL;
  }
  port->next = ports;
  if (ports) ports->prev = port;
  ports = port;
  return port;
}

bool wd_dns_udp_start(struct wd_dns_try *t) {
  struct wd_dns_port **at = &shared[wd_addr_family(&t->server) == AF_INET6];
  struct wd_dns_port *port = t->opts->source ? NULL : *at;
  if (!port && !(port = open_port(t))) return false;
  join(t, port);
  if (!t->opts->source) *at = port->joined < MOST ? port : NULL;
  t->flow = (struct wd_packet_flow){.to = t->server, .ttl = -1, .tos = t->opts->tos == WD_NONE ? -1 : (int)t->opts->tos};
  t->packet = (struct wd_packet){.flow = &t->flow, .seq = t->query.id, .ttl = -1, .hardware = WD_NONE};
  struct wd_packet **chain = slot(t->query.id);
  t->packet.chain = *chain;
  *chain = &t->packet;
  wd_packet_send(&port->queue, &t->packet);
  return true;
}

void wd_dns_udp_stop(struct wd_dns_try *t) {
  if (!t->port) return;
  struct wd_packet **at = slot((uint16_t)t->packet.seq);
  while (*at && *at != &t->packet) at = &(*at)->chain;
  if (*at) *at = t->packet.chain;
  wd_packet_forget(&t->packet);
  t->ignored += t->port->strays - t->strays;
  leave(t);
}

unsigned wd_dns_udp_strays(const struct wd_dns_try *t) {
  return t->port ? t->port->strays - t->strays : 0;
}
