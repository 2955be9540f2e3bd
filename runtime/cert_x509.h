// What the cert_*.c files share of OpenSSL's types. For these files alone.
#pragma once

#include <openssl/x509.h>

#include "cert.h"

// Every certificate of the blobs in order, at most WD_CERT_CHAIN_MAX; *bad is set when a blob is no certificate. NULL when memory is out.
// Freed with sk_X509_pop_free(stack, X509_free).
STACK_OF(X509) *wd_cert_stack(const struct wd_cert_blob *blobs, size_t count, bool *bad);

// RFC 4514 text; NULL when it cannot be printed.
const char *wd_cert_name_text(struct wd_arena *arena, const X509_NAME *name);

// The plain names of the subjectAltName extension; NULL and 0 without one.
const char **wd_cert_sans(struct wd_arena *arena, X509 *cert, size_t *count);

// Hex of the SHA-256 of the DER form.
const char *wd_cert_sha256(struct wd_arena *arena, const X509 *cert);

// Seconds since 1970; false for an unreadable time.
bool wd_cert_time(const ASN1_TIME *time, int64_t *seconds);

// The verdict of wd_cert_examine, into out->verify and out->detail.
void wd_cert_judge(struct wd_cert_report *out, struct wd_arena *arena, STACK_OF(X509) *chain, X509_STORE *store, const char *host, int64_t now_s);
