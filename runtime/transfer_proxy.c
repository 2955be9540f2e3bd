// Which proxy a request takes: the option, or http_proxy, https_proxy, all_proxy and no_proxy.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/text.h"
#include "runtime/transfer_inner.h"

// The value of an environment variable in small letters, else in capitals; NULL where it is empty.
static const char *from_env(const char *small, const char *capitals) {
  const char *value = getenv(small);
  if ((!value || !*value) && capitals) value = getenv(capitals);
  return value && *value ? value : NULL;
}

static bool in_network(const struct wd_addr *addr, const char *network, const char *bits_text) {
  struct wd_addr net;
  char *end;
  long bits = strtol(bits_text, &end, 10);
  if (end == bits_text || *end) return false;
  if (!wd_addr_parse(&net, network, 0) || wd_addr_family(&net) != wd_addr_family(addr)) return false;
  bool v6 = wd_addr_family(addr) == AF_INET6;
  const uint8_t *a = v6 ? addr->v6.sin6_addr.s6_addr : (const uint8_t *)&addr->v4.sin_addr;
  const uint8_t *b = v6 ? net.v6.sin6_addr.s6_addr : (const uint8_t *)&net.v4.sin_addr;
  if (bits < 0 || bits > (v6 ? 128 : 32)) return false;
  if (memcmp(a, b, (size_t)bits / 8) != 0) return false;
  return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8)) == 0;
}

// One entry of no_proxy: a domain with everything under it, an address, or a network.
static bool covers(char *entry, const char *host) {
  struct wd_addr addr;
  char *slash = strchr(entry, '/');
  if (wd_addr_parse(&addr, host, 0)) {
    struct wd_addr other;
    if (slash) {
      *slash = '\0';
      return in_network(&addr, entry, slash + 1);
    }
    return wd_addr_parse(&other, entry, 0) && wd_addr_same_host(&addr, &other);
  }
  if (*entry == '.') entry++;
  size_t n = strlen(entry), all = strlen(host);
  if (n && entry[n - 1] == '.') n--;
  if (all && host[all - 1] == '.') all--;
  if (n == 0 || n > all || strncasecmp(host + all - n, entry, n) != 0) return false;
  return n == all || host[all - n - 1] == '.';
}

static bool exempt(const char *host) {
  const char *list = from_env("no_proxy", "NO_PROXY");
  char entry[256];
  if (list && strcmp(list, "*") == 0) return true;
  while (list && *list) {
    size_t n = strcspn(list, ", \t");
    if (n > 0 && n < sizeof(entry)) {
      memcpy(entry, list, n);
      entry[n] = '\0';
      if (covers(entry, host)) return true;
    }
    list += n;
    list += strspn(list, ", \t");
  }
  return false;
}

const char *wd_transfer_proxy_find(struct wd_transfer_proxy *out, struct wd_arena *arena, const struct wd_url *url,
                                   const char *option) {
  const char *text = option;
  struct wd_url proxy;
  *out = (struct wd_transfer_proxy){0};
  if (!text) {
    // HTTP_PROXY in capitals is what a CGI program gets from a request's "Proxy:" header.
    text = url->tls ? from_env("https_proxy", "HTTPS_PROXY") : from_env("http_proxy", NULL);
    if (!text) text = from_env("all_proxy", "ALL_PROXY");
    if (text && exempt(url->host)) text = NULL;
  }
  if (!text || !*text) return NULL;
  if (!strstr(text, "://")) text = wd_arena_printf(arena, "http://%s", text);
  if (!text) return "out of memory";
  const char *wrong = wd_url_parse(&proxy, arena, text);
  if (wrong) return wrong;
  if (proxy.tls) return "expected http://, for a proxy that is spoken to without TLS";
  *out = (struct wd_transfer_proxy){
      .host = proxy.host, .authority = proxy.authority, .user = proxy.user, .password = proxy.password, .port = proxy.port};
  return NULL;
}

const char *wd_transfer_check_proxy(struct wd_arena *arena, const char *proxy) {
  static const struct wd_url any = {.host = ""};
  struct wd_transfer_proxy found;
  return wd_transfer_proxy_find(&found, arena, &any, proxy);
}
