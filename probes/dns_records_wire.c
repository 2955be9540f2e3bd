// The fields of DNS records, see dns_wire.h. Must hold: a field is read only when ldns gave it the size the type has.
#include "dns_records_wire.h"

#include <string.h>

#include "runtime/text.h"

static const char *printable(struct wd_arena *arena, const char *bytes, size_t len) {
  char *out = wd_arena_alloc(arena, len * 4 + 4);
  if (out) wd_text_escape(out, len * 4 + 4, bytes, len);
  return out;
}

// Where ldns's printers write; one for all texts, emptied each time. NULL when memory is out.
static ldns_buffer *printer(void) {
  static ldns_buffer *buffer;
  if (!buffer) buffer = ldns_buffer_new(256);
  if (buffer) ldns_buffer_clear(buffer);
  return buffer;
}

static bool is_plain(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// A name whose bytes all stand for themselves, as nearly all do; NULL for others, the root among them. ldns goes through printf for every byte.
static const char *plain_name(struct wd_arena *arena, const uint8_t *at, size_t size) {
  const uint8_t *end = at + size;
  char *out = wd_arena_alloc(arena, size), *to = out;
  while (out && at < end && *at) {
    const uint8_t *label_end = at + 1 + *at;
    if (*at > LDNS_MAX_LABELLEN || label_end >= end) return NULL;
    if (to > out) *to++ = '.';
    for (at++; at < label_end; at++) {
      if (!is_plain(*at)) return NULL;
      *to++ = (char)*at;
    }
  }
  return to > out ? out : NULL;
}

const char *wd_dns_name_text(struct wd_arena *arena, const ldns_rdf *name) {
  const char *plain = plain_name(arena, ldns_rdf_data(name), ldns_rdf_size(name));
  ldns_buffer *buffer = plain ? NULL : printer();
  if (!buffer) return plain;
  ldns_status status = ldns_rdf2buffer_str_dname(buffer, name);
  size_t len = ldns_buffer_position(buffer);
  const char *bytes = (const char *)ldns_buffer_begin(buffer), *out = NULL;
  if (status == LDNS_STATUS_OK) {
    // The last byte is always the root's dot: one that belongs to a label is printed escaped, and the root follows it.
    if (len > 1 && bytes[len - 1] == '.') len--;
    out = printable(arena, bytes, len);
  }
  return out;
}

const char *wd_dns_type_text(struct wd_arena *arena, uint16_t type) {
  const ldns_rr_descriptor *known = ldns_rr_descript(type);
  if (type == LDNS_RR_TYPE_ANY) return "ANY";
  return known && known->_name ? known->_name : wd_arena_printf(arena, "TYPE%u", type);
}

static const char *class_text(struct wd_arena *arena, ldns_rr_class class) {
  switch ((unsigned)class) {
  case LDNS_RR_CLASS_IN: return "IN";
  case LDNS_RR_CLASS_CH: return "CH";
  case LDNS_RR_CLASS_HS: return "HS";
  case LDNS_RR_CLASS_NONE: return "NONE";
  case LDNS_RR_CLASS_ANY: return "ANY";
  default: return wd_arena_printf(arena, "CLASS%u", (unsigned)class);
  }
}

static const char *data_text(struct wd_arena *arena, const ldns_rr *rr) {
  ldns_buffer *buffer = printer();
  ldns_status status = buffer ? LDNS_STATUS_OK : LDNS_STATUS_MEM_ERR;
  for (size_t i = 0; status == LDNS_STATUS_OK && i < ldns_rr_rd_count(rr); i++) {
    if (i) ldns_buffer_printf(buffer, " ");
    status = ldns_rdf2buffer_str(buffer, ldns_rr_rdf(rr, i));
  }
  if (status != LDNS_STATUS_OK) return NULL;
  return printable(arena, (const char *)ldns_buffer_begin(buffer), ldns_buffer_position(buffer));
}

// The unsigned number of field `at`, -1 when there is none of this width.
static int64_t number(const ldns_rr *rr, size_t at, size_t bytes) {
  const ldns_rdf *rdf = at < ldns_rr_rd_count(rr) ? ldns_rr_rdf(rr, at) : NULL;
  if (!rdf || ldns_rdf_size(rdf) != bytes) return -1;
  int64_t value = 0;
  for (size_t i = 0; i < bytes; i++) value = value << 8 | ldns_rdf_data(rdf)[i];
  return value;
}

static const char *name_at(struct wd_arena *arena, const ldns_rr *rr, size_t at) {
  const ldns_rdf *rdf = at < ldns_rr_rd_count(rr) ? ldns_rr_rdf(rr, at) : NULL;
  return rdf && ldns_rdf_get_type(rdf) == LDNS_RDF_TYPE_DNAME ? wd_dns_name_text(arena, rdf) : NULL;
}

// The strings of a TXT record, each with its length in front, joined as their readers join them (RFC 7208 section 3.3).
static const char *joined_text(struct wd_arena *arena, const ldns_rr *rr) {
  size_t total = 0, used = 0;
  for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) total += ldns_rdf_size(ldns_rr_rdf(rr, i));
  char *bytes = wd_arena_alloc(arena, total + 1);
  for (size_t i = 0; bytes && i < ldns_rr_rd_count(rr); i++) {
    const ldns_rdf *rdf = ldns_rr_rdf(rr, i);
    size_t size = ldns_rdf_size(rdf);
    if (size < 2) continue;
    memcpy(bytes + used, ldns_rdf_data(rdf) + 1, size - 1);
    used += size - 1;
  }
  return bytes ? printable(arena, bytes, used) : NULL;
}

