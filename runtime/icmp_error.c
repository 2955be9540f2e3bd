// See icmp_error.h.
#include "icmp_error.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h> // what linux/errqueue.h needs and does not include

#include <linux/errqueue.h>

struct meaning {
  uint8_t type;
  int code; // -1: any
  enum wd_err err;
  const char *text;
};

// RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1.
static const struct meaning v4_meanings[] = {
    {3, 0, WD_E_NETWORK_UNREACHABLE, "network unreachable"},
    {3, 1, WD_E_HOST_UNREACHABLE, "host unreachable"},
    {3, 2, WD_E_CONNECTION_REFUSED, "protocol unreachable"},
    {3, 3, WD_E_CONNECTION_REFUSED, "port unreachable"},
    {3, 4, WD_E_MESSAGE_TOO_BIG, "fragmentation needed"},
    {3, 5, WD_E_HOST_UNREACHABLE, "source route failed"},
    {3, 6, WD_E_NETWORK_UNREACHABLE, "network unknown"},
    {3, 7, WD_E_HOST_UNREACHABLE, "host unknown"},
    {3, 8, WD_E_HOST_UNREACHABLE, "source host isolated"},
    {3, 9, WD_E_ADMIN_PROHIBITED, "network administratively prohibited"},
    {3, 10, WD_E_ADMIN_PROHIBITED, "host administratively prohibited"},
    {3, 11, WD_E_NETWORK_UNREACHABLE, "network unreachable for this type of service"},
    {3, 12, WD_E_HOST_UNREACHABLE, "host unreachable for this type of service"},
    {3, 13, WD_E_ADMIN_PROHIBITED, "communication administratively prohibited"},
    {3, 14, WD_E_ADMIN_PROHIBITED, "host precedence violation"},
    {3, 15, WD_E_ADMIN_PROHIBITED, "precedence cutoff in effect"},
    {3, -1, WD_E_HOST_UNREACHABLE, "destination unreachable"},
    {4, -1, WD_OK, "source quench"}, // deprecated by RFC 6633, to be ignored
    {11, 0, WD_E_TTL_EXCEEDED, "time to live exceeded in transit"},
    {11, 1, WD_E_TTL_EXCEEDED, "fragment reassembly time exceeded"},
    {11, -1, WD_E_TTL_EXCEEDED, "time exceeded"},
    {12, -1, WD_E_PROTOCOL, "parameter problem"},
};

// RFC 4443 section 3, RFC 7045, RFC 8883.
static const struct meaning v6_meanings[] = {
    {1, 0, WD_E_NETWORK_UNREACHABLE, "no route to destination"},
    {1, 1, WD_E_ADMIN_PROHIBITED, "administratively prohibited"},
    {1, 2, WD_E_NETWORK_UNREACHABLE, "beyond scope of the source address"},
    {1, 3, WD_E_HOST_UNREACHABLE, "address unreachable"},
    {1, 4, WD_E_CONNECTION_REFUSED, "port unreachable"},
    {1, 5, WD_E_ADMIN_PROHIBITED, "source address failed ingress or egress policy"},
    {1, 6, WD_E_ADMIN_PROHIBITED, "reject route to destination"},
    {1, -1, WD_E_HOST_UNREACHABLE, "destination unreachable"},
    {2, -1, WD_E_MESSAGE_TOO_BIG, "packet too big"},
    {3, 0, WD_E_TTL_EXCEEDED, "hop limit exceeded in transit"},
    {3, 1, WD_E_TTL_EXCEEDED, "fragment reassembly time exceeded"},
    {3, -1, WD_E_TTL_EXCEEDED, "time exceeded"},
    {4, -1, WD_E_PROTOCOL, "parameter problem"},
};

static const struct meaning *meaning_of(int family, uint8_t type, uint8_t code) {
  const struct meaning *list = family == AF_INET6 ? v6_meanings : v4_meanings;
  size_t count = family == AF_INET6 ? sizeof v6_meanings / sizeof *list : sizeof v4_meanings / sizeof *list;
  for (size_t i = 0; i < count; i++)
    if (list[i].type == type && (list[i].code == code || list[i].code == -1)) return &list[i];
  return NULL;
}

enum wd_err wd_icmp_err(int family, uint8_t type, uint8_t code) {
  const struct meaning *meaning = meaning_of(family, type, code);
  return meaning ? meaning->err : WD_OK;
}

const char *wd_icmp_text(int family, uint8_t type, uint8_t code) {
  const struct meaning *meaning = meaning_of(family, type, code);
  return meaning ? meaning->text : "unknown ICMP message";
}

void wd_icmp_hear(int fd, int family, bool on) {
  int value = on;
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &value, sizeof(value));
}

enum wd_err wd_icmp_heard(int fd, int family, const char **text) {
  _Alignas(struct cmsghdr) char control[256];
  struct msghdr m = {.msg_control = control, .msg_controllen = sizeof(control)};
  if (recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return WD_OK;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (!(c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) && !(c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR)) continue;
    const struct sock_extended_err *told = (const void *)CMSG_DATA(c);
    if (told->ee_origin != SO_EE_ORIGIN_ICMP && told->ee_origin != SO_EE_ORIGIN_ICMP6) continue;
    *text = wd_icmp_text(family, told->ee_type, told->ee_code);
    return wd_icmp_err(family, told->ee_type, told->ee_code);
  }
  return WD_OK;
}
