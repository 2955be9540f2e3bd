// Whether a chain holds: X509_verify_cert over the certificates as presented, every fault collected, see cert.h.
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "addr.h"
#include "cert_x509.h"
#include "text.h"

enum fault_class { UNTRUSTED, EXPIRED, MISMATCH, CLASSES };

// The first fault of each class, of times the one nearest to the server's own certificate.
struct fault {
  int code; // X509_V_ERR_*, X509_V_OK for none
  int depth;
  X509 *cert; // owned by the chain under judgement
};

static enum fault_class class_of(int code) {
  switch (code) {
  case X509_V_ERR_CERT_HAS_EXPIRED:
  case X509_V_ERR_CERT_NOT_YET_VALID:
  case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
  case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: return EXPIRED;
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH: return MISMATCH;
  default: return UNTRUSTED;
  }
}

static int on_verify(int ok, X509_STORE_CTX *ctx) {
  if (!ok) {
    struct fault *faults = X509_STORE_CTX_get_app_data(ctx);
    int code = X509_STORE_CTX_get_error(ctx), depth = X509_STORE_CTX_get_error_depth(ctx);
    struct fault *fault = &faults[class_of(code)];
    if (fault->code == X509_V_OK || (class_of(code) == EXPIRED && depth < fault->depth))
      *fault = (struct fault){code, depth, X509_STORE_CTX_get_current_cert(ctx)};
  }
  return 1; // go on, to know all that is wrong
}

static const char *subject_of(struct wd_arena *arena, X509 *cert) {
  const char *text = cert ? wd_cert_name_text(arena, X509_get_subject_name(cert)) : NULL;
  return text && *text ? text : "no subject";
}

static const char *span_text(struct wd_arena *arena, int64_t seconds) {
  const char *unit = "day";
  int64_t n = seconds / 86400;
  if (n == 0) unit = "hour", n = seconds / 3600;
  if (n == 0) unit = "minute", n = seconds / 60;
  return n == 0 ? "less than a minute" : wd_arena_printf(arena, "%lld %s%s", (long long)n, unit, n == 1 ? "" : "s");
}

static const char *expired_text(struct wd_arena *arena, const struct fault *fault, int64_t now_s) {
  const char *which = fault->depth > 0 ? "issuer's certificate" : "certificate", *subject = subject_of(arena, fault->cert);
  bool early = fault->code == X509_V_ERR_CERT_NOT_YET_VALID;
  int64_t at_s = 0;
  if (!fault->cert || !wd_cert_time(early ? X509_get0_notBefore(fault->cert) : X509_get0_notAfter(fault->cert), &at_s))
    return wd_arena_printf(arena, "%s has unreadable dates (%s)", which, subject);
  if (early)
    return wd_arena_printf(arena, "%s is not valid for another %s (%s): is this machine's clock right?", which,
                           span_text(arena, at_s - now_s), subject);
  return wd_arena_printf(arena, "%s expired %s ago (%s)", which, span_text(arena, now_s - at_s), subject);
}

static const char *untrusted_text(struct wd_arena *arena, const struct fault *fault) {
  const char *subject = subject_of(arena, fault->cert);
  switch (fault->code) {
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: return wd_arena_printf(arena, "self-signed certificate (%s)", subject);
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    return wd_arena_printf(arena, "the chain ends in a self-signed certificate that is not trusted here (%s)", subject);
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: {
    const char *issuer = fault->cert ? wd_cert_name_text(arena, X509_get_issuer_name(fault->cert)) : NULL;
    return wd_arena_printf(arena,
                           "unable to get the issuer's certificate: %s is not trusted here and the server did not send it (%s)",
                           issuer && *issuer ? issuer : "the issuer", subject);
  }
  default: return wd_arena_printf(arena, "%s (%s)", X509_verify_cert_error_string(fault->code), subject);
  }
}

