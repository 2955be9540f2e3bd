// See tls.h. One SSL_CTX for all clients: making one costs more than a handshake. Sessions are not
// kept, so that every handshake is a full one.
#include "runtime/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/addr.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/neterr.h"
#include "runtime/text.h"

enum { ALPN_WIRE_MAX = 1024, HANDSHAKE_BYTES = 100 << 10 }; // what a handshake may take of memory

struct wd_tls {
  SSL *ssl;
  bool complete;         // the handshake ended well
  STACK_OF(X509) *chain; // as presented
  enum wd_err err;
  char detail[200];
};

struct wd_tls_server {
  SSL_CTX *ctx;
  unsigned char alpn[ALPN_WIRE_MAX];
  unsigned alpn_len;
};

static SSL_CTX *client_ctx;

static const int protocol_versions[] = {
  [WD_TLS_1_0] = TLS1_VERSION, [WD_TLS_1_1] = TLS1_1_VERSION, [WD_TLS_1_2] = TLS1_2_VERSION, [WD_TLS_1_3] = TLS1_3_VERSION};

static void on_loop_close(struct wd_closer *c) {
  (void)c;
  SSL_CTX_free(client_ctx);
  client_ctx = NULL;
  wd_cert_store_forget();
}

// In place of OpenSSL's verification: keeps the chain, so that it is there even when the handshake fails
// later on, and lets the handshake go on.
static int on_chain(X509_STORE_CTX *store, void *arg) {
  SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  struct wd_tls *tls = ssl ? SSL_get_app_data(ssl) : NULL;
  (void)arg;
  if (tls && !tls->chain) tls->chain = X509_chain_up_ref(X509_STORE_CTX_get0_untrusted(store));
  return 1;
}

