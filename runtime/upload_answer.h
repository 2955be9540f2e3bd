// What an answer of the manager means for the row that was sent, and how long to wait before the
// next try. Pure: no clock, no sockets, no state.
#pragma once

#include "runtime/wd.h"

enum wd_upload_verdict {
  WD_UPLOAD_STORED,  // 200, 201: the row is the manager's now
  WD_UPLOAD_REFUSED, // the row will never be stored: set it aside
  WD_UPLOAD_DENIED,  // 401: worth one fresh login where there is one
  WD_UPLOAD_BLOCKED, // the address or the credentials are wrong, not the row: keep everything, stop
  WD_UPLOAD_FAULT,   // will pass: no answer, an overload, a gateway without its server
  WD_UPLOAD_DOUBT,   // 500: may pass, or may be what the manager says to this row for ever
};

enum { WD_UPLOAD_DOUBTS = 5 }; // a row that was answered with 500 this often is set aside

// The verdict on a status; 0 is "no answer".
enum wd_upload_verdict wd_upload_judge(int64_t status);

// How long to wait after the `faults`-th fault in a row (1 = the first): a random part ("full jitter")
// of a span that doubles from 1 s to 60 s. `random` is any 64 bits.
wd_ns wd_upload_backoff(unsigned faults, uint64_t random);

// The value of a Retry-After header (RFC 9110 section 10.2.3): seconds, or a date in one of the three
// forms of section 5.6.7, seen from `wall_us`. At most an hour; WD_NONE where it cannot be read.
wd_ns wd_upload_retry_after(const char *value, int64_t wall_us);
