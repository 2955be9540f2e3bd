// Ranges of addresses of any bytes: one that is accepted ends where its count says, in order and with its port; one that is refused has a printable reason.
#include <stdlib.h>
#include <string.h>

#include "runtime/addr_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, int port) {
  struct wd_addr_range range, again;
  char error[256] = "", first[WD_ADDR_TEXT], last[WD_ADDR_TEXT], pair[2 * WD_ADDR_TEXT + 8];
  bool meant = wd_addr_range_is(text);
  if (!wd_addr_range_parse(&range, text, port, error, sizeof(error))) {
    if (error[0] == '\0') abort();
    for (const char *c = error; *c; c++)
      if ((unsigned char)*c < ' ' || *c == 0x7f) abort();
    return;
  }
  if (!meant || range.count < 1 || range.count > WD_ADDR_RANGE_MOST) abort();
  struct wd_addr from = wd_addr_range_nth(&range, 0), to = wd_addr_range_nth(&range, range.count - 1);
  if (wd_addr_port(&from) != wd_addr_port(&to) || (port < 0) != (wd_addr_port(&to) == 0)) abort();
  // Written as first and last it is the same range; a zone whose name has a dash or a slash in it cannot be.
  wd_addr_format(&from, first);
  wd_addr_format(&to, last);
  if (strpbrk(first, "-/")) return;
  strcpy(pair, first);
  strcat(pair, "-");
  strcat(pair, last);
  if (!wd_addr_range_parse(&again, pair, wd_addr_port(&from) ? wd_addr_port(&from) : -1, error, sizeof(error))) abort();
  if (again.count != range.count || !wd_addr_equal(&again.first, &from)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  if (!text) return 0;
  if (size) memcpy(text, data, size);
  text[size] = '\0';
  check(text, -1);
  check(text, 7);
  free(text);
  return 0;
}
