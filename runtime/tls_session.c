// See tls_session.h. GnuTLS is here only if libcurl brought it along, so its functions are looked up
// and not linked: a libcurl with another library must do as well.
#include "runtime/tls_session.h"

#include <dlfcn.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "runtime/wd.h"

struct datum { // gnutls_datum_t
  unsigned char *data;
  unsigned size;
};

static void copy(char *out, size_t room, const char *text) {
  snprintf(out, room, "%s", text ? text : "");
}

void wd_tls_session_gnutls(struct wd_tls_session *out, void *session) {
  int (*get_version)(void *) = (int (*)(void *))dlsym(RTLD_DEFAULT, "gnutls_protocol_get_version");
  const char *(*version_name)(int) = (const char *(*)(int))dlsym(RTLD_DEFAULT, "gnutls_protocol_get_name");
  const char *(*suite)(void *) = (const char *(*)(void *))dlsym(RTLD_DEFAULT, "gnutls_ciphersuite_get");
  int (*get_cipher)(void *) = (int (*)(void *))dlsym(RTLD_DEFAULT, "gnutls_cipher_get");
  size_t (*key_size)(int) = (size_t(*)(int))dlsym(RTLD_DEFAULT, "gnutls_cipher_get_key_size");
  int (*alpn)(void *, struct datum *) = (int (*)(void *, struct datum *))dlsym(RTLD_DEFAULT, "gnutls_alpn_get_selected_protocol");
  struct datum protocol = {NULL, 0};
  *out = (struct wd_tls_session){.bits = WD_NONE};
  if (get_version && version_name) {
    const char *name = version_name(get_version(session)); // "TLS1.3"
    if (name && strncmp(name, "TLS", 3) == 0) {
      bool first = strcmp(name + 3, "1.0") == 0; // OpenSSL calls it TLSv1
      snprintf(out->version, sizeof(out->version), "TLSv%s", first ? "1" : name + 3);
    }
  }
  if (suite) {
    const char *iana = suite(session), *ours = iana ? OPENSSL_cipher_name(iana) : NULL;
    copy(out->cipher, sizeof(out->cipher), ours && strcmp(ours, "(NONE)") != 0 ? ours : iana);
  }
  if (get_cipher && key_size) {
    size_t bytes = key_size(get_cipher(session));
    if (bytes) out->bits = (int64_t)bytes * 8;
  }
  if (alpn && alpn(session, &protocol) == 0 && protocol.size < sizeof(out->alpn)) memcpy(out->alpn, protocol.data, protocol.size);
}

void wd_tls_session_openssl(struct wd_tls_session *out, void *ssl) {
  const unsigned char *protocol = NULL;
  unsigned len = 0;
  *out = (struct wd_tls_session){.bits = WD_NONE};
  const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
  copy(out->version, sizeof(out->version), SSL_get_version(ssl));
  if (cipher) {
    copy(out->cipher, sizeof(out->cipher), SSL_CIPHER_get_name(cipher));
    out->bits = SSL_CIPHER_get_bits(cipher, NULL);
  }
  SSL_get0_alpn_selected(ssl, &protocol, &len);
  if (len && len < sizeof(out->alpn)) memcpy(out->alpn, protocol, len);
}
