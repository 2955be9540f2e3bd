// URLs of http and https: taken apart, put together, resolved against one another, and shown without
// credentials. Parsing is libcurl's own, so that what is checked here is what it will do.
#pragma once

#include "runtime/arena.h"
#include "runtime/wd.h"

// Strings live in the arena that was given; all but user and password are never NULL.
struct wd_url {
  const char *host;            // without brackets, names in their ASCII form
  const char *authority;       // host and port as they stand in a Host header: "h", "h:8080", "[::1]:8080"
  const char *path;            // with the query: "/a?b"
  const char *full;            // without userinfo and fragment: what is asked for, and what may be shown
  const char *user, *password; // decoded; NULL where the URL has none
  uint16_t port;
  bool tls; // https
};

// Reads a URL. NULL, or what is wrong with it, in the arena, without the URL's credentials.
const char *wd_url_parse(struct wd_url *out, struct wd_arena *arena, const char *text);

// Reads `reference`, which may be relative to `base` (RFC 3986 section 5). As wd_url_parse.
const char *wd_url_join(struct wd_url *out, struct wd_arena *arena, const struct wd_url *base, const char *reference);

// The same scheme, host and port: where credentials may go along.
bool wd_url_same_origin(const struct wd_url *a, const struct wd_url *b);

// The same URL asked of another host name (which then is what TLS asks for and checks); NULL when memory is out.
const char *wd_url_with_host(const struct wd_url *url, struct wd_arena *arena, const char *host);
