// Words that every layer shares: time, the closed list of errors, absent values.
// Must hold: nothing here depends on a library beyond libc, and the error list is the one
// of the manual; its order is the order of wd_err_name's table.
#pragma once

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t wd_ns; // nanoseconds: a span, or a point on the monotonic clock

#define WD_US ((wd_ns)1000)
#define WD_MS ((wd_ns)1000000)
#define WD_S ((wd_ns)1000000000)

// "not given" or "not measured": an integer or wd_ns field, and a number field (test with isnan).
#define WD_NONE INT64_MIN
#define WD_NAN ((double)NAN)

#define WD_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WD_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

// Why a probe failed, one list for all protocols.
enum wd_err {
  WD_OK = 0,
  WD_E_TIMEOUT,
  WD_E_CONNECTION_REFUSED,
  WD_E_CONNECTION_RESET,
  WD_E_HOST_UNREACHABLE,
  WD_E_NETWORK_UNREACHABLE,
  WD_E_ADMIN_PROHIBITED,
  WD_E_TTL_EXCEEDED,
  WD_E_MESSAGE_TOO_BIG,
  WD_E_DNS_NXDOMAIN,
  WD_E_DNS_NODATA,
  WD_E_DNS_SERVFAIL,
  WD_E_DNS_REFUSED,
  WD_E_DNS_TIMEOUT,
  WD_E_TLS_UNTRUSTED,
  WD_E_TLS_EXPIRED,
  WD_E_TLS_NAME_MISMATCH,
  WD_E_TLS_HANDSHAKE,
  WD_E_PROTOCOL,
  WD_E_HTTP_STATUS,
  WD_E_REDIRECTS,
  WD_E_PROXY,
  WD_E_QUIC_BLOCKED,
  WD_E_BODY_TOO_LARGE,
  WD_E_ASSERTION,
  WD_E_PERMISSION,
  WD_E_LOCAL, // our own fault: no descriptors, no buffers, no route; never blames the target
  WD_E_CANCELLED,
  WD_E_SKIPPED,
  WD_E_SCRIPT,
  WD_E_BUDGET,
  WD_E__COUNT
};

// The error's name as results carry it ("connection_refused"), NULL for WD_OK.
const char *wd_err_name(enum wd_err err);
