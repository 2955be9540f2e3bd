// What a request is made of, hop by hop: the checks of the options, the credentials and how far they go.
#include <string.h>
#include <strings.h>

#include "probes/http.h"
#include "runtime/text.h"

// Headers that are for the server they were given for.
static const char *const personal[] = {"authorization", "cookie", "proxy-authorization", "host"};
// Headers that speak of a body that is no longer sent.
static const char *const of_body[] = {"content-type",     "content-length", "content-encoding",
                                      "content-language", "content-md5",    "transfer-encoding"};

const char *wd_http_basic(struct wd_arena *arena, const char *user, const char *password) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *plain = wd_arena_printf(arena, "%s:%s", user, password ? password : "");
  if (!plain) return NULL;
  size_t n = strlen(plain);
  char *out = wd_arena_alloc(arena, 6 + (n + 2) / 3 * 4 + 1);
  if (!out) return NULL;
  char *at = stpcpy(out, "Basic ");
  for (size_t i = 0; i < n; i += 3) { // RFC 4648 section 4
    size_t have = n - i < 3 ? n - i : 3;
    unsigned bits = 0;
    for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < have ? (unsigned char)plain[i + k] : 0);
    for (size_t k = 0; k < 4; k++) *at++ = k <= have ? digits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

// RFC 9110 section 5.6.2
static bool is_token(const char *text) {
  for (const char *c = text; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("!#$%&'*+-.^_`|~", *c)))
      return false;
  return *text != '\0';
}

static bool is_value(const struct wd_data *value) {
  for (size_t i = 0; i < value->n; i++)
    if (value->p[i] == '\r' || value->p[i] == '\n' || value->p[i] == '\0') return false;
  return true;
}

static const char *check_headers(struct http_probe *h) {
  char shown[80];
  for (size_t i = 0; i < h->opts.headers.n; i++) {
    const struct wd_pair *header = &h->opts.headers.items[i];
    wd_text_escape(shown, sizeof(shown), header->name, strlen(header->name));
    if (!is_token(header->name)) return wd_arena_printf(&h->p.arena, "field 'headers': '%s' is no header name", shown);
    if (!is_value(&header->value))
      return wd_arena_printf(&h->p.arena, "field 'headers.%s': a value has no line feeds and no zero bytes", shown);
    if (strcasecmp(header->name, "authorization") == 0 && (h->opts.auth || h->opts.bearer))
      return "field 'headers.Authorization': 'auth' and 'bearer' set this header too; give one of them";
  }
  return NULL;
}

const char *wd_http_check(struct http_probe *h) {
  struct http_opts *o = &h->opts;
  struct wd_arena *arena = &h->p.arena;
  const char *wrong = wd_url_parse(&h->first, arena, o->url);
  if (wrong) return wd_arena_printf(arena, "field 'url': %s", wrong);
  if (!is_token(o->method)) return "field 'method': expected a word such as GET";
  if ((wrong = check_headers(h))) return wrong;
  if (o->auth && o->bearer) return "field 'bearer': 'auth' is given too; give one of them";
  if (o->bearer && strpbrk(o->bearer, "\r\n")) return "field 'bearer': a token has no line feeds";
  if (o->version == WD_HTTP_3) {
    if ((wrong = wd_transfer_no_http3())) return wd_arena_printf(arena, "field 'version': %s", wrong);
    if (!h->first.tls) return "field 'version': HTTP/3 needs an https:// URL";
    if (o->proxy && *o->proxy) return "field 'version': HTTP/3 does not pass a proxy";
  }
  if (o->proxy && (wrong = wd_transfer_check_proxy(arena, o->proxy))) return wd_arena_printf(arena, "field 'proxy': %s", wrong);
  o->tls->min_version = o->tls->max_version = -1;
  return wd_tls_opts_check(o->tls);
}

static bool listed(const char *name, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strcasecmp(name, list[i]) == 0) return true;
  return false;
}

// The headers for a hop, without those that do not go there.
static struct wd_map select_headers(struct http_probe *h, bool foreign, bool bodiless) {
  const struct wd_map *all = &h->opts.headers;
  struct wd_map out = {wd_arena_array(&h->p.arena, all->n + 1, sizeof(*out.items)), 0};
  for (size_t i = 0; out.items && i < all->n; i++) {
    const char *name = all->items[i].name;
    bool drop = (foreign && listed(name, personal, WD_COUNT(personal))) || (bodiless && listed(name, of_body, WD_COUNT(of_body)));
    if (!drop) out.items[out.n++] = all->items[i];
  }
  return out;
}

static const char *authorization(struct http_probe *h, bool foreign) {
  const struct http_opts *o = &h->opts;
  struct wd_arena *arena = &h->p.arena;
  const struct wd_url *url = &h->t.url;
  if (!foreign && o->bearer) return wd_arena_printf(arena, "Bearer %s", o->bearer);
  if (!foreign && o->auth) return wd_http_basic(arena, o->auth->user, o->auth->password);
  if (url->user) return wd_http_basic(arena, url->user, url->password);
  if (!foreign && h->first.user) return wd_http_basic(arena, h->first.user, h->first.password);
  return NULL;
}

void wd_http_prepare(struct http_probe *h, const struct wd_url *url) {
  const struct http_opts *o = &h->opts;
  struct wd_list jar = h->started ? h->t.jar_after : o->cookies;
  bool foreign = !wd_url_same_origin(url, &h->first), other_host = !wd_text_equal_nocase(url->host, h->first.host);
  h->headers = select_headers(h, foreign, h->body_dropped);
  h->net = o->common;
  h->tls = *o->tls;
  if (other_host) h->net.address = NULL; // a pinned address is the target's
  if (foreign) h->tls.cert = h->tls.key = NULL;
  if (other_host) h->tls.server_name = NULL;
  wd_transfer_clear(&h->t);
  h->t = (struct wd_transfer){
      .arena = &h->p.arena,
      .url = *url,
      .method = h->body_dropped && strcmp(o->method, "HEAD") != 0 ? "GET" : o->method,
      .headers = &h->headers,
      .body = o->body,
      .version = o->version,
      .reuse = o->reuse == 1,
      .tls = &h->tls,
      .proxy = o->proxy,
      .net = &h->net,
      .deadline = &h->p.op.deadline,
      .connect_timeout = o->connect_timeout,
      .keep_body = (size_t)o->keep_body,
      .cookies = o->cookies.given,
      .jar = jar,
  };
  if (h->body_dropped) h->t.body = (struct wd_data){0};
  h->t.authorization = authorization(h, foreign);
}
