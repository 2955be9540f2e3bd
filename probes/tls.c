// tls.connect: a TLS handshake, what it agreed on, and whether the certificate holds.
// Must hold: the facts are in the result whatever the verdict; success means that it was verified
// (or that verify is off); the latency is connect and handshake.
// In TLS 1.3 a client's handshake ends before the server has judged the client's certificate (RFC 8446
// section 2): a server that then says no is not waited for here; a dialogue of tcp.connect sees it.
#include "probes/probes.h"
#include "runtime/stream.h"

enum { DEFAULT_PORT = 443 };

struct opts {
  struct wd_common_opts common;
  const char *target;
  struct wd_tls_opts tls;
};

struct result {
  struct wd_common_result common;
  struct wd_stream_result stream;
};

struct tls_connect {
  struct wd_probe_op p;
  struct opts opts;
  struct result result;
  struct wd_stream stream;
};

static const struct wd_field opts_fields[] = {
  WD_FIELD(struct opts, target, "target", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 300,
           .help = "host:port; port 443 where it names none"),
  WD_COMMON_OPTS(struct opts, "10s", "limit for the whole probe"),
  WD_TLS_IDENTITY_OPTS(struct opts, tls),
  WD_TLS_OFFER_OPTS(struct opts, tls),
  {0}};
static const struct wd_desc opts_desc = {"tls.connect", opts_fields, sizeof(struct opts)};

static const struct wd_field timings_fields[] = {
  WD_STREAM_TIMINGS_CONNECT(struct wd_stream_timings), WD_STREAM_TIMINGS_TLS(struct wd_stream_timings), {0}};
static const struct wd_desc timings_desc = {"timings", timings_fields, sizeof(struct wd_stream_timings)};

static const struct wd_field result_fields[] = {
  WD_COMMON_RESULT(struct result), WD_STREAM_RESULT(struct result, stream, &timings_desc), WD_TLS_RESULT(struct result, stream.tls), {0}};
static const struct wd_desc result_desc = {"tls result", result_fields, sizeof(struct result)};

static struct tls_connect *of(struct wd_probe_op *p) {
  return WD_CONTAINER(p, struct tls_connect, p);
}

static const char *check(struct wd_probe_op *p) {
  const struct opts *o = &of(p)->opts;
  const char *wrong = wd_tls_opts_check(&o->tls);
  return wrong ? wrong : wd_stream_check(p, o->target, DEFAULT_PORT);
}

static void opened(struct wd_stream *s) {
  wd_stream_secure(s, &of(s->probe)->opts.tls);
}

static void secured(struct wd_stream *s) {
  struct tls_connect *t = of(s->probe);
  t->result.common.latency = s->result->timings.connect + s->result->timings.tls;
  s->result->quality.timestamp_source = "user"; // that of the handshake, whose error nobody knows
  s->result->quality.uncertainty = WD_NONE;
  if (wd_stream_trusts(s)) wd_stream_done(s, WD_OK, NULL, false);
}

static void start(struct wd_probe_op *p) {
  struct tls_connect *t = of(p);
  t->result.common.test_type = "tls";
  t->result.common.protocol_detail = "tcp_tls";
  t->stream.opened = opened;
  t->stream.secured = secured;
  wd_stream_start(&t->stream, p, &t->result.stream, t->opts.target, DEFAULT_PORT);
}

static void stop(struct wd_probe_op *p) {
  wd_stream_stop(&of(p)->stream);
}

static void expire(struct wd_probe_op *p) {
  wd_stream_expire(&of(p)->stream);
}

const struct wd_probe wd_tls_connect = {
  .name = "tls.connect",
  .help = "handshake time, version, cipher and certificates of a TLS server",
  .opts = &opts_desc,
  .result = &result_desc,
  .size = sizeof(struct tls_connect),
  .opts_at = offsetof(struct tls_connect, opts),
  .result_at = offsetof(struct tls_connect, result),
  .check = check,
  .start = start,
  .stop = stop,
  .expire = expire,
};
