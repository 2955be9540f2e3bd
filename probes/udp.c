// udp.ping: datagrams to an echo server.
// Every run has a socket of its own: a router may quote eight bytes of a packet in its error (RFC 792), which for UDP end before the
// payload, so nothing but the port tells whose error it is; a fresh port is a fresh flow to whatever balances on the way; and one run's
// replies cannot take the receive room of another's. It stays unconnected, so that replies from elsewhere are seen and counted.
#include "probes/packet_train.h"
#include "probes/probes.h"
#include "probes/udp_wire.h"
#include "runtime/icmp_error.h"
#include "runtime/random.h"

struct udp_op {
  struct wd_probe_op probe;
  struct wd_packet_opts opts;
  struct wd_packet_result result;
  struct wd_packet_timings timings;
  struct wd_resolve resolve;
  struct wd_train train;
  struct wd_packet_queue socket;
  uint32_t id; // in every payload, the sequence being the packet's place
};

enum { RECEIVE_ROOM = 256 * 1024, DEFAULT_PORT = 2000 };

#define O struct wd_packet_opts
static const struct wd_field opts_fields[] = {WD_FIELD(O, target, "target", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED,
                                                       .min = 1, .max = 260, .help = "host:port, port 2000 where none is given"),
                                              WD_PACKET_OPTS("0.1"),
                                              WD_FIELD(O, size, "size", WD_T_INT, .def = "64", .min = WD_UDP_SIZE_MIN,
                                                       .max = WD_UDP_SIZE_MAX, .unit = "bytes", .help = "payload of each packet"),
                                              {0}};
#undef O
static const struct wd_desc opts_desc = {"udp.ping", opts_fields, sizeof(struct wd_packet_opts)};
static const struct wd_desc result_desc = {"udp.ping", wd_packet_result_fields, sizeof(struct wd_packet_result)};

static struct udp_op *of(struct wd_probe_op *probe) {
  return WD_CONTAINER(probe, struct udp_op, probe);
}

static uint32_t seq_of(const struct wd_packet *p) {
  return (uint32_t)(p - wd_train_of(p)->packets);
}

static void launch(struct wd_packet *p) {
  wd_packet_send(&WD_CONTAINER(wd_train_of(p), struct udp_op, train)->socket, p);
}

static void done(struct wd_train *t) {
  struct udp_op *op = WD_CONTAINER(t, struct udp_op, train);
  wd_train_report(t, &op->probe, &op->result);
}

static const struct wd_train_class train_class = {
    .launch = launch, .forget = wd_packet_forget, .done = done, .flow_errors = true};

static size_t build(const struct wd_packet *p, uint8_t *out, size_t cap) {
  const struct udp_op *op = WD_CONTAINER(wd_train_of(p), struct udp_op, train);
  struct wd_udp_ping ping = {.id = op->id, .seq = seq_of(p), .nonce = p->nonce};
  return wd_udp_build(out, cap, &ping, p->flow->size);
}

static void take_reply(struct wd_packet_queue *s, const struct wd_packet_reply *reply) {
  struct udp_op *op = WD_CONTAINER(s, struct udp_op, socket);
  struct wd_train *t = &op->train;
  struct wd_udp_ping ping;
  bool ours = wd_udp_parse(&ping, reply->bytes, reply->len) && reply->len == t->flow.size && ping.id == op->id &&
      ping.seq < t->launched && ping.nonce == t->packets[ping.seq].nonce && wd_addr_equal(&reply->from, &t->flow.to);
  if (ours)
    wd_train_reply(&t->packets[ping.seq], reply);
  else
    t->foreign++;
}

// The packet that an error is about: the one it quotes, or, where the quote ends too early, the first that is still waited for.
static struct wd_packet *blamed(struct udp_op *op, const struct wd_packet_error *error) {
  struct wd_train *t = &op->train;
  struct wd_udp_ping ping;
  bool nonce_known;
  if (error->len > 0 && wd_udp_parse_quote(&ping, &nonce_known, error->quote, error->len)) {
    bool fits = ping.id == op->id && ping.seq < t->launched && (!nonce_known || ping.nonce == t->packets[ping.seq].nonce);
    return fits ? &t->packets[ping.seq] : NULL;
  }
  for (unsigned i = 0; i < t->launched; i++)
    if (t->packets[i].state == WD_PACKET_SENT) return &t->packets[i];
  return NULL;
}

