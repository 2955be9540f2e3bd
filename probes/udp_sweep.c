// udp.sweep: datagrams to many echo servers.
#include "probes/probes.h"
#include "probes/sweep_probe.h"
#include "probes/udp_wire.h"

enum { DEFAULT_PORT = 2000 };

static const struct wd_field opts_fields[] = {
    WD_SWEEP_OPTS("host:port, port 2000 where none is given, and ranges such as 10.0.0.0/24:7: a list, or one alone", "64",
                  WD_UDP_SIZE_MIN, WD_UDP_SIZE_MAX),
    {0}};
static const struct wd_desc opts_desc = {"udp.sweep", opts_fields, sizeof(struct wd_sweep_options)};

static size_t build(const struct wd_packet_socket *s, uint32_t slot, uint32_t tag, size_t size, uint8_t *out, size_t cap) {
  (void)s;
  struct wd_udp_ping ping = {.id = tag, .seq = slot, .nonce = tag};
  return wd_udp_build(out, cap, &ping, size);
}

static bool parse(const struct wd_packet_socket *s, const struct wd_packet_reply *reply, size_t size, uint32_t *slot, uint32_t *tag) {
  (void)s;
  struct wd_udp_ping ping;
  if (reply->len != size || !wd_udp_parse(&ping, reply->bytes, reply->len)) return false;
  *slot = ping.seq;
  *tag = ping.id;
  return ping.nonce == ping.id;
}

static int parse_quote(const struct wd_packet_socket *s, const struct wd_packet_error *error, uint32_t *slot, uint32_t *tag) {
  (void)s;
  struct wd_udp_ping ping;
  bool nonce_known;
  if (!wd_udp_parse_quote(&ping, &nonce_known, error->quote, error->len)) return error->len >= WD_UDP_SIZE_MIN ? -1 : 0;
  *slot = ping.seq;
  *tag = ping.id;
  return 2;
}

static const struct wd_sweep_class sweep_class = {
    .kinds = {WD_PACKET_UDP, WD_PACKET_UDP}, .build = build, .parse = parse, .parse_quote = parse_quote};

static const char *check(struct wd_probe_op *probe) {
  return wd_sweep_check(probe, &sweep_class, DEFAULT_PORT);
}

static void start(struct wd_probe_op *probe) {
  WD_CONTAINER(probe, struct wd_sweep_op, probe)->result.common.test_type = "udp";
  wd_sweep_begin(probe);
}

const struct wd_probe wd_udp_sweep = {
    .name = "udp.sweep",
    .help = "round trips of datagrams to many echo servers",
    .opts = &opts_desc,
    .result = &wd_sweep_result_desc,
    .size = sizeof(struct wd_sweep_op),
    .opts_at = offsetof(struct wd_sweep_op, opts),
    .result_at = offsetof(struct wd_sweep_op, result),
    .own_timeout = true,
    .check = check,
    .start = start,
    .stop = wd_sweep_end,
};