static SSL_CTX *the_client_ctx(struct wd_loop *loop) {
  static struct wd_closer closer = {.close = on_loop_close};
  if (client_ctx) return client_ctx;
  client_ctx = SSL_CTX_new(TLS_client_method());
  if (!client_ctx) return NULL;
  SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_cert_verify_callback(client_ctx, on_chain, NULL);
  SSL_CTX_set_mode(client_ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  wd_loop_on_close(loop, &closer);
  return client_ctx;
}

// RFC 7301 section 3.1: each name behind a byte with its length. 0 where they do not fit.
static unsigned alpn_wire(unsigned char *out, const char *const *names, size_t count) {
  unsigned len = 0;
  for (size_t i = 0; i < count; i++) {
    size_t n = strlen(names[i]);
    if (n == 0 || n > 255 || len + n + 1 > ALPN_WIRE_MAX) return 0;
    out[len++] = (unsigned char)n;
    memcpy(out + len, names[i], n);
    len += (unsigned)n;
  }
  return len;
}

static bool set_versions(SSL *ssl, const struct wd_tls_opts *opts) {
  bool old = opts->min_version >= 0 && opts->min_version < WD_TLS_1_2;
  if (opts->max_version >= 0 && opts->max_version < WD_TLS_1_2) old = true;
  if (old) {
    // OpenSSL 3 has the hashes of TLS 1.0 and 1.1 at level 0 only (SSL_CTX_set_security_level(3)).
    SSL_set_security_level(ssl, 0);
    if (!SSL_set_cipher_list(ssl, "ALL:!aNULL:!eNULL:@SECLEVEL=0")) return false;
    SSL_set_min_proto_version(ssl, TLS1_VERSION);
  }
  if (opts->min_version >= 0 && !SSL_set_min_proto_version(ssl, protocol_versions[opts->min_version])) return false;
  return opts->max_version < 0 || SSL_set_max_proto_version(ssl, protocol_versions[opts->max_version]);
}

static bool set_identity(SSL *ssl, const struct wd_tls_opts *opts, char *error, size_t room) {
  const char *key = opts->key ? opts->key : opts->cert;
  if (!opts->cert) return true;
  if (!wd_cert_check_pair(opts->cert, opts->key, error, room)) return false;
  if (SSL_use_certificate_chain_file(ssl, opts->cert) == 1 && SSL_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1) return true;
  snprintf(error, room, "client certificate %.100s: %s", opts->cert, ERR_reason_error_string(ERR_peek_last_error()));
  return false;
}

static bool set_name(SSL *ssl, const char *name) {
  struct wd_addr literal;
  char plain[WD_HOST_TEXT];
  size_t n = strlen(name);
  if (n > 0 && name[n - 1] == '.') n--; // RFC 6066 section 3: without the trailing dot
  if (n == 0 || n >= sizeof(plain) || wd_addr_parse(&literal, name, 0)) return true;
  memcpy(plain, name, n);
  plain[n] = '\0';
  return SSL_set_tlsext_host_name(ssl, plain) == 1;
}

static struct wd_tls *wrap(SSL_CTX *ctx, int fd) {
  struct wd_tls *tls = ctx ? calloc(1, sizeof(*tls)) : NULL;
  if (!tls) return NULL;
  tls->ssl = SSL_new(ctx);
  if (!tls->ssl || !SSL_set_fd(tls->ssl, fd) || !SSL_set_app_data(tls->ssl, tls)) {
    wd_tls_free(tls);
    return NULL;
  }
  return tls;
}

struct wd_tls *wd_tls_client(struct wd_loop *loop, int fd, const struct wd_tls_opts *opts, const char *host, char *error, size_t room) {
  unsigned char alpn[ALPN_WIRE_MAX];
  struct wd_tls *tls = wrap(the_client_ctx(loop), fd);
  unsigned alpn_len = alpn_wire(alpn, opts->alpn.items, opts->alpn.n);
  snprintf(error, room, "TLS could not be set up: out of memory");
  if (!tls) goto failed;
  SSL_set_connect_state(tls->ssl);
  if (!set_identity(tls->ssl, opts, error, room)) goto failed;
  if (!set_versions(tls->ssl, opts)) {
    snprintf(error, room, "this OpenSSL does not speak the TLS versions asked for");
    goto failed;
  }
  if (!set_name(tls->ssl, opts->server_name ? opts->server_name : host)) goto failed;
  if (alpn_len && SSL_set_alpn_protos(tls->ssl, alpn, alpn_len) != 0) goto failed;
  return tls;
failed:
  wd_tls_free(tls);
  ERR_clear_error();
  return NULL;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg) {
  const struct wd_tls_server *server = arg;
  unsigned char *chosen;
  (void)ssl;
  if (SSL_select_next_proto(&chosen, out_len, server->alpn, server->alpn_len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL; // RFC 7301 section 3.2: no_application_protocol
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

// No passphrase is ever asked for.
static int on_passphrase(char *text, int room, int writing, void *arg) {
  (void)text, (void)room, (void)writing, (void)arg;
  return -1;
}

static bool load_pair(SSL_CTX *ctx, const char *cert_pem, const char *key_pem) {
  BIO *certs = BIO_new_mem_buf(cert_pem, -1), *keys = BIO_new_mem_buf(key_pem, -1);
  X509 *cert = certs ? PEM_read_bio_X509(certs, NULL, on_passphrase, NULL) : NULL, *more;
  EVP_PKEY *key = keys ? PEM_read_bio_PrivateKey(keys, NULL, on_passphrase, NULL) : NULL;
  bool ok = cert && key && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;
  while (ok && (more = PEM_read_bio_X509(certs, NULL, on_passphrase, NULL)))
    if (!SSL_CTX_add0_chain_cert(ctx, more)) X509_free(more);
  X509_free(cert);
  EVP_PKEY_free(key);
  BIO_free(certs);
  BIO_free(keys);
  return ok;
}

struct wd_tls_server *wd_tls_server_new(const char *cert_pem, const char *key_pem, const char *const *alpn, char *error, size_t room) {
  struct wd_tls_server *server = calloc(1, sizeof(*server));
  size_t names = 0;
  if (server) server->ctx = SSL_CTX_new(TLS_server_method());
  if (!server || !server->ctx || !load_pair(server->ctx, cert_pem, key_pem)) {
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    snprintf(error, room, "TLS server: certificate or key cannot be used: %s", why ? why : "expected PEM texts");
    wd_tls_server_free(server);
    ERR_clear_error();
    return NULL;
  }
  while (alpn && alpn[names]) names++;
  server->alpn_len = alpn_wire(server->alpn, alpn, names);
  if (server->alpn_len) SSL_CTX_set_alpn_select_cb(server->ctx, on_alpn, server);
  SSL_CTX_set_session_cache_mode(server->ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(server->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  ERR_clear_error();
  return server;
}

void wd_tls_server_free(struct wd_tls_server *server) {
  if (!server) return;
  SSL_CTX_free(server->ctx);
  free(server);
}

struct wd_tls *wd_tls_accept(struct wd_tls_server *server, int fd) {
  struct wd_tls *tls = wrap(server->ctx, fd);
  if (tls) SSL_set_accept_state(tls->ssl);
  return tls;
}

static enum wd_tls_step fail(struct wd_tls *tls, enum wd_err err, const char *detail) {
  tls->err = err;
  snprintf(tls->detail, sizeof(tls->detail), "%s", detail);
  return WD_TLS_FAILED;
}

// The library's last word. OpenSSL 3.5 answers a fault with an alert before it returns; where the peer is gone, that its write failed
// comes after the fault itself, and says nothing. Where there was no memory, all that followed comes of that.
static unsigned long last_error(void) {
  unsigned long code = 0, next;
  while ((next = ERR_get_error()))
    if ((!code || !ERR_SYSTEM_ERROR(next)) && ERR_GET_REASON(code) != ERR_R_MALLOC_FAILURE) code = next;
  return code;
}

// What the library's error says of the peer. A byte of reasons from SSL_AD_REASON_OFFSET on are alerts that came; far above are errors of the
// library's own making.
static enum wd_tls_step fail_by_library(struct wd_tls *tls) {
  unsigned long code = last_error();
  int reason = ERR_GET_REASON(code);
  const char *text = ERR_reason_error_string(code);
  char line[160];
  if (reason == ERR_R_MALLOC_FAILURE) return fail(tls, WD_E_LOCAL, "out of memory");
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return fail(tls, WD_E_PROTOCOL, tls->complete ? "the peer closed the connection without ending TLS" : "the peer closed the connection during the TLS handshake");
  } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + UINT8_MAX) {
    snprintf(line, sizeof(line), "the peer ended TLS with the alert '%s'", SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
  } else if (!tls->complete && (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG)) {
    snprintf(line, sizeof(line), "the peer does not speak TLS here (%s)", text ? text : "no record header");
  } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL) {
    snprintf(line, sizeof(line), "the peer chose a TLS version that was not offered; min_version allows older ones");
  } else {
    snprintf(line, sizeof(line), "%s", text ? text : "TLS failed");
  }
  return fail(tls, WD_E_TLS_HANDSHAKE, line);
}

// Turns the outcome of an OpenSSL call; `sys` is errno right after it.
static enum wd_tls_step judge(struct wd_tls *tls, int rc, int sys) {
  switch (SSL_get_error(tls->ssl, rc)) {
  case SSL_ERROR_NONE: return WD_TLS_DONE;
  case SSL_ERROR_WANT_READ: return WD_TLS_READ;
  case SSL_ERROR_WANT_WRITE: return WD_TLS_WRITE;
  case SSL_ERROR_ZERO_RETURN: return WD_TLS_END;
  case SSL_ERROR_SYSCALL:
    if (sys == 0) return fail(tls, WD_E_PROTOCOL, "the peer closed the connection");
    return fail(tls, wd_neterr_remote(sys), wd_neterr_detail_remote(sys));
  default: return fail_by_library(tls);
  }
}

enum wd_tls_step wd_tls_handshake(struct wd_tls *tls) {
  if (!wd_memory_left(HANDSHAKE_BYTES)) return fail(tls, WD_E_LOCAL, "out of memory"); // later on it may look like the peer's fault
  ERR_clear_error();
  errno = 0;
  int rc = SSL_do_handshake(tls->ssl);
  enum wd_tls_step step = judge(tls, rc, errno);
  if (step == WD_TLS_END) step = fail(tls, WD_E_TLS_HANDSHAKE, "the peer ended TLS during the handshake (close_notify)");
  if (step == WD_TLS_DONE) tls->complete = true;
  return step;
}

enum wd_tls_step wd_tls_read(struct wd_tls *tls, void *bytes, size_t room, size_t *got) {
  ERR_clear_error();
  errno = 0;
  *got = 0;
  int rc = SSL_read_ex(tls->ssl, bytes, room, got);
  return judge(tls, rc, errno);
}

enum wd_tls_step wd_tls_write(struct wd_tls *tls, const void *bytes, size_t len, size_t *put) {
  ERR_clear_error();
  errno = 0;
  *put = 0;
  int rc = SSL_write_ex(tls->ssl, bytes, len, put);
  return judge(tls, rc, errno);
}

enum wd_err wd_tls_error(const struct wd_tls *tls, const char **detail) {
  if (detail) *detail = tls->detail;
  return tls->err;
}

// DER copies in the arena; the number of them.
static size_t blobs_of(STACK_OF(X509) *chain, struct wd_arena *arena, struct wd_cert_blob **out) {
  int count = chain ? sk_X509_num(chain) : 0;
  struct wd_cert_blob *blobs = wd_arena_array(arena, (size_t)count, sizeof(*blobs));
  size_t n = 0;
  for (int i = 0; blobs && i < count && n < WD_CERT_CHAIN_MAX; i++) {
    int len = i2d_X509(sk_X509_value(chain, i), NULL);
    unsigned char *at = len > 0 ? wd_arena_alloc(arena, (size_t)len) : NULL;
    if (!at) continue;
    blobs[n++] = (struct wd_cert_blob){at, (size_t)len};
    i2d_X509(sk_X509_value(chain, i), &at);
  }
  *out = blobs;
  return n;
}

static void judge_chain(struct wd_tls *tls, struct wd_arena *arena, const struct wd_tls_opts *opts, const char *host, struct wd_tls_facts *facts,
                        enum wd_err *verdict, const char **detail) {
  struct wd_cert_report report = {0};
  struct wd_cert_blob *blobs;
  char error[240];
  size_t n = blobs_of(tls->chain, arena, &blobs);
  if (n == 0) return;
  struct x509_store_st *store = wd_cert_store(opts->ca, error, sizeof(error));
  const char *name = opts->server_name ? opts->server_name : host;
  if (!wd_cert_examine(&report, arena, blobs, n, store, name, wd_clock_wall_us() / 1000000)) return;
  wd_tls_facts_set_chain(facts, arena, &report);
  if (store) {
    *verdict = report.verify;
    *detail = report.detail;
    wd_cert_store_release(store);
  } else {
    facts->verify = NULL; // nothing was judged
    *detail = wd_arena_strdup(arena, error);
  }
}

struct wd_tls_facts *wd_tls_describe(struct wd_tls *tls, struct wd_arena *arena, const struct wd_tls_opts *opts, const char *host,
                                     enum wd_err *verdict, const char **detail) {
  const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
  const unsigned char *alpn = NULL;
  unsigned alpn_len = 0;
  char text[256];
  *verdict = WD_E_LOCAL;
  *detail = "the peer presented no certificate";
  if (!cipher && !tls->chain) return NULL;
  struct wd_tls_facts *facts = wd_tls_facts_new(arena);
  if (!facts) return NULL;
  // Before the server's hello was read these would be our own offer.
  if (cipher) {
    facts->version = wd_arena_strdup(arena, SSL_get_version(tls->ssl));
    facts->cipher = wd_arena_strdup(arena, SSL_CIPHER_get_name(cipher));
    facts->bits = SSL_CIPHER_get_bits(cipher, NULL);
  }
  SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
  if (alpn_len) {
    wd_text_escape(text, sizeof(text), (const char *)alpn, alpn_len);
    facts->alpn = wd_arena_strdup(arena, text);
  }
  judge_chain(tls, arena, opts, host, facts, verdict, detail);
  return facts;
}

void wd_tls_bye(struct wd_tls *tls) {
  ERR_clear_error();
  if (tls->complete && !tls->err) SSL_shutdown(tls->ssl);
  ERR_clear_error();
}

void wd_tls_free(struct wd_tls *tls) {
  if (!tls) return;
  SSL_free(tls->ssl);
  sk_X509_pop_free(tls->chain, X509_free);
  free(tls);
}

const char *wd_tls_library(void) {
  return OpenSSL_version(OPENSSL_VERSION_STRING);
}
