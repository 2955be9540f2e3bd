// DNS queries of any bytes to a zone of ours, over UDP and TCP: no answer, or one that is no longer than it may be.
#include <stdlib.h>
#include <string.h>

#include "runtime/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "$ORIGIN a.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n*.w TXT \"any\"\nc CNAME ns\nloop CNAME loop\n"
                           "big TXT \"0123456789012345678901234567890123456789012345678901234567890123456789\" \"more\"\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct wd_zone *zone;
  char error[200];
  if (!zone && !(zone = wd_zone_read(text, error, sizeof(error)))) abort();
  for (int tcp = 0; tcp <= 1; tcp++) {
    size_t len = 0;
    uint8_t *answer = wd_zone_answer(zone, data, size, tcp, &len);
    if (answer && (len < 12 || len > 65535 || memcmp(answer, data, 2) != 0 || !(answer[2] & 0x80))) abort();
    free(answer);
  }
  return 0;
}
