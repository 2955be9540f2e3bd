// A small DNS zone that answers queries: the other end for `waddle reflect`, the demo and tests.
// Authoritative answers only, on ldns; no recursion, no transfers.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wd_zone;

// Reads a zone in master file format (RFC 1035 section 5). NULL with a message that names the line.
struct wd_zone *wd_zone_read(const char *text, char *error, size_t room);
void wd_zone_free(struct wd_zone *zone);

// The answer to a query of `len` bytes, malloc'ed, its length in *answer_len. `most` bounds it (512
// or the query's EDNS size over UDP, 65535 over TCP): what does not fit is cut and marked TC. NULL
// for what is no query.
uint8_t *wd_zone_answer(const struct wd_zone *zone, const uint8_t *query, size_t len, bool tcp, size_t *answer_len);

const char *wd_zone_library(void); // version of the ldns in use
