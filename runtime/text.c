// Escaping of foreign text. Must hold: the output is valid UTF-8, printable on one line of a terminal, and never longer than asked.
#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

size_t wd_text_utf8_len(const char *bytes, size_t len) {
  const unsigned char *p = (const unsigned char *)bytes;
  if (len == 0) return 0;
  if (p[0] < 0x80) return 1;
  size_t need = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
  if (need == 0 || len < need) return 0;
  for (size_t i = 1; i < need; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  // RFC 3629 section 4: overlong forms, surrogates and what lies above U+10FFFF.
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] > 0x8f))
    return 0;
  return need;
}

static bool is_control(const unsigned char *p, size_t len) {
  if (len == 1) return p[0] < 0x20 || p[0] == 0x7f;
  // C1 controls (a terminal may obey them) and the line and paragraph separators and text-direction overrides.
  if (len == 2) return p[0] == 0xc2 && p[1] < 0xa0;
  return len == 3 && p[0] == 0xe2 &&
      ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

size_t wd_text_escape(char *out, size_t cap, const char *bytes, size_t len) {
  size_t used = 0, fits_with_dots = 0;
  size_t i = 0;
  while (i < len) {
    char piece[8];
    size_t step = wd_text_utf8_len(bytes + i, len - i), piece_len;
    if (step && !is_control((const unsigned char *)bytes + i, step)) {
      memcpy(piece, bytes + i, step);
      piece_len = step;
    } else {
      step = 1;
      piece_len = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)bytes[i]);
    }
    if (used + piece_len >= cap) break;
    memcpy(out + used, piece, piece_len);
    used += piece_len;
    i += step;
    if (used + 3 < cap) fits_with_dots = used;
  }
  if (i < len && cap > 3) {
    memcpy(out + fits_with_dots, "...", 3);
    used = fits_with_dots + 3;
  }
  out[used] = '\0';
  return used;
}

static unsigned char lower(unsigned char c) {
  return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

bool wd_text_equal_nocase(const char *a, const char *b) {
  while (*a && lower((unsigned char)*a) == lower((unsigned char)*b)) a++, b++;
  return *a == '\0' && *b == '\0';
}
