// Writing packets: the transport's part is put behind where the IP header goes, `finish` adds that and the checksums.
#include "sim.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>

enum { V4_HEADER = 20, V6_HEADER = 40, V4_ERROR_MOST = 576, V6_ERROR_MOST = 1280 };

static uint32_t sum(uint32_t so_far, const uint8_t *bytes, size_t len) {
  for (; len > 1; bytes += 2, len -= 2) so_far += get16(bytes);
  return len ? so_far + (uint32_t)(bytes[0] << 8) : so_far;
}

static uint16_t folded(uint32_t sum_of_all) {
  while (sum_of_all >> 16) sum_of_all = (sum_of_all & 0xffff) + (sum_of_all >> 16);
  return (uint16_t)~sum_of_all;
}

static size_t header_len(bool v6) {
  return v6 ? V6_HEADER : V4_HEADER;
}

static uint8_t icmp_of(bool v6) {
  return v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

// Where the checksum is in the transport's header.
static size_t checksum_at(uint8_t protocol) {
  return protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;
}

static size_t finish(uint8_t *out, bool v6, const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, uint8_t ttl,
                     size_t len) {
  uint8_t *body = out + header_len(v6);
  uint32_t pseudo = 0;
  memset(out, 0, header_len(v6));
  if (v6) {
    out[0] = 0x60;
    put16(out + 4, (unsigned)len);
    out[6] = protocol;
    out[7] = ttl;
    memcpy(out + 8, from, 16);
    memcpy(out + 24, to, 16);
    pseudo = sum(0, out + 8, 32);
  } else {
    out[0] = 0x45;
    put16(out + 2, (unsigned)(V4_HEADER + len));
    out[8] = ttl;
    out[9] = protocol;
    memcpy(out + 12, from->s6_addr + 12, 4);
    memcpy(out + 16, to->s6_addr + 12, 4);
    put16(out + 10, folded(sum(0, out, V4_HEADER)));
    pseudo = sum(0, out + 12, 8);
  }
  if (protocol == IPPROTO_ICMP)
    pseudo = 0;
  else
    pseudo += protocol + (uint32_t)len;
  put16(body + checksum_at(protocol), 0);
  uint16_t check = folded(sum(pseudo, body, len));
  put16(body + checksum_at(protocol), check == 0 && protocol == IPPROTO_UDP ? 0xffff : check);
  return header_len(v6) + len;
}

size_t build_echo(uint8_t *out, const struct packet *request, uint8_t ttl) {
  uint8_t *body = out + header_len(request->v6);
  memcpy(body, request->body, request->body_len);
  body[0] = request->v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY;
  return finish(out, request->v6, &request->to, &request->from, request->protocol, ttl, request->body_len);
}

size_t build_datagram(uint8_t *out, const struct packet *request, const uint8_t *data, size_t len, uint8_t ttl) {
  uint8_t *body = out + header_len(request->v6);
  memcpy(body, request->body + 2, 2);
  memcpy(body + 2, request->body, 2);
  put16(body + 4, (unsigned)(8 + len));
  memcpy(body + 8, data, len);
  return finish(out, request->v6, &request->to, &request->from, IPPROTO_UDP, ttl, 8 + len);
}

size_t build_segment(uint8_t *out, const struct packet *request, uint8_t flags, uint32_t seq, uint32_t ack, uint8_t ttl) {
  static const uint8_t mss[4] = {TCPOPT_MAXSEG, 4, 1220 >> 8, 1220 & 255}; // fits into every IPv6 path
  uint8_t *body = out + header_len(request->v6);
  size_t len = sizeof(struct tcphdr);
  memset(body, 0, len);
  memcpy(body, request->body + 2, 2);
  memcpy(body + 2, request->body, 2);
  put32(body + 4, seq);
  put32(body + 8, ack);
  body[13] = flags;
  put16(body + 14, 65535);
  if (flags & TH_SYN) {
    memcpy(body + len, mss, sizeof(mss));
    len += sizeof(mss);
  }
  body[12] = (uint8_t)(len / 4 << 4);
  return finish(out, request->v6, &request->to, &request->from, IPPROTO_TCP, ttl, len);
}

size_t build_error(uint8_t *out, const struct packet *request, const struct in6_addr *from, uint8_t type, uint8_t code,
                   uint32_t extra, size_t quote, uint8_t ttl) {
  uint8_t *body = out + header_len(request->v6);
  size_t header = request->len - request->body_len;
  size_t most = (request->v6 ? V6_ERROR_MOST : V4_ERROR_MOST) - header_len(request->v6) - 8 -
      header; // RFC 4443 section 2.4, RFC 1812 section 4.3.2.3
  if (quote == 0 || quote > most) quote = most;
  if (quote > request->body_len) quote = request->body_len;
  body[0] = type;
  body[1] = code;
  put32(body + 4, extra);
  memcpy(body + 8, request->bytes, header + quote);
  return finish(out, request->v6, from, &request->from, icmp_of(request->v6), ttl, 8 + header + quote);
}

enum { DNS_HEADER = 12, DNS_NAME_MAX = 255, DNS_A = 1, DNS_AAAA = 28, DNS_TTL_SECONDS = 60 };

size_t dns_answer(uint8_t *out, const uint8_t *query, size_t len, const struct in6_addr *address) {
  size_t at = DNS_HEADER;
  if (len < DNS_HEADER || query[2] & 0x80 || get16(query + 4) != 1) return 0;
  while (at < len && at < DNS_HEADER + DNS_NAME_MAX && query[at]) at += query[at] + 1u;
  at += 5; // the root's label, type and class
  if (at > len) return 0;
  size_t size = is_v4(address) ? 4 : 16;
  bool fits = get16(query + at - 4) == (is_v4(address) ? DNS_A : DNS_AAAA);
  memcpy(out, query, at);
  out[2] = (uint8_t)(0x80 | (query[2] & 0x79)); // a response, the same opcode and recursion as asked
  out[3] = 0x80;
  put16(out + 6, fits);
  put32(out + 8, 0);
  if (!fits) return at;
  put16(out + at, 0xc000 | DNS_HEADER); // the question's name
  memcpy(out + at + 2, query + at - 4, 4); // its type and class
  put32(out + at + 6, DNS_TTL_SECONDS);
  put16(out + at + 10, (unsigned)size);
  memcpy(out + at + 12, address->s6_addr + 16 - size, size);
  return at + 12 + size;
}
