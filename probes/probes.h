// Every probe there is. A new protocol adds its line here and in probes.c.
#pragma once

#include "runtime/probe.h"

extern const struct wd_probe wd_ssh_connect, wd_tcp_connect, wd_tls_connect;
extern const struct wd_probe wd_probe_dns_query;
extern const struct wd_probe wd_http_request;
extern const struct wd_probe wd_icmp_ping, wd_icmp_sweep;
extern const struct wd_probe wd_udp_ping, wd_udp_sweep;
