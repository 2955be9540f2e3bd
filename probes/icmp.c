// icmp.ping: echo requests to one host, over the shared socket of its family, a socket of its own, or the system's ping program.
#include "probes/icmp_program.h"
#include "probes/icmp_socket.h"
#include "probes/icmp_wire.h"
#include "probes/probes.h"
#include "runtime/resolve.h"

struct icmp_op {
  struct wd_probe_op probe;
  struct wd_packet_opts opts;
  struct wd_packet_result result;
  struct wd_packet_timings timings;
  struct wd_resolve resolve;
  struct wd_train train;
  struct wd_packet_queue *socket, own; // own is open where an option needs it
  struct wd_icmp_program program;       // in place of a socket
};

#define O struct wd_packet_opts
static const struct wd_field opts_fields[] = {
    WD_FIELD(O, target, "host", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 253,
             .help = "name or address"),
    WD_PACKET_OPTS("1"),
    WD_FIELD(O, size, "size", WD_T_INT, .def = "56", .min = 0, .max = WD_ICMP_SIZE_MAX, .unit = "bytes",
             .help = "payload of each packet"),
    WD_FIELD(O, ttl, "ttl", WD_T_INT, .min = 1, .max = 255, .help = "hops after which a router gives the packet up"),
    WD_FIELD(O, dont_fragment, "dont_fragment", WD_T_BOOL, .def = "false",
             .help = "forbid fragments: what does not fit a hop comes back as message_too_big with its mtu"),
    {0}};
#undef O
static const struct wd_desc opts_desc = {"icmp.ping", opts_fields, sizeof(struct wd_packet_opts)};
static const struct wd_desc result_desc = {"icmp.ping", wd_packet_result_fields, sizeof(struct wd_packet_result)};

static struct icmp_op *of_train(struct wd_train *t) {
  return WD_CONTAINER(t, struct icmp_op, train);
}

static void launch(struct wd_packet *p) {
  wd_icmp_socket_send(of_train(wd_train_of(p))->socket, p);
}

static void done(struct wd_train *t) {
  struct icmp_op *op = of_train(t);
  wd_train_report(t, &op->probe, &op->result);
}

static const struct wd_train_class over_socket = {.launch = launch, .forget = wd_icmp_socket_forget, .done = done};

static void program_launch(struct wd_packet *p) {
  wd_icmp_program_send(&of_train(wd_train_of(p))->program, p);
}

static void program_forget(struct wd_packet *p) {
  wd_icmp_program_forget(&of_train(wd_train_of(p))->program, p);
}

static void program_lost(struct wd_packet *p) {
  wd_icmp_program_lost(&of_train(wd_train_of(p))->program, p);
}

static const struct wd_train_class over_program = {
    .launch = program_launch, .lost = program_lost, .forget = program_forget, .done = done};

static void on_no_program(struct wd_icmp_program *program, const char *why) {
  struct icmp_op *op = WD_CONTAINER(program, struct icmp_op, program);
  wd_probe_done(&op->probe, WD_E_PERMISSION,
                "no ICMP socket and no working ping program (%s): widen the sysctl net.ipv4.ping_group_range, for instance to "
                "\"0 2147483647\", or grant CAP_NET_RAW",
                why);
}

static void resolved(struct wd_resolve *r) {
  struct icmp_op *op = WD_CONTAINER(r, struct icmp_op, resolve);
  const struct wd_packet_opts *o = &op->opts;
  struct wd_addr to;
  char detail[200] = "";
  enum wd_err err = WD_OK;
  if (!wd_train_resolved(&op->probe, &op->result, &op->timings, r, &to)) return;
  if (o->common.source || o->dont_fragment == 1) {
    op->socket = &op->own;
    err = wd_icmp_socket_open(op->socket, op->probe.op.loop, wd_addr_family(&to), o->common.source, o->dont_fragment == 1, detail,
                              sizeof(detail));
  } else {
    op->socket = wd_icmp_socket_shared(op->probe.op.loop, wd_addr_family(&to), &err, detail, sizeof(detail));
  }
  if (err != WD_OK && err != WD_E_PERMISSION) {
    wd_probe_done(&op->probe, err, "%s", detail);
    return;
  }
  if (!wd_train_init(&op->train, op->probe.op.loop, err ? &over_program : &over_socket, o, &to, &op->probe.arena)) {
    wd_probe_done(&op->probe, WD_E_LOCAL, "out of memory");
    return;
  }
  wd_icmp_program_init(&op->program, op->probe.op.loop, o, on_no_program);
  wd_train_start(&op->train);
}

static const char *check(struct wd_probe_op *probe) {
  return wd_train_check(&WD_CONTAINER(probe, struct icmp_op, probe)->opts);
}

static void start(struct wd_probe_op *probe) {
  struct icmp_op *op = WD_CONTAINER(probe, struct icmp_op, probe);
  op->result.common.test_type = "icmp";
  op->result.common.protocol_detail = "ping";
  op->result.common.target = op->result.common.target_host = op->opts.target;
    op->resolve = (struct wd_resolve){.name = op->opts.target, .opts = &op->opts.common, .done = resolved};
  wd_resolve_start(probe->op.loop, &op->resolve);
}

static void stop(struct wd_probe_op *probe) {
  struct icmp_op *op = WD_CONTAINER(probe, struct icmp_op, probe);
  wd_resolve_cancel(&op->resolve);
  wd_train_stop(&op->train);
  wd_packet_queue_close(&op->own);
}

static void destroy(struct wd_probe_op *probe) {
  wd_resolve_clear(&WD_CONTAINER(probe, struct icmp_op, probe)->resolve);
}

const struct wd_probe wd_icmp_ping = {
    .name = "icmp.ping",
    .help = "round trip, loss and jitter of echo requests to a host",
    .opts = &opts_desc,
    .result = &result_desc,
    .size = sizeof(struct icmp_op),
    .opts_at = offsetof(struct icmp_op, opts),
    .result_at = offsetof(struct icmp_op, result),
    .own_timeout = true,
    .check = check,
    .start = start,
    .stop = stop,
    .destroy = destroy,
};
