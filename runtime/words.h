// How people write times, durations and sizes, and what they may have meant by a misspelt name.
#pragma once

#include "runtime/wd.h"

enum { WD_TIME_LEN = 40 };

// RFC 3339 in UTC with microseconds: 2026-01-31T12:00:00.000000Z. `out` holds WD_TIME_LEN bytes.
void wd_words_time(int64_t wall_us, char *out);

// "250ms", "1.5s", "2m", "1h30m", or plain seconds "3". 0 and *out, or -1 for anything else.
// The largest is ten years.
int wd_words_duration(const char *text, wd_ns *out);

// "1500", "64k", "16MiB", "1.5GB" (k M G T and kiB..: powers of 1024; kB MB..: of 1000). 0 or -1.
int wd_words_bytes(const char *text, int64_t *out);

// The candidate that is nearest to `name`, if it is near enough to be a slip of the fingers, else
// NULL. get(ctx, i) gives the i-th of n candidates; NULL entries are passed over.
const char *wd_words_nearest(const char *name, const char *(*get)(const void *ctx, size_t i), const void *ctx, size_t n);
