// The payload of udp.ping: what is sent, and whether what came back is ours. No sockets.
//
// Layout, big-endian: magic (4 bytes), id (4), sequence (4), nonce (8), then a pattern up to the size asked for. Echo servers send it back unchanged.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  WD_UDP_SIZE_MIN = 20,
  WD_UDP_SIZE_MAX = 65507, // 65535 less an IPv4 and the UDP header
};

struct wd_udp_ping {
  uint32_t id;
  uint32_t seq;
  uint64_t nonce;
};

// Writes `size` bytes (WD_UDP_SIZE_MIN to WD_UDP_SIZE_MAX) into out; the length written, 0 when size is out of range or larger than cap.
size_t wd_udp_build(uint8_t *out, size_t cap, const struct wd_udp_ping *ping, size_t size);

// Whether `bytes` are a payload of this layout, whole and with its pattern unharmed; then *out is set. Whether it is *our* ping is for
// the caller to say, by id, nonce and length.
bool wd_udp_parse(struct wd_udp_ping *out, const uint8_t *bytes, size_t len);

// For the quote of an ICMP error (MSG_ERRQUEUE payload), which may end anywhere: id and sequence where there are 12 bytes; *nonce_known tells whether
// the nonce was there too. False when it is too short or not ours.
bool wd_udp_parse_quote(struct wd_udp_ping *out, bool *nonce_known, const uint8_t *bytes, size_t len);
