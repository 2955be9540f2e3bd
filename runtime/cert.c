// The facts of certificates, see cert.h.
#include "cert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "addr.h"
#include "cert_x509.h"
#include "text.h"

enum { TEXT_MAX = 1024 };

static const char *print_bytes(struct wd_arena *arena, const char *bytes, size_t len) {
  char out[TEXT_MAX];
  size_t used = wd_text_escape(out, sizeof out, bytes, len);
  return wd_arena_strndup(arena, out, used);
}

// No passphrase is ever asked for: a certificate has none, and the terminal belongs to the user.
static int on_passphrase(char *buf, int size, int rwflag, void *user) {
  (void)buf, (void)size, (void)rwflag, (void)user;
  return -1;
}

STACK_OF(X509) * wd_cert_stack(const struct wd_cert_blob *blobs, size_t count, bool *bad) {
  STACK_OF(X509) *stack = sk_X509_new_null();
  *bad = false;
  for (size_t i = 0; stack && i < count && sk_X509_num(stack) < WD_CERT_CHAIN_MAX; i++) {
    const struct wd_cert_blob *blob = &blobs[i];
    const unsigned char *der = blob->data;
    int before = sk_X509_num(stack);
    X509 *cert;
    if (blob->len == 0 || blob->len > INT32_MAX) {
      *bad = true;
      continue;
    }
    if (!memmem(blob->data, blob->len, "-----BEGIN", 10)) {
      cert = d2i_X509(NULL, &der, (long)blob->len);
      if (cert && !sk_X509_push(stack, cert)) X509_free(cert);
    } else {
      BIO *bio = BIO_new_mem_buf(blob->data, (int)blob->len);
      while (bio && sk_X509_num(stack) < WD_CERT_CHAIN_MAX && (cert = PEM_read_bio_X509(bio, NULL, on_passphrase, NULL)))
        if (!sk_X509_push(stack, cert)) X509_free(cert);
      BIO_free(bio);
    }
    if (sk_X509_num(stack) == before) *bad = true;
  }
  ERR_clear_error();
  return stack;
}

const char *wd_cert_name_text(struct wd_arena *arena, const X509_NAME *name) {
  BIO *bio = BIO_new(BIO_s_mem());
  const char *out = NULL;
  char *bytes;
  if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0) {
    long len = BIO_get_mem_data(bio, &bytes);
    out = print_bytes(arena, bytes, len > 0 ? (size_t)len : 0);
  }
  BIO_free(bio);
  return out;
}

