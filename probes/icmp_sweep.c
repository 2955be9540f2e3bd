// icmp.sweep: echo requests to many addresses.
#include "probes/icmp_wire.h"
#include "probes/probes.h"
#include "probes/sweep_probe.h"

static const struct wd_field opts_fields[] = {
    WD_SWEEP_OPTS("names, addresses and ranges such as 10.0.0.0/24 or 10.0.0.1-10.0.0.9: a list, or one alone", "56",
                  WD_ICMP_NONCE_BYTES, WD_ICMP_SIZE_MAX),
    {0}};
static const struct wd_desc opts_desc = {"icmp.sweep", opts_fields, sizeof(struct wd_sweep_options)};

// The nonce of an echo: the slot, then its tag.
static size_t build(const struct wd_packet_socket *s, uint32_t slot, uint32_t tag, size_t size, uint8_t *out, size_t cap) {
  return wd_icmp_build(out, cap, s->family, s->ident, (uint16_t)slot, (uint64_t)slot << 32 | tag, size);
}

static bool take_echo(const struct wd_packet_socket *s, const struct wd_icmp_echo *echo, uint32_t *slot, uint32_t *tag) {
  *slot = (uint32_t)(echo->nonce >> 32);
  *tag = (uint32_t)echo->nonce;
  return echo->id == s->ident && echo->nonce_len == WD_ICMP_NONCE_BYTES && (uint16_t)*slot == echo->seq;
}

// A host may cut its reply short and is there all the same.
static bool parse(const struct wd_packet_socket *s, const struct wd_packet_reply *reply, size_t size, uint32_t *slot, uint32_t *tag) {
  (void)size;
  struct wd_icmp_message m;
  if (!wd_icmp_parse(&m, s->family, s->kind == WD_PACKET_RAW, reply->bytes, reply->len)) return false;
  return m.kind == WD_ICMP_REPLY && take_echo(s, &m.echo, slot, tag);
}

static int parse_quote(const struct wd_packet_socket *s, const struct wd_packet_error *error, uint32_t *slot, uint32_t *tag) {
  struct wd_icmp_echo echo;
  if (!wd_icmp_parse_quote(&echo, s->family, error->quote, error->len) || echo.id != s->ident) return -1;
  if (take_echo(s, &echo, slot, tag)) return 2;
  *slot = echo.seq;
  return echo.nonce_len < WD_ICMP_NONCE_BYTES ? 1 : -1;
}

static const struct wd_sweep_class sweep_class = {
    .kinds = {WD_PACKET_PING, WD_PACKET_RAW}, .build = build, .parse = parse, .parse_quote = parse_quote};

static const char *check(struct wd_probe_op *probe) {
  return wd_sweep_check(probe, &sweep_class, -1);
}

static void start(struct wd_probe_op *probe) {
  WD_CONTAINER(probe, struct wd_sweep_op, probe)->result.common.test_type = "icmp";
  wd_sweep_begin(probe);
}

const struct wd_probe wd_icmp_sweep = {
    .name = "icmp.sweep",
    .help = "round trips of echo requests to many addresses, as fast as they leave",
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
