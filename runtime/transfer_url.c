// See transfer_url.h.
#include "runtime/transfer_url.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"

enum { URL_MAX = 16 * 1024 };

static const char too_long[] = "it is longer than 16 KiB";

// libcurl takes any byte, also an "@" that moves the host when the URL is read again.
static const char zone_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

// One part as a string of the arena, NULL where the URL has none.
static const char *part(CURLU *url, CURLUPart what, unsigned flags, struct wd_arena *arena) {
  char *text = NULL;
  CURLUcode rc = curl_url_get(url, what, &text, flags);
  const char *copy = rc == CURLUE_OK ? wd_arena_strdup(arena, text) : NULL;
  if (rc == CURLUE_OUT_OF_MEMORY) arena->failed = true;
  // Where libcurl 8.14 cannot write a name in ASCII it says so, and leaves what it allocated all the same.
  curl_free(text);
  return copy;
}

// curl gives a literal in brackets and keeps its zone apart.
static const char *plain_host(CURLU *url, const char *host, struct wd_arena *arena) {
  if (host[0] != '[') return host;
  const char *zone = part(url, CURLUPART_ZONEID, 0, arena);
  int n = (int)strcspn(host + 1, "]%");
  return zone ? wd_arena_printf(arena, "%.*s%%%s", n, host + 1, zone) : wd_arena_printf(arena, "%.*s", n, host + 1);
}

static const char *complaint(CURLUcode rc) {
  switch (rc) {
  case CURLUE_OK: return NULL;
  case CURLUE_OUT_OF_MEMORY: return "out of memory";
  case CURLUE_UNSUPPORTED_SCHEME: return "expected http:// or https://";
  case CURLUE_BAD_PORT_NUMBER: return "the port is not a number from 0 to 65535";
  case CURLUE_NO_HOST: return "there is no host in it";
  case CURLUE_BAD_IPV6: return "the IPv6 address in it is not one";
  case CURLUE_BAD_HOSTNAME: return "the host name in it is not one";
  case CURLUE_BAD_USER: return "the credentials in it cannot be read; write special characters as %XX";
  default: return "it is not a URL; write special characters as %XX";
  }
}

static const char *take_apart(struct wd_url *out, struct wd_arena *arena, CURLU *url) {
  const char *scheme = part(url, CURLUPART_SCHEME, 0, arena);
  out->tls = scheme && wd_text_equal_nocase(scheme, "https");
  if (!scheme || (!out->tls && !wd_text_equal_nocase(scheme, "http"))) return complaint(CURLUE_UNSUPPORTED_SCHEME);
  const char *host = part(url, CURLUPART_HOST, CURLU_PUNYCODE, arena);
  if (!host) host = part(url, CURLUPART_HOST, 0, arena);
  if (!host || !*host) return complaint(CURLUE_NO_HOST);
  const char *zone = part(url, CURLUPART_ZONEID, 0, arena);
  if (zone && zone[strspn(zone, zone_letters)]) return complaint(CURLUE_BAD_IPV6);
  const char *port = part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, arena);
  out->port = port ? (uint16_t)strtoul(port, NULL, 10) : 0;
  if (out->port == 0) return "port 0 cannot be connected to";
  out->user = part(url, CURLUPART_USER, CURLU_URLDECODE, arena);
  out->password = part(url, CURLUPART_PASSWORD, CURLU_URLDECODE, arena);
  curl_url_set(url, CURLUPART_USER, NULL, 0);
  curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
  curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
  bool usual = out->port == (out->tls ? 443 : 80);
  out->host = plain_host(url, host, arena);
  out->authority = usual ? host : wd_arena_printf(arena, "%s:%u", host, (unsigned)out->port);
  const char *path = part(url, CURLUPART_PATH, 0, arena), *query = part(url, CURLUPART_QUERY, 0, arena);
  out->path = query ? wd_arena_printf(arena, "%s?%s", path ? path : "/", query) : path;
  out->full = part(url, CURLUPART_URL, CURLU_NO_DEFAULT_PORT | CURLU_PUNYCODE, arena);
  if (!out->full) out->full = part(url, CURLUPART_URL, CURLU_NO_DEFAULT_PORT, arena);
  if (!out->host || !out->authority || !out->path || !out->full) return complaint(CURLUE_OUT_OF_MEMORY);
  if (strchr(out->full, '\x7f')) return complaint(CURLUE_MALFORMED_INPUT); // libcurl writes it out as it is, and then does not read it
  return strlen(out->full) > URL_MAX ? too_long : NULL; // a byte may have become three
}

static const char *parse(struct wd_url *out, struct wd_arena *arena, const char *base, const char *text) {
  if (strlen(text) > URL_MAX) return too_long;
  CURLU *url = curl_url();
  if (!url) arena->failed = true;
  if (!url) return complaint(CURLUE_OUT_OF_MEMORY);
  CURLUcode rc = base ? curl_url_set(url, CURLUPART_URL, base, 0) : CURLUE_OK;
  // A blank in a Location is common and harmless; in what a user wrote it is a slip, and libcurl says so.
  if (rc == CURLUE_OK) rc = curl_url_set(url, CURLUPART_URL, text, base ? CURLU_URLENCODE : 0);
  *out = (struct wd_url){0};
  const char *wrong = rc == CURLUE_OK ? take_apart(out, arena, url) : complaint(rc);
  if (rc == CURLUE_OUT_OF_MEMORY) arena->failed = true;
  if (arena->failed) wrong = complaint(CURLUE_OUT_OF_MEMORY); // a part that is missing may be there
  curl_url_cleanup(url);
  return wrong;
}

const char *wd_url_parse(struct wd_url *out, struct wd_arena *arena, const char *text) {
  // libcurl guesses a scheme from the host's name; a probe must not depend on a guess.
  if (!strstr(text, "://")) return "expected http:// or https:// at its start";
  return parse(out, arena, NULL, text);
}

const char *wd_url_join(struct wd_url *out, struct wd_arena *arena, const struct wd_url *base, const char *reference) {
  return parse(out, arena, base->full, reference);
}

bool wd_url_same_origin(const struct wd_url *a, const struct wd_url *b) {
  return a->tls == b->tls && a->port == b->port && wd_text_equal_nocase(a->host, b->host);
}

const char *wd_url_with_host(const struct wd_url *url, struct wd_arena *arena, const char *host) {
  const char *scheme = url->tls ? "https" : "http";
  const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
  return wd_arena_printf(arena, "%s://%s%s%s:%u%s", scheme, open, host, close, (unsigned)url->port, url->path);
}
