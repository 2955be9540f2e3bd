// The bounded line cutter, see lines_wire.h.
#include "lines_wire.h"

enum wd_lines_step wd_lines_next(struct wd_lines *lines, const uint8_t **bytes, size_t *len) {
  if (lines->ended) {
    lines->len = 0;
    lines->text[0] = '\0';
    lines->ended = 0;
  }
  while (*len > 0) {
    uint8_t byte = **bytes;
    if (lines->total == WD_LINES_TOTAL_MAX) return WD_LINES_TOO_MUCH;
    if (byte != '\n' && lines->len == WD_LINE_MAX) return WD_LINES_TOO_LONG;
    ++*bytes;
    --*len;
    lines->total++;
    if (byte == '\n') {
      if (lines->len && lines->text[lines->len - 1] == '\r') lines->len--;
      lines->text[lines->len] = '\0';
      lines->count++;
      lines->ended = 1;
      return WD_LINES_WHOLE;
    }
    lines->text[lines->len++] = (char)byte;
    lines->text[lines->len] = '\0';
  }
  return WD_LINES_MORE;
}
