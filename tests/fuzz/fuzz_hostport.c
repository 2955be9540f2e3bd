// host:port texts of any bytes: what is accepted is a name or a literal, what is refused has a printable reason.
#include <stdlib.h>
#include <string.h>

#include "runtime/addr.h"
#include "runtime/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_hostport parts;
  char error[256] = "", shown[WD_ADDR_TEXT], escaped[64];
  if (size < 1) return 0;
  char *text = malloc(size);
  if (!text) return 0;
  memcpy(text, data + 1, size - 1);
  text[size - 1] = '\0';
  int port = data[0] % 3 == 0 ? 80 : data[0] % 3 == 1 ? WD_PORT_REQUIRED : WD_PORT_NONE;
  if (wd_hostport_split(&parts, text, port, error, sizeof error)) {
    if (parts.host[0] == '\0' || (parts.port == 0) != (port == WD_PORT_NONE)) abort();
    if (parts.literal && wd_addr_format_port(&parts.addr, shown)[0] == '\0') abort();
  } else if (error[0] == '\0') {
    abort();
  }
  if (wd_text_escape(escaped, 1 + data[0] % sizeof escaped, text, size - 1) > data[0] % sizeof escaped) abort();
  free(text);
  return 0;
}
