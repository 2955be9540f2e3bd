// See addr_range.h.
#include "runtime/addr_range.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"
#include "runtime/wd.h"

enum { TEXT = 128, MOST_BITS = 24 };

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
  if (!at) return -1;
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

// An address as a number.
struct number {
  uint64_t high, low; // of IPv4 `low` alone
};

static bool is_v4(const struct wd_addr *a) {
  return wd_addr_family(a) == AF_INET;
}

static uint64_t read_8(const uint8_t *bytes) {
  uint64_t v = 0;
  for (int i = 0; i < 8; i++) v = v << 8 | bytes[i];
  return v;
}

static void write_8(uint8_t *bytes, uint64_t v) {
  for (int i = 7; i >= 0; i--, v >>= 8) bytes[i] = (uint8_t)v;
}

static struct number number_of(const struct wd_addr *a) {
  if (is_v4(a)) return (struct number){.low = ntohl(a->v4.sin_addr.s_addr)};
  return (struct number){read_8(a->v6.sin6_addr.s6_addr), read_8(a->v6.sin6_addr.s6_addr + 8)};
}

static void set_number(struct wd_addr *a, struct number n) {
  if (is_v4(a)) {
    a->v4.sin_addr.s_addr = htonl((uint32_t)n.low);
  } else {
    write_8(a->v6.sin6_addr.s6_addr, n.high);
    write_8(a->v6.sin6_addr.s6_addr + 8, n.low);
  }
}

// What is wrong with a prefix length, or NULL.
static const char *of_prefix(struct wd_addr_range *out, const char *text) {
  char *end;
  bool v4 = is_v4(&out->first);
  unsigned bits = v4 ? 32 : 128;
  unsigned long prefix = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || prefix > bits || bits - prefix > MOST_BITS)
    return v4 ? "expected a prefix length from 8 to 32" : "expected a prefix length from 104 to 128";
  uint32_t mask = (uint32_t)((1ULL << (bits - prefix)) - 1);
  bool ends = v4 && mask > 1; // the network's own address and the broadcast address are no hosts
  struct number n = number_of(&out->first);
  n.low = (n.low & ~(uint64_t)mask) + ends;
  set_number(&out->first, n);
  out->count = mask + 1 - 2 * (uint32_t)ends;
  return NULL;
}

// What is wrong with the last address, or NULL.
static const char *of_pair(struct wd_addr_range *out, const char *text) {
  struct wd_addr last;
  if (!wd_addr_parse(&last, text, 0) || is_v4(&last) != is_v4(&out->first))
    return is_v4(&out->first) ? "expected an IPv4 address behind '-'" : "expected an IPv6 address behind '-'";
  if (!is_v4(&last) && last.v6.sin6_scope_id && last.v6.sin6_scope_id != out->first.v6.sin6_scope_id)
    return "expected the last address in the zone of the first";
  struct number from = number_of(&out->first), to = number_of(&last);
  if (to.high < from.high || (to.high == from.high && to.low < from.low)) return "expected a last address that is not before the first";
  uint64_t more = to.low - from.low, carried = to.high - from.high - (to.low < from.low);
  if (carried || more >= WD_ADDR_RANGE_MOST) return "expected 16777216 addresses at most";
  out->count = (uint32_t)more + 1;
  return NULL;
}

bool wd_addr_range_parse(struct wd_addr_range *out, const char *text, int port, char *error, size_t error_size) {
  char copy[TEXT], *inner;
  size_t len = strlen(text);
  if (len >= sizeof(copy)) return fail(text, error, error_size, "too long for a range of addresses");
  memcpy(copy, text, len + 1);
  if (copy[0] == '[' && !strchr(copy, ']')) return fail(text, error, error_size, "has no ']'");
  int given = take_port(copy);
  if (given == -2) return fail(text, error, error_size, "expected a port from 1 to 65535 behind the range");
  if (given > 0 && port < 0) return fail(text, error, error_size, "a port has no meaning here");
  inner = copy + (copy[0] == '[');
  char *sep = strpbrk(inner, "/-");
  char kind = sep ? *sep : '\0';
  if (sep) *sep++ = '\0';
  if (!sep || !wd_addr_parse(&out->first, inner, (uint16_t)(given > 0 ? given : port > 0 ? port : 0)))
    return fail(text, error, error_size, "expected a range such as 10.0.0.0/24 or 10.0.0.1-10.0.0.9");
  const char *wrong = kind == '/' ? of_prefix(out, sep) : of_pair(out, sep);
  return !wrong || fail(text, error, error_size, wrong);
}

struct wd_addr wd_addr_range_nth(const struct wd_addr_range *range, uint32_t nth) {
  struct wd_addr a = range->first;
  struct number n = number_of(&a);
  n.low += nth;
  n.high += n.low < nth;
  set_number(&a, n);
  return a;
}
