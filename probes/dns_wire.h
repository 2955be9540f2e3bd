// DNS messages on the wire (RFC 1035, RFC 6891): a query as bytes, an answer as plain records. ldns does the decoding. No sockets.
//
// Must hold: an answer is hostile until it matches its query by id, flags and question; what it says is bounded and fit to print.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/arena.h"
#include "runtime/wd.h"

enum {
  WD_DNS_EDNS_SIZE = 1232,   // a size that no path fragments (DNS flag day 2020)
  WD_DNS_RECORDS_MAX = 1000, // records kept of one answer
};

struct wd_dns_ask {
  const char *name;   // "example.com", with or without the last dot; with type PTR also an address literal
  const char *type;   // "A", "AAAA", ... any type ldns knows, or "TYPE65"; case does not matter
  bool recurse;       // the RD flag
  bool dnssec;        // the DO bit; asks for EDNS too
  uint16_t edns_size; // 0: no EDNS
};

struct wd_dns_query {
  const uint8_t *tcp; // owned by the arena: two bytes of length, then the message (RFC 1035 section 4.2.2)
  size_t tcp_len;
  const uint8_t *udp; // the message alone
  size_t udp_len;
  size_t question_len; // bytes of the question behind the header
  uint16_t id;
  uint16_t type;
  const char *name; // as asked for, absolute without its last dot ("1.2.0.192.in-addr.arpa"); "." for the root
  const char *type_name;
};

enum wd_dns_section { WD_DNS_ANSWER, WD_DNS_AUTHORITY, WD_DNS_ADDITIONAL };

// Texts are owned by the arena. A field that the type does not have is NULL, or -1.
struct wd_dns_record {
  enum wd_dns_section section;
  const char *name; // without its last dot
  const char *type;
  const char *class;
  uint32_t ttl_s;
  const char *data;     // in the form of a zone file, as dig prints it
  const char *address;  // A, AAAA
  const char *target;   // CNAME, DNAME, NS, PTR, MX, SRV; SOA: the primary server; without its last dot
  const char *text;     // TXT: its strings joined; CAA: the value
  const char *tag;      // CAA
  int64_t priority;     // MX, SRV
  int64_t weight, port; // SRV
  int64_t flags;        // CAA
  int64_t serial;       // SOA
  int64_t minimum_s;    // SOA: how long a negative answer may be kept
};

struct wd_dns_answer {
  int rcode; // with the bits of EDNS
  const char *rcode_name;
  bool aa, tc, rd, ra, ad, cd;
  bool edns, edns_do;
  uint16_t edns_size;
  struct wd_dns_record *records; // answer, authority, additional in order; without OPT
  size_t count;
  size_t dropped; // records past WD_DNS_RECORDS_MAX
  size_t answers; // records in the answer section that are of the type asked for (of any type with ANY)
  size_t size;    // of the message in bytes
};

enum wd_dns_match {
  WD_DNS_OURS,
  WD_DNS_FOREIGN,   // not an answer to this query: late, spoofed, or somebody else's; keep waiting
  WD_DNS_MALFORMED, // an answer to this query that cannot be read
};

// Makes the wire form of `ask` with a random id. False with a message in `error`: a bad name, an unknown type, or memory out.
bool wd_dns_build(struct wd_dns_query *out, struct wd_arena *arena, const struct wd_dns_ask *ask, char *error, size_t error_size);

// The same query under another id; false when memory is out.
bool wd_dns_renew(struct wd_dns_query *query, struct wd_arena *arena);

// Reads a message that came for `query`. With WD_DNS_OURS *out is filled; a truncated (tc) message that ends inside a record counts as ours, with
// the records left out. With WD_DNS_MALFORMED `error` says why.
enum wd_dns_match wd_dns_parse(struct wd_dns_answer *out, struct wd_arena *arena, const struct wd_dns_query *query,
                               const uint8_t *bytes, size_t len, char *error, size_t error_size);

// What an answer means for a probe: WD_OK (NOERROR with a record of the type asked for), WD_E_DNS_NXDOMAIN, _NODATA, _SERVFAIL, _REFUSED, or
// WD_E_PROTOCOL for every other code.
enum wd_err wd_dns_err(const struct wd_dns_answer *answer);
