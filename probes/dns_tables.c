// See dns_tables.h.
#include "probes/dns_tables.h"

static const char *const transport_names[] = {"udp", "tcp", NULL};


#define O struct wd_dns_opts
static const struct wd_field opt_fields[] = {
  WD_FIELD(O, name, "name", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 1000,
    .help = "name to ask for; with type PTR also an address"),
  WD_FIELD(O, type, "type", WD_T_STR, .def = "A", .min = 1, .max = 20,
    .help = "record type: A AAAA CNAME MX NS TXT SOA SRV PTR CAA ANY, or any other by name or as TYPE65"),
  WD_FIELD(O, server, "server", WD_T_STR, .min = 1, .max = 300,
    .help = "name server, with :port if not 53; the first one of /etc/resolv.conf if absent"),
  WD_FIELD(O, transport, "transport", WD_T_ENUM, .def = "udp", .names = transport_names,
    .help = "udp: TCP only where the answer was truncated; tcp: from the start"),
  WD_FIELD(O, recurse, "recurse", WD_T_BOOL, .def = "true", .help = "ask the server to find the answer elsewhere (RD)"),
  WD_FIELD(O, edns, "edns", WD_T_INT, .def = "1232", .min = 0, .max = 65535, .unit = "bytes",
    .help = "largest datagram to accept (EDNS); 0 sends no EDNS"),
  WD_FIELD(O, dnssec, "dnssec", WD_T_BOOL, .def = "false", .help = "ask for signatures (the DO bit of EDNS)"),
  WD_FIELD(O, tries, "tries", WD_T_INT, .def = "3", .min = 1, .max = WD_DNS_TRIES_MOST,
    .help = "queries to send over UDP while there is no answer"),
  WD_COMMON_OPTS(O, "5", "limit of the whole probe"),
  {0}};
#undef O
const struct wd_desc wd_dns_opts_desc = {"dns.query", opt_fields, sizeof(struct wd_dns_opts)};

#define R struct wd_dns_row
static const struct wd_field record_fields[] = {
  WD_FIELD(R, name, "name", WD_T_STR, .help = "whose record it is"),
  WD_FIELD(R, type, "type", WD_T_STR, .help = "record type"),
  WD_FIELD(R, class, "class", WD_T_STR, .help = "IN, or what else the server sent"),
  WD_FIELD(R, ttl, "ttl", WD_T_INT, .unit = "s", .help = "how long the record may be kept"),
  WD_FIELD(R, data, "data", WD_T_STR, .help = "the record as a zone file has it"),
  WD_FIELD(R, address, "address", WD_T_STR, .help = "A, AAAA"),
  WD_FIELD(R, target, "target", WD_T_STR, .help = "CNAME, NS, PTR, MX, SRV; SOA: the primary server"),
  WD_FIELD(R, text, "text", WD_T_STR, .help = "TXT: its strings joined; CAA: the value"),
  WD_FIELD(R, tag, "tag", WD_T_STR, .help = "CAA: issue, issuewild, iodef"),
  WD_FIELD(R, priority, "priority", WD_T_INT, .help = "MX, SRV"),
  WD_FIELD(R, weight, "weight", WD_T_INT, .help = "SRV"),
  WD_FIELD(R, port, "port", WD_T_INT, .help = "SRV"),
  WD_FIELD(R, flags, "flags", WD_T_INT, .help = "CAA"),
  WD_FIELD(R, serial, "serial", WD_T_INT, .help = "SOA"),
  WD_FIELD(R, minimum, "minimum", WD_T_INT, .unit = "s", .help = "SOA: how long a missing name may be remembered"),
  {0}};
#undef R
static const struct wd_desc record_desc = {"dns record", record_fields, sizeof(struct wd_dns_row)};

#define F struct wd_dns_flags
static const struct wd_field flag_fields[] = {
  WD_FIELD(F, aa, "aa", WD_T_BOOL, .help = "the server is an authority for the name"),
  WD_FIELD(F, tc, "tc", WD_T_BOOL, .help = "the answer is truncated"),
  WD_FIELD(F, rd, "rd", WD_T_BOOL, .help = "recursion was asked for"),
  WD_FIELD(F, ra, "ra", WD_T_BOOL, .help = "the server recurses"),
  WD_FIELD(F, ad, "ad", WD_T_BOOL, .help = "the server has verified the signatures"),
  WD_FIELD(F, cd, "cd", WD_T_BOOL, .help = "verifying was forbidden"),
  {0}};
