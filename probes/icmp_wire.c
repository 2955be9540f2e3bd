// Echo messages to bytes and back, see icmp_wire.h.
#include "icmp_wire.h"

#include <string.h>

#include "runtime/icmp_error.h"

enum {
  V4_ECHO_REPLY = 0,
  V4_ECHO = 8,
  V6_ECHO = 128,
  V6_ECHO_REPLY = 129,
  PROTO_ICMP = 1,
  PROTO_ICMPV6 = 58,
  V4_HEADER_MIN = 20,
  V6_HEADER = 40
};

static uint16_t get16(const uint8_t *p) {
  return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}

uint16_t wd_icmp_checksum(const uint8_t *bytes, size_t len) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < len; i += 2) sum += get16(bytes + i);
  if (len % 2) sum += (uint64_t)bytes[len - 1] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

size_t wd_icmp_build(uint8_t *out, size_t cap, int family, uint16_t id, uint16_t seq, uint64_t nonce, size_t size) {
  size_t len = WD_ICMP_HEADER_BYTES + size;
  if (size > WD_ICMP_SIZE_MAX || cap < len) return 0;
  out[0] = family == AF_INET6 ? V6_ECHO : V4_ECHO;
  out[1] = 0;
  put16(out + 2, 0);
  put16(out + 4, id);
  put16(out + 6, seq);
  for (size_t i = 0; i < size; i++)
    out[WD_ICMP_HEADER_BYTES + i] = (uint8_t)(i < WD_ICMP_NONCE_BYTES ? nonce >> (56 - 8 * i) : i);
  if (family == AF_INET) put16(out + 2, wd_icmp_checksum(out, len));
  return len;
}

static void read_echo(struct wd_icmp_echo *out, const uint8_t *bytes, size_t len) {
  *out = (struct wd_icmp_echo){.id = get16(bytes + 4), .seq = get16(bytes + 6)};
  for (size_t i = WD_ICMP_HEADER_BYTES; i < len && out->nonce_len < WD_ICMP_NONCE_BYTES; i++, out->nonce_len++)
    out->nonce |= (uint64_t)bytes[i] << (56 - 8 * out->nonce_len);
}

bool wd_icmp_parse_quote(struct wd_icmp_echo *out, int family, const uint8_t *bytes, size_t len) {
  if (len < WD_ICMP_HEADER_BYTES || bytes[0] != (family == AF_INET6 ? V6_ECHO : V4_ECHO) || bytes[1] != 0) return false;
  read_echo(out, bytes, len);
  return true;
}

bool wd_icmp_nonce_fits(const struct wd_icmp_echo *echo, uint64_t nonce) {
  if (echo->nonce_len == 0) return true;
  unsigned shift = 64 - 8u * echo->nonce_len;
  return echo->nonce >> shift == nonce >> shift;
}

// The length of an IPv4 header with `proto` behind it, first fragments only; 0 when it is none.
static size_t v4_header(const uint8_t *bytes, size_t len, uint8_t proto) {
  if (len < V4_HEADER_MIN || bytes[0] >> 4 != 4) return 0;
  size_t header = (size_t)(bytes[0] & 0x0f) * 4;
  if (header < V4_HEADER_MIN || header > len || bytes[9] != proto || (get16(bytes + 6) & 0x1fff) != 0) return 0;
  return header;
}

// The same for IPv6 with its extension headers (RFC 8200 section 4).
static size_t v6_header(const uint8_t *bytes, size_t len, uint8_t proto) {
  enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, OPTIONS = 60 };
  if (len < V6_HEADER || bytes[0] >> 4 != 6) return 0;
  uint8_t next = bytes[6];
  size_t at = V6_HEADER;
  while (next != proto) {
    if (len - at < 8) return 0;
    size_t step;
    switch (next) {
    case HOP_BY_HOP:
    case ROUTING:
    case OPTIONS: step = ((size_t)bytes[at + 1] + 1) * 8; break;
    case AUTHENTICATION: step = ((size_t)bytes[at + 1] + 2) * 4; break;
    case FRAGMENT:
      if (get16(bytes + at + 2) & 0xfff8) return 0;
      step = 8;
      break;
    default: return 0;
    }
    next = bytes[at];
    if (step > len - at) return 0;
    at += step;
  }
  return at;
}

// The packet an error carries behind its 8 bytes: the IP header of ours that could not go on, and at least 8 bytes more.
static void read_quoted_packet(struct wd_icmp_message *out, int family, const uint8_t *bytes, size_t len) {
  size_t header = family == AF_INET6 ? v6_header(bytes, len, PROTO_ICMPV6) : v4_header(bytes, len, PROTO_ICMP);
  if (header == 0 || !wd_icmp_parse_quote(&out->echo, family, bytes + header, len - header)) return;
  out->quotes_echo = true;
  if (family == AF_INET6) {
    out->to.v6.sin6_family = AF_INET6;
    memcpy(&out->to.v6.sin6_addr, bytes + 24, 16);
  } else {
    out->to.v4.sin_family = AF_INET;
    memcpy(&out->to.v4.sin_addr, bytes + 16, 4);
  }
}

static bool is_error(int family, uint8_t type) {
  // RFC 4443 section 2.1: errors have the high bit clear. RFC 792: unreachable, source quench, time exceeded, parameter problem.
  return family == AF_INET6 ? type >= 1 && type <= 127 : type == 3 || type == 4 || type == 11 || type == 12;
}

bool wd_icmp_parse(struct wd_icmp_message *out, int family, bool raw, const uint8_t *bytes, size_t len) {
  *out = (struct wd_icmp_message){.ttl = -1};
  if (raw && family == AF_INET) {
    size_t header = v4_header(bytes, len, PROTO_ICMP);
    if (header == 0) return false;
    size_t total = get16(bytes + 2);
    if (total < header || total > len) return false;
    out->ttl = bytes[8];
    bytes += header;
    len = total - header;
    // Raw sockets get their copy before the kernel checks the sum (ip_local_deliver_finish).
    if (wd_icmp_checksum(bytes, len) != 0) return false;
  }
  if (len < WD_ICMP_HEADER_BYTES) return false;
  out->type = bytes[0];
  out->code = bytes[1];
  if (out->type == (family == AF_INET6 ? V6_ECHO_REPLY : V4_ECHO_REPLY) && out->code == 0) {
    out->kind = WD_ICMP_REPLY;
    out->size = len - WD_ICMP_HEADER_BYTES;
    read_echo(&out->echo, bytes, len);
  } else if (is_error(family, out->type)) {
    out->kind = WD_ICMP_ERROR;
    out->err = wd_icmp_err(family, out->type, out->code);
    if (out->err == WD_E_MESSAGE_TOO_BIG)
      out->mtu = family == AF_INET6 ? (uint32_t)get16(bytes + 4) << 16 | get16(bytes + 6) : get16(bytes + 6);
    read_quoted_packet(out, family, bytes + WD_ICMP_HEADER_BYTES, len - WD_ICMP_HEADER_BYTES);
  }
  return true;
}
