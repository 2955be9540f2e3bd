// What a TLS session that libcurl holds has agreed on, read from GnuTLS or OpenSSL, whichever it uses.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct wd_tls_session {
  char version[16]; // as OpenSSL names it; "" = not known
  char cipher[64];  // likewise
  char alpn[24];    // "" = none agreed on
  int64_t bits;     // secret bits of the cipher; WD_NONE
};

// Of a gnutls_session_t. All fields are set; what cannot be read is not known.
void wd_tls_session_gnutls(struct wd_tls_session *out, void *session);

// Of an OpenSSL SSL.
void wd_tls_session_openssl(struct wd_tls_session *out, void *ssl);
