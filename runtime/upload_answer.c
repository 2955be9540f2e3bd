// Statuses, waits and dates. See upload_answer.h.
#include "runtime/upload_answer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const wd_ns base = WD_S, longest = 60 * WD_S, longest_asked = 3600 * WD_S;

enum wd_upload_verdict wd_upload_judge(int64_t status) {
  switch (status) {
  case 0: return WD_UPLOAD_FAULT;
  case 200:
  case 201: return WD_UPLOAD_STORED;
  case 400:
  case 409:
  case 413:
  case 422: return WD_UPLOAD_REFUSED;
  case 401: return WD_UPLOAD_DENIED;
  case 408:
  case 425:
  case 429: return WD_UPLOAD_FAULT;
  case 500: return WD_UPLOAD_DOUBT;
  case 501:                           // cannot do this at all (RFC 9110 section 15.6.2)
  case 505:                           // will not speak this version of HTTP
  case 511: return WD_UPLOAD_BLOCKED; // a captive portal, not the manager (RFC 6585 section 6)
  default: return status > 500 && status < 600 ? WD_UPLOAD_FAULT : WD_UPLOAD_BLOCKED;
  }
}

wd_ns wd_upload_backoff(unsigned faults, uint64_t random) {
  unsigned doublings = faults > 0 ? faults - 1 : 0;
  wd_ns span = doublings < 6 ? base << doublings : longest;
  if (span > longest) span = longest;
  return (wd_ns)(random % (uint64_t)span);
}

static int month_of(const char *name) {
  static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (int i = 0; i < 12; i++)
    if (strcmp(months[i], name) == 0) return i;
  return -1;
}

// A number of `least` to `most` digits at *text, -1 for none.
static int take_number(const char **text, size_t least, size_t most) {
  size_t n = strspn(*text, "0123456789");
  int value = 0;
  if (n < least || n > most) return -1;
  for (size_t i = 0; i < n; i++) value = value * 10 + (*(*text)++ - '0');
  return value;
}

// Reads a name of letters into `name`; it is cut where it does not fit.
static void take_name(const char **text, char *name, size_t room) {
  size_t n = 0;
  for (; (**text >= 'A' && **text <= 'Z') || (**text >= 'a' && **text <= 'z'); (*text)++)
    if (n + 1 < room) name[n++] = **text;
  name[n] = 0;
}

// One conversion of `form`, as strptime's; that is not used because its names of days and months are the locale's.
static bool take_part(const char **text, char what, struct tm *tm) {
  char name[4];
  int *number = what == 'd' ? &tm->tm_mday
      : what == 'H'         ? &tm->tm_hour
      : what == 'M'         ? &tm->tm_min
      : what == 'S'         ? &tm->tm_sec
                            : &tm->tm_year;
  switch (what) {
  case 'a': take_name(text, name, sizeof(name)); return name[0] != 0;
  case 'b':
    take_name(text, name, sizeof(name));
    tm->tm_mon = month_of(name);
    return tm->tm_mon >= 0;
  case 'd':
    if (**text == ' ') (*text)++;
    *number = take_number(text, 1, 2);
    return *number > 0;
  case 'Y':
    *number = take_number(text, 4, 4);
    tm->tm_year -= *number < 0 ? 0 : 1900;
    return *number >= 0;
  case 'y':
    *number = take_number(text, 2, 2);
    tm->tm_year += *number < 0 || *number >= 70 ? 0 : 100;
    return *number >= 0;
  default: *number = take_number(text, 2, 2); return *number >= 0;
  }
}

static bool read_date(const char *text, const char *form, time_t *out) {
  struct tm tm = {0};
  for (; *form; form++) {
    if (*form == '%' ? !take_part(&text, *++form, &tm) : *text++ != *form) return false;
  }
  *out = timegm(&tm);
  return *text == 0 && *out != (time_t)-1;
}

wd_ns wd_upload_retry_after(const char *value, int64_t wall_us) {
  if (!value) return WD_NONE;
  while (*value == ' ' || *value == '\t') value++;
  size_t digits = strspn(value, "0123456789");
  wd_ns wait;
  if (digits > 0) {
    if (value[digits + strspn(value + digits, " \t")]) return WD_NONE;
    wait = digits > 6 ? longest_asked : (wd_ns)strtol(value, NULL, 10) * WD_S;
  } else {
    time_t at;
    if (!read_date(value, "%a, %d %b %Y %H:%M:%S GMT", &at) && !read_date(value, "%a, %d-%b-%y %H:%M:%S GMT", &at) &&
        !read_date(value, "%a %b %d %H:%M:%S %Y", &at))
      return WD_NONE;
    int64_t now_s = wall_us / 1000000;
    if (at <= now_s) return 0;
    wait = at - now_s > 3600 ? longest_asked : (wd_ns)(at - now_s) * WD_S;
  }
  return wait > longest_asked ? longest_asked : wait;
}
