// What the system's ping program prints (iputils, BusyBox) for one packet. Pure.
#pragma once

#include "runtime/addr.h"
#include "runtime/wd.h"

enum wd_ping_verdict {
  WD_PING_SILENT, // it ran, and nothing came
  WD_PING_REPLY,
  WD_PING_ERROR,   // an ICMP error came
  WD_PING_DENIED,  // it may not do it either
  WD_PING_REFUSED, // it ran, and this machine did not send
};

struct wd_ping_text {
  enum wd_ping_verdict verdict;
  struct wd_addr from;
  wd_ns rtt, resolution; // of a reply; the last digit printed
  int ttl;               // -1 = not told
  enum wd_err err;       // of an error or a refusal
  const char *why;       // the same in words; static
  uint32_t mtu;
};

// Reads the text of one run of `ping -n -c 1`, standard output and error together.
void wd_ping_read(struct wd_ping_text *out, const char *text);
