// See tcp_info.h. A file of its own: libuv includes <netinet/tcp.h>, whose struct lacks the younger fields, and the two do not go together.
#include "runtime/tcp_info.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

// The kernel counts quiet time in ticks of its own, the longest of which is this (CONFIG_HZ=100).
#define TICK (10 * WD_MS)

const struct wd_tcp_info wd_tcp_info_none = {.rtt = WD_NONE, .retransmits = WD_NONE, .quiet = WD_NONE};

void wd_tcp_info_read(int fd, struct wd_tcp_info *out) {
  struct tcp_info info;
  socklen_t len = sizeof(info);
  *out = wd_tcp_info_none;
  memset(&info, 0, sizeof(info));
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) return;
  out->retransmits = info.tcpi_total_retrans;
  // With a retransmission the kernel's figure is 0, coarse, or off by a whole timeout (measured).
  if (info.tcpi_total_retrans == 0 && info.tcpi_rtt > 0) out->rtt = (wd_ns)info.tcpi_rtt * WD_US;
  if (info.tcpi_segs_in == 1) out->quiet = (wd_ns)info.tcpi_last_ack_recv * WD_MS + TICK;
}
