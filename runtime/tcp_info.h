// What the kernel knows of a TCP connection (TCP_INFO).
#pragma once

#include "runtime/wd.h"

// What cannot be said is WD_NONE.
struct wd_tcp_info {
  wd_ns rtt;           // of the handshake; not where a SYN or its answer was sent again: the kernel cannot tell which one was answered
  int64_t retransmits; // segments sent again so far, SYNs too
  wd_ns quiet;         // how long ago the handshake's answer came, at most; not where anything else came since
};

extern const struct wd_tcp_info wd_tcp_info_none;

// Of a TCP socket in any state.
void wd_tcp_info_read(int fd, struct wd_tcp_info *out);
