// A checking reader of JSON text that keeps one member. See upload_json.h.
#include "runtime/upload_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEVELS = 32 };

struct scan {
  const char *p, *end;
  struct wd_arena *arena;
};

static void skip_blanks(struct scan *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static bool take(struct scan *s, char c) {
  skip_blanks(s);
  if (s->p == s->end || *s->p != c) return false;
  s->p++;
  return true;
}

static bool take_word(struct scan *s, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
  s->p += n;
  return true;
}

// Four hexadecimal digits at s->p, -1 where there are none.
static int32_t take_hex(struct scan *s) {
  int32_t value = 0;
  if (s->end - s->p < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = *s->p++;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, int32_t c) {
  if (c < 0x80) {
    *out++ = (char)c;
    return out;
  }
  if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      *out++ = (char)(0xe0 | c >> 12);
    } else {
      *out++ = (char)(0xf0 | c >> 18);
      *out++ = (char)(0x80 | (c >> 12 & 0x3f));
    }
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
  }
  *out++ = (char)(0x80 | (c & 0x3f));
  return out;
}

// The character of an escape whose backslash has been read; -1 for none.
static int32_t take_escape(struct scan *s) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (s->p == s->end) return -1;
  char c = *s->p++;
  const char *plain = c ? strchr(from, c) : NULL;
  if (plain) return to[plain - from];
  if (c != 'u') return -1;
  int32_t high = take_hex(s);
  if (high < 0xd800 || high > 0xdfff) return high;
  if (high > 0xdbff || !take_word(s, "\\u")) return -1; // a lone surrogate is no character
  int32_t low = take_hex(s);
  if (low < 0xdc00 || low > 0xdfff) return -1;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

// Reads a string from its opening quote on; the decoded text has *len bytes. NULL for none.
static char *take_string(struct scan *s, size_t *len) {
  if (!take(s, '"')) return NULL;
  const char *close = s->p;
  for (; close < s->end && *close != '"'; close++)
    if (*close == '\\' && close + 1 < s->end) close++;
  if (close == s->end) return NULL;
  char *text = wd_arena_alloc(s->arena, (size_t)(close - s->p) + 1); // no escape is shorter than what it stands for
  char *out = text;
  if (!text) return NULL;
  while (s->p < close) {
    unsigned char c = (unsigned char)*s->p++;
    if (c < 0x20) return NULL;
    if (c != '\\') {
      *out++ = (char)c;
      continue;
    }
    int32_t point = take_escape(s);
    if (point < 0) return NULL;
    out = put_utf8(out, point);
  }
  if (s->p != close) return NULL;
  s->p++;
  *len = (size_t)(out - text);
  return text;
}

static bool take_digits(struct scan *s) {
  const char *from = s->p;
  while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
  return s->p > from;
}

static bool take_number(struct scan *s, double *out) {
  char copy[64];
  const char *from = s->p;
  if (s->p < s->end && *s->p == '-') s->p++;
  if (!take_digits(s)) return false;
  if (s->p < s->end && *s->p == '.' && (s->p++, !take_digits(s))) return false;
  if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
    s->p++;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
    if (!take_digits(s)) return false;
  }
  size_t n = (size_t)(s->p - from);
  if (n >= sizeof(copy)) return false;
  memcpy(copy, from, n);
  copy[n] = 0;
  *out = strtod(copy, NULL);
  return true;
}

static bool take_value(struct scan *s, struct wd_json_value *out, int level);

// Reads the members of an object or the elements of a list behind its opening bracket. Where `name`
// is not NULL its first value goes to *found.
static bool take_members(struct scan *s, bool object, int level, const char *name, struct wd_json_value *found) {
  char close = object ? '}' : ']';
  if (level > MOST_LEVELS) return false;
  if (take(s, close)) return true;
  do {
    struct wd_json_value value = {WD_JSON_NONE, NULL, 0};
    char *key = NULL;
    size_t n = 0;
    if (object && (!(key = take_string(s, &n)) || !take(s, ':'))) return false;
    if (!take_value(s, &value, level)) return false;
    if (key && name && found->kind == WD_JSON_NONE && strcmp(key, name) == 0) *found = value;
  } while (take(s, ','));
  return take(s, close);
}

static bool take_value(struct scan *s, struct wd_json_value *out, int level) {
  skip_blanks(s);
  if (s->p == s->end) return false;
  size_t n = 0;
  char *text;
  out->kind = WD_JSON_OTHER;
  switch (*s->p) {
  case '"':
    text = take_string(s, &n);
    if (!text) return false;
    if (strlen(text) == n) {
      out->kind = WD_JSON_STRING;
      out->text = text;
    }
    return true;
  case '{': s->p++; return take_members(s, true, level + 1, NULL, NULL);
  case '[': s->p++; return take_members(s, false, level + 1, NULL, NULL);
  case 't': out->kind = WD_JSON_TRUE; return take_word(s, "true");
  case 'f': return take_word(s, "false");
  case 'n': return take_word(s, "null");
  default: out->kind = WD_JSON_NUMBER; return take_number(s, &out->number);
  }
}

struct wd_json_value wd_json_member(const char *text, size_t n, const char *name, struct wd_arena *arena) {
  struct wd_json_value none = {WD_JSON_NONE, NULL, 0}, found = none;
  struct scan s = {text, text + n, arena};
  if (!take(&s, '{') || !take_members(&s, true, 1, name, &found)) return none;
  skip_blanks(&s);
  return s.p == s.end ? found : none;
}

char *wd_json_quote(struct wd_arena *arena, const char *text) {
  char *quoted = wd_arena_alloc(arena, strlen(text) * 6 + 3), *out = quoted;
  if (!quoted) return NULL;
  *out++ = '"';
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p < 0x20 || *p == 0x7f) {
      out += sprintf(out, "\\u%04x", *p);
      continue;
    }
    if (*p == '"' || *p == '\\') *out++ = '\\';
    *out++ = (char)*p;
  }
  *out++ = '"';
  *out = 0;
  return quoted;
}
