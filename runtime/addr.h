// Internet addresses: literals to sockaddr and back, host:port texts, comparison. No look-ups, no sockets.
//
// Must hold: every text accepted here is a name or a literal that can go into a DNS question or a message as it is.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

// An IPv4 or IPv6 address with its port; a zero-initialised one is "no address". Plain data, copied by assignment.
struct wd_addr {
  union {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
};

enum {
  WD_ADDR_TEXT = 80,     // bytes for any text of wd_addr_format and wd_addr_format_port, NUL included
  WD_HOST_TEXT = 256,    // bytes for any host name or literal, NUL included
  WD_PORT_REQUIRED = -1, // for wd_hostport_split: the text must name a port
  WD_PORT_NONE = -2,     // for wd_hostport_split: the text must not name a port
};

struct wd_hostport {
  char host[WD_HOST_TEXT]; // without brackets
  uint16_t port;           // 0 with WD_PORT_NONE
  bool literal;            // host is an address; then addr is set, with the port
  struct wd_addr addr;
};

// AF_INET, AF_INET6, or 0 for no address.
int wd_addr_family(const struct wd_addr *addr);

// What bind, connect and sendto want as length; 0 for no address.
socklen_t wd_addr_len(const struct wd_addr *addr);

uint16_t wd_addr_port(const struct wd_addr *addr);
void wd_addr_set_port(struct wd_addr *addr, uint16_t port);

// Reads an IPv4 or IPv6 literal: "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "fe80::1%2", also in brackets. False (and *out untouched) for all else,
// also for a zone that is no interface of this machine.
bool wd_addr_parse(struct wd_addr *out, const char *text, uint16_t port);

// Copies what a socket call filled in; false when it is neither family or too short.
bool wd_addr_from_sockaddr(struct wd_addr *out, const struct sockaddr *sa, socklen_t len);

// The address without its port ("::1"); "" for no address. Returns out.
const char *wd_addr_format(const struct wd_addr *addr, char out[static WD_ADDR_TEXT]);

// With its port ("127.0.0.1:53", "[::1]:53").
const char *wd_addr_format_port(const struct wd_addr *addr, char out[static WD_ADDR_TEXT]);

// Whether two are the same host: the address alone, and the zone where both name one.
bool wd_addr_same_host(const struct wd_addr *a, const struct wd_addr *b);

// The same host and port.
bool wd_addr_equal(const struct wd_addr *a, const struct wd_addr *b);

// The unspecified address means this machine, which answers by its loopback address: puts that in its place.
void wd_addr_specify(struct wd_addr *addr);

// Splits "host", "host:port", "192.0.2.1:80", "[::1]:443", "::1". `default_port` is used where the text has none; or WD_PORT_REQUIRED, WD_PORT_NONE.
// False with a message in `error` that quotes the text and says what to write.
bool wd_hostport_split(struct wd_hostport *out, const char *text, int default_port, char *error, size_t error_size);
