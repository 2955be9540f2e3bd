// What dns.query takes and gives, as C structs; dns_tables.c describes them. For dns.c alone.
#pragma once

#include "runtime/probe.h"

enum { WD_DNS_TRIES_MOST = 10 };

enum wd_dns_transport { WD_DNS_UDP, WD_DNS_TCP };

struct wd_dns_opts {
  struct wd_common_opts common;
  const char *name, *type, *server;
  int transport; // enum wd_dns_transport
  int8_t recurse, dnssec;
  int64_t edns, tries;
};

struct wd_dns_row {
  const char *name, *type, *class, *data, *address, *target, *text, *tag;
  int64_t ttl, priority, weight, port, flags, serial, minimum;
};

struct wd_dns_flags {
  int8_t aa, tc, rd, ra, ad, cd;
};

struct wd_dns_edns {
  int64_t size;
  int8_t dnssec;
};

struct wd_dns_timings {
  wd_ns dns, connect, query, total;
};

struct wd_dns_sample {
  const char *status, *error;
  int transport;
  wd_ns sent, rtt;
};

struct wd_dns_result {
  struct wd_common_result common;
  const char *name, *type, *server, *rcode;
  int transport;
  int8_t truncated;
  struct wd_dns_flags *flags;
  struct wd_dns_edns *edns;
  struct wd_list answers, authority, additional, samples;
  int64_t tries, ignored, size, dropped;
  struct wd_dns_timings *timings;
};

extern const struct wd_desc wd_dns_opts_desc, wd_dns_result_desc;
