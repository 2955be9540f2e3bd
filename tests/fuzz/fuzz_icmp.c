// ICMP messages and quotes of any bytes: nothing is read beyond the input, and what is reported of a nonce was there.
// Bits of the first byte: 1 IPv6, 2 a raw socket, 4 the IPv4 header's length and the checksum are made right, so that what stands behind them is reached.
#include <stdlib.h>
#include <string.h>

#include "probes/icmp_wire.h"
#include "runtime/icmp_error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_right(uint8_t *packet, size_t len) {
  enum { HEADER = 20, PROTO_ICMP = 1 };
  if (len < HEADER + WD_ICMP_HEADER_BYTES) return;
  size_t header = (size_t)(packet[0] & 0x0f) * 4;
  if (header < HEADER || header + WD_ICMP_HEADER_BYTES > len) header = HEADER;
  packet[0] = (uint8_t)(0x40 | header / 4);
  packet[2] = (uint8_t)(len >> 8);
  packet[3] = (uint8_t)len;
  packet[6] = packet[7] = 0;
  packet[9] = PROTO_ICMP;
  packet[header + 2] = packet[header + 3] = 0;
  uint16_t sum = wd_icmp_checksum(packet + header, len - header);
  packet[header + 2] = (uint8_t)(sum >> 8);
  packet[header + 3] = (uint8_t)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_icmp_message message;
  if (size < 1) return 0;
  int family = data[0] & 1 ? AF_INET6 : AF_INET;
  bool raw = data[0] & 2;
  size_t len = size - 1;
  uint8_t *copy = malloc(len ? len : 1); // without the mode byte in front, so that a read before the start is seen too
  memcpy(copy, data + 1, len);
  if (data[0] & 4 && raw && family == AF_INET) make_right(copy, len);
  if (wd_icmp_parse(&message, family, raw, copy, len)) {
    if (message.echo.nonce_len > WD_ICMP_NONCE_BYTES || message.size > len || (message.kind != WD_ICMP_ERROR && message.err != WD_OK) ||
        (message.quotes_echo && (message.kind != WD_ICMP_ERROR || wd_addr_family(&message.to) != family)))
      abort();
    if (!*wd_icmp_text(family, message.type, message.code)) abort();
    if (!wd_icmp_nonce_fits(&message.echo, message.echo.nonce)) abort();
  } else if (data[0] & 4 && raw && family == AF_INET && len >= 28) {
    abort(); // a whole packet with a right checksum
  }
  wd_icmp_parse_quote(&message.echo, family, copy, len);
  free(copy);
  return 0;
}
