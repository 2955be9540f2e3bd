// tcp.connect: connection time, and where asked what comes after it: a STARTTLS dialogue, a TLS
// handshake, and a dialogue of bytes sent and expected.
// Must hold: nothing is sent to a peer whose certificate does not hold; a plain connect ends in an RST,
// which leaves no TIME_WAIT at our end (28,000 of them use up the ports to one target), everything
// else ends in good order; the latency is that of the connection alone.
#include <stdlib.h>
#include <string.h>

#include "probes/probes.h"
#include "probes/starttls_wire.h"
#include "runtime/stream.h"
#include "runtime/text.h"

enum { READ_AT_ONCE = 4096, STEPS_MOST = 100, SHOWN = 64 };

struct step {
  struct wd_data send, expect;
  int64_t max_bytes;
};

struct opts {
  struct wd_common_opts common;
  const char *target;
  int starttls; // enum wd_starttls_protocol
  struct wd_tls_opts *tls;
  struct wd_list dialogue; // of struct step
};

struct step_result {
  wd_ns took;
  int64_t sent_bytes;
  struct wd_data received;
};

struct result {
  struct wd_common_result common;
  struct wd_stream_result stream;
  struct wd_list dialogue; // of struct step_result
};

struct tcp_connect {
  struct wd_probe_op p;
  struct opts opts;
  struct result result;
  struct wd_stream stream;
  struct wd_starttls *starttls; // where it is spoken
  bool in_starttls, in_dialogue;
  size_t step;           // of the dialogue, from 0
  struct wd_data out;    // what is still to be written
  char *in;              // what was read and not yet taken by a step
  size_t have, room;
  size_t searched;       // bytes at the front of `in` that cannot begin a match
};

static const struct wd_field step_fields[] = {
  WD_FIELD(struct step, send, "send", WD_T_DATA, .min = 1, .max = 1 << 20, .help = "bytes to send"),
  WD_FIELD(struct step, expect, "expect", WD_T_DATA, .min = 1, .max = 4096,
           .help = "bytes to wait for, exactly these; the step takes all that comes up to their end"),
  WD_FIELD(struct step, max_bytes, "max_bytes", WD_T_BYTES, .def = "16k", .min = 1, .max = 1 << 20, .unit = "bytes",
           .help = "give up when so much came without what was expected"),
  {0}};
static const struct wd_desc step_desc = {"step", step_fields, sizeof(struct step)};

static const struct wd_field opts_fields[] = {
  WD_FIELD(struct opts, target, "target", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 300, .help = "host:port"),
  WD_COMMON_OPTS(struct opts, "10s", "limit for the whole probe"),
  WD_FIELD(struct opts, starttls, "starttls", WD_T_ENUM, .names = wd_starttls_names,
           .help = "ask the server for TLS in the words of this protocol"),
  WD_FIELD(struct opts, tls, "tls", WD_T_TABLE, .flags = WD_F_OPTIONAL, .sub = &wd_tls_opts_desc,
           .help = "speak TLS once connected, or after starttls; {} takes every default"),
  WD_FIELD(struct opts, dialogue, "dialogue", WD_T_LIST, .elem = WD_T_TABLE, .sub = &step_desc,
           .help = "what to send and what to wait for, in order: {{expect = \"220\"}, {send = \"QUIT\\r\\n\"}}"),
  {0}};
static const struct wd_desc opts_desc = {"tcp.connect", opts_fields, sizeof(struct opts)};

static const struct wd_field timings_fields[] = {
  WD_STREAM_TIMINGS_CONNECT(struct wd_stream_timings),
  WD_FIELD(struct wd_stream_timings, starttls, "starttls_ms", WD_T_MS, .help = "connected to the server's consent to TLS"),
  WD_STREAM_TIMINGS_TLS(struct wd_stream_timings),
  WD_FIELD(struct wd_stream_timings, dialogue, "dialogue_ms", WD_T_MS, .help = "all steps of the dialogue so far"),
  {0}};
