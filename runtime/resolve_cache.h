// Answers kept for their time to live, for the look-ups that asked for it (resolver = {cache = "ttl"}).
// Must hold: bounded in size; an answer that is past its time is not given.
#pragma once

#include "runtime/addr.h"
#include "runtime/wd.h"

// The answer to that question: the number of addresses put into `out` (room for `most`), 0 when none is kept.
size_t wd_resolve_cache_get(const char *name, int family, const char *server, struct wd_addr *out, size_t most);

// Keeps an answer for `ttl_s` seconds, at most a day; one that is kept already is replaced. Memory running out is no error.
void wd_resolve_cache_put(const char *name, int family, const char *server, const struct wd_addr *found, size_t count,
                          int64_t ttl_s);

// Forgets everything.
void wd_resolve_cache_free(void);
