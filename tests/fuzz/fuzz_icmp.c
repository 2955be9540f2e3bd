// ICMP messages and quotes of any bytes: nothing is read beyond the input, and what is reported of a nonce was there.
#include <stdlib.h>
#include <string.h>

#include "probes/icmp_wire.h"
#include "probes/udp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_icmp_message message;
  struct wd_udp_ping ping;
  bool nonce_known;
  if (size < 1) return 0;
  int family = data[0] & 1 ? AF_INET6 : AF_INET;
  uint8_t *copy = malloc(size); // without the mode byte in front, so that a read before the start is seen too
  if (!copy) return 0;
  memcpy(copy, data + 1, size - 1);
  if (wd_icmp_parse(&message, family, data[0] & 2, copy, size - 1)) {
    if (message.echo.nonce_len > WD_ICMP_NONCE_BYTES || message.size > size ||
        (message.kind == WD_ICMP_OTHER && message.err != WD_OK))
      abort();
    wd_icmp_text(family, message.type, message.code);
    if (!wd_icmp_nonce_fits(&message.echo, message.echo.nonce)) abort();
  }
  wd_icmp_parse_quote(&message.echo, family, copy, size - 1);
  if (wd_udp_parse(&ping, copy, size - 1) && !wd_udp_parse_quote(&ping, &nonce_known, copy, size - 1)) abort();
  free(copy);
  return 0;
}
