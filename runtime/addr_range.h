// Ranges of addresses as people write them: "10.0.0.0/16", "10.0.0.1-10.0.0.50", "2001:db8::/120". No look-ups, no sockets.
#pragma once

#include "runtime/addr.h"

struct wd_addr_range {
  struct wd_addr first; // with the port
  uint32_t count;
};

enum { WD_ADDR_RANGE_MOST = 1 << 24 };

// Whether the text is meant as a range: an address with a prefix length or with another address behind it.
bool wd_addr_range_is(const char *text);

// Reads a range; of an IPv4 prefix up to 30 the network's own and the broadcast address are left out. A port may follow an IPv4 range
// ("10.0.0.0/24:7") or one in brackets ("[2001:db8::/120]:7"), else the port is `port`; negative: none may be given.
// False with a message in `error` that quotes the text and says what to write.
bool wd_addr_range_parse(struct wd_addr_range *out, const char *text, int port, char *error, size_t error_size);

// The nth address, from 0.
struct wd_addr wd_addr_range_nth(const struct wd_addr_range *range, uint32_t nth);