static const char *san_text(struct wd_arena *arena, const GENERAL_NAME *name) {
  const ASN1_STRING *text;
  const unsigned char *ip;
  switch (name->type) {
  case GEN_DNS: text = name->d.dNSName; break;
  case GEN_URI: text = name->d.uniformResourceIdentifier; break;
  case GEN_EMAIL: text = name->d.rfc822Name; break;
  case GEN_IPADD:
    ip = ASN1_STRING_get0_data(name->d.iPAddress);
    if (ASN1_STRING_length(name->d.iPAddress) == 4) return wd_arena_printf(arena, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
    if (ASN1_STRING_length(name->d.iPAddress) == 16) {
      struct wd_addr addr = {.v6 = {.sin6_family = AF_INET6}};
      char out[WD_ADDR_TEXT];
      memcpy(&addr.v6.sin6_addr, ip, 16);
      return wd_arena_strdup(arena, wd_addr_format(&addr, out));
    }
    return NULL;
  case GEN_DIRNAME: return wd_cert_name_text(arena, name->d.directoryName);
  default: return NULL;
  }
  return print_bytes(arena, (const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

const char **wd_cert_sans(struct wd_arena *arena, X509 *cert, size_t *count) {
  GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
  int total = names ? sk_GENERAL_NAME_num(names) : 0;
  if (total > WD_CERT_SANS_MAX) total = WD_CERT_SANS_MAX;
  const char **out = total > 0 ? wd_arena_array(arena, (size_t)total, sizeof *out) : NULL;
  *count = 0;
  for (int i = 0; out && i < total; i++) {
    const char *text = san_text(arena, sk_GENERAL_NAME_value(names, i));
    if (text) out[(*count)++] = text;
  }
  GENERAL_NAMES_free(names);
  return out;
}

const char *wd_cert_sha256(struct wd_arena *arena, const X509 *cert) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  if (!X509_digest(cert, EVP_sha256(), digest, &len)) return NULL;
  char *out = wd_arena_alloc(arena, len * 2 + 1);
  for (unsigned i = 0; out && i < len; i++) snprintf(out + i * 2, 3, "%02x", digest[i]);
  return out;
}

bool wd_cert_time(const ASN1_TIME *asn1, int64_t *seconds) {
  struct tm tm = {0};
  if (!asn1 || ASN1_TIME_to_tm(asn1, &tm) != 1) return false;
  *seconds = timegm(&tm);
  return true;
}

static const char *time_text(struct wd_arena *arena, const ASN1_TIME *asn1) {
  struct tm tm = {0};
  char out[40];
  if (!asn1 || ASN1_TIME_to_tm(asn1, &tm) != 1 || strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) return NULL;
  return wd_arena_strdup(arena, out);
}

static const char *key_text(struct wd_arena *arena, X509 *cert) {
  EVP_PKEY *key = X509_get0_pubkey(cert);
  char group[64] = "";
  size_t len;
  if (!key) return NULL;
  switch (EVP_PKEY_get_base_id(key)) {
  case EVP_PKEY_RSA: return wd_arena_printf(arena, "RSA %d", EVP_PKEY_get_bits(key));
  case EVP_PKEY_RSA_PSS: return wd_arena_printf(arena, "RSA-PSS %d", EVP_PKEY_get_bits(key));
  case EVP_PKEY_DSA: return wd_arena_printf(arena, "DSA %d", EVP_PKEY_get_bits(key));
  case EVP_PKEY_ED25519: return "Ed25519";
  case EVP_PKEY_ED448: return "Ed448";
  case EVP_PKEY_EC: {
    if (!EVP_PKEY_get_group_name(key, group, sizeof group, &len)) return wd_arena_printf(arena, "EC %d", EVP_PKEY_get_bits(key));
    const char *nist = EC_curve_nid2nist(OBJ_txt2nid(group));
    return wd_arena_printf(arena, "EC %s", nist ? nist : group);
  }
  default: {
    const char *name = EVP_PKEY_get0_type_name(key);
    return name ? wd_arena_strdup(arena, name) : NULL;
  }
  }
}

static const char *serial_text(struct wd_arena *arena, const X509 *cert) {
  BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
  char *hex = number ? BN_bn2hex(number) : NULL;
  char *out = wd_arena_strdup(arena, hex);
  for (char *p = out; p && *p; p++)
    if (*p >= 'A' && *p <= 'F') *p = (char)(*p + 32);
  OPENSSL_free(hex);
  BN_free(number);
  return out;
}

static void read_facts(struct wd_cert *out, struct wd_arena *arena, X509 *cert, int64_t now_s) {
  int64_t end_s;
  out->subject = wd_cert_name_text(arena, X509_get_subject_name(cert));
  out->issuer = wd_cert_name_text(arena, X509_get_issuer_name(cert));
  out->sans = wd_cert_sans(arena, cert, &out->sans_count);
  out->not_before = time_text(arena, X509_get0_notBefore(cert));
  out->not_after = time_text(arena, X509_get0_notAfter(cert));
  out->days_left = wd_cert_time(X509_get0_notAfter(cert), &end_s) ? (double)(end_s - now_s) / 86400.0 : (double)NAN;
  out->sha256 = wd_cert_sha256(arena, cert);
  out->key = key_text(arena, cert);
  out->serial = serial_text(arena, cert);
}

bool wd_cert_examine(struct wd_cert_report *out, struct wd_arena *arena, const struct wd_cert_blob *blobs, size_t count,
                     X509_STORE *store, const char *host, int64_t now_s) {
  bool bad;
  *out = (struct wd_cert_report){0};
  STACK_OF(X509) *stack = wd_cert_stack(blobs, count, &bad);
  if (!stack) return false;
  int total = sk_X509_num(stack);
  if (total > 0) out->chain = wd_arena_array(arena, (size_t)total, sizeof *out->chain);
  for (int i = 0; out->chain && i < total; i++)
    read_facts(&out->chain[out->chain_count++], arena, sk_X509_value(stack, i), now_s);
  if (store && total > 0 && !bad) {
    wd_cert_judge(out, arena, stack, store, host, now_s);
  } else if (store) {
    out->verify = WD_E_TLS_UNTRUSTED;
    out->detail = bad ? "a certificate of the chain cannot be read" : "the server presented no certificate";
  }
  bool done = total == 0 || out->chain;
  sk_X509_pop_free(stack, X509_free);
  // What OpenSSL could not decode left its errors in the thread's queue, where the next TLS call would take them for its own.
  ERR_clear_error();
  return done;
}

const char *wd_cert_verify_name(enum wd_err verify) {
  return verify == WD_OK ? "ok" : wd_err_name(verify);
}

void wd_cert_sha256_hex(const void *bytes, size_t len, char out[static 65]) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {0};
  unsigned int n = 0;
  EVP_Digest(bytes, len, digest, &n, EVP_sha256(), NULL);
  for (unsigned int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