static void take_error(struct wd_packet_queue *s, const struct wd_packet_error *error) {
  struct udp_op *op = WD_CONTAINER(s, struct udp_op, socket);
  enum wd_err err = wd_icmp_err(s->socket.family, error->type, error->code);
  struct wd_packet *p = wd_addr_equal(&error->to, &op->train.flow.to) ? blamed(op, error) : NULL;
  if (err == WD_OK || !p) return;
  wd_train_error(p, err, wd_icmp_text(s->socket.family, error->type, error->code), &error->from,
                 err == WD_E_MESSAGE_TOO_BIG ? error->mtu : 0);
}

static const struct wd_packet_class packet_class = {
    .build = build, .sent = wd_train_sent, .unsent = wd_train_unsent, .reply = take_reply, .error = take_error};

static void resolved(struct wd_resolve *r) {
  struct udp_op *op = WD_CONTAINER(r, struct udp_op, resolve);
  struct wd_addr to;
  char detail[200] = "";
  if (!wd_train_resolved(&op->probe, &op->result, &op->timings, r, &to)) return;
  struct wd_packet_socket_opts opts = {
      .kind = WD_PACKET_UDP, .family = wd_addr_family(&to), .source = op->opts.common.source, .receive_bytes = RECEIVE_ROOM};
  enum wd_err err = wd_packet_queue_open(&op->socket, op->probe.op.loop, &packet_class, &opts, detail, sizeof(detail));
  if (err) {
    wd_probe_done(&op->probe, err, "%s", detail);
    return;
  }
  if (!wd_train_init(&op->train, op->probe.op.loop, &train_class, &op->opts, &to, &op->probe.arena)) {
    wd_probe_done(&op->probe, WD_E_LOCAL, "out of memory");
    return;
  }
  op->id = (uint32_t)wd_random();
  wd_train_start(&op->train);
}

// The target is host:port; what cannot be read as that is a misuse, not a failure of the network.
static const char *check(struct wd_probe_op *probe) {
  struct udp_op *op = of(probe);
  struct wd_hostport *at = wd_arena_alloc(&probe->arena, sizeof(*at));
  char *wrong = wd_arena_alloc(&probe->arena, 400);
  if (!at || !wrong) return "out of memory";
  if (!wd_hostport_split(at, op->opts.target, DEFAULT_PORT, wrong, 400)) return wrong;
  op->resolve.name = at->host;
  op->resolve.port = at->port;
  return wd_train_check(&op->opts);
}

static void start(struct wd_probe_op *probe) {
  struct udp_op *op = of(probe);
  struct wd_common_result *r = &op->result.common;
  r->test_type = "udp";
  r->protocol_detail = "raw_udp";
  r->target = op->opts.target;
  r->target_host = op->resolve.name;
  r->target_port = op->resolve.port;
    op->resolve.opts = &op->opts.common;
  op->resolve.done = resolved;
  wd_resolve_start(probe->op.loop, &op->resolve);
}

static void stop(struct wd_probe_op *probe) {
  struct udp_op *op = of(probe);
  wd_resolve_cancel(&op->resolve);
  wd_train_stop(&op->train);
  wd_packet_queue_close(&op->socket);
}

static void destroy(struct wd_probe_op *probe) {
  wd_resolve_clear(&of(probe)->resolve);
}

const struct wd_probe wd_udp_ping = {
    .name = "udp.ping",
    .help = "round trip, loss and jitter of datagrams to an echo server",
    .opts = &opts_desc,
    .result = &result_desc,
    .size = sizeof(struct udp_op),
    .opts_at = offsetof(struct udp_op, opts),
    .result_at = offsetof(struct udp_op, result),
    .own_timeout = true,
    .check = check,
    .start = start,
    .stop = stop,
    .destroy = destroy,
};
