// An easy handle for one request: the options, the headers, the sockets it may have.
#include <errno.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/route.h"
#include "runtime/transfer_inner.h"

enum { CA_CACHE_SECONDS = 60, RECEIVE_BYTES = 64 * 1024, SLACK_S = 60 };

// libcurl is told to connect to an address of the discard prefix (RFC 6666), so that it has nothing to
// look up; what it gets is the socket that connect.h has connected. The rest of the address stands for
// everything that makes connections differ, so that none is used again for a request that must not.
static void stand_in(const struct wd_transfer_inner *in, char out[static 40]) {
  const struct wd_common_opts *net = &in->net;
  const char *texts[] = {net->address,   net->source,        in->proxy.authority,
                         in->proxy.user, in->proxy.password, net->resolver ? net->resolver->server : NULL};
  uint64_t hash = 14695981039346656037u ^ (uint64_t)net->family ^ (uint64_t)net->tos << 8; // FNV-1a
  for (size_t i = 0; i < WD_COUNT(texts); i++) {
    for (const char *c = texts[i] ? texts[i] : ""; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    hash = (hash ^ 0xff) * 1099511628211u;
  }
  snprintf(out, 40, "[100::%x:%x:%x:%x]", (unsigned)(hash >> 48) & 0xffff, (unsigned)(hash >> 32) & 0xffff,
           (unsigned)(hash >> 16) & 0xffff, (unsigned)hash & 0xffff);
}

static int open_udp(struct wd_transfer_try *try, const struct curl_sockaddr *to) {
  const struct wd_common_opts *net = &try->t->inner->net;
  struct wd_addr addr;
  if (!wd_addr_from_sockaddr(&addr, &to->addr, to->addrlen) || !wd_policy_allows(&addr)) {
    try->open_errno = WD_POLICY_DENIED;
    return -1;
  }
  wd_policy_charge(1, 0);
  int fd = socket(to->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), tos = (int)net->tos;
  if (fd < 0) {
    try->open_errno = errno;
    return -1;
  }
  if (net->tos != WD_NONE && to->family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
  if (net->tos != WD_NONE && to->family == AF_INET) setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
  if (net->source) try->open_err = wd_route_bind(fd, to->family, net->source, try->open_detail, sizeof(try->open_detail));
  if (!try->open_err) return fd;
  close(fd);
  return -1;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
  struct wd_transfer_try *try = user;
  (void)purpose;
  // Nothing fit in the pool; or a second connection, which over QUIC would be the first of thousands: libcurl
  // connects anew as often as a server refuses (curl#18518).
  if (try->pool || try->opened) {
    try->wanted = true;
    return CURL_SOCKET_BAD;
  }
  try->opened = true;
  int fd = try->quic ? open_udp(try, address) : try->fd;
  if (fd < 0) return CURL_SOCKET_BAD;
  if (!wd_transfer_multi_open(try->t->inner->multi, try, fd)) {
    try->open_errno = ENOMEM;
    if (try->quic) close(fd);
    return CURL_SOCKET_BAD;
  }
  try->fd = -1;
  return fd;
}

static int on_socket_made(void *user, curl_socket_t fd, curlsocktype purpose) {
  struct wd_transfer_try *try = user;
  (void)fd;
  (void)purpose;
  return try->quic ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ALREADY_CONNECTED;
}

static bool add_line(struct curl_slist **list, const char *line) {
  struct curl_slist *grown = line ? curl_slist_append(*list, line) : NULL;
  if (grown) *list = grown;
  return grown != NULL;
}

static bool has_header(const struct wd_map *headers, const char *name) {
  for (size_t i = 0; headers && i < headers->n; i++)
    if (strcasecmp(headers->items[i].name, name) == 0) return true;
  return false;
}

static bool make_headers(struct wd_transfer_inner *in, struct wd_transfer_try *try, bool other_host) {
  const struct wd_transfer *t = in->t;
  struct wd_arena *arena = t->arena;
  bool ok = true;
  for (size_t i = 0; t->headers && i < t->headers->n; i++) {
    const struct wd_pair *h = &t->headers->items[i];
    ok = ok &&
        add_line(&try->headers,
                 h->value.n ? wd_arena_printf(arena, "%s: %s", h->name, h->value.p) : wd_arena_printf(arena, "%s;", h->name));
  }
  if (t->authorization && !has_header(t->headers, "Authorization"))
    ok = ok && add_line(&try->headers, wd_arena_printf(arena, "Authorization: %s", t->authorization));
  if (other_host && !has_header(t->headers, "Host"))
    ok = ok && add_line(&try->headers, wd_arena_printf(arena, "Host: %s", t->url.authority));
  if (!has_header(t->headers, "User-Agent")) ok = ok && add_line(&try->headers, "User-Agent: waddle/" WADDLE_VERSION);
  if (!has_header(t->headers, "Accept")) ok = ok && add_line(&try->headers, "Accept: */*");
  // libcurl would wait a second for a "100 Continue" before a long body, and call any body a form.
  if (!has_header(t->headers, "Expect")) ok = ok && add_line(&try->headers, "Expect:");
  if (!has_header(t->headers, "Content-Type")) ok = ok && add_line(&try->headers, "Content-Type:");
  return ok && curl_easy_setopt(try->easy, CURLOPT_HTTPHEADER, try->headers) == CURLE_OK;
}

static void set_method(CURL *easy, const struct wd_transfer *t) {
  const char *method = t->method ? t->method : "GET";
  bool post = strcmp(method, "POST") == 0;
  if (t->body.p || post) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    wd_policy_charge(0, t->body.p ? t->body.n : 0);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(t->body.p ? t->body.n : 0));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->body.p ? t->body.p : "");
    if (!post) curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
  } else if (strcmp(method, "HEAD") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (strcmp(method, "GET") != 0) {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
  }
}

