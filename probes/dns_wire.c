// DNS queries and answers as bytes, see dns_wire.h; the records' fields are in dns_records_wire.c.
#include "dns_wire.h"

#include <stdio.h>
#include <string.h>

#include <ldns/ldns.h>

#include "dns_records_wire.h"
#include "runtime/addr.h"
#include "runtime/memory.h"
#include "runtime/random.h"
#include "runtime/text.h"

enum { HEADER = 12, OPT = 11, NAME_TEXT = 1024 };
enum { PARSED_BYTES = 4096, PARSED_BYTES_A_BYTE = 32 }; // more than ldns takes for a message, in all and for each of its bytes

// RFC 1035 section 3.5 and RFC 3596 section 2.5: the name under which an address is looked up.
static const char *reverse_name(struct wd_arena *arena, const struct wd_addr *addr) {
  if (wd_addr_family(addr) == AF_INET) {
    const uint8_t *b = (const uint8_t *)&addr->v4.sin_addr;
    return wd_arena_printf(arena, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
  }
  char out[80];
  for (int i = 0; i < 16; i++) {
    uint8_t byte = addr->v6.sin6_addr.s6_addr[15 - i];
    snprintf(out + i * 4, 5, "%x.%x.", byte & 15, byte >> 4);
  }
  return wd_arena_printf(arena, "%sip6.arpa", out);
}

static bool read_type(const char *text, uint16_t *type) {
  enum { TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252 };
  size_t digits = strlen(text) > 4 ? strspn(text + 4, "0123456789") : 0;
  // ldns reads TYPEnnn with atoi, whatever follows.
  if (strncasecmp(text, "TYPE", 4) == 0 &&
      (digits == 0 || digits > 5 || text[4 + digits] || strtoul(text + 4, NULL, 10) > UINT16_MAX))
    return false;
  int value = (int)ldns_get_rr_type_by_name(text);
  if (value <= 0 || value > 65535 || value == LDNS_RR_TYPE_OPT || (value >= TKEY && value <= AXFR)) return false;
  *type = (uint16_t)value;
  return true;
}

static ldns_rdf *read_name(const char *name, char *error, size_t error_size) {
  ldns_rdf *rdf = NULL;
  char shown[160];
  ldns_status status = strlen(name) < NAME_TEXT && *name ? ldns_str2rdf_dname(&rdf, name) : LDNS_STATUS_DOMAINNAME_OVERFLOW;
  if (status == LDNS_STATUS_OK) return rdf;
  wd_text_escape(shown, sizeof shown, name, strlen(name));
  snprintf(error, error_size, "'%s' is not a domain name: %s", shown,
           *name == '\0'                                   ? "it is empty"
               : status == LDNS_STATUS_EMPTY_LABEL         ? "it has an empty part between dots"
               : status == LDNS_STATUS_LABEL_OVERFLOW      ? "a part is longer than 63 characters"
               : status == LDNS_STATUS_DOMAINNAME_OVERFLOW ? "it is longer than 255 bytes"
                                                           : "it has a bad escape");
  return NULL;
}

static uint8_t *put(uint8_t *at, size_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
  return at + 2;
}

bool wd_dns_build(struct wd_dns_query *out, struct wd_arena *arena, const struct wd_dns_ask *ask, char *error,
                  size_t error_size) {
  struct wd_addr addr;
  uint16_t type = 0;
  char shown[64];
  const char *name = ask->name;

  wd_text_escape(shown, sizeof shown, ask->type, strlen(ask->type));
  if (!read_type(ask->type, &type)) {
    snprintf(error, error_size,
             "'%s' is not a record type to ask for (A, AAAA, CNAME, MX, NS, TXT, SOA, SRV, PTR, CAA, ANY, TYPE65 ...)", shown);
    return false;
  }
  if (type == LDNS_RR_TYPE_PTR && wd_addr_parse(&addr, name, 0)) name = reverse_name(arena, &addr);
  snprintf(error, error_size, "out of memory");
  uint16_t id = (uint16_t)wd_random();
  if (!name) return false;
  ldns_rdf *rdf = read_name(name, error, error_size);
  if (!rdf) return false;

  *out = (struct wd_dns_query){.id = id, .type = type, .question_len = ldns_rdf_size(rdf) + 4};
  out->name = wd_dns_name_text(arena, rdf);
  out->type_name = wd_dns_type_text(arena, type);
  bool edns = ask->edns_size || ask->dnssec;
  size_t name_len = ldns_rdf_size(rdf), len = HEADER + name_len + 4 + (edns ? OPT : 0);
  uint8_t *wire = wd_arena_alloc(arena, len + 2), *at = wire;
  if (wire) {
    at = put(at, len);
    at = put(at, id);
    at = put(at, ask->recurse ? 0x0100 : 0); // RD
    at = put(at, 1);                         // questions
    at = put(at, 0);
    at = put(at, 0);
    at = put(at, edns ? 1 : 0); // additional records
    memcpy(at, ldns_rdf_data(rdf), name_len);
    at = put(at + name_len, type);
    at = put(at, LDNS_RR_CLASS_IN);
  }
  if (wire && edns) { // RFC 6891 section 6.1.2: the root's name, the type, the size in place of a class, flags in place of a TTL
    *at++ = 0;
    at = put(at, LDNS_RR_TYPE_OPT);
    at = put(at, ask->edns_size ? ask->edns_size : WD_DNS_EDNS_SIZE);
    at = put(at, 0);
    at = put(at, ask->dnssec ? 0x8000 : 0);
    put(at, 0);
  }
  ldns_rdf_deep_free(rdf);
  out->tcp = wire;
  out->tcp_len = len + 2;
  out->udp = wire ? wire + 2 : NULL;
  out->udp_len = len;
  return wire && out->name && out->type_name;
}

bool wd_dns_renew(struct wd_dns_query *query, struct wd_arena *arena) {
  uint8_t *copy = wd_arena_alloc(arena, query->tcp_len);
  if (!copy) return false;
  query->id = (uint16_t)wd_random();
  memcpy(copy, query->tcp, query->tcp_len);
  copy[2] = (uint8_t)(query->id >> 8);
  copy[3] = (uint8_t)query->id;
  query->tcp = copy;
  query->udp = copy + 2;
  return true;
}

// Whether the message repeats the question, the letters of the name in any case (RFC 1035 section 2.3.3). Lengths of labels are below 64, so folding
// the bytes that are letters harms none.
static bool same_question(const struct wd_dns_query *query, const uint8_t *bytes, size_t len) {
  if (len < HEADER + query->question_len) return false;
  for (size_t i = 0; i < query->question_len; i++) {
    uint8_t a = query->udp[HEADER + i], b = bytes[HEADER + i];
    bool in_name = i + 4 < query->question_len;
    if (in_name && a >= 'A' && a <= 'Z') a = (uint8_t)(a + 32);
    if (in_name && b >= 'A' && b <= 'Z') b = (uint8_t)(b + 32);
    if (a != b) return false;
  }
  return true;
}

static bool is_answer_to(const struct wd_dns_query *query, const uint8_t *bytes, size_t len) {
  // QR set, opcode QUERY, our id.
  if (len < HEADER || (bytes[0] << 8 | bytes[1]) != query->id || (bytes[2] & 0xf8) != 0x80) return false;
  unsigned questions = (unsigned)bytes[4] << 8 | bytes[5], rcode = bytes[3] & 0x0f;
  // Servers that refuse before they read further leave the question out.
  if (questions == 0)
    return rcode == LDNS_RCODE_FORMERR || rcode == LDNS_RCODE_SERVFAIL || rcode == LDNS_RCODE_NOTIMPL ||
        rcode == LDNS_RCODE_REFUSED;
  return questions == 1 && same_question(query, bytes, len);
}

static const char *rcode_name(struct wd_arena *arena, int rcode) {
  // The IANA registry "DNS RCODEs".
  static const char *const names[] = {
      [0] = "NOERROR",  [1] = "FORMERR",    [2] = "SERVFAIL", [3] = "NXDOMAIN",  [4] = "NOTIMP",
      [5] = "REFUSED",  [6] = "YXDOMAIN",   [7] = "YXRRSET",  [8] = "NXRRSET",   [9] = "NOTAUTH",
      [10] = "NOTZONE", [11] = "DSOTYPENI", [16] = "BADVERS", [17] = "BADKEY",   [18] = "BADTIME",
      [19] = "BADMODE", [20] = "BADNAME",   [21] = "BADALG",  [22] = "BADTRUNC", [23] = "BADCOOKIE"};
  if (rcode < (int)(sizeof names / sizeof names[0]) && names[rcode]) return names[rcode];
  return wd_arena_printf(arena, "RCODE%d", rcode);
}

static bool add_section(struct wd_dns_answer *out, struct wd_arena *arena, const ldns_rr_list *list, enum wd_dns_section section,
                        uint16_t asked) {
  for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
    const ldns_rr *rr = ldns_rr_list_rr(list, i);
    if (section == WD_DNS_ANSWER && (ldns_rr_get_type(rr) == (ldns_rr_type)asked || asked == LDNS_RR_TYPE_ANY)) out->answers++;
    if (out->count == WD_DNS_RECORDS_MAX)
      out->dropped++;
    else if (!wd_dns_read_record(&out->records[out->count++], arena, rr, section))
      return false;
  }
  return true;
}

