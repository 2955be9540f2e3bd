// See packet_queue.h.
#include "probes/packet_queue.h"

#include "runtime/clock.h"

enum { NAMED = 16384 }; // packets whose stamp may be outstanding; older ones keep the user clock

static struct wd_packet *named[NAMED];
static uint32_t next_name;

static struct wd_packet_queue *of(struct wd_packet_socket *s) {
  return WD_CONTAINER(s, struct wd_packet_queue, socket);
}

static void unqueue(struct wd_packet *p) {
  struct wd_packet_queue *q = p->queue;
  *(p->prev ? &p->prev->next : &q->first) = p->next;
  *(p->next ? &p->next->prev : &q->last) = p->prev;
  p->prev = p->next = NULL;
}

static bool pull(struct wd_packet_socket *s, unsigned nth, struct wd_packet_message *m, uint8_t *out, size_t room) {
  struct wd_packet_queue *q = of(s);
  struct wd_packet *p = nth == 0 ? q->first : q->pulled->next;
  if (!p || !(m->len = q->cls->build(p, out, room))) return false;
  m->to = &p->flow->to;
  m->ttl = p->flow->ttl;
  m->tos = p->flow->tos;
  m->stamp = true;
  m->id = p->name;
  q->pulled = p;
  return true;
}

static void left(struct wd_packet_socket *s, unsigned n, wd_ns before, wd_ns after) {
  struct wd_packet_queue *q = of(s);
  for (unsigned i = 0; i < n; i++) {
    struct wd_packet *p = q->first;
    unqueue(p);
    p->state = WD_PACKET_SENT;
    // Where the kernel gives no stamp, the packets are taken to have left evenly over the call.
    p->window = after - before;
    p->sent = before + p->window * (2 * (wd_ns)i + 1) / (2 * (wd_ns)n);
    p->hardware = WD_NONE;
    named[p->name % NAMED] = p;
    if (q->cls->sent) q->cls->sent(p);
  }
}

static void refused(struct wd_packet_socket *s, int err, uint32_t mtu) {
  struct wd_packet *p = of(s)->first;
  unqueue(p);
  p->state = WD_PACKET_ERROR;
  of(s)->cls->unsent(p, err, mtu);
}

// The kernel's moment of sending takes the place of ours.
static void stamped(struct wd_packet_socket *s, const struct wd_packet_stamp *stamp) {
  struct wd_packet *p = named[stamp->id % NAMED];
  if (!p || p->name != stamp->id || p->queue != of(s) || p->state != WD_PACKET_SENT) return;
  if (stamp->hardware != WD_NONE) p->hardware = stamp->hardware;
  // No packet left before we asked for it; a shaping queue may have kept it a while.
  if (stamp->at == WD_NONE || p->window == 0 || stamp->at < p->sent - p->window) return;
  p->sent = stamp->at;
  p->window = 0;
}

static void reply(struct wd_packet_socket *s, const struct wd_packet_reply *r) {
  of(s)->cls->reply(of(s), r);
}

static void error(struct wd_packet_socket *s, const struct wd_packet_error *e) {
  of(s)->cls->error(of(s), e);
}

static const struct wd_packet_proto proto = {
    .pull = pull, .left = left, .refused = refused, .stamped = stamped, .reply = reply, .error = error};

enum wd_err wd_packet_queue_open(struct wd_packet_queue *q, struct wd_loop *loop, const struct wd_packet_class *cls,
                                 const struct wd_packet_socket_opts *opts, char *detail, size_t detail_size) {
  q->cls = cls;
  q->first = q->last = q->pulled = NULL;
  return wd_packet_socket_open(&q->socket, loop, &proto, opts, detail, detail_size);
}

void wd_packet_queue_close(struct wd_packet_queue *q) {
  wd_packet_socket_close(&q->socket);
}

void wd_packet_send(struct wd_packet_queue *q, struct wd_packet *p) {
  p->queue = q;
  p->state = WD_PACKET_QUEUED;
  p->name = next_name++;
  p->next = NULL;
  p->prev = q->last;
  *(q->last ? &q->last->next : &q->first) = p;
  q->last = p;
  wd_packet_socket_ready(&q->socket);
}

void wd_packet_forget(struct wd_packet *p) {
  if (!p->queue) return;
  if (p->state == WD_PACKET_QUEUED) {
    unqueue(p);
    p->state = WD_PACKET_IDLE;
  } else if (named[p->name % NAMED] == p) {
    named[p->name % NAMED] = NULL;
  }
  p->queue = NULL;
}

bool wd_packet_may_be_dropped(const struct wd_packet *p) {
  if (!p->queue || p->state != WD_PACKET_SENT) return false;
  wd_packet_take_stock(&p->queue->socket);
  return p->queue->socket.overflowed >= p->sent;
}

bool wd_packet_may_not_have_left(const struct wd_packet *p) {
  return p->queue && p->state == WD_PACKET_SENT && p->window > 0 && wd_packet_socket_is_queueing(&p->queue->socket);
}

struct wd_packet_trip wd_packet_trip(const struct wd_packet *p, const struct wd_packet_reply *reply, wd_ns read_late) {
  struct wd_packet_sent sent = {.at = p->sent,
                                .window = p->window,
                                .hardware = p->hardware,
                                .user = p->window > 0,
                                .queueing = p->queue && wd_packet_socket_is_queueing(&p->queue->socket)};
  return wd_packet_clock_trip(&sent, reply, read_late);
}
