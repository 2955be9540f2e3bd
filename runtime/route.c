// Destination order and source binding, see route.h.
#include "route.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "neterr.h"
#include "text.h"

int wd_route_source(const struct wd_addr *to, struct wd_addr *from) {
  struct sockaddr_storage found;
  socklen_t found_len = sizeof found;
  int fd = socket(wd_addr_family(to), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  int err = 0;
  if (connect(fd, &to->sa, wd_addr_len(to)) < 0 || getsockname(fd, (struct sockaddr *)&found, &found_len) < 0)
    err = errno;
  else if (!wd_addr_from_sockaddr(from, (struct sockaddr *)&found, found_len))
    err = EAFNOSUPPORT;
  close(fd);
  return err;
}

// IPv4 as the mapped IPv6 addresses that RFC 6724 reasons about.
static struct in6_addr as_v6(const struct wd_addr *addr) {
  struct in6_addr out = {0};
  if (wd_addr_family(addr) == AF_INET6) return addr->v6.sin6_addr;
  out.s6_addr[10] = out.s6_addr[11] = 0xff;
  memcpy(out.s6_addr + 12, &addr->v4.sin_addr, 4);
  return out;
}

struct policy {
  uint8_t prefix[16];
  int bits, precedence, label;
};

// The default table of RFC 6724 section 2.1, the longest prefix first.
static const struct policy policies[] = {
    {{[15] = 1}, 128, 50, 0},                // ::1
    {{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, // ::ffff:0:0/96
    {{0}, 96, 1, 3},                         // ::/96
    {{0x20, 0x01}, 32, 5, 5},                // 2001::/32
    {{0x20, 0x02}, 16, 30, 2},               // 2002::/16
    {{0x3f, 0xfe}, 16, 1, 12},               // 3ffe::/16
    {{0xfe, 0xc0}, 10, 1, 11},               // fec0::/10
    {{0xfc}, 7, 3, 13},                      // fc00::/7
    {{0}, 0, 40, 1},                         // ::/0
};

static int common_bits(const uint8_t *a, const uint8_t *b, int most) {
  int bits = 0;
  while (bits < most && !((a[bits / 8] ^ b[bits / 8]) & (0x80 >> bits % 8))) bits++;
  return bits;
}

static const struct policy *policy_of(const struct in6_addr *addr) {
  const struct policy *p = policies;
  while (common_bits(p->prefix, addr->s6_addr, p->bits) < p->bits) p++;
  return p;
}

enum { SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14 };

// RFC 6724 section 3.1 and, for IPv4, 3.2.
static int scope_of(const struct in6_addr *addr) {
  const uint8_t *b = addr->s6_addr;
  if (IN6_IS_ADDR_MULTICAST(addr)) return b[1] & 0x0f;
  if (IN6_IS_ADDR_V4MAPPED(addr)) return b[12] == 127 || (b[12] == 169 && b[13] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
  if (IN6_IS_ADDR_LOOPBACK(addr) || IN6_IS_ADDR_LINKLOCAL(addr)) return SCOPE_LINK;
  return IN6_IS_ADDR_SITELOCAL(addr) ? SCOPE_SITE : SCOPE_GLOBAL;
}

// Negative when a goes first, positive when b does, 0 to leave them as they are.
static int compare(const struct wd_route *a, const struct wd_route *b) {
  bool usable_a = wd_addr_family(&a->from) != 0, usable_b = wd_addr_family(&b->from) != 0;
  if (usable_a != usable_b) return usable_a ? -1 : 1; // rule 1
  if (!usable_a) return 0;

  struct in6_addr to_a = as_v6(&a->to), to_b = as_v6(&b->to), from_a = as_v6(&a->from), from_b = as_v6(&b->from);
  int scope_a = scope_of(&to_a), scope_b = scope_of(&to_b);
  bool same_a = scope_a == scope_of(&from_a), same_b = scope_b == scope_of(&from_b);
  if (same_a != same_b) return same_a ? -1 : 1; // rule 2

  const struct policy *policy_a = policy_of(&to_a), *policy_b = policy_of(&to_b);
  bool label_a = policy_a->label == policy_of(&from_a)->label, label_b = policy_b->label == policy_of(&from_b)->label;
  if (label_a != label_b) return label_a ? -1 : 1;                                                      // rule 5
  if (policy_a->precedence != policy_b->precedence) return policy_b->precedence - policy_a->precedence; // rule 6
  if (scope_a != scope_b) return scope_a - scope_b;                                                     // rule 8
  // Rule 9 for IPv6 alone: over IPv4 it would undo the rotation by which name servers spread the load.
  if (wd_addr_family(&a->to) == AF_INET6 && wd_addr_family(&b->to) == AF_INET6)
    return common_bits(from_b.s6_addr, to_b.s6_addr, 64) - common_bits(from_a.s6_addr, to_a.s6_addr, 64);
  return 0;
}

void wd_route_order(struct wd_route *routes, size_t count) {
  // Insertion keeps equal ones in their order, and the relation is not transitive (rule 9 holds within a family), which a quicksort would not bear.
  for (size_t i = 1; i < count; i++) {
    struct wd_route moving = routes[i];
    size_t at = i;
    for (; at > 0 && compare(&moving, &routes[at - 1]) < 0; at--) routes[at] = routes[at - 1];
    routes[at] = moving;
  }
}

void wd_route_sort(struct wd_addr *list, size_t count) {
  struct wd_route routes[WD_ROUTE_SORT_MAX] = {0};
  if (count < 2) return;
  if (count > WD_ROUTE_SORT_MAX) count = WD_ROUTE_SORT_MAX;
  for (size_t i = 0; i < count; i++) {
    routes[i].to = list[i];
    int err = wd_route_source(&list[i], &routes[i].from);
    // With no descriptor left nothing can be learnt: the order that came is better than a half-known one.
    if (err == EMFILE || err == ENFILE) return;
  }
  wd_route_order(routes, count);
  for (size_t i = 0; i < count; i++) list[i] = routes[i].to;
}

static const char *family_name(int family) {
  return family == AF_INET6 ? "IPv6" : "IPv4";
}

// The first address of the interface in the family; link-local ones only where there is no other.
static bool interface_address(const char *name, int family, struct wd_addr *out) {
  struct ifaddrs *all, *entry;
  bool found = false;
  if (getifaddrs(&all) < 0) return false;
  for (entry = all; entry; entry = entry->ifa_next) {
    if (!entry->ifa_addr || entry->ifa_addr->sa_family != family || strcmp(entry->ifa_name, name) != 0) continue;
    struct wd_addr addr;
    if (!wd_addr_from_sockaddr(&addr, entry->ifa_addr, family == AF_INET6 ? sizeof addr.v6 : sizeof addr.v4)) continue;
    bool link_local = family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr.v6.sin6_addr);
    if (!found || !link_local) *out = addr;
    found = true;
    if (!link_local) break;
  }
  freeifaddrs(all);
  return found;
}

static enum wd_err bind_address(int fd, const struct wd_addr *addr, const char *shown, char *error, size_t error_size) {
  int type = 0, on = 1;
  socklen_t len = sizeof type;
  // Without this a bound TCP socket takes a port of its own at once, and 28,000 of them are all there are, whatever the destinations.
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM)
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd, &addr->sa, wd_addr_len(addr)) == 0) return WD_OK;
  int err = errno;
  snprintf(error, error_size, "source '%s': %s", shown,
           err == EADDRNOTAVAIL ? "not an address of this machine" : wd_neterr_detail_local(err));
  return wd_neterr_local(err);
}

