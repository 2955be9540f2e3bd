// ssh.connect: whether an SSH server answers, and which one. Reads its identification string (RFC 4253
// section 4.2) and sends none, so that no key exchange begins.
// Must hold: only SSH-2.0- and SSH-1.99- are success; the latency is that of the connection, the wait
// for the banner is apart.
#include "probes/probes.h"
#include "probes/ssh_wire.h"
#include "runtime/stream.h"

enum { DEFAULT_PORT = 22 };

struct opts {
  struct wd_common_opts common;
  const char *target;
  wd_ns banner_timeout;
};

struct result {
  struct wd_common_result common;
  struct wd_stream_result stream;
  const char *banner, *protocol, *software, *comments;
};

struct ssh_connect {
  struct wd_probe_op p;
  struct opts opts;
  struct result result;
  struct wd_stream stream;
  struct wd_ssh ssh;
  struct wd_timer banner_due;
};

static const struct wd_field opts_fields[] = {
  WD_FIELD(struct opts, target, "target", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 300,
           .help = "host:port; port 22 where it names none"),
  WD_COMMON_OPTS(struct opts, "10s", "limit for the whole probe"),
  WD_FIELD(struct opts, banner_timeout, "banner_timeout", WD_T_DURATION, .def = "2s", .min = 0.001, .max = 86400, .unit = "s",
           .help = "limit for the banner once connected"),
  {0}};
static const struct wd_desc opts_desc = {"ssh.connect", opts_fields, sizeof(struct opts)};

static const struct wd_field timings_fields[] = {
  WD_STREAM_TIMINGS_CONNECT(struct wd_stream_timings),
  WD_FIELD(struct wd_stream_timings, banner, "banner_ms", WD_T_MS, .help = "connected to the end of the banner"),
  {0}};
static const struct wd_desc timings_desc = {"timings", timings_fields, sizeof(struct wd_stream_timings)};

static const struct wd_field result_fields[] = {
  WD_COMMON_RESULT(struct result),
  WD_STREAM_RESULT(struct result, stream, &timings_desc),
  WD_FIELD(struct result, banner, "banner", WD_T_STR, .help = "the identification string as sent, fit to print"),
  WD_FIELD(struct result, protocol, "protocol", WD_T_STR, .help = "2.0 or 1.99"),
  WD_FIELD(struct result, software, "software", WD_T_STR, .help = "name and version of the server's software"),
  WD_FIELD(struct result, comments, "comments", WD_T_STR, .help = "what the banner says besides"),
  {0}};
static const struct wd_desc result_desc = {"ssh result", result_fields, sizeof(struct result)};

static struct ssh_connect *of(struct wd_probe_op *p) {
  return WD_CONTAINER(p, struct ssh_connect, p);
}

static const char *check(struct wd_probe_op *p) {
  return wd_stream_check(p, of(p)->opts.target, DEFAULT_PORT);
}

static void take_banner(struct ssh_connect *t) {
  struct result *r = &t->result;
  r->stream.timings.banner = wd_stream_lap(&t->stream);
  r->banner = t->ssh.banner;
  r->protocol = t->ssh.protocol;
  r->software = *t->ssh.software ? t->ssh.software : NULL;
  r->comments = *t->ssh.comments ? t->ssh.comments : NULL;
  wd_stream_done(&t->stream, WD_OK, NULL, false);
}

static void ready(struct wd_stream *s) {
  struct ssh_connect *t = of(s->probe);
  uint8_t bytes[1024];
  size_t got;
  enum wd_stream_io io;
  while ((io = wd_stream_read(s, bytes, sizeof(bytes), &got)) == WD_STREAM_OK) {
    enum wd_ssh_step step = wd_ssh_feed(&t->ssh, bytes, got);
    if (step == WD_SSH_DONE) take_banner(t);
    if (step == WD_SSH_REFUSED) wd_stream_done(s, WD_E_PROTOCOL, t->ssh.detail, false);
    if (step != WD_SSH_MORE) return;
  }
  if (io == WD_STREAM_END) wd_stream_done(s, WD_E_PROTOCOL, wd_ssh_unfinished(&t->ssh), false);
}

static void on_banner_due(struct wd_timer *timer) {
  struct ssh_connect *t = WD_CONTAINER(timer, struct ssh_connect, banner_due);
  wd_stream_done(&t->stream, WD_E_TIMEOUT, wd_ssh_unfinished(&t->ssh), false);
}

static void opened(struct wd_stream *s) {
  struct ssh_connect *t = of(s->probe);
  t->result.common.latency = s->result->timings.connect;
  t->banner_due.fire = on_banner_due;
  wd_loop_arm(t->p.op.loop, &t->banner_due, t->opts.banner_timeout);
  ready(s);
}

static void start(struct wd_probe_op *p) {
  struct ssh_connect *t = of(p);
  t->result.common.test_type = "ssh";
  t->result.common.protocol_detail = "ssh";
  t->stream.opened = opened;
  t->stream.ready = ready;
  wd_stream_start(&t->stream, p, &t->result.stream, t->opts.target, DEFAULT_PORT);
}

static void stop(struct wd_probe_op *p) {
  wd_timer_stop(&p->op.loop->timers, &of(p)->banner_due);
  wd_stream_stop(&of(p)->stream);
}

static void expire(struct wd_probe_op *p) {
  struct ssh_connect *t = of(p);
  if (!wd_stream_expire(&t->stream)) wd_stream_done(&t->stream, WD_E_TIMEOUT, wd_ssh_unfinished(&t->ssh), false);
}

const struct wd_probe wd_ssh_connect = {
  .name = "ssh.connect",
  .help = "connection time and banner of an SSH server",
  .opts = &opts_desc,
  .result = &result_desc,
  .size = sizeof(struct ssh_connect),
  .opts_at = offsetof(struct ssh_connect, opts),
  .result_at = offsetof(struct ssh_connect, result),
  .check = check,
  .start = start,
  .stop = stop,
  .expire = expire,
};
