// See tls_facts.h.
#include "runtime/tls_facts.h"

const char *const wd_tls_version_names[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", NULL};

#define C struct wd_tls_cert
static const struct wd_field cert_fields[] = {
  WD_FIELD(C, subject, "subject", WD_T_STR, .help = "whose it is, as RFC 4514 writes names"),
  WD_FIELD(C, issuer, "issuer", WD_T_STR, .help = "who signed it"),
  WD_FIELD(C, sans, "sans", WD_T_LIST, .elem = WD_T_STR, .help = "names and addresses it is for"),
  WD_FIELD(C, not_before, "not_before", WD_T_STR, .help = "valid from, RFC 3339 UTC"),
  WD_FIELD(C, not_after, "not_after", WD_T_STR, .help = "valid until, RFC 3339 UTC"),
  WD_FIELD(C, days_left, "days_left", WD_T_NUM, .unit = "days", .help = "days until it expires, negative afterwards"),
  WD_FIELD(C, sha256, "sha256", WD_T_STR, .help = "SHA-256 of its DER form, hex"),
  WD_FIELD(C, key, "key", WD_T_STR, .help = "kind and size of its key, such as EC P-256"),
  {0}};
#undef C
static const struct wd_desc cert_desc = {"certificate", cert_fields, sizeof(struct wd_tls_cert)};

#define F struct wd_tls_facts
static const struct wd_field facts_fields[] = {
  WD_FIELD(F, version, "version", WD_T_STR, .help = "TLS version agreed on, such as TLSv1.3"),
  WD_FIELD(F, cipher, "cipher", WD_T_STR, .help = "cipher suite agreed on"),
  WD_FIELD(F, bits, "bits", WD_T_INT, .unit = "bits", .help = "secret bits of the cipher"),
  WD_FIELD(F, alpn, "alpn", WD_T_STR, .help = "application protocol agreed on, if one was offered"),
  WD_FIELD(F, verify, "verify", WD_T_STR, .help = "ok, or why the certificate does not hold"),
  WD_FIELD(F, chain, "chain", WD_T_LIST, .elem = WD_T_TABLE, .sub = &cert_desc,
           .help = "the certificates as presented, the server's own first"),
  {0}};
#undef F
const struct wd_desc wd_tls_facts_desc = {"tls", facts_fields, sizeof(struct wd_tls_facts)};

// The macros name a member of the probe's option struct; here the options are the whole of it.
struct alone {
  struct wd_tls_opts opts;
};
static const struct wd_field opts_fields[] = {WD_TLS_IDENTITY_OPTS(struct alone, opts), WD_TLS_OFFER_OPTS(struct alone, opts), {0}};
const struct wd_desc wd_tls_opts_desc = {"tls", opts_fields, sizeof(struct alone)};

const char *wd_tls_opts_check(const struct wd_tls_opts *opts) {
  enum { ALPN_MOST = 16 };
  if (opts->key && !opts->cert) return "field 'key': needs 'cert', the certificate it belongs to";
  if (opts->min_version >= 0 && opts->max_version >= 0 && opts->min_version > opts->max_version)
    return "field 'min_version': newer than max_version";
  return opts->alpn.n > ALPN_MOST ? "field 'alpn': too many protocols (16 at most)" : NULL;
}

struct wd_tls_facts *wd_tls_facts_new(struct wd_arena *arena) {
  struct wd_tls_facts *facts = wd_arena_alloc(arena, sizeof(*facts));
  if (facts) wd_desc_clear(&wd_tls_facts_desc, facts);
  return facts;
}

void wd_tls_facts_set_chain(struct wd_tls_facts *facts, struct wd_arena *arena, const struct wd_cert_report *report) {
  struct wd_tls_cert *chain = wd_arena_array(arena, report->chain_count, sizeof(*chain));
  facts->verify = wd_cert_verify_name(report->verify);
  if (!chain) return;
  for (size_t i = 0; i < report->chain_count; i++) {
    const struct wd_cert *c = &report->chain[i];
    chain[i] = (struct wd_tls_cert){
      .subject = c->subject,
      .issuer = c->issuer,
      .sans = {.items = c->sans, .n = c->sans_count, .given = true},
      .not_before = c->not_before,
      .not_after = c->not_after,
      .days_left = c->days_left,
      .sha256 = c->sha256,
      .key = c->key,
    };
  }
  facts->chain = (struct wd_list){.items = chain, .n = report->chain_count, .given = true};
}
