// What icmp and udp share of a result: the samples, and the figures made of them. Pure: no sockets, no clock.
#pragma once

#include "runtime/probe.h"

enum wd_packet_status { WD_SAMPLE_OK, WD_SAMPLE_LOST, WD_SAMPLE_LATE, WD_SAMPLE_ERROR };

struct wd_packet_sample {
  int status;        // enum wd_packet_status
  wd_ns rtt;         // of status ok and late
  int64_t ttl;       // of the answer
  const char *from;  // who answered, or reported the error
  enum wd_err error; // of status error
  int64_t mtu;       // with message_too_big, where told
  wd_ns loop_lag;    // of a packet that was sent
};

struct wd_packet_timings {
  wd_ns dns;
};

// The result of a probe that sends packets.
struct wd_packet_result {
  struct wd_common_result common;
  struct wd_packet_timings *timings;
  int8_t dns_shared;
  int64_t sent, received, duplicates, late, reordered, foreign, overflowed;
  double loss_percent;
  wd_ns rtt_min, rtt_avg, rtt_max, jitter, jitter_rfc3550;
  struct wd_list samples; // of struct wd_packet_sample, in the order of sending
};

// Its options; a protocol's description names those that it has.
struct wd_packet_opts {
  struct wd_common_opts common;
  const char *target;
  int64_t count, size;
  wd_ns interval, linger;
  int64_t ttl;          // icmp; WD_NONE = the system's
  int8_t dont_fragment; // icmp
};

// The fields of the result, for the description of each protocol.
extern const struct wd_field wd_packet_result_fields[];

// Interarrival jitter of RFC 3550 section 6.4.1, with round trips in place of one-way transits: fed in the order of arrival.
struct wd_packet_jitter {
  double jitter;
  wd_ns last;
  unsigned replies;
};

void wd_packet_jitter_add(struct wd_packet_jitter *j, wd_ns rtt);

// Fills received, late, loss and the figures of round trips (latency too) from `sent` and `samples`. What cannot be said stays absent:
// loss where nothing was sent, times without a reply, jitter below two.
void wd_packet_stats(struct wd_packet_result *r, const struct wd_packet_jitter *jitter);

#define WD_PACKET_OPTS(default_interval)                                                                                         \
  WD_FIELD(struct wd_packet_opts, count, "count", WD_T_INT, .def = "4", .min = 1, .max = 65535, .help = "packets to send"),      \
      WD_FIELD(struct wd_packet_opts, interval, "interval", WD_T_DURATION, .def = (default_interval), .min = 0.001, .max = 3600, \
               .unit = "s", .help = "time from one packet to the next"),                                                         \
      WD_FIELD(struct wd_packet_opts, linger, "linger", WD_T_DURATION, .min = 0.001, .max = 86400, .unit = "s",                  \
               .help = "how long after sending a reply is still reported, as late; by default the timeout"),                     \
      WD_COMMON_OPTS(struct wd_packet_opts, "5", "when each packet's reply counts as lost")
