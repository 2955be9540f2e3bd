// See addr_range.h.
#include "runtime/addr_range.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"
#include "runtime/wd.h"

enum { TEXT = 128 };

bool wd_addr_range_is(const char *text) {
  char head[TEXT];
  struct wd_addr any;
  size_t skip = text[0] == '[', n = strcspn(text + skip, "/-");
  if (wd_addr_parse(&any, text, 0)) return false; // the name of a zone may have a dash
  if (text[skip + n] == '\0' || n >= sizeof(head)) return false;
  memcpy(head, text + skip, n);
  head[n] = '\0';
  return wd_addr_parse(&any, head, 0);
}

static bool fail(const char *text, char *error, size_t error_size, const char *why) {
  char shown[64];
  wd_text_escape(shown, sizeof(shown), text, strlen(text));
  snprintf(error, error_size, "'%s': %s", shown, why);
  return false;
}

// Takes the port off the end; -1 where there is none, -2 for what is none.
static int take_port(char *text) {
  char *at = text[0] == '[' ? strchr(text, ']') : strchr(text, ':') == strrchr(text, ':') ? strchr(text, ':') : NULL;
  if (!at) return text[0] == '[' ? -2 : -1;
  bool bracket = *at == ']';
  *at++ = '\0';
  if (bracket) {
    if (*at == '\0') return -1;
    if (*at++ != ':') return -2;
  }
  char *end;
  long port = strtol(at, &end, 10);
  return *at >= '0' && *at <= '9' && *end == '\0' && port > 0 && port < 65536 ? (int)port : -2;
}

static const uint8_t *bytes(const struct wd_addr *a) {
  return wd_addr_family(a) == AF_INET ? (const uint8_t *)&a->v4.sin_addr : a->v6.sin6_addr.s6_addr;
}

static size_t size(const struct wd_addr *a) {
  return wd_addr_family(a) == AF_INET ? 4 : 16;
}

// The low 32 bits: a range never reaches beyond them.
static uint32_t low(const struct wd_addr *a) {
  uint32_t v;
  memcpy(&v, bytes(a) + size(a) - sizeof(v), sizeof(v));
  return ntohl(v);
}

static void set_low(struct wd_addr *a, uint32_t v) {
  v = htonl(v);
  memcpy((uint8_t *)(uintptr_t)bytes(a) + size(a) - sizeof(v), &v, sizeof(v));
}

static bool of_prefix(struct wd_addr_range *out, const char *text) {
  char *end;
  unsigned bits = (unsigned)size(&out->first) * 8;
  unsigned long prefix = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || prefix > bits || bits - prefix > 24) return false;
  uint32_t mask = (uint32_t)((1ULL << (bits - prefix)) - 1);
  bool ends = bits == 32 && mask > 1; // the network's own address and the broadcast address are no hosts
  set_low(&out->first, (low(&out->first) & ~mask) + ends);
  out->count = mask + 1 - 2 * (uint32_t)ends;
  return true;
}

static bool of_pair(struct wd_addr_range *out, const char *text) {
  struct wd_addr last;
  if (!wd_addr_parse(&last, text, 0) || size(&last) != size(&out->first)) return false;
  if (memcmp(bytes(&last), bytes(&out->first), size(&last) - 4) != 0) return false;
  uint32_t from = low(&out->first), to = low(&last);
  if (to < from || to - from >= WD_ADDR_RANGE_MOST) return false;
  out->count = to - from + 1;
  return true;
}

bool wd_addr_range_parse(struct wd_addr_range *out, const char *text, int port, char *error, size_t error_size) {
  char copy[TEXT], *inner;
  size_t len = strlen(text);
  if (len >= sizeof(copy)) return fail(text, error, error_size, "too long for a range of addresses");
  memcpy(copy, text, len + 1);
  int given = take_port(copy);
  if (given == -2) return fail(text, error, error_size, "expected a port from 1 to 65535 behind the range");
  if (given > 0 && port < 0) return fail(text, error, error_size, "a port has no meaning here");
  inner = copy + (copy[0] == '[');
  char *sep = strpbrk(inner, "/-");
  char kind = sep ? *sep : '\0';
  if (sep) *sep++ = '\0';
  if (!sep || !wd_addr_parse(&out->first, inner, (uint16_t)(given > 0 ? given : port > 0 ? port : 0)))
    return fail(text, error, error_size, "expected a range such as 10.0.0.0/24 or 10.0.0.1-10.0.0.9");
  if (kind == '/' ? !of_prefix(out, sep) : !of_pair(out, sep))
    return fail(text, error, error_size,
                kind == '/' ? "expected a prefix length that leaves 24 bits at most" : "expected a last address behind the first, 16777216 at most");
  return true;
}

struct wd_addr wd_addr_range_nth(const struct wd_addr_range *range, uint32_t nth) {
  struct wd_addr a = range->first;
  set_low(&a, low(&a) + nth);
  return a;
}