#undef F
static const struct wd_desc flags_desc = {"dns flags", flag_fields, sizeof(struct wd_dns_flags)};

#define E struct wd_dns_edns
static const struct wd_field edns_fields[] = {
  WD_FIELD(E, size, "size", WD_T_INT, .unit = "bytes", .help = "largest datagram the server accepts"),
  WD_FIELD(E, dnssec, "dnssec", WD_T_BOOL, .help = "the DO bit in the answer"),
  {0}};
#undef E
static const struct wd_desc edns_desc = {"edns", edns_fields, sizeof(struct wd_dns_edns)};

#define T struct wd_dns_timings
static const struct wd_field timing_fields[] = {
  WD_FIELD(T, dns, "dns_ms", WD_T_MS, .help = "looking up the server's own name"),
  WD_FIELD(T, connect, "connect_ms", WD_T_MS, .help = "TCP: opening the connection"),
  WD_FIELD(T, query, "query_ms", WD_T_MS, .help = "from the query that was answered to its answer"),
  WD_FIELD(T, total, "total_ms", WD_T_MS, .help = "from the first query to the end, all repetitions included"),
  {0}};
#undef T
static const struct wd_desc timings_desc = {"dns timings", timing_fields, sizeof(struct wd_dns_timings)};

#define S struct wd_dns_sample
static const struct wd_field sample_fields[] = {
  WD_FIELD(S, status, "status", WD_T_STR, .help = "ok, truncated, unanswered or error"),
  WD_FIELD(S, transport, "transport", WD_T_ENUM, .names = transport_names, .help = "udp or tcp"),
  WD_FIELD(S, sent, "sent_ms", WD_T_MS, .help = "when it was sent, from the first query"),
  WD_FIELD(S, rtt, "rtt_ms", WD_T_MS, .help = "until its own answer came"),
  WD_FIELD(S, error, "error", WD_T_STR, .help = "why it failed: a name of the closed list"),
  {0}};
#undef S
static const struct wd_desc sample_desc = {"dns sample", sample_fields, sizeof(struct wd_dns_sample)};

#define R struct wd_dns_result
#define RECORDS(member, text) \
  WD_FIELD(R, member, #member, WD_T_LIST, .elem = WD_T_TABLE, .sub = &record_desc, .help = (text))
static const struct wd_field result_fields[] = {
  WD_COMMON_RESULT(R),
  WD_FIELD(R, name, "name", WD_T_STR, .help = "the name as asked for, without its last dot"),
  WD_FIELD(R, type, "type", WD_T_STR, .help = "the record type asked for"),
  WD_FIELD(R, server, "server", WD_T_STR, .help = "address and port of the name server"),
  WD_FIELD(R, transport, "transport", WD_T_ENUM, .names = transport_names, .help = "what the answer came over, or was last tried"),
  WD_FIELD(R, truncated, "truncated", WD_T_BOOL, .help = "whether the answer did not fit a datagram"),
  WD_FIELD(R, rcode, "rcode", WD_T_STR, .help = "NOERROR, NXDOMAIN, SERVFAIL, REFUSED ..."),
  WD_FIELD(R, flags, "flags", WD_T_TABLE, .sub = &flags_desc, .help = "the header's flags"),
  WD_FIELD(R, edns, "edns", WD_T_TABLE, .sub = &edns_desc, .help = "the server's EDNS; absent where it sent none"),
  RECORDS(answers, "records of the answer section, aliases included"),
  RECORDS(authority, "records of the authority section"),
  RECORDS(additional, "records of the additional section"),
  WD_FIELD(R, dropped, "records_dropped", WD_T_INT, .help = "records past the first thousand"),
  WD_FIELD(R, size, "size_bytes", WD_T_INT, .unit = "bytes", .help = "size of the answer"),
  WD_FIELD(R, tries, "tries", WD_T_INT, .help = "queries sent"),
  WD_FIELD(R, samples, "samples", WD_T_LIST, .elem = WD_T_TABLE, .sub = &sample_desc, .help = "each query by itself"),
  WD_FIELD(R, ignored, "ignored", WD_T_INT, .help = "messages that were no answer to the question, or from elsewhere"),
  WD_FIELD(R, timings, "timings", WD_T_TABLE, .sub = &timings_desc, .help = "the parts of the time"),
  {0}};
#undef RECORDS
#undef R
const struct wd_desc wd_dns_result_desc = {"dns.query", result_fields, sizeof(struct wd_dns_result)};
