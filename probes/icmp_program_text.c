// See icmp_program_text.h.
#include "probes/icmp_program_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct phrase {
  const char *text;
  enum wd_ping_verdict verdict;
  enum wd_err err;
  const char *why;
};

// The first that is found counts: a line about an error that came stands before the program's own complaints.
static const struct phrase phrases[] = {
    {"Destination Net Unreachable", WD_PING_ERROR, WD_E_NETWORK_UNREACHABLE, "network unreachable"},
    {"Destination Host Unreachable", WD_PING_ERROR, WD_E_HOST_UNREACHABLE, "host unreachable"},
    {"Destination Port Unreachable", WD_PING_ERROR, WD_E_CONNECTION_REFUSED, "port unreachable"},
    {"Destination Protocol Unreachable", WD_PING_ERROR, WD_E_CONNECTION_REFUSED, "protocol unreachable"},
    {"Destination unreachable: No route", WD_PING_ERROR, WD_E_NETWORK_UNREACHABLE, "no route to destination"},
    {"Destination unreachable: Address unreachable", WD_PING_ERROR, WD_E_HOST_UNREACHABLE, "address unreachable"},
    {"Destination unreachable: Port unreachable", WD_PING_ERROR, WD_E_CONNECTION_REFUSED, "port unreachable"},
    {"Destination unreachable: Administratively prohibited", WD_PING_ERROR, WD_E_ADMIN_PROHIBITED, "administratively prohibited"},
    {"Packet filtered", WD_PING_ERROR, WD_E_ADMIN_PROHIBITED, "communication administratively prohibited"},
    {"Host Prohibited", WD_PING_ERROR, WD_E_ADMIN_PROHIBITED, "host administratively prohibited"},
    {"Net Prohibited", WD_PING_ERROR, WD_E_ADMIN_PROHIBITED, "network administratively prohibited"},
    {"Time to live exceeded", WD_PING_ERROR, WD_E_TTL_EXCEEDED, "time to live exceeded in transit"},
    {"Time exceeded: Hop limit", WD_PING_ERROR, WD_E_TTL_EXCEEDED, "hop limit exceeded in transit"},
    {"Frag needed and DF set", WD_PING_ERROR, WD_E_MESSAGE_TOO_BIG, "fragmentation needed"},
    {"Packet too big", WD_PING_ERROR, WD_E_MESSAGE_TOO_BIG, "packet too big"},
    {"essage too long", WD_PING_REFUSED, WD_E_MESSAGE_TOO_BIG, "larger than the path of this machine allows"},
    {"not permitted", WD_PING_DENIED, WD_E_PERMISSION, "it is not permitted to ping either"},
    {"ermission denied", WD_PING_DENIED, WD_E_PERMISSION, "it is not permitted to ping either"},
    {"acking privilege", WD_PING_DENIED, WD_E_PERMISSION, "it is not permitted to ping either"},
    {"Network is unreachable", WD_PING_REFUSED, WD_E_LOCAL, "no route to this address is configured on this machine"},
    {"No route to host", WD_PING_REFUSED, WD_E_LOCAL, "this machine's routes make this address unreachable"},
    {"annot assign requested address", WD_PING_REFUSED, WD_E_LOCAL, "the source address is not one of this machine"},
    {"nknown iface", WD_PING_REFUSED, WD_E_LOCAL, "the source is neither an address nor an interface of this machine"},
    {"Usage:", WD_PING_REFUSED, WD_E_LOCAL, "the system's ping program does not know one of the options needed"},
    {"invalid option", WD_PING_REFUSED, WD_E_LOCAL, "the system's ping program does not know one of the options needed"},
};

// The address behind the word, up to a blank or ": ".
static bool address_after(struct wd_addr *out, const char *line, const char *word) {
  char text[WD_ADDR_TEXT];
  const char *at = strstr(line, word);
  if (!at) return false;
  at += strlen(word);
  size_t n = strcspn(at, " \n(");
  if (n == 0 || n >= sizeof(text)) return false;
  memcpy(text, at, n);
  if (text[n - 1] == ':') n--;
  text[n] = '\0';
  return wd_addr_parse(out, text, 0);
}

// "0.033", "12.3", "123": the value in nanoseconds and the weight of its last digit. False for anything else.
static bool read_ms(const char *text, wd_ns *value, wd_ns *resolution) {
  char *end;
  double ms = strtod(text, &end);
  if (end == text || !(ms >= 0 && ms < 1e9)) return false;
  const char *dot = memchr(text, '.', (size_t)(end - text));
  long digits = dot ? end - dot - 1 : 0;
  *value = (wd_ns)llround(ms * 1e6);
  *resolution = WD_MS;
  for (; digits > 0 && *resolution > 1; digits--) *resolution /= 10;
  return true;
}

static bool read_reply(struct wd_ping_text *out, const char *text) {
  const char *line = strstr(text, " bytes from ");
  if (!line) return false;
  const char *ttl = strstr(line, " ttl="), *time = strstr(line, " time=");
  if (!address_after(&out->from, line, " bytes from ")) return false;
  long hops = ttl ? strtol(ttl + 5, NULL, 10) : -1;
  if (hops >= 0 && hops <= UINT8_MAX) out->ttl = (int)hops;
  if (time && read_ms(time + 6, &out->rtt, &out->resolution)) {
    out->verdict = WD_PING_REPLY;
    return true;
  }
  out->verdict = WD_PING_REFUSED;
  out->err = WD_E_LOCAL;
  out->why = "the system's ping program prints no time for packets under 16 bytes";
  return true;
}

static uint32_t read_mtu(const char *text) {
  const char *at = strstr(text, "mtu");
  if (!at) return 0;
  at += 3 + strspn(at + 3, " =");
  return (uint32_t)strtoul(at, NULL, 10);
}

void wd_ping_read(struct wd_ping_text *out, const char *text) {
  *out = (struct wd_ping_text){.verdict = WD_PING_SILENT, .ttl = -1};
  if (read_reply(out, text)) return;
  for (size_t i = 0; i < WD_COUNT(phrases); i++) {
    const char *at = strcasestr(text, phrases[i].text);
    if (!at) continue;
    out->verdict = phrases[i].verdict;
    out->err = phrases[i].err;
    out->why = phrases[i].why;
    if (out->err == WD_E_MESSAGE_TOO_BIG) out->mtu = read_mtu(at);
    if (out->verdict != WD_PING_ERROR) return;
    while (at > text && at[-1] != '\n') at--;
    if (!address_after(&out->from, at, "From ")) address_after(&out->from, at, "from ");
    return;
  }
}