static const struct wd_desc timings_desc = {"timings", timings_fields, sizeof(struct wd_stream_timings)};

static const struct wd_field step_result_fields[] = {
  WD_FIELD(struct step_result, took, "took_ms", WD_T_MS, .help = "from the end of the step before; absent where it did not end"),
  WD_FIELD(struct step_result, sent_bytes, "sent_bytes", WD_T_INT, .unit = "bytes", .help = "bytes handed to the connection"),
  WD_FIELD(struct step_result, received, "received", WD_T_DATA, .help = "all that came up to the end of what was expected"),
  {0}};
static const struct wd_desc step_result_desc = {"step", step_result_fields, sizeof(struct step_result)};

static const struct wd_field result_fields[] = {
  WD_COMMON_RESULT(struct result),
  WD_STREAM_RESULT(struct result, stream, &timings_desc),
  WD_TLS_RESULT(struct result, stream.tls),
  WD_FIELD(struct result, dialogue, "dialogue", WD_T_LIST, .elem = WD_T_TABLE, .sub = &step_result_desc,
           .help = "what came of each step that was begun"),
  {0}};
static const struct wd_desc result_desc = {"tcp result", result_fields, sizeof(struct result)};

static struct tcp_connect *of(struct wd_probe_op *p) {
  return WD_CONTAINER(p, struct tcp_connect, p);
}

static const struct step *present(struct tcp_connect *t) {
  return (const struct step *)t->opts.dialogue.items + t->step;
}

static struct step_result *outcome(struct tcp_connect *t) {
  return (struct step_result *)t->result.dialogue.items + t->step;
}

static const char *check(struct wd_probe_op *p) {
  struct opts *o = &of(p)->opts;
  if (o->starttls >= 0 && !o->tls) {
    if (!(o->tls = wd_arena_alloc(&p->arena, sizeof(*o->tls)))) return "out of memory";
    wd_desc_clear(&wd_tls_opts_desc, o->tls);
    o->tls->verify = 1;
  }
  const char *wrong = o->tls ? wd_tls_opts_check(o->tls) : NULL;
  if (wrong) return wrong;
  if (o->dialogue.n > STEPS_MOST) return "field 'dialogue': too many steps (100 at most)";
  for (size_t i = 0; i < o->dialogue.n; i++) {
    const struct step *step = (const struct step *)o->dialogue.items + i;
    if (!step->send.p == !step->expect.p)
      return wd_arena_printf(&p->arena, "field 'dialogue[%zu]': expected either 'send' or 'expect'", i + 1);
    if ((size_t)step->max_bytes < step->expect.n)
      return wd_arena_printf(&p->arena, "field 'dialogue[%zu].max_bytes': smaller than what is expected", i + 1);
  }
  return wd_stream_check(p, o->target, WD_PORT_REQUIRED);
}

// Ends the present step; what it leaves in `in` belongs to the next.
static void end_step(struct tcp_connect *t, size_t taken) {
  struct step_result *r = outcome(t);
  r->took = wd_stream_lap(&t->stream);
  t->result.stream.timings.dialogue += r->took;
  if (present(t)->expect.p) {
    r->received = (struct wd_data){wd_arena_strndup(&t->p.arena, t->in, taken), taken};
    memmove(t->in, t->in + taken, t->have - taken);
    t->have -= taken;
  }
  t->searched = 0;
  t->step++;
}

// Ends the probe in the middle of the dialogue, with what the present step has got so far.
static void fail_step(struct tcp_connect *t, enum wd_err err, const char *what) {
  const struct step *step = present(t);
  const struct wd_data *wanted = step->send.p ? &step->send : &step->expect;
  char shown[SHOWN];
  if (step->expect.p && t->have) outcome(t)->received = (struct wd_data){wd_arena_strndup(&t->p.arena, t->in, t->have), t->have};
  wd_text_escape(shown, sizeof(shown), wanted->p, wanted->n);
  const char *detail = wd_arena_printf(&t->p.arena, "step %zu, %s \"%s\": %s", t->step + 1, step->send.p ? "send" : "expect", shown, what);
  wd_stream_done(&t->stream, err, detail, false);
}

