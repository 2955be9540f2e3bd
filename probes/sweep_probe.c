// See sweep_probe.h.
#include "probes/sweep_probe.h"

#include <stdio.h>

#include "runtime/clock.h"

const char *const wd_sweep_stamp_names[] = {"lean", "exact", NULL};

#define R struct wd_sweep_result
static const struct wd_field result_fields[] = {
    WD_COMMON_RESULT(R),
    WD_FIELD(R, sent, "sent", WD_T_INT, .help = "packets that left this machine, those sent again too"),
    WD_FIELD(R, received, "received", WD_T_INT, .help = "packets answered in time"),
    WD_FIELD(R, loss_percent, "packet_loss_percent", WD_T_NUM, .unit = "%", .help = "share of those sent not answered in time"),
    WD_FIELD(R, rtt, "rtt_ms", WD_T_LIST, .elem = WD_T_MS,
             .help = "for each target its round trip, false where there is none; with a count over 1 a list of these"),
    WD_FIELD(R, targets, "targets", WD_T_LIST, .elem = WD_T_STR, .help = "the targets in their order, of a range its addresses"),
    WD_FIELD(R, errors, "errors", WD_T_LIST, .elem = WD_T_ERR,
             .help = "for each target why it never answered, false where it did; absent where all did"),
    WD_FIELD(R, late_rtt, "late_ms", WD_T_LIST, .elem = WD_T_MS,
             .help = "as rtt_ms, for replies that came after the timeout; absent where there are none"),
    WD_FIELD(R, rtt_min, "rtt_min_ms", WD_T_MS, .help = "shortest round trip"),
    WD_FIELD(R, rtt_avg, "rtt_avg_ms", WD_T_MS, .help = "mean round trip"),
    WD_FIELD(R, rtt_max, "rtt_max_ms", WD_T_MS, .help = "longest round trip"),
    WD_FIELD(R, late, "late", WD_T_INT, .help = "replies that came after their packet's timeout; they count as lost"),
    WD_FIELD(R, duplicates, "duplicates", WD_T_INT, .help = "further replies to a packet already answered"),
    WD_FIELD(R, foreign, "foreign", WD_T_INT, .help = "messages that came as replies and were not the target's to our packets"),
    WD_FIELD(R, overflowed, "overflowed", WD_T_INT,
             .help = "packets whose reply our own receive buffer may have dropped; they do not count in the loss"),
    {0}};
#undef R
const struct wd_desc wd_sweep_result_desc = {"sweep", result_fields, sizeof(struct wd_sweep_result)};

static struct wd_sweep_op *of(struct wd_probe_op *probe) {
  return WD_CONTAINER(probe, struct wd_sweep_op, probe);
}

const char *wd_sweep_check(struct wd_probe_op *probe, const struct wd_sweep_class *cls, int port) {
  struct wd_sweep_op *op = of(probe);
  const struct wd_sweep_options *o = &op->opts;
  op->list = (struct wd_sweep_list){.arena = &probe->arena, .texts = &o->targets, .opts = &o->common, .port = port};
  op->sweep.cls = cls;
  if (o->linger != WD_NONE && o->linger < o->common.timeout) return "field 'linger': shorter than the timeout";
  const char *wrong = wd_sweep_list_read(&op->list);
  if (wrong) return wrong;
  if ((double)op->list.n * (double)o->count * (double)(o->retries + 1) > WD_SWEEP_SLOTS)
    return "more than 16777216 packets: fewer targets, a smaller 'count' or fewer 'retries'";
  return NULL;
}

// ---- the result ----

// Every probe's round trip of one kind, the targets' side by side; false when memory is out.
static bool write_times(struct wd_sweep_op *op, enum wd_sweep_state kind, struct wd_list *out) {
  const struct wd_sweep *s = &op->sweep;
  uint32_t count = s->opts.count, attempts = s->opts.retries + 1;
  wd_ns *times = wd_arena_array(&op->probe.arena, s->probes, sizeof(*times));
  if (!times) return false;
  for (uint32_t i = 0; i < s->n; i++) {
    for (uint32_t round = 0; round < count; round++) {
      wd_ns *at = &times[i * count + round];
      *at = WD_NONE;
      for (uint32_t slot = (round * s->n + i) * attempts, end = slot + attempts; slot < end; slot++)
        if (s->state[slot] == kind) *at = s->at[slot];
    }
  }
  *out = (struct wd_list){.items = times, .n = s->n, .given = true, .width = count};
  return true;
}

// What kept the targets from answering that never did; the list stays absent where all did.
static bool write_errors(struct wd_sweep_op *op) {
  const struct wd_sweep *s = &op->sweep;
  const wd_ns *times = op->result.rtt.items;
  enum wd_err *errors = wd_arena_array(&op->probe.arena, s->n, sizeof(*errors));
  if (!errors) return false;
  op->result.errors = (struct wd_list){.items = errors};
  for (uint32_t i = 0; i < s->n; i++) {
    bool answered = false;
    for (uint32_t k = 0; k < s->opts.count; k++) answered = answered || times[i * s->opts.count + k] != WD_NONE;
    if (answered) continue;
    errors[i] = s->targets[i].err ? (enum wd_err)s->targets[i].err : WD_E_TIMEOUT;
    op->result.errors.n = s->n;
  }
  return true;
}