static long version_of(const struct wd_transfer *t) {
  switch (t->version) {
  case WD_HTTP_1_1: return CURL_HTTP_VERSION_1_1;
  case WD_HTTP_2: return t->url.tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
  case WD_HTTP_3: return CURL_HTTP_VERSION_3ONLY; // plain 3 falls back to 2 without a word
  default: return CURL_HTTP_VERSION_2TLS;
  }
}

static const char *system_bundle(void) {
  const char *from_env = getenv("SSL_CERT_FILE");
  return from_env && *from_env ? from_env : "/etc/ssl/certs/ca-certificates.crt";
}

static bool set_tls(struct wd_transfer_inner *in, CURL *easy) {
  const struct wd_tls_opts *tls = in->t->tls;
  bool verify = !tls || tls->verify != 0;
  const char *ca = tls && tls->ca ? in->ca_file : system_bundle();
  // libcurl's own folder beside the file would be read for every handshake (25 ms).
  curl_easy_setopt(easy, CURLOPT_CAPATH, in->ca_folder);
  if (curl_easy_setopt(easy, CURLOPT_CAINFO, ca) != CURLE_OK) return false;
  curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, in->ca_fd >= 0 ? 0L : (long)CA_CACHE_SECONDS);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); // GnuTLS would go down to 1.0
  curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L); // a resumed session shows no certificates
  if (tls && tls->cert) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert);
    curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key ? tls->key : tls->cert);
  }
  return true;
}

static void set_route(struct wd_transfer_inner *in, struct wd_transfer_try *try, bool *ok) {
  char to[WD_ADDR_TEXT], host[40], line[WD_ADDR_TEXT + 16];
  stand_in(in, host);
  curl_easy_setopt(try->easy, CURLOPT_NOPROXY, "");
  if (in->proxy.host) {
    snprintf(line, sizeof(line), "http://%s:%u", host, (unsigned)in->proxy.port);
    curl_easy_setopt(try->easy, CURLOPT_PROXY, line);
    if (in->proxy.user) curl_easy_setopt(try->easy, CURLOPT_PROXYUSERNAME, in->proxy.user);
    if (in->proxy.password) curl_easy_setopt(try->easy, CURLOPT_PROXYPASSWORD, in->proxy.password);
    if (in->proxy.user) curl_easy_setopt(try->easy, CURLOPT_PROXYAUTH, CURLAUTH_BASIC);
    return;
  }
  curl_easy_setopt(try->easy, CURLOPT_PROXY, "");
  if (try->quic) // libcurl connects its UDP socket itself
    snprintf(line, sizeof(line), wd_addr_family(&try->to) == AF_INET6 ? "::[%s]:" : "::%s:", wd_addr_format(&try->to, to));
  else
    snprintf(line, sizeof(line), "::%s:", host);
  *ok = *ok && add_line(&try->connect_to, line);
  curl_easy_setopt(try->easy, CURLOPT_CONNECT_TO, try->connect_to);
}

// What all transfers together may read is wd_transfer_multi_hold's to see to.
static void set_speed(CURL *easy) {
  double bytes = wd_policy_bytes(), piece = bytes > 0 ? bytes / 50 : RECEIVE_BYTES;
  if (bytes > 0) curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)bytes);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, piece < 1024 ? 1024L : piece > RECEIVE_BYTES ? RECEIVE_BYTES : (long)piece);
}

static void set_sockets(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  CURL *easy = try->easy;
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, try);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, try);
  // The connection may outlive the try, so this one gets what outlives both.
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, wd_transfer_multi_on_close);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, in->multi);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, wd_transfer_on_ready);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, try);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, wd_transfer_on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, try);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, wd_transfer_on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, try);
  // Deadlines are ours; libcurl's own one of 300 s must not come first.
  wd_ns bound = in->t->connect_timeout == WD_NONE ? 86400 * WD_S : in->t->connect_timeout;
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)(bound / WD_S) + SLACK_S);
}

static void set_cookies(CURL *easy, const struct wd_transfer *t) {
  if (!t->cookies) return;
  curl_easy_setopt(easy, CURLOPT_COOKIEFILE, ""); // turns the engine on
  for (size_t i = 0; i < t->jar.n; i++) curl_easy_setopt(easy, CURLOPT_COOKIELIST, ((const char *const *)t->jar.items)[i]);
}

bool wd_transfer_easy_make(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  const struct wd_transfer *t = in->t;
  const char *name = t->url.tls && t->tls ? t->tls->server_name : NULL;
  const char *url = name ? wd_url_with_host(&t->url, t->arena, name) : t->url.full;
  CURL *easy = try->easy = curl_easy_init();
  bool ok = easy && url;
  if (!ok) return false;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, try);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, try->message);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  ok = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
  ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version_of(t)) == CURLE_OK;
  if (!t->reuse) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  } else if (t->pool) {
    wd_transfer_pool_use(t->pool, easy);
  }
  set_method(easy, t);
  set_sockets(in, try);
  set_speed(easy);
  set_route(in, try, &ok);
  set_cookies(easy, t);
  if (t->url.tls) ok = ok && set_tls(in, easy);
  return ok && make_headers(in, try, name != NULL);
}

void wd_transfer_easy_free(struct wd_transfer_try *try) {
  if (try->easy) curl_easy_cleanup(try->easy);
  curl_slist_free_all(try->headers);
  curl_slist_free_all(try->connect_to);
  if (try->fd >= 0) wd_watch_close_fd(try->t->inner->loop, try->fd);
}