static bool fill(struct wd_dns_answer *out, struct wd_arena *arena, const struct wd_dns_query *query, const ldns_pkt *pkt) {
  const ldns_rr_list *lists[] = {ldns_pkt_answer(pkt), ldns_pkt_authority(pkt), ldns_pkt_additional(pkt)};
  size_t total = 0;
  for (int i = 0; i < 3; i++) total += ldns_rr_list_rr_count(lists[i]);
  out->records = wd_arena_array(arena, total < WD_DNS_RECORDS_MAX ? total : WD_DNS_RECORDS_MAX, sizeof *out->records);
  for (int i = 0; i < 3; i++)
    if (!out->records || !add_section(out, arena, lists[i], (enum wd_dns_section)i, query->type)) return false;
  out->edns = ldns_pkt_edns(pkt);
  out->edns_size = ldns_pkt_edns_udp_size(pkt);
  out->edns_do = ldns_pkt_edns_do(pkt);
  out->rcode |= ldns_pkt_edns_extended_rcode(pkt) << 4;
  out->rcode_name = rcode_name(arena, out->rcode);
  return true;
}

enum wd_dns_match wd_dns_parse(struct wd_dns_answer *out, struct wd_arena *arena, const struct wd_dns_query *query,
                               const uint8_t *bytes, size_t len, char *error, size_t error_size) {
  ldns_pkt *pkt = NULL;
  if (!is_answer_to(query, bytes, len)) return WD_DNS_FOREIGN;
  *out = (struct wd_dns_answer){
      .size = len,
      .rcode = bytes[3] & 0x0f,
      .rcode_name = rcode_name(arena, bytes[3] & 0x0f),
      .aa = bytes[2] & 0x04,
      .tc = bytes[2] & 0x02,
      .rd = bytes[2] & 0x01,
      .ra = bytes[3] & 0x80,
      .ad = bytes[3] & 0x20,
      .cd = bytes[3] & 0x10,
  };
  ldns_status status = LDNS_STATUS_MEM_ERR;
  if (wd_memory_left(PARSED_BYTES + len * PARSED_BYTES_A_BYTE)) // ldns does not look at what malloc gives it
    status = ldns_wire2pkt(&pkt, bytes, len);
  else
    arena->failed = true;
  if (status != LDNS_STATUS_OK) {
    if (out->tc) return WD_DNS_OURS;
    snprintf(error, error_size, "the answer is damaged: %s", ldns_get_errorstr_by_id(status));
    return WD_DNS_MALFORMED;
  }
  bool filled = fill(out, arena, query, pkt);
  ldns_pkt_free(pkt);
  if (filled) return WD_DNS_OURS;
  snprintf(error, error_size, "the answer is damaged: a record cannot be read");
  return WD_DNS_MALFORMED;
}

enum wd_err wd_dns_err(const struct wd_dns_answer *answer) {
  switch (answer->rcode) {
  case LDNS_RCODE_NOERROR: return answer->answers ? WD_OK : WD_E_DNS_NODATA;
  case LDNS_RCODE_SERVFAIL: return WD_E_DNS_SERVFAIL;
  case LDNS_RCODE_NXDOMAIN: return WD_E_DNS_NXDOMAIN;
  case LDNS_RCODE_REFUSED: return WD_E_DNS_REFUSED;
  default: return WD_E_PROTOCOL;
  }
}
