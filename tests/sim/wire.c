// Reading packets: IP headers of both families, and what tells which answer belongs to which request.
#include "sim.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <time.h>

enum { DNS_PORT = 53, TAG_BYTES = 16 };

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ns(void) {
  return read_clock(CLOCK_MONOTONIC);
}

int64_t wall_ns(void) {
  return read_clock(CLOCK_REALTIME);
}

uint16_t get16(const uint8_t *p) {
  return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get32(const uint8_t *p) {
  return (uint32_t)get16(p) << 16 | get16(p + 2);
}

void put16(uint8_t *p, unsigned value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}

void put32(uint8_t *p, uint32_t value) {
  put16(p, value >> 16);
  put16(p + 2, value & 0xffff);
}

bool is_v4(const struct in6_addr *a) {
  return IN6_IS_ADDR_V4MAPPED(a);
}

static struct in6_addr mapped(const uint8_t *v4) {
  struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
  memcpy(a.s6_addr + 12, v4, 4);
  return a;
}

bool address_read(struct in6_addr *a, const char *text) {
  uint8_t v4[4];
  if (inet_pton(AF_INET6, text, a) == 1) return true;
  if (inet_pton(AF_INET, text, v4) != 1) return false;
  *a = mapped(v4);
  return true;
}

const char *address_text(char out[ADDRESS_TEXT], const struct in6_addr *a) {
  if (is_v4(a))
    snprintf(out, ADDRESS_TEXT, "%u.%u.%u.%u", a->s6_addr[12], a->s6_addr[13], a->s6_addr[14], a->s6_addr[15]);
  else
    inet_ntop(AF_INET6, a, out, ADDRESS_TEXT);
  return out;
}

const char *proto_name(enum proto proto) {
  static const char *const names[] = {"icmp", "udp", "dns", "tcp"};
  return names[proto];
}

const char *key_text(char out[KEY_TEXT], const struct key *k) {
  snprintf(out, KEY_TEXT, "%u:%u:%llx", k->client, k->server, (unsigned long long)k->tag);
  return out;
}

bool packet_read(struct packet *p, const uint8_t *bytes, size_t len) {
  *p = (struct packet){.bytes = bytes, .len = len};
  size_t header = sizeof(struct in6_addr) + 24;
  if (len >= 20 && bytes[0] >> 4 == 4) {
    header = (size_t)(bytes[0] & 15) * 4;
    p->from = mapped(bytes + 12);
    p->to = mapped(bytes + 16);
    p->protocol = bytes[9];
    p->ttl = bytes[8];
    p->declared = get16(bytes + 2);
    p->dont_fragment = bytes[6] & 0x40;
    p->fragment = get16(bytes + 6) & 0x3fff;
  } else if (len >= header && bytes[0] >> 4 == 6) {
    memcpy(&p->from, bytes + 8, sizeof(p->from));
    memcpy(&p->to, bytes + 24, sizeof(p->to));
    p->protocol = bytes[6];
    p->ttl = bytes[7];
    p->declared = header + get16(bytes + 4);
    p->v6 = p->dont_fragment = true;
    p->fragment = p->protocol == IPPROTO_FRAGMENT;
  } else {
    return false;
  }
  if (header < 20 || header > len) return false;
  p->body = bytes + header;
  p->body_len = len - header;
  return true;
}

// Of the payload's first bytes, which an echo sends back unchanged.
static uint64_t tag_of(const uint8_t *bytes, size_t len) {
  uint64_t tag = 1469598103934665603u; // FNV-1a
  for (size_t i = 0; i < len && i < TAG_BYTES; i++) tag = (tag ^ bytes[i]) * 1099511628211u;
  return tag;
}

static enum role icmp_key(struct key *k, const struct packet *p) {
  if (p->body_len < 8 || p->body[1] != 0) return ROLE_NONE;
  k->proto = PROTO_ICMP;
  k->client = get16(p->body + 4);
  k->server = get16(p->body + 6);
  k->tag = tag_of(p->body + 8, p->body_len - 8);
  if (p->body[0] == (p->v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO)) return ROLE_REQUEST;
  return p->body[0] == (p->v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) ? ROLE_ANSWER : ROLE_NONE;
}

static enum role udp_key(struct key *k, const struct packet *p, bool outgoing) {
  k->client = get16(p->body + (outgoing ? 0 : 2));
  k->server = get16(p->body + (outgoing ? 2 : 0));
  k->proto = k->server == DNS_PORT ? PROTO_DNS : PROTO_UDP;
  if (k->proto == PROTO_UDP)
    k->tag = tag_of(p->body + 8, p->body_len - 8);
  else if (p->body_len >= 10)
    k->tag = get16(p->body + 8);
  return outgoing ? ROLE_REQUEST : ROLE_ANSWER;
}

// A quote of 8 bytes ends before the flags: what it is about was a SYN, or is of no interest.
static enum role tcp_key(struct key *k, const struct packet *p, bool outgoing) {
  uint8_t flags = p->body_len > 13 ? p->body[13] & (TH_SYN | TH_ACK | TH_RST) : TH_SYN;
  k->proto = PROTO_TCP;
  k->client = get16(p->body + (outgoing ? 0 : 2));
  k->server = get16(p->body + (outgoing ? 2 : 0));
  k->tag = outgoing ? get32(p->body + 4) : p->body_len > 13 ? get32(p->body + 8) - 1 : 0;
  if (outgoing) return flags == TH_SYN ? ROLE_REQUEST : ROLE_SEGMENT;
  return flags == (TH_SYN | TH_ACK) || flags == (TH_RST | TH_ACK) ? ROLE_ANSWER : ROLE_SEGMENT;
}

static bool is_error(const struct packet *p) {
  if (p->v6) return p->protocol == IPPROTO_ICMPV6 && p->body_len >= 8 && p->body[0] < 128;
  return p->protocol == IPPROTO_ICMP && p->body_len >= 8 && (p->body[0] == ICMP_DEST_UNREACH || p->body[0] == ICMP_TIME_EXCEEDED);
}

enum role packet_key(struct key *k, bool *whole, const struct packet *p, bool outgoing) {
  *k = (struct key){.host = outgoing ? p->to : p->from};
  *whole = true;
  if (!outgoing && is_error(p)) {
    struct packet quoted;
    if (!packet_read(&quoted, p->body + 8, p->body_len - 8)) return ROLE_NONE;
    enum role role = packet_key(k, whole, &quoted, true);
    *whole = quoted.protocol == IPPROTO_TCP || quoted.body_len >= 8 + TAG_BYTES || quoted.len >= quoted.declared;
    return role == ROLE_REQUEST ? ROLE_ERROR : ROLE_NONE;
  }
  if (p->fragment || p->body_len < 8) return ROLE_NONE;
  switch (p->protocol) {
  case IPPROTO_ICMP:
  case IPPROTO_ICMPV6: return icmp_key(k, p);
  case IPPROTO_UDP: return udp_key(k, p, outgoing);
  case IPPROTO_TCP: return tcp_key(k, p, outgoing);
  default: return ROLE_NONE;
  }
}