enum wd_err wd_route_bind(int fd, int family, const char *source, char *error, size_t error_size) {
  struct wd_addr addr;
  char shown[64];
  wd_text_escape(shown, sizeof shown, source, strlen(source));
  if (wd_addr_parse(&addr, source, 0)) {
    if (wd_addr_family(&addr) == family) return bind_address(fd, &addr, shown, error, error_size);
    snprintf(error, error_size, "source '%s' is %s, but the target's address is %s", shown, family_name(wd_addr_family(&addr)),
             family_name(family));
    return WD_E_LOCAL;
  }
  if (strlen(source) >= IF_NAMESIZE || if_nametoindex(source) == 0) {
    snprintf(error, error_size, "source '%s' is neither an address nor an interface of this machine", shown);
    return WD_E_LOCAL;
  }
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, source, (socklen_t)strlen(source) + 1) == 0) return WD_OK;
  int err = errno;
  if (err != EPERM) {
    snprintf(error, error_size, "source '%s': %s", shown, wd_neterr_detail_local(err));
    return wd_neterr_local(err);
  }
  if (!interface_address(source, family, &addr)) {
    snprintf(error, error_size, "source '%s' has no %s address", shown, family_name(family));
    return WD_E_LOCAL;
  }
  return bind_address(fd, &addr, shown, error, error_size);
}
