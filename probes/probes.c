// The table of probes that the door, the help and the completion go through.
#include "probes/probes.h"

const struct wd_probe *const wd_probes[] = {
  &wd_ssh_connect,
  &wd_tcp_connect,
  &wd_tls_connect,
  &wd_http_request,
  &wd_probe_dns_query,
  &wd_icmp_ping,
  &wd_icmp_sweep,
  &wd_udp_ping,
  &wd_udp_sweep,
  NULL,
};