static void write_figures(struct wd_sweep_op *op) {
  const struct wd_sweep *s = &op->sweep;
  struct wd_sweep_result *r = &op->result;
  const wd_ns *times = r->rtt.items;
  wd_ns sum = 0, n = 0;
  r->sent = s->sent;
  r->received = s->received;
  r->late = s->late;
  r->duplicates = s->duplicates;
  r->foreign = s->foreign;
  r->overflowed = s->overflowed;
  int64_t known = r->sent - r->overflowed;
  if (known > 0) r->loss_percent = 100.0 * (double)(known - r->received) / (double)known;
  for (uint32_t i = 0; i < s->probes; i++) {
    if (times[i] == WD_NONE) continue;
    if (r->rtt_min == WD_NONE || times[i] < r->rtt_min) r->rtt_min = times[i];
    if (times[i] > r->rtt_max) r->rtt_max = times[i]; // WD_NONE is below every time
    sum += times[i];
    n++;
  }
  if (n > 0) r->rtt_avg = r->common.latency = sum / n;
}

static void swept(struct wd_sweep *s) {
  struct wd_sweep_op *op = WD_CONTAINER(s, struct wd_sweep_op, sweep);
  struct wd_sweep_result *r = &op->result;
  struct wd_quality *quality = wd_arena_alloc(&op->probe.arena, sizeof(*quality));
  bool ok = quality && write_times(op, WD_SWEEP_OK, &r->rtt) && write_errors(op) && wd_sweep_list_names(&op->list, &r->targets);
  if (!ok || (s->late > 0 && !write_times(op, WD_SWEEP_LATE, &r->late_rtt))) {
    wd_probe_done(&op->probe, WD_E_LOCAL, "out of memory");
    return;
  }
  write_figures(op);
  wd_desc_clear(&wd_quality_desc, quality);
  r->common.quality = quality;
  if (r->received > 0) {
    quality->timestamp_source = s->clock;
    quality->uncertainty = s->uncertainty;
    wd_probe_done(&op->probe, WD_OK, NULL);
    return;
  }
  // Where all had the same fate, it is the sweep's.
  enum wd_err first = ((const enum wd_err *)r->errors.items)[0];
  bool same = true;
  for (uint32_t i = 1; i < s->n; i++) same = same && ((const enum wd_err *)r->errors.items)[i] == first;
  if (s->n == 1 && first == WD_E_TIMEOUT)
    wd_probe_done(&op->probe, first, "no answer within %g s", (double)s->opts.timeout / 1e9);
  else if (s->n == 1)
    wd_probe_done(&op->probe, first, "%s", s->why ? s->why : op->list.why ? op->list.why : wd_err_name(first));
  else
    wd_probe_done(&op->probe, same ? first : WD_E_TIMEOUT, "none of %u targets answered%s%s", s->n, same ? ", each " : "",
                  same ? wd_err_name(first) : "");
}

// ---- beginning and end ----

static void listed(struct wd_sweep_list *l) {
  struct wd_sweep_op *op = WD_CONTAINER(l, struct wd_sweep_op, list);
  const struct wd_sweep_options *o = &op->opts;
  struct wd_sweep *s = &op->sweep;
  s->targets = l->targets;
  s->n = l->n;
  s->done = swept;
  s->opts = (struct wd_sweep_opts){.rate = o->rate,
                                   .count = (unsigned)o->count,
                                   .retries = (unsigned)o->retries,
                                   .interval = o->interval,
                                   .timeout = o->common.timeout,
                                   .linger = o->linger == WD_NONE ? 0 : o->linger,
                                   .size = (size_t)o->size,
                                   .ttl = o->ttl == WD_NONE ? -1 : (int)o->ttl,
                                   .tos = o->common.tos == WD_NONE ? -1 : (int)o->common.tos,
                                   .stamps = (enum wd_sweep_stamps)o->stamps,
                                   .source = o->common.source};
  enum wd_err err = wd_sweep_init(s, op->probe.op.loop, &op->probe.arena) ? wd_sweep_start(s) : WD_E_LOCAL;
  if (err == WD_E_PERMISSION)
    wd_probe_done(&op->probe, err, "no ICMP socket (%s): widen the sysctl net.ipv4.ping_group_range, for instance to "
                  "\"0 2147483647\", or grant CAP_NET_RAW", s->detail);
  else if (err)
    wd_probe_done(&op->probe, err, "%s", s->at ? s->detail : "out of memory");
}

void wd_sweep_begin(struct wd_probe_op *probe) {
  struct wd_sweep_op *op = of(probe);
  struct wd_common_result *r = &op->result.common;
  const char *first = *(const char *const *)op->opts.targets.items;
  r->protocol_detail = "sweep";
  r->target = op->opts.targets.n == 1 ? first : wd_arena_printf(&probe->arena, "%s and %zu more", first, op->opts.targets.n - 1);
  r->target_host = r->target;
  op->list.done = listed;
  wd_sweep_list_resolve(probe->op.loop, &op->list);
}

void wd_sweep_end(struct wd_probe_op *probe) {
  wd_sweep_list_stop(&of(probe)->list);
  wd_sweep_stop(&of(probe)->sweep);
}
