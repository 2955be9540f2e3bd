// See packet_stats.h.
#include "probes/packet_stats.h"

static const char *const status_names[] = {"ok", "lost", "late", "error", NULL};

#define S struct wd_packet_sample
static const struct wd_field sample_fields[] = {
    WD_FIELD(S, status, "status", WD_T_ENUM, .names = status_names, .help = "ok, lost, late or error"),
    WD_FIELD(S, rtt, "rtt_ms", WD_T_MS, .help = "its round trip"),
    WD_FIELD(S, ttl, "ttl", WD_T_INT, .help = "time to live, or hop limit, the answer came with"),
    WD_FIELD(S, from, "from", WD_T_STR, .help = "address that answered, or that reported the error"),
    WD_FIELD(S, error, "error", WD_T_ERR, .help = "what became of it: a name of the closed list"),
    WD_FIELD(S, mtu, "mtu", WD_T_INT, .unit = "bytes", .help = "what the next hop can carry, of message_too_big"),
    WD_FIELD(S, loop_lag, "loop_lag_ms", WD_T_MS, .help = "worst delay of waddle's own loop from sending it until its fate was known"),
    {0}};
#undef S
static const struct wd_desc sample_desc = {"sample", sample_fields, sizeof(struct wd_packet_sample)};

#define T struct wd_packet_timings
static const struct wd_field timings_fields[] = {
    WD_FIELD(T, dns, "dns_ms", WD_T_MS, .help = "looking up the name; absent for an address"), {0}};
#undef T
static const struct wd_desc timings_desc = {"timings", timings_fields, sizeof(struct wd_packet_timings)};

#define R struct wd_packet_result
const struct wd_field wd_packet_result_fields[] = {
    WD_COMMON_RESULT(R),
    WD_FIELD(R, timings, "timings", WD_T_TABLE, .sub = &timings_desc, .help = "what passed before the packets"),
    WD_FIELD(R, dns_shared, "dns_shared", WD_T_BOOL, .help = "whether the look-up was in flight already, for somebody else"),
    WD_FIELD(R, sent, "packets_sent", WD_T_INT, .help = "packets that left this machine"),
    WD_FIELD(R, received, "packets_received", WD_T_INT, .help = "packets answered in time"),
    WD_FIELD(R, loss_percent, "packet_loss_percent", WD_T_NUM, .unit = "%", .help = "share of those sent not answered in time"),
    WD_FIELD(R, rtt_min, "rtt_min_ms", WD_T_MS, .help = "shortest round trip"),
    WD_FIELD(R, rtt_avg, "rtt_avg_ms", WD_T_MS, .help = "mean round trip"),
    WD_FIELD(R, rtt_max, "rtt_max_ms", WD_T_MS, .help = "longest round trip"),
    WD_FIELD(R, jitter, "jitter_ms", WD_T_MS, .help = "mean difference of round trips between one reply and the next"),
    WD_FIELD(R, jitter_rfc3550, "jitter_rfc3550_ms", WD_T_MS, .help = "smoothed jitter as of RFC 3550"),
    WD_FIELD(R, duplicates, "duplicates", WD_T_INT, .help = "further replies to a packet already answered"),
    WD_FIELD(R, late, "late", WD_T_INT, .help = "replies that came after their packet's timeout; they count as lost"),
    WD_FIELD(R, reordered, "reordered", WD_T_INT, .help = "replies that came after the reply to a later packet"),
    WD_FIELD(R, foreign, "foreign", WD_T_INT, .help = "messages that came as replies and were not the target's to our packets"),
    WD_FIELD(R, overflowed, "overflowed", WD_T_INT,
             .help = "packets whose reply our own receive buffer may have dropped; they do not count in the loss"),
    WD_FIELD(R, samples, "samples", WD_T_LIST, .elem = WD_T_TABLE, .sub = &sample_desc,
             .help = "each packet's fate, in the order of sending"),
    {0}};
#undef R

static wd_ns distance(wd_ns a, wd_ns b) {
  return a > b ? a - b : b - a;
}

void wd_packet_jitter_add(struct wd_packet_jitter *j, wd_ns rtt) {
  if (j->replies++ > 0) j->jitter += ((double)distance(rtt, j->last) - j->jitter) / 16;
  j->last = rtt;
}

void wd_packet_stats(struct wd_packet_result *r, const struct wd_packet_jitter *jitter) {
  const struct wd_packet_sample *samples = r->samples.items, *before = NULL;
  wd_ns min = INT64_MAX, max = 0, sum = 0, steps = 0;
  r->received = r->late = 0;
  for (size_t i = 0; i < r->samples.n; i++) {
    const struct wd_packet_sample *s = &samples[i];
    if (s->status == WD_SAMPLE_LATE) r->late++;
    if (s->status != WD_SAMPLE_OK) continue;
    if (before) steps += distance(s->rtt, before->rtt);
    if (s->rtt < min) min = s->rtt;
    if (s->rtt > max) max = s->rtt;
    sum += s->rtt;
    r->received++;
    before = s;
  }
  int64_t known = r->sent - r->overflowed;
  if (known > 0) r->loss_percent = 100.0 * (double)(known - r->received) / (double)known;
  if (r->received == 0) return;
  r->rtt_min = min;
  r->rtt_max = max;
  r->rtt_avg = r->common.latency = sum / r->received;
  if (r->received < 2) return;
  r->jitter = steps / (r->received - 1);
  r->jitter_rfc3550 = (wd_ns)jitter->jitter;
}
