// Address literals and host:port texts, see addr.h.
#include "addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

int wd_addr_family(const struct wd_addr *addr) {
  return addr->sa.sa_family == AF_INET || addr->sa.sa_family == AF_INET6 ? addr->sa.sa_family : 0;
}

socklen_t wd_addr_len(const struct wd_addr *addr) {
  switch (wd_addr_family(addr)) {
  case AF_INET: return sizeof addr->v4;
  case AF_INET6: return sizeof addr->v6;
  default: return 0;
  }
}

uint16_t wd_addr_port(const struct wd_addr *addr) {
  switch (wd_addr_family(addr)) {
  case AF_INET: return ntohs(addr->v4.sin_port);
  case AF_INET6: return ntohs(addr->v6.sin6_port);
  default: return 0;
  }
}

void wd_addr_set_port(struct wd_addr *addr, uint16_t port) {
  if (wd_addr_family(addr) == AF_INET)
    addr->v4.sin_port = htons(port);
  else if (wd_addr_family(addr) == AF_INET6)
    addr->v6.sin6_port = htons(port);
}

// The number a zone stands for (RFC 4007 section 11.2): an interface's name, or its index; 0 when it is neither.
static uint32_t zone_index(const char *zone) {
  uint32_t index = 0;
  size_t len = strspn(zone, "0123456789");
  // The kernel takes "lo:443" for an old name of lo (an alias), and the port would be lost.
  if (strchr(zone, ':')) return 0;
  if (len == 0 || zone[len] != '\0') return if_nametoindex(zone);
  if (len > 9) return 0;
  for (; *zone; zone++) index = index * 10 + (uint32_t)(*zone - '0');
  return index;
}

bool wd_addr_parse(struct wd_addr *out, const char *text, uint16_t port) {
  char copy[WD_ADDR_TEXT];
  size_t len = strlen(text);
  bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
  if (bracketed) text++, len -= 2;
  if (len == 0 || len >= sizeof copy) return false;
  memcpy(copy, text, len);
  copy[len] = '\0';

  struct wd_addr addr = {0};
  if (!bracketed && inet_pton(AF_INET, copy, &addr.v4.sin_addr) == 1) {
    addr.v4.sin_family = AF_INET;
  } else {
    char *zone = strchr(copy, '%');
    if (zone) *zone++ = '\0';
    if (inet_pton(AF_INET6, copy, &addr.v6.sin6_addr) != 1) return false;
    addr.v6.sin6_family = AF_INET6;
    if (zone && (addr.v6.sin6_scope_id = zone_index(zone)) == 0) return false;
  }
  wd_addr_set_port(&addr, port);
  *out = addr;
  return true;
}

bool wd_addr_from_sockaddr(struct wd_addr *out, const struct sockaddr *sa, socklen_t len) {
  struct wd_addr addr = {0};
  if (len < sizeof sa->sa_family) return false;
  size_t want = sa->sa_family == AF_INET ? sizeof addr.v4 : sa->sa_family == AF_INET6 ? sizeof addr.v6 : 0;
  if (want == 0 || len < want) return false;
  memcpy(&addr, sa, want);
  *out = addr;
  return true;
}

const char *wd_addr_format(const struct wd_addr *addr, char out[static WD_ADDR_TEXT]) {
  out[0] = '\0';
  if (wd_addr_family(addr) == AF_INET) {
    inet_ntop(AF_INET, &addr->v4.sin_addr, out, WD_ADDR_TEXT);
  } else if (wd_addr_family(addr) == AF_INET6) {
    inet_ntop(AF_INET6, &addr->v6.sin6_addr, out, WD_ADDR_TEXT);
    if (addr->v6.sin6_scope_id) {
      char name[IF_NAMESIZE];
      size_t used = strlen(out);
      if (if_indextoname(addr->v6.sin6_scope_id, name))
        snprintf(out + used, WD_ADDR_TEXT - used, "%%%s", name);
      else
        snprintf(out + used, WD_ADDR_TEXT - used, "%%%u", addr->v6.sin6_scope_id);
    }
  }
  return out;
}

const char *wd_addr_format_port(const struct wd_addr *addr, char out[static WD_ADDR_TEXT]) {
  char host[WD_ADDR_TEXT];
  wd_addr_format(addr, host);
  if (wd_addr_family(addr) == 0)
    out[0] = '\0';
  else
    // The longest host is 46 + 1 + 16 bytes: it fits with brackets and port.
    snprintf(out, WD_ADDR_TEXT, wd_addr_family(addr) == AF_INET6 ? "[%.70s]:%u" : "%.70s:%u", host, wd_addr_port(addr));
  return out;
}

bool wd_addr_same_host(const struct wd_addr *a, const struct wd_addr *b) {
  if (wd_addr_family(a) != wd_addr_family(b)) return false;
  if (wd_addr_family(a) == AF_INET) return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
  if (wd_addr_family(a) != AF_INET6 || memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) != 0) return false;
  return a->v6.sin6_scope_id == b->v6.sin6_scope_id || !a->v6.sin6_scope_id || !b->v6.sin6_scope_id;
}

