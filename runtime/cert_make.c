// Making a certificate for our own listeners, and checking a client's pair of files, see cert.h.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "addr.h"
#include "cert_x509.h"
#include "text.h"

static bool add_extension(X509 *cert, int nid, const char *value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
  bool added = extension && X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
  return added;
}

// By structure, not by text: a name may then hold any character without being read as configuration.
static bool add_sans(X509 *cert, const char *const *names, size_t count) {
  GENERAL_NAMES *list = GENERAL_NAMES_new();
  bool added = list != NULL;
  for (size_t i = 0; added && i < count; i++) {
    struct wd_addr addr;
    GENERAL_NAME *name = GENERAL_NAME_new();
    bool literal = wd_addr_parse(&addr, names[i], 0), v6 = literal && wd_addr_family(&addr) == AF_INET6;
    ASN1_STRING *text = literal ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    const void *bytes = !literal ? (const void *)names[i]
        : v6                     ? (const void *)&addr.v6.sin6_addr
                                 : (const void *)&addr.v4.sin_addr;
    added = name && text && ASN1_STRING_set(text, bytes, !literal ? (int)strlen(names[i]) : v6 ? 16 : 4);
    if (added) {
      GENERAL_NAME_set0_value(name, literal ? GEN_IPADD : GEN_DNS, text);
      text = NULL;
      added = sk_GENERAL_NAME_push(list, name) > 0;
    }
    ASN1_STRING_free(text);
    if (!added) GENERAL_NAME_free(name);
  }
  added = added && X509_add1_ext_i2d(cert, NID_subject_alt_name, list, 0, 0) == 1;
  GENERAL_NAMES_free(list);
  return added;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *const *names, size_t count, int days) {
  unsigned char serial[16], common_name[65];
  X509_NAME *subject = X509_get_subject_name(cert);
  if (RAND_bytes(serial, sizeof serial) != 1) return false;
  serial[0] &= 0x7f; // RFC 5280 section 4.1.2.2: positive
  serial[0] |= 0x40;
  BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
  bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
  BN_free(number);
  // A common name holds 64 characters at most (RFC 5280 appendix A.1); the names that count are the SANs.
  snprintf((char *)common_name, sizeof common_name, "%s", names[0]);
  return ok && X509_set_version(cert, X509_VERSION_3) && X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
      X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) && X509_set_pubkey(cert, key) &&
      X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, common_name, -1, -1, 0) &&
      X509_set_issuer_name(cert, subject) && add_extension(cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      add_extension(cert, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
      add_extension(cert, NID_ext_key_usage, "serverAuth") && add_extension(cert, NID_subject_key_identifier, "hash") &&
      add_sans(cert, names, count) && X509_sign(cert, key, EVP_sha256()) > 0;
}

static const char *bio_text(struct wd_arena *arena, BIO *bio) {
  char *bytes;
  long len = BIO_get_mem_data(bio, &bytes);
  return len > 0 ? wd_arena_strndup(arena, bytes, (size_t)len) : NULL;
}

bool wd_cert_self_signed(struct wd_cert_pair *out, struct wd_arena *arena, const char *const *names, size_t count, int days,
                         char *error, size_t error_size) {
  X509 *cert = X509_new();
  EVP_PKEY *key = EVP_EC_gen("P-256");
  BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());

  *out = (struct wd_cert_pair){0};
  if (cert && key && cert_bio && key_bio && count > 0 && days > 0 && fill(cert, key, names, count, days) &&
      PEM_write_bio_X509(cert_bio, cert) && PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL)) {
    out->cert_pem = bio_text(arena, cert_bio);
    out->key_pem = bio_text(arena, key_bio);
    out->sha256 = wd_cert_sha256(arena, cert);
  }
  bool done = out->cert_pem && out->key_pem && out->sha256;
  if (!done) {
    const char *reason = count == 0 ? "no name given"
        : days <= 0                 ? "days must be 1 or more"
                                    : ERR_reason_error_string(ERR_peek_last_error());
    snprintf(error, error_size, "cannot make a certificate: %s", reason ? reason : "out of memory");
  }
  BIO_free(cert_bio);
  BIO_free(key_bio);
  EVP_PKEY_free(key);
  X509_free(cert);
  ERR_clear_error();
  return done;
}

// No terminal to ask on: a key with a passphrase is refused with a message.
static int on_passphrase(char *buf, int size, int rwflag, void *asked) {
  (void)buf, (void)size, (void)rwflag;
  *(bool *)asked = true;
  return -1;
}

bool wd_cert_check_pair(const char *cert_file, const char *key_file, char *error, size_t error_size) {
  const char *key_path = key_file ? key_file : cert_file;
  char shown_cert[160], shown_key[160];
  bool asked = false, good = false;
  X509 *cert = NULL;
  EVP_PKEY *key = NULL;

  wd_text_escape(shown_cert, sizeof shown_cert, cert_file, strlen(cert_file));
  wd_text_escape(shown_key, sizeof shown_key, key_path, strlen(key_path));
  FILE *cert_in = fopen(cert_file, "re");
  int cert_errno = errno;
  FILE *key_in = fopen(key_path, "re");
  int key_errno = errno;
  if (!cert_in)
    snprintf(error, error_size, "cannot read the certificate %s: %s", shown_cert, strerror(cert_errno));
  else if (!key_in)
    snprintf(error, error_size, "cannot read the key %s: %s", shown_key, strerror(key_errno));
  else if (!(cert = PEM_read_X509(cert_in, NULL, on_passphrase, &asked)))
    snprintf(error, error_size, "no certificate in %s: expected PEM, a block of -----BEGIN CERTIFICATE-----", shown_cert);
  else if (!(key = PEM_read_PrivateKey(key_in, NULL, on_passphrase, &asked)))
    snprintf(error, error_size,
             asked ? "the key %s has a passphrase: take it off with `openssl pkey`" : "no private key in %s: expected PEM",
             shown_key);
  else if (!(good = X509_check_private_key(cert, key) == 1))
    snprintf(error, error_size, "the key %s does not belong to the certificate %s", shown_key, shown_cert);
  if (cert_in) fclose(cert_in);
  if (key_in) fclose(key_in);
  X509_free(cert);
  EVP_PKEY_free(key);
  ERR_clear_error();
  return good;
}
