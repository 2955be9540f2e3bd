// See zone.h.
#include "runtime/zone.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"

enum { PLAIN_UDP = 512, LARGEST = 65535, CNAMES_MOST = 8, ANSWER_BYTES = 64 << 10 };

struct wd_zone {
  ldns_rr_list *rrs;
  ldns_rr *soa;
};

struct wd_zone *wd_zone_read(const char *text, char *error, size_t room) {
  struct wd_zone *zone = calloc(1, sizeof(*zone));
  FILE *f = zone ? fmemopen((void *)(uintptr_t)text, strlen(text), "r") : NULL;
  ldns_zone *parsed = NULL;
  int line = 0;
  ldns_status status = f ? ldns_zone_new_frm_fp_l(&parsed, f, NULL, 3600, LDNS_RR_CLASS_IN, &line) : LDNS_STATUS_MEM_ERR;
  if (f) fclose(f);
  if (status != LDNS_STATUS_OK) {
    snprintf(error, room, "line %d: %s", line, ldns_get_errorstr_by_id(status));
    free(zone);
    return NULL;
  }
  zone->rrs = ldns_rr_list_clone(ldns_zone_rrs(parsed));
  zone->soa = ldns_zone_soa(parsed) ? ldns_rr_clone(ldns_zone_soa(parsed)) : NULL;
  if (zone->rrs && zone->soa) ldns_rr_list_push_rr(zone->rrs, ldns_rr_clone(zone->soa));
  ldns_zone_deep_free(parsed);
  return zone;
}

void wd_zone_free(struct wd_zone *zone) {
  if (!zone) return;
  ldns_rr_list_deep_free(zone->rrs);
  ldns_rr_free(zone->soa);
  free(zone);
}

// Adds the records of that name and type; gives how many, and whether the name exists at all.
static size_t add_matches(const struct wd_zone *zone, ldns_pkt *answer, const ldns_rdf *name, ldns_rr_type type, bool *exists,
                          const ldns_rdf **cname) {
  size_t found = 0;
  *cname = NULL;
  for (size_t i = 0; i < ldns_rr_list_rr_count(zone->rrs); i++) {
    ldns_rr *rr = ldns_rr_list_rr(zone->rrs, i);
    if (ldns_dname_compare(ldns_rr_owner(rr), name) != 0) continue;
    *exists = true;
    bool alias = ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME;
    if (ldns_rr_get_type(rr) != type && type != LDNS_RR_TYPE_ANY && !alias) continue;
    ldns_pkt_push_rr(answer, LDNS_SECTION_ANSWER, ldns_rr_clone(rr));
    if (alias && type != LDNS_RR_TYPE_CNAME && type != LDNS_RR_TYPE_ANY) *cname = ldns_rr_rdf(rr, 0);
    found++;
  }
  return found;
}

static void fill(const struct wd_zone *zone, ldns_pkt *answer, const ldns_rr *question) {
  bool exists = false;
  const ldns_rdf *name = ldns_rr_owner(question), *cname;
  size_t found = 0, n = 0;
  do {
    found += add_matches(zone, answer, name, ldns_rr_get_type(question), &exists, &cname);
    name = cname;
  } while (name && ++n < CNAMES_MOST);
  bool ours = zone->soa && (ldns_dname_compare(ldns_rr_owner(zone->soa), ldns_rr_owner(question)) == 0 ||
                            ldns_dname_is_subdomain(ldns_rr_owner(question), ldns_rr_owner(zone->soa)));
  ldns_pkt_set_aa(answer, ours);
  if (!ours && !exists)
    ldns_pkt_set_rcode(answer, LDNS_RCODE_REFUSED);
  else if (!exists)
    ldns_pkt_set_rcode(answer, LDNS_RCODE_NXDOMAIN);
  if (found == 0 && ours) ldns_pkt_push_rr(answer, LDNS_SECTION_AUTHORITY, ldns_rr_clone(zone->soa));
}

// Leaves the question alone and says that there was more.
static void cut(ldns_pkt *answer) {
  ldns_rr_list_deep_free(ldns_pkt_answer(answer));
  ldns_pkt_set_answer(answer, ldns_rr_list_new());
  ldns_pkt_set_ancount(answer, 0);
  ldns_pkt_set_tc(answer, true);
}

uint8_t *wd_zone_answer(const struct wd_zone *zone, const uint8_t *query, size_t len, bool tcp, size_t *answer_len) {
  ldns_pkt *asked = NULL;
  uint8_t *wire = NULL;
  if (len > LARGEST || !wd_memory_left(ANSWER_BYTES)) return NULL; // ldns does not look at what malloc gives it
  if (ldns_wire2pkt(&asked, query, len) != LDNS_STATUS_OK) return NULL;
  ldns_rr *question = ldns_pkt_qr(asked) ? NULL : ldns_rr_list_rr(ldns_pkt_question(asked), 0);
  ldns_pkt *answer = question ? ldns_pkt_new() : NULL;
  if (answer) {
    size_t most = tcp ? LARGEST : ldns_pkt_edns(asked) && ldns_pkt_edns_udp_size(asked) > PLAIN_UDP ? ldns_pkt_edns_udp_size(asked) : PLAIN_UDP;
    ldns_pkt_set_id(answer, ldns_pkt_id(asked));
    ldns_pkt_set_qr(answer, true);
    ldns_pkt_set_rd(answer, ldns_pkt_rd(asked));
    ldns_pkt_push_rr(answer, LDNS_SECTION_QUESTION, ldns_rr_clone(question));
    if (ldns_pkt_edns(asked)) {
      ldns_pkt_set_edns_udp_size(answer, 1232);
      ldns_pkt_set_edns_do(answer, ldns_pkt_edns_do(asked));
    }
    ldns_pkt_set_opcode(answer, ldns_pkt_get_opcode(asked));
    if (ldns_pkt_get_opcode(asked) != LDNS_PACKET_QUERY)
      ldns_pkt_set_rcode(answer, LDNS_RCODE_NOTIMPL);
    else if (ldns_rr_get_class(question) != LDNS_RR_CLASS_IN && ldns_rr_get_class(question) != LDNS_RR_CLASS_ANY)
      ldns_pkt_set_rcode(answer, LDNS_RCODE_REFUSED);
    else
      fill(zone, answer, question);
    ldns_status status = ldns_pkt2wire(&wire, answer, answer_len);
    if (status == LDNS_STATUS_OK && *answer_len > most) {
      free(wire);
      wire = NULL;
      cut(answer);
      status = ldns_pkt2wire(&wire, answer, answer_len);
    }
    if (status != LDNS_STATUS_OK) wire = NULL;
  }
  ldns_pkt_free(answer);
  ldns_pkt_free(asked);
  return wire;
}

const char *wd_zone_library(void) {
  return ldns_version();
}
