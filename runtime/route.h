// Which address to try first, and from where: RFC 6724 ordering, source addresses, binding.
//
// Must hold: nothing here sends a packet; the route is learnt by connecting an unused UDP socket.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "wd.h"

enum { WD_ROUTE_SORT_MAX = 64 };

// A destination with what the routing table says of it.
struct wd_route {
  struct wd_addr to;
  struct wd_addr from; // no address where there is no route
};

// The source address (with a throw-away port) the kernel would use towards `to`; 0 or the errno of the refusal (ENETUNREACH: no route).
int wd_route_source(const struct wd_addr *to, struct wd_addr *from);

// Sorts by RFC 6724 section 6, rules 1, 2, 5, 6, 8 and 9, stable for the rest (rule 10); destinations without a route come last. Pure.
void wd_route_order(struct wd_route *routes, size_t count);

// Learns the sources of the first WD_ROUTE_SORT_MAX addresses and orders these; any further ones stay behind them as they were.
void wd_route_sort(struct wd_addr *list, size_t count);

// Binds a fresh socket of `family` to `source`, an address literal or an interface's name. An interface is bound by SO_BINDTODEVICE, or, where that is
// not permitted, by its address of the family. WD_OK, or WD_E_LOCAL / WD_E_PERMISSION with a message in `error`.
enum wd_err wd_route_bind(int fd, int family, const char *source, char *error, size_t error_size);