// Makes room for the next read, within what the step may take. False when memory is out.
static bool make_room(struct tcp_connect *t, size_t most) {
  size_t room = t->have + READ_AT_ONCE < most ? t->have + READ_AT_ONCE : most;
  if (room <= t->room) return true;
  char *grown = realloc(t->in, room);
  if (!grown) return false;
  t->in = grown;
  t->room = room;
  return true;
}

// Looks for what is expected; true when the step has ended.
static bool found(struct tcp_connect *t) {
  const struct wd_data *wanted = &present(t)->expect;
  size_t have = t->have < (size_t)present(t)->max_bytes ? t->have : (size_t)present(t)->max_bytes;
  if (have < wanted->n) return false;
  const char *at = memmem(t->in + t->searched, have - t->searched, wanted->p, wanted->n);
  if (at) {
    end_step(t, (size_t)(at - t->in) + wanted->n);
    return true;
  }
  t->searched = have - wanted->n + 1;
  return false;
}

// Each of these goes one move on; false where the stream has to be waited for, or the probe has ended.
static bool expect_more(struct tcp_connect *t) {
  size_t got, most = (size_t)present(t)->max_bytes;
  if (found(t)) return true;
  if (t->have >= most) {
    fail_step(t, WD_E_PROTOCOL, "did not come within max_bytes");
    return false;
  }
  if (!make_room(t, most)) {
    fail_step(t, WD_E_LOCAL, "out of memory");
    return false;
  }
  switch (wd_stream_read(&t->stream, t->in + t->have, (t->room < most ? t->room : most) - t->have, &got)) {
  case WD_STREAM_OK: t->have += got; return true;
  case WD_STREAM_END: fail_step(t, WD_E_PROTOCOL, "the peer closed the connection first"); return false;
  case WD_STREAM_FAILED: fail_step(t, WD_E_PROTOCOL, ""); return false; // too late to change the reason
  default: return false;
  }
}

static bool write_more(struct tcp_connect *t) {
  size_t put;
  if (wd_stream_write(&t->stream, t->out.p, t->out.n, &put) != WD_STREAM_OK) return false;
  t->out.p += put;
  t->out.n -= put;
  if (!t->in_dialogue) return true;
  struct step_result *r = outcome(t);
  r->sent_bytes = (r->sent_bytes == WD_NONE ? 0 : r->sent_bytes) + (int64_t)put;
  if (t->out.n == 0) end_step(t, 0);
  return true;
}

static bool next_step(struct tcp_connect *t) {
  if (t->step == t->opts.dialogue.n) {
    wd_stream_done(&t->stream, WD_OK, NULL, false);
    return false;
  }
  if (t->result.dialogue.n <= t->step) t->result.dialogue.n = t->step + 1;
  if (present(t)->expect.p) return expect_more(t);
  t->out = present(t)->send;
  return true;
}

static bool starttls_more(struct tcp_connect *t) {
  uint8_t bytes[1024];
  size_t got;
  switch (wd_stream_read(&t->stream, bytes, sizeof(bytes), &got)) {
  case WD_STREAM_OK: break;
  case WD_STREAM_END: wd_stream_done(&t->stream, WD_E_PROTOCOL, wd_starttls_unfinished(t->starttls), false); return false;
  default: return false;
  }
  switch (wd_starttls_feed(t->starttls, bytes, got)) {
  case WD_STARTTLS_MORE:
    t->out = (struct wd_data){(const char *)t->starttls->send_bytes, t->starttls->send_len};
    return true;
  case WD_STARTTLS_READY:
    t->in_starttls = false;
    t->result.stream.timings.starttls = wd_stream_lap(&t->stream);
    wd_stream_secure(&t->stream, t->opts.tls);
    return false;
  default: wd_stream_done(&t->stream, WD_E_PROTOCOL, t->starttls->detail, false); return false;
  }
}

