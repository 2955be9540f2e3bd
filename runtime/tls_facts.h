// What every probe that spoke TLS says about it, and the TLS options that such probes share, as
// descriptions: `tls = {version, cipher, bits, alpn, verify, chain}` and `ca cert key verify ...`.
// Must hold: the facts are there whatever the verdict was; the verdict is one field among them.
#pragma once

#include "runtime/arena.h"
#include "runtime/cert.h"
#include "runtime/desc.h"

// One certificate as presented. Strings live in the probe's arena; NULL is "could not be read".
struct wd_tls_cert {
  const char *subject, *issuer;
  struct wd_list sans; // of const char *
  const char *not_before, *not_after;
  double days_left;
  const char *sha256, *key;
};

struct wd_tls_facts {
  const char *version, *cipher; // as OpenSSL names them: "TLSv1.3", "TLS_AES_256_GCM_SHA384"
  int64_t bits;                 // secret bits of the cipher, WD_NONE
  const char *alpn;             // the protocol agreed on, NULL where none was
  const char *verify;           // "ok", or the failure's name; NULL where nothing was judged
  struct wd_list chain;         // of struct wd_tls_cert, the server's own first
};

extern const struct wd_desc wd_tls_facts_desc;

#define WD_TLS_RESULT(st, member)                                                                                       \
  WD_FIELD(st, member, "tls", WD_T_TABLE, .sub = &wd_tls_facts_desc, .help = "what TLS agreed on, and the certificates")

// Facts with every field absent; NULL when memory is out.
struct wd_tls_facts *wd_tls_facts_new(struct wd_arena *arena);

// Copies chain and verdict of a report into the facts; the strings stay where the report has them.
void wd_tls_facts_set_chain(struct wd_tls_facts *facts, struct wd_arena *arena, const struct wd_cert_report *report);

enum wd_tls_version { WD_TLS_1_0, WD_TLS_1_1, WD_TLS_1_2, WD_TLS_1_3 };
extern const char *const wd_tls_version_names[]; // "TLSv1" "TLSv1.1" "TLSv1.2" "TLSv1.3"

// How a client proves and checks identities, and what it offers. A field that its probe does not
// describe must be set to absent by hand (NULL, -1, empty).
struct wd_tls_opts {
  const char *ca, *cert, *key, *server_name;
  int8_t verify;
  struct wd_list alpn;         // of const char *
  int min_version, max_version; // enum wd_tls_version, -1 = OpenSSL's own bound
};

#define WD_TLS_IDENTITY_OPTS(st, member)                                                                                \
  WD_FIELD(st, member.ca, "ca", WD_T_STR, .min = 1, .max = 1 << 20,                                                     \
           .help = "trusted certificates: a PEM file, a folder of them, or PEM text; the system's by default"),         \
    WD_FIELD(st, member.cert, "cert", WD_T_STR, .min = 1, .max = 4096, .help = "client certificate, a PEM file"),       \
    WD_FIELD(st, member.key, "key", WD_T_STR, .min = 1, .max = 4096,                                                    \
             .help = "key of the client certificate, a PEM file; in the file of `cert` by default"),                    \
    WD_FIELD(st, member.server_name, "server_name", WD_T_STR, .min = 1, .max = 253,                                     \
             .help = "name to ask for (SNI) and to check the certificate against; the target's host by default"),       \
    WD_FIELD(st, member.verify, "verify", WD_T_BOOL, .def = "true",                                                     \
             .help = "whether an untrusted, expired or foreign certificate is a failure")

#define WD_TLS_OFFER_OPTS(st, member)                                                                                   \
  WD_FIELD(st, member.alpn, "alpn", WD_T_LIST, .elem = WD_T_STR, .min = 1, .max = 255,                                  \
           .help = "application protocols to offer, such as h2 and http/1.1; none by default"),                         \
    WD_FIELD(st, member.min_version, "min_version", WD_T_ENUM, .names = wd_tls_version_names,                           \
             .help = "oldest version to offer; old ones lower the security level for this connection"),                 \
    WD_FIELD(st, member.max_version, "max_version", WD_T_ENUM, .names = wd_tls_version_names,                           \
             .help = "newest version to offer")

// For a probe's check: what is wrong with the options taken together, or NULL.
const char *wd_tls_opts_check(const struct wd_tls_opts *opts);

// Both of the above as a table, for a `tls` option.
extern const struct wd_desc wd_tls_opts_desc;
