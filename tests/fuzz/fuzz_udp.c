// Replies to udp.ping of any bytes, and replies that are a ping of ours with some bytes changed: what is taken for a reply is one byte for byte.
#include <stdlib.h>
#include <string.h>

#include "probes/udp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *bytes, size_t len) {
  struct wd_udp_ping ping, quoted;
  bool nonce_known = false;
  bool quote = wd_udp_parse_quote(&quoted, &nonce_known, bytes, len);
  if (!wd_udp_parse(&ping, bytes, len)) return;
  if (!quote || !nonce_known || quoted.id != ping.id || quoted.seq != ping.seq || quoted.nonce != ping.nonce) abort();
  uint8_t *built = malloc(len);
  if (wd_udp_build(built, len, &ping, len) != len || memcmp(built, bytes, len) != 0) abort();
  free(built);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { HEAD = 3, EDIT = 3 };
  check(data, size);
  if (size < HEAD) return 0;
  size_t len = data[0] | (size_t)data[1] << 8, cut = len > data[2] ? len - data[2] : 0;
  const struct wd_udp_ping ours = {1, 2, 0x0102030405060708};
  uint8_t *bytes = malloc(len ? len : 1), *exact = malloc(cut ? cut : 1);
  if (wd_udp_build(bytes, len, &ours, len)) {
    for (size_t at = HEAD; at + EDIT <= size; at += EDIT) bytes[(data[at] | (size_t)data[at + 1] << 8) % len] = data[at + 2];
    memcpy(exact, bytes, cut);
    check(bytes, len);
    check(exact, cut);
  }
  free(bytes);
  free(exact);
  return 0;
}