static void advance(struct wd_stream *s) {
  struct tcp_connect *t = of(s->probe);
  bool more = true;
  while (more) more = t->out.n ? write_more(t) : t->in_starttls ? starttls_more(t) : next_step(t);
}

static void begin_dialogue(struct tcp_connect *t) {
  size_t n = t->opts.dialogue.n;
  struct step_result *results = wd_arena_array(&t->p.arena, n, sizeof(*results));
  if (!results) {
    wd_stream_done(&t->stream, WD_E_LOCAL, "out of memory", false);
    return;
  }
  for (size_t i = 0; i < n; i++) wd_desc_clear(&step_result_desc, &results[i]);
  t->result.dialogue.items = results;
  t->result.stream.timings.dialogue = 0;
  t->in_dialogue = true;
  advance(&t->stream);
}

static void secured(struct wd_stream *s) {
  struct tcp_connect *t = of(s->probe);
  if (!wd_stream_trusts(s)) return;
  if (t->opts.dialogue.n)
    begin_dialogue(t);
  else
    wd_stream_done(s, WD_OK, NULL, false);
}

static void opened(struct wd_stream *s) {
  struct tcp_connect *t = of(s->probe);
  t->result.common.latency = s->result->timings.connect;
  if (t->opts.starttls >= 0) {
    t->starttls = wd_arena_alloc(&t->p.arena, sizeof(*t->starttls));
    if (!t->starttls) {
      wd_stream_done(s, WD_E_LOCAL, "out of memory", false);
      return;
    }
    t->in_starttls = true;
    wd_starttls_begin(t->starttls, (enum wd_starttls_protocol)t->opts.starttls);
    t->out = (struct wd_data){(const char *)t->starttls->send_bytes, t->starttls->send_len};
    advance(s);
  } else if (t->opts.tls) {
    wd_stream_secure(s, t->opts.tls);
  } else if (t->opts.dialogue.n) {
    begin_dialogue(t);
  } else {
    wd_stream_done(s, WD_OK, NULL, true);
  }
}

static void start(struct wd_probe_op *p) {
  struct tcp_connect *t = of(p);
  t->result.common.test_type = "tcp";
  t->result.common.protocol_detail = t->opts.tls ? "tcp_tls" : "raw_tcp";
  t->stream.opened = opened;
  t->stream.secured = secured;
  t->stream.ready = advance;
  wd_stream_start(&t->stream, p, &t->result.stream, t->opts.target, WD_PORT_REQUIRED);
}

static void stop(struct wd_probe_op *p) {
  wd_stream_stop(&of(p)->stream);
}

static void expire(struct wd_probe_op *p) {
  struct tcp_connect *t = of(p);
  double seconds = (double)t->opts.common.timeout / 1e9;
  if (wd_stream_expire(&t->stream)) return;
  if (t->in_dialogue)
    fail_step(t, WD_E_TIMEOUT, wd_arena_printf(&p->arena, "not done within %g s", seconds));
  else
    wd_stream_done(&t->stream, WD_E_TIMEOUT, wd_starttls_unfinished(t->starttls), false);
}

static void destroy(struct wd_probe_op *p) {
  free(of(p)->in);
}

const struct wd_probe wd_tcp_connect = {
  .name = "tcp.connect",
  .help = "connection time of a TCP port, and a dialogue with what answers there",
  .opts = &opts_desc,
  .result = &result_desc,
  .size = sizeof(struct tcp_connect),
  .opts_at = offsetof(struct tcp_connect, opts),
  .result_at = offsetof(struct tcp_connect, result),
  .check = check,
  .start = start,
  .stop = stop,
  .expire = expire,
  .destroy = destroy,
};