static const char *mismatch_text(struct wd_arena *arena, X509 *leaf, const char *host) {
  enum { SHOWN = 5 };
  size_t count, used = 0;
  const char **sans = wd_cert_sans(arena, leaf, &count);
  char list[512] = "", shown_host[128];
  wd_text_escape(shown_host, sizeof shown_host, host, strlen(host));
  if (count == 0) return wd_arena_printf(arena, "certificate is for %s; not for %s", subject_of(arena, leaf), shown_host);
  for (size_t i = 0; i < count && i < SHOWN && used < sizeof list - 1; i++) {
    int n = snprintf(list + used, sizeof list - used, "%s%.80s", i ? ", " : "", sans[i]);
    used += n > 0 ? (size_t)n : 0;
  }
  const char *more = count > SHOWN ? wd_arena_printf(arena, " and %zu more", count - SHOWN) : "";
  return wd_arena_printf(arena, "certificate is for %s%s; not for %s", list, more ? more : "", shown_host);
}

static bool set_host(X509_VERIFY_PARAM *param, const char *host) {
  struct wd_addr addr;
  size_t len = strlen(host);
  if (wd_addr_parse(&addr, host, 0)) {
    bool v6 = wd_addr_family(&addr) == AF_INET6;
    return X509_VERIFY_PARAM_set1_ip(param, v6 ? addr.v6.sin6_addr.s6_addr : (const unsigned char *)&addr.v4.sin_addr,
                                     v6 ? 16 : 4) == 1;
  }
  if (len > 1 && host[len - 1] == '.') len--;
  // OpenSSL takes ".example.com" for "any name below it".
  if (len == 0 || host[0] == '.') return false;
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return X509_VERIFY_PARAM_set1_host(param, host, len) == 1;
}

void wd_cert_judge(struct wd_cert_report *out, struct wd_arena *arena, STACK_OF(X509) * chain, X509_STORE *store,
                   const char *host, int64_t now_s) {
  struct fault faults[CLASSES] = {{0}};
  X509 *leaf = sk_X509_value(chain, 0);
  X509_STORE_CTX *ctx = X509_STORE_CTX_new();
  int finished = 0;

  out->verify = WD_E_LOCAL;
  out->detail = "the certificate could not be judged: out of memory";
  if (!ctx || !X509_STORE_CTX_init(ctx, store, leaf, chain)) goto out;
  X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
  // Partial chains: a trusted certificate ends the search even when it is no root, as users expect of the one they pinned.
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
  X509_VERIFY_PARAM_set_auth_level(param, 1);
  if (!X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER)) goto out;
  if (host && !set_host(param, host)) faults[MISMATCH] = (struct fault){X509_V_ERR_HOSTNAME_MISMATCH, 0, leaf};
  if (!X509_STORE_CTX_set_app_data(ctx, faults)) goto out;
  X509_STORE_CTX_set_verify_cb(ctx, on_verify);
  finished = X509_verify_cert(ctx);
  if (finished <= 0 && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_OUT_OF_MEM) goto out;
  if (finished <= 0 && faults[UNTRUSTED].code == X509_V_OK)
    faults[UNTRUSTED] =
        (struct fault){X509_STORE_CTX_get_error(ctx) ? X509_STORE_CTX_get_error(ctx) : X509_V_ERR_UNSPECIFIED, 0, leaf};

  static const enum wd_err names[CLASSES] = {WD_E_TLS_UNTRUSTED, WD_E_TLS_EXPIRED, WD_E_TLS_NAME_MISMATCH};
  out->verify = WD_OK;
  out->detail = NULL;
  for (int i = 0; i < CLASSES; i++) {
    if (faults[i].code == X509_V_OK) continue;
    const char *text = i == UNTRUSTED ? untrusted_text(arena, &faults[i])
        : i == EXPIRED                ? expired_text(arena, &faults[i], now_s)
                                      : mismatch_text(arena, leaf, host ? host : "");
    if (out->verify == WD_OK) out->verify = names[i];
    out->detail = out->detail ? wd_arena_printf(arena, "%s; %s", out->detail, text ? text : "") : text;
  }
out:
  X509_STORE_CTX_free(ctx);
  ERR_clear_error();
}