bool wd_addr_equal(const struct wd_addr *a, const struct wd_addr *b) {
  return wd_addr_same_host(a, b) && wd_addr_port(a) == wd_addr_port(b);
}

void wd_addr_specify(struct wd_addr *addr) {
  if (wd_addr_family(addr) == AF_INET && addr->v4.sin_addr.s_addr == htonl(INADDR_ANY))
    addr->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else if (wd_addr_family(addr) == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->v6.sin6_addr))
    addr->v6.sin6_addr = in6addr_loopback;
}

// "'text' ..." into error; always false, so that a check reads as one line.
__attribute__((format(printf, 4, 5))) static bool refuse(char *error, size_t size, const char *text, const char *format, ...) {
  char shown[96], reason[192];
  va_list args;
  wd_text_escape(shown, sizeof shown, text, strlen(text));
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  snprintf(error, size, "'%s' %s", shown, reason);
  return false;
}

// RFC 1035 section 2.3.4 for the lengths; the letters are freer than a host name's (SRV names have underscores), but nothing a URL or a terminal minds.
static const char *name_problem(const char *name) {
  size_t len = strlen(name), label = 0;
  const char *last_label = name;
  if (len > 0 && name[len - 1] == '.') len--;
  if (len == 0) return "names no host";
  if (len > 253) return "is longer than 253 characters, the most a name can have";
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)name[i];
    if (c == '.') {
      if (label == 0) return "has an empty part between dots";
      label = 0;
      last_label = name + i + 1;
      continue;
    }
    if (c >= 0x80) return "has letters outside ASCII: write the name in its xn-- form";
    if (c <= 0x20 || c == 0x7f) return "has a blank or a control character";
    if (strchr("/\\@?#[]%:\"'<>,;&|$`(){}^!*=~", c)) return "has a character that no host name has";
    if (++label > 63) return "has a part longer than 63 characters";
  }
  if (label == 0) return "has an empty part between dots";
  // RFC 3696 section 2: a top-level name is never all digits, so this is a mistyped IPv4 address.
  if (strspn(last_label, "0123456789") == label) return "is not an IPv4 address (four numbers from 0 to 255)";
  return NULL;
}

static bool read_port(const char *text, uint16_t *port) {
  uint32_t value = 0;
  size_t len = strspn(text, "0123456789");
  if (len == 0 || len > 5 || text[len] != '\0') return false;
  for (; *text; text++) value = value * 10 + (uint32_t)(*text - '0');
  *port = (uint16_t)value;
  return value >= 1 && value <= 65535;
}

bool wd_hostport_split(struct wd_hostport *out, const char *text, int default_port, char *error, size_t error_size) {
  struct wd_hostport parts = {0};
  const char *host = text, *host_end, *port_text = NULL;
  const char *colon = strchr(text, ':');

  if (text[0] == '[') {
    host = text + 1;
    host_end = strchr(host, ']');
    if (!host_end) return refuse(error, error_size, text, "has no ']' behind the IPv6 address");
    if (host_end[1] == ':')
      port_text = host_end + 2;
    else if (host_end[1] != '\0')
      return refuse(error, error_size, text, "has more behind ']' than ':' and a port");
  } else if (colon && !strchr(colon + 1, ':')) {
    host_end = colon;
    port_text = colon + 1;
  } else {
    host_end = text + strlen(text);
  }

  size_t len = (size_t)(host_end - host);
  if (len == 0) return refuse(error, error_size, text, "names no host");
  if (len >= sizeof parts.host) return refuse(error, error_size, text, "is longer than a host name can be");
  memcpy(parts.host, host, len);

  if (port_text && default_port == WD_PORT_NONE)
    return refuse(error, error_size, text, "has a port, but this takes a name or an address alone");
  if (port_text && !read_port(port_text, &parts.port)) {
    char shown[24];
    wd_text_escape(shown, sizeof shown, port_text, strlen(port_text));
    return refuse(error, error_size, text,
                  *port_text ? "has the port '%s': expected a number from 1 to 65535" : "has no port behind ':'%s", shown);
  }
  if (!port_text) {
    if (default_port == WD_PORT_REQUIRED)
      return refuse(error, error_size, text, "has no port: write host:port or [address]:port");
    parts.port = default_port > 0 ? (uint16_t)default_port : 0;
  }

  parts.literal = wd_addr_parse(&parts.addr, parts.host, parts.port);
  if (parts.literal && text[0] == '[' && wd_addr_family(&parts.addr) != AF_INET6)
    return refuse(error, error_size, text, "has an address in brackets that is not IPv6");
  if (!parts.literal) {
    const char *zone = strchr(parts.host, '%');
    if (zone && strchr(parts.host, ':'))
      return refuse(error, error_size, text, "names the zone '%.20s': no interface of this machine, or not an IPv6 address",
                    zone + 1);
    if (text[0] == '[') return refuse(error, error_size, text, "has something in brackets that is not an IPv6 address");
    if (strchr(parts.host, ':'))
      return refuse(error, error_size, text, "is neither host:port nor an IPv6 address (with a port: [address]:port)");
    const char *problem = name_problem(parts.host);
    if (problem) return refuse(error, error_size, text, "%s", problem);
  }
  *out = parts;
  return true;
}
