// The TUN device: opened, given its addresses and so the routes to what they are part of, and a queue that holds a burst of thousands.
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUEUE_PACKETS = 65536 };

static const char *failing; // what is being tried

static int tried(const char *what, int rc) {
  failing = what;
  return rc;
}

static int add_v4(int fd, struct ifreq *ifr, const struct own *own) {
  struct sockaddr_in *sin = (struct sockaddr_in *)&ifr->ifr_addr;
  *sin = (struct sockaddr_in){.sin_family = AF_INET};
  memcpy(&sin->sin_addr, own->address.s6_addr + 12, 4);
  if (tried("its address", ioctl(fd, SIOCSIFADDR, ifr)) < 0) return -1;
  int bits = own->bits - 96;
  sin->sin_addr.s_addr = htonl(bits ? ~0u << (32 - bits) : 0);
  return tried("its netmask", ioctl(fd, SIOCSIFNETMASK, ifr));
}

static int add_v6(int fd, int index, const struct own *own) {
  struct in6_ifreq ifr = {.ifr6_addr = own->address, .ifr6_prefixlen = (unsigned)own->bits, .ifr6_ifindex = index};
  return tried("its IPv6 address", ioctl(fd, SIOCSIFADDR, &ifr));
}

static int configure(int v4, int v6, const struct config *c, struct ifreq *ifr) {
  ifr->ifr_mtu = (int)c->mtu;
  if (tried("its MTU", ioctl(v4, SIOCSIFMTU, ifr)) < 0) return -1;
  ifr->ifr_qlen = QUEUE_PACKETS;
  if (tried("its queue", ioctl(v4, SIOCSIFTXQLEN, ifr)) < 0) return -1;
  if (tried("its index", ioctl(v4, SIOCGIFINDEX, ifr)) < 0) return -1;
  int index = ifr->ifr_ifindex;
  if (tried("its state", ioctl(v4, SIOCGIFFLAGS, ifr)) < 0) return -1;
  ifr->ifr_flags |= IFF_UP | IFF_RUNNING;
  if (tried("to be up", ioctl(v4, SIOCSIFFLAGS, ifr)) < 0) return -1;
  for (unsigned i = 0; i < c->own_count; i++) {
    const struct own *own = &c->own[i];
    if ((is_v4(&own->address) ? add_v4(v4, ifr, own) : add_v6(v6, index, own)) < 0) return -1;
  }
  return 0;
}

int tun_open(struct config *c) {
  struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  int v4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), v6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  memcpy(ifr.ifr_name, c->device, sizeof(ifr.ifr_name));
  bool ok = tun >= 0 && tried("to be made", ioctl(tun, TUNSETIFF, &ifr)) == 0 && configure(v4, v6, c, &ifr) == 0;
  if (!ok)
    fprintf(stderr, "no TUN device: %s%s: %s\n", tun < 0 ? "/dev/net/tun" : "it lacks ", tun < 0 ? "" : failing, strerror(errno));
  if (v4 >= 0) close(v4);
  if (v6 >= 0) close(v6);
  memcpy(c->device, ifr.ifr_name, sizeof(c->device));
  return ok ? tun : -1;
}
