// One DNS record of ldns as plain text and numbers. For dns_wire.c alone.
#pragma once

#include <ldns/ldns.h>

#include "dns_wire.h"

// The text of a domain name without its last dot, "." for the root; NULL when memory is out.
const char *wd_dns_name_text(struct wd_arena *arena, const ldns_rdf *name);

// "AAAA", "TYPE4242".
const char *wd_dns_type_text(struct wd_arena *arena, uint16_t type);

// Fills a zeroed record; false when it cannot be printed or memory is out.
bool wd_dns_read_record(struct wd_dns_record *out, struct wd_arena *arena, const ldns_rr *rr, enum wd_dns_section section);
