// Statuses, waits and dates. See upload_answer.h.
#include "runtime/upload_answer.h"

#include <stdio.h>
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
  case 501:                             // cannot do this at all (RFC 9110 section 15.6.2)
  case 505:                             // will not speak this version of HTTP
  case 511: return WD_UPLOAD_BLOCKED;   // a captive portal, not the manager (RFC 6585 section 6)
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

// Reads a date into *out; strptime is not used because its names of days and months are the locale's.
static bool read_date(const char *text, time_t *out) {
  struct tm tm = {0};
  char month[4] = "", zone[4] = "";
  int end = 0;
  if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3s%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min,
             &tm.tm_sec, zone, &end) == 7) {
    tm.tm_year -= 1900;
  } else if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d %3s%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
                    &tm.tm_min, &tm.tm_sec, zone, &end) == 7) {
    if (tm.tm_year < 70) tm.tm_year += 100;
  } else if (sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec,
                    &tm.tm_year, &end) == 6) {
    tm.tm_year -= 1900;
    strcpy(zone, "GMT");
  }
  tm.tm_mon = month_of(month);
  if (end == 0 || text[end] || tm.tm_mon < 0 || strcmp(zone, "GMT") != 0) return false;
  *out = timegm(&tm);
  return *out != (time_t)-1;
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
    if (!read_date(value, &at)) return WD_NONE;
    int64_t now_s = wall_us / 1000000;
    if (at <= now_s) return 0;
    wait = at - now_s > 3600 ? longest_asked : (wd_ns)(at - now_s) * WD_S;
  }
  return wait > longest_asked ? longest_asked : wait;
}
