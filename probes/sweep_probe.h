// What icmp.sweep and udp.sweep share: options, the result, and the way from one to the other.
#pragma once

#include "probes/sweep_list.h"

struct wd_sweep_options {
  struct wd_common_opts common;
  struct wd_list targets; // of const char *
  double rate;
  int64_t count, retries, size, ttl;
  wd_ns interval, linger;
  int stamps; // enum wd_sweep_stamps
};

struct wd_sweep_result {
  struct wd_common_result common;
  int64_t sent, received, late, duplicates, foreign, overflowed;
  double loss_percent;
  wd_ns rtt_min, rtt_avg, rtt_max;
  struct wd_list rtt, late_rtt; // of wd_ns, `count` for each target
  struct wd_list errors;        // of enum wd_err, one for each target
  struct wd_list targets;       // of const char *
};

struct wd_sweep_op {
  struct wd_probe_op probe;
  struct wd_sweep_options opts;
  struct wd_sweep_result result;
  struct wd_sweep_list list;
  struct wd_sweep sweep;
};

extern const struct wd_desc wd_sweep_result_desc;
extern const char *const wd_sweep_stamp_names[];

// For struct wd_probe.check: what is wrong with options or targets, or NULL. `port`: as in struct wd_sweep_list.
const char *wd_sweep_check(struct wd_probe_op *probe, const struct wd_sweep_class *cls, int port);

// For struct wd_probe.
void wd_sweep_begin(struct wd_probe_op *probe);
void wd_sweep_end(struct wd_probe_op *probe);

#define O struct wd_sweep_options
#define WD_SWEEP_OPTS(targets_help, default_size, least_size, most_size)                                                        \
  WD_FIELD(O, targets, "targets", WD_T_LIST, .elem = WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 270,  \
           .help = (targets_help)),                                                                                             \
      WD_FIELD(O, rate, "rate", WD_T_NUM, .min = 0.01, .max = 1e7, .unit = "packets/s",                                         \
               .help = "packets a second, over all targets; without it as fast as they leave"),                                 \
      WD_FIELD(O, count, "count", WD_T_INT, .def = "1", .min = 1, .max = 65535, .help = "rounds: packets to each target"),      \
      WD_FIELD(O, interval, "interval", WD_T_DURATION, .def = "1", .max = 3600, .unit = "s",                                    \
               .help = "least time from the beginning of one round to that of the next"),                                       \
      WD_FIELD(O, retries, "retries", WD_T_INT, .def = "0", .max = 255,                                                         \
               .help = "how often a packet that was not answered in time is sent again"),                                       \
      WD_FIELD(O, linger, "linger", WD_T_DURATION, .min = 0.001, .max = 86400, .unit = "s",                                     \
               .help = "how long after sending a reply is still reported, as late; by default the timeout"),                    \
      WD_FIELD(O, size, "size", WD_T_INT, .def = (default_size), .min = (least_size), .max = (most_size), .unit = "bytes",      \
               .help = "payload of each packet"),                                                                               \
      WD_FIELD(O, ttl, "ttl", WD_T_INT, .min = 1, .max = 255, .help = "hops after which a router gives the packet up"),         \
      WD_FIELD(O, stamps, "stamps", WD_T_ENUM, .def = "lean", .names = wd_sweep_stamp_names,                                    \
               .help = "exact: the kernel stamps every packet; lean: one in eight, and quality.uncertainty_ms says what that costs"), \
      WD_COMMON_OPTS_OF_ALL(O, "1", "when each packet's reply counts as lost")
