// The udp.ping payload, see udp_wire.h.
#include "udp_wire.h"

#include <string.h>

static const uint8_t magic[4] = {'w', 'd', 'u', '1'};

static uint64_t get(const uint8_t *p, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | p[i];
  return value;
}

static void put(uint8_t *p, int bytes, uint64_t value) {
  for (int i = bytes - 1; i >= 0; i--, value >>= 8) p[i] = (uint8_t)value;
}

// No constant, so that a server which compresses or answers with a filled block is noticed.
static uint8_t pattern(size_t at) {
  return (uint8_t)(at * 7 + (at >> 8));
}

size_t wd_udp_build(uint8_t *out, size_t cap, const struct wd_udp_ping *ping, size_t size) {
  if (size < WD_UDP_SIZE_MIN || size > WD_UDP_SIZE_MAX || size > cap) return 0;
  memcpy(out, magic, sizeof magic);
  put(out + 4, 4, ping->id);
  put(out + 8, 4, ping->seq);
  put(out + 12, 8, ping->nonce);
  for (size_t i = WD_UDP_SIZE_MIN; i < size; i++) out[i] = pattern(i);
  return size;
}

bool wd_udp_parse_quote(struct wd_udp_ping *out, bool *nonce_known, const uint8_t *bytes, size_t len) {
  if (len < 12 || memcmp(bytes, magic, sizeof magic) != 0) return false;
  *nonce_known = len >= WD_UDP_SIZE_MIN;
  *out = (struct wd_udp_ping){(uint32_t)get(bytes + 4, 4), (uint32_t)get(bytes + 8, 4), *nonce_known ? get(bytes + 12, 8) : 0};
  return true;
}

bool wd_udp_parse(struct wd_udp_ping *out, const uint8_t *bytes, size_t len) {
  struct wd_udp_ping ping;
  bool nonce_known;
  if (!wd_udp_parse_quote(&ping, &nonce_known, bytes, len) || !nonce_known) return false;
  for (size_t i = WD_UDP_SIZE_MIN; i < len; i++)
    if (bytes[i] != pattern(i)) return false;
  *out = ping;
  return true;
}
