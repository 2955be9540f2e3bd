// Reading and writing of what people type. No locale, no allocation.
#include "runtime/words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void wd_words_time(int64_t wall_us, char *out) {
  static _Thread_local int64_t second = INT64_MIN; // the one that `text` tells: most times come in order
  static _Thread_local char text[WD_TIME_LEN];
  static _Thread_local size_t n;
  int64_t us = wall_us % 1000000, s = wall_us / 1000000;
  if (us < 0) {
    us += 1000000;
    s--;
  }
  if (s != second) {
    struct tm tm;
    time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000000Z", &tm);
    second = s;
  }
  memcpy(out, text, n + 1);
  for (char *digit = out + n - 2; us; us /= 10) *digit-- = (char)('0' + us % 10);
}

struct unit {
  const char *name;
  double factor;
};

static const struct unit spans[] = {{"ns", 1},   {"us", 1e3}, {"µs", 1e3},    {"ms", 1e6},
                                    {"s", 1e9},  {"m", 60e9}, {"h", 3600e9},  {"d", 86400e9}};
static const struct unit sizes[] = {
  {"", 1},           {"b", 1},           {"k", 0x1p10},   {"kib", 0x1p10}, {"kb", 1e3},     {"m", 0x1p20},   {"mib", 0x1p20},
  {"mb", 1e6},       {"g", 0x1p30},      {"gib", 0x1p30}, {"gb", 1e9},     {"t", 0x1p40},   {"tib", 0x1p40}, {"tb", 1e12}};

// Reads an unsigned decimal number; a sign, hexadecimal, "inf" and "nan" are not numbers here.
static const char *number(const char *p, double *out) {
  if (!isdigit((unsigned char)*p) && *p != '.') return NULL;
  if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) return NULL;
  char *end;
  *out = strtod(p, &end);
  return end > p ? end : NULL;
}

int wd_words_duration(const char *text, wd_ns *out) {
  double total = 0, v;
  const char *p = text;
  do {
    p = number(p, &v);
    if (!p) return -1;
    size_t n = 0;
    while (p[n] && !isdigit((unsigned char)p[n]) && p[n] != '.') n++;
    const struct unit *unit = NULL;
    for (size_t i = 0; i < WD_COUNT(spans); i++)
      if (strlen(spans[i].name) == n && strncmp(spans[i].name, p, n) == 0) unit = &spans[i];
    bool plain_seconds = n == 0 && total == 0.0;
    if (!unit && !plain_seconds) return -1;
    total += v * (unit ? unit->factor : 1e9);
    p += n;
  } while (*p);
  if (!(total <= 3650.0 * 86400e9)) return -1;
  *out = (wd_ns)llround(total);
  return 0;
}

int wd_words_bytes(const char *text, int64_t *out) {
  double v;
  const char *p = number(text, &v);
  if (!p) return -1;
  while (*p == ' ') p++;
  for (size_t i = 0; i < WD_COUNT(sizes); i++) {
    if (strcasecmp(sizes[i].name, p) != 0) continue;
    if (!(v * sizes[i].factor < 9e15)) return -1;
    *out = llround(v * sizes[i].factor);
    return 0;
  }
  return -1;
}

enum { LONGEST_NAME = 63 };

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

// Edit distance in which two neighbouring letters swapped count once.
static size_t distance(const char *a, size_t an, const char *b, size_t bn) {
  size_t rows[3][LONGEST_NAME + 1];
  for (size_t j = 0; j <= bn; j++) rows[0][j] = j;
  for (size_t i = 1; i <= an; i++) {
    size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= bn; j++) {
      row[j] = least(least(up[j] + 1, row[j - 1] + 1), up[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = least(row[j], up2[j - 2] + 1);
    }
  }
  return rows[an % 3][bn];
}

const char *wd_words_nearest(const char *name, const char *(*get)(const void *ctx, size_t i), const void *ctx, size_t n) {
  const char *best = NULL;
  size_t len = strlen(name), bound = len / 3 + 2;
  if (len > LONGEST_NAME) return NULL;
  for (size_t i = 0; i < n; i++) {
    const char *c = get(ctx, i);
    if (!c || strlen(c) > LONGEST_NAME) continue;
    size_t d = distance(name, len, c, strlen(c));
    if (d < bound) {
      bound = d;
      best = c;
    }
  }
  return best;
}
