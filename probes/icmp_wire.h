// ICMP and ICMPv6 echo on the wire (RFC 792, RFC 4443): requests, replies, and errors with the request they quote. No sockets.
//
// Must hold: every input may be forged or cut anywhere; nothing is read beyond its length.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/addr.h"
#include "runtime/wd.h"

enum {
  WD_ICMP_HEADER_BYTES = 8,
  WD_ICMP_NONCE_BYTES = 8,
  WD_ICMP_SIZE_MAX = 65507, // payload bytes: 65535 less an IPv4 and the ICMP header
};

// What tells one echo from another. A payload, or an error's quote, may be too short for the whole nonce: nonce_len (0 to 8) says how many of its leading
// bytes were there, and the rest of `nonce` is 0.
struct wd_icmp_echo {
  uint16_t id;
  uint16_t seq;
  uint64_t nonce;
  uint8_t nonce_len;
};

enum wd_icmp_kind {
  WD_ICMP_OTHER, // a whole message, but neither of these (a redirect, a neighbour solicitation, somebody's request)
  WD_ICMP_REPLY,
  WD_ICMP_ERROR,
};

struct wd_icmp_message {
  enum wd_icmp_kind kind;
  uint8_t type, code;
  int ttl;                  // of the IPv4 header in front; -1 where there was none
  size_t size;              // of a reply: payload bytes
  struct wd_icmp_echo echo; // of a reply, or of the quoted request
  bool quotes_echo;         // of an error: it quotes an echo request; echo and to are set
  struct wd_addr to;        // of an error: where the quoted request went
  enum wd_err err;          // of an error: what it means; WD_OK: nothing that ends a probe
  uint32_t mtu;             // of an error: the next hop's; 0 when not told
};

// Writes an echo request of `family` with `size` payload bytes (the nonce, then a pattern) into out; the length written, 0 when cap is too small or
// size too large. The IPv4 checksum is set; the ICMPv6 one covers a pseudo-header (RFC 4443 section 2.3) and is left to the kernel.
size_t wd_icmp_build(uint8_t *out, size_t cap, int family, uint16_t id, uint16_t seq, uint64_t nonce, size_t size);

// Reads what a ping socket (`raw` false: ICMP header first, checksum seen to by the kernel) or a raw socket delivered (`raw`: over IPv4 with the IP
// header in front, whole, with its checksum verified here; over IPv6 without). False when it is cut, damaged or not ICMP.
bool wd_icmp_parse(struct wd_icmp_message *out, int family, bool raw, const uint8_t *bytes, size_t len);

// Reads the request that a MSG_ERRQUEUE payload of a ping or raw socket quotes (ip(7): it begins with the ICMP header we sent). False when
// it is no echo request or too short for id and sequence.
bool wd_icmp_parse_quote(struct wd_icmp_echo *out, int family, const uint8_t *bytes, size_t len);

// Whether the nonce bytes that came are those of `nonce`; true when none came, so id, sequence and address must match as well.
bool wd_icmp_nonce_fits(const struct wd_icmp_echo *echo, uint64_t nonce);

// The Internet checksum (RFC 1071) in host order; 0 over bytes that include a right checksum.
uint16_t wd_icmp_checksum(const uint8_t *bytes, size_t len);