static const char *bytes_at(struct wd_arena *arena, const ldns_rr *rr, size_t at, size_t skip) {
  const ldns_rdf *rdf = at < ldns_rr_rd_count(rr) ? ldns_rr_rdf(rr, at) : NULL;
  return rdf && ldns_rdf_size(rdf) >= skip ? printable(arena, (const char *)ldns_rdf_data(rdf) + skip, ldns_rdf_size(rdf) - skip)
                                           : NULL;
}

bool wd_dns_read_record(struct wd_dns_record *out, struct wd_arena *arena, const ldns_rr *rr, enum wd_dns_section section) {
  out->section = section;
  out->name = wd_dns_name_text(arena, ldns_rr_owner(rr));
  out->type = wd_dns_type_text(arena, (uint16_t)ldns_rr_get_type(rr));
  out->class = class_text(arena, ldns_rr_get_class(rr));
  out->ttl_s = ldns_rr_ttl(rr);
  out->data = data_text(arena, rr);
  out->priority = out->weight = out->port = out->flags = out->serial = out->minimum_s = -1;
  switch (ldns_rr_get_type(rr)) {
  case LDNS_RR_TYPE_A:
  case LDNS_RR_TYPE_AAAA: out->address = out->data; break;
  case LDNS_RR_TYPE_CNAME:
  case LDNS_RR_TYPE_DNAME:
  case LDNS_RR_TYPE_NS:
  case LDNS_RR_TYPE_PTR: out->target = name_at(arena, rr, 0); break;
  case LDNS_RR_TYPE_MX:
    out->priority = number(rr, 0, 2);
    out->target = name_at(arena, rr, 1);
    break;
  case LDNS_RR_TYPE_SRV:
    out->priority = number(rr, 0, 2);
    out->weight = number(rr, 1, 2);
    out->port = number(rr, 2, 2);
    out->target = name_at(arena, rr, 3);
    break;
  case LDNS_RR_TYPE_SOA:
    out->target = name_at(arena, rr, 0);
    out->serial = number(rr, 2, 4);
    out->minimum_s = number(rr, 6, 4);
    break;
  case LDNS_RR_TYPE_TXT: out->text = joined_text(arena, rr); break;
  case LDNS_RR_TYPE_CAA:
    out->flags = number(rr, 0, 1);
    out->tag = bytes_at(arena, rr, 1, 1);
    out->text = bytes_at(arena, rr, 2, 0);
    break;
  default: break;
  }
  return out->name && out->type && out->class && out->data;
}
