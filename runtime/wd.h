// Words shared by every file: the time type and the closed list of failures.
//
// Every failure a probe can report is one of enum wd_err; nothing else may be printed as `error`.
#pragma once

#include <stdint.h>

// Nanoseconds: a span, or an instant of the clock named by the field (monotonic unless it says otherwise).
typedef int64_t wd_ns;

// In the order of the list in the documentation. WD_OK is "no failure".
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
	WD_E_LOCAL,
	WD_E_CANCELLED,
	WD_E_SKIPPED,
	WD_E_SCRIPT,
	WD_E_BUDGET,
	WD_E__COUNT
};

// The name as results print it ("connection_refused"), static; NULL for WD_OK and for a value out of the list.
const char *wd_err_name(enum wd_err err);
