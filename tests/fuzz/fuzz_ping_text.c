// What the system's ping program prints, of any bytes: a verdict whose parts fit together.
#include <stdlib.h>
#include <string.h>

#include "probes/icmp_program_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_ping_text out;
  char *text = malloc(size + 1);
  if (size) memcpy(text, data, size);
  text[size] = '\0';
  wd_ping_read(&out, text);
  bool failed = out.verdict == WD_PING_ERROR || out.verdict == WD_PING_DENIED || out.verdict == WD_PING_REFUSED;
  if (failed != (out.why != NULL) || failed != (out.err != WD_OK)) abort();
  if (out.verdict == WD_PING_REPLY && (out.rtt < 0 || out.resolution < 1)) abort();
  if (out.ttl < -1 || out.ttl > 255) abort();
  free(text);
  return 0;
}
