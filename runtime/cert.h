// Certificates: what they say, whether they hold, and making one.
//
// The same code judges the chains of every protocol, so that the reason reads the same everywhere. Must hold: nothing here opens a connection, and
// chains are hostile input: counts, lengths and characters are bounded and made fit to print.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "wd.h"

// One certificate as presented: DER, or PEM text (then all the certificates in it, in order).
struct wd_cert_blob {
  const void *data;
  size_t len;
};

enum { WD_CERT_CHAIN_MAX = 32, WD_CERT_SANS_MAX = 1000 };

// The facts of one certificate. Every pointer is owned by the arena; NULL (days_left: NAN) is "could not be read".
struct wd_cert {
  const char *subject; // RFC 4514 form: "CN=www.example.com,O=Example,C=DE"
  const char *issuer;
  const char **sans; // names, addresses, mail addresses and URIs, as plain text
  size_t sans_count;
  const char *not_before; // RFC 3339 in UTC: "2026-01-31T12:00:00Z"
  const char *not_after;
  double days_left;   // negative once expired
  const char *sha256; // of the DER form, 64 hex digits
  const char *key;    // "RSA 2048", "EC P-256", "Ed25519"
  const char *serial; // hex
};

struct wd_cert_report {
  struct wd_cert *chain; // as presented, the server's own first; at most WD_CERT_CHAIN_MAX
  size_t chain_count;
  enum wd_err
      verify; // WD_OK, WD_E_TLS_UNTRUSTED, WD_E_TLS_EXPIRED (also: not valid yet), WD_E_TLS_NAME_MISMATCH; WD_E_LOCAL: could not be judged
  const char *detail; // one line for people, NULL with WD_OK
};

// Trusted certificates; OpenSSL's X509_STORE, so that a TLS context can share it (X509_STORE_up_ref).
struct x509_store_st;

// The trusted certificates of `ca`: a file, a folder (every .pem, .crt, .cer and .0 file in it), PEM text itself, or NULL for the system's
// (SSL_CERT_FILE, else /etc/ssl/certs/ca-certificates.crt). Read at first use and shared until the file changes (5 to 20 ms for a system's bundle).
// The caller releases it with wd_cert_store_release. NULL with a message in `error` that names the file and says what to do.
struct x509_store_st *wd_cert_store(const char *ca, char *error, size_t error_size);
void wd_cert_store_release(struct x509_store_st *store);

// Forgets the shared stores; for the end of the process.
void wd_cert_store_forget(void);

// Fills `out` with the facts of the chain in `blobs` at the Unix time `now_s`, and, with a store, with the verdict of X509_verify_cert for a TLS server
// named `host` (a name, an address, or NULL for any). Without a store `verify` stays WD_OK: nothing was judged. Where several things are
// wrong, untrusted goes before expired before a wrong name, and the detail names them all. False only when memory is out.
bool wd_cert_examine(struct wd_cert_report *out, struct wd_arena *arena, const struct wd_cert_blob *blobs, size_t count,
                     struct x509_store_st *store, const char *host, int64_t now_s);

// "ok", or the name of the failure.
const char *wd_cert_verify_name(enum wd_err verify);

// Whether a client certificate and its key (PEM files; `key_file` NULL: both are in the first) can be read and belong together; else a message that
// names the file and what is wrong with it.
bool wd_cert_check_pair(const char *cert_file, const char *key_file, char *error, size_t error_size);

struct wd_cert_pair {
  const char *cert_pem; // owned by the arena
  const char *key_pem;
  const char *sha256; // of the certificate, as in struct wd_cert
};

// Makes a self-signed certificate with a fresh EC P-256 key for `names` (host names and address literals, at least one), valid from an hour ago for
// `days` days. Usable as its own CA file. False with a message in `error`.
bool wd_cert_self_signed(struct wd_cert_pair *out, struct wd_arena *arena, const char *const *names, size_t count, int days,
                         char *error, size_t error_size);

// SHA-256 of any bytes as 64 hex digits and a NUL.
void wd_cert_sha256_hex(const void *bytes, size_t len, char out[static 65]);
