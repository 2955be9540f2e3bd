// URLs of any bytes, from people and in Location headers of servers: what is accepted has all its parts, shows no credentials, and is the same
// when it is read again.
#include <stdlib.h>
#include <string.h>

#include "runtime/transfer_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct wd_url *url, const char *wrong, struct wd_arena *arena) {
  struct wd_url again;
  if (wrong) {
    if (!*wrong) abort();
    return;
  }
  if (!*url->host || url->port == 0 || !url->authority || url->path[0] != '/') abort();
  const char *authority = strstr(url->full, "://"), *path = authority ? strpbrk(authority + 3, "/?#") : NULL;
  if (!path || memchr(authority, '@', (size_t)(path - authority)) || strchr(url->full, '#')) abort();
  for (const char *c = url->full; *c; c++)
    if ((unsigned char)*c <= ' ' || *c == 0x7f) abort(); // it goes into a request line
  if (wd_url_parse(&again, arena, url->full) || !wd_url_same_origin(url, &again) || again.user || again.password) abort();
  if (strcmp(again.path, url->path) != 0 || strcmp(again.full, url->full) != 0) abort();
  const char *other = wd_url_with_host(url, arena, "::1");
  if (wd_url_parse(&again, arena, other) || strcmp(again.host, "::1") != 0 || again.port != url->port) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_arena arena = {0};
  struct wd_url base, url;
  char *text = malloc(size + 1);
  if (size) memcpy(text, data, size);
  text[size] = '\0';
  const char *wrong = wd_url_parse(&url, &arena, text);
  check(&url, wrong, &arena);
  if (wd_url_parse(&base, &arena, "https://user:password@a.test:8443/b/c?d=e")) abort();
  wrong = wd_url_join(&url, &arena, &base, text);
  check(&url, wrong, &arena);
  wd_arena_free(&arena);
  free(text);
  return 0;
}
