// The names of the closed failure list. Must hold: one name for each value of enum wd_err, in its order.
#include "wd.h"

#include <stddef.h>

static const char *const names[] = {
    [WD_E_TIMEOUT] = "timeout",
    [WD_E_CONNECTION_REFUSED] = "connection_refused",
    [WD_E_CONNECTION_RESET] = "connection_reset",
    [WD_E_HOST_UNREACHABLE] = "host_unreachable",
    [WD_E_NETWORK_UNREACHABLE] = "network_unreachable",
    [WD_E_ADMIN_PROHIBITED] = "admin_prohibited",
    [WD_E_TTL_EXCEEDED] = "ttl_exceeded",
    [WD_E_MESSAGE_TOO_BIG] = "message_too_big",
    [WD_E_DNS_NXDOMAIN] = "dns_nxdomain",
    [WD_E_DNS_NODATA] = "dns_nodata",
    [WD_E_DNS_SERVFAIL] = "dns_servfail",
    [WD_E_DNS_REFUSED] = "dns_refused",
    [WD_E_DNS_TIMEOUT] = "dns_timeout",
    [WD_E_TLS_UNTRUSTED] = "tls_untrusted",
    [WD_E_TLS_EXPIRED] = "tls_expired",
    [WD_E_TLS_NAME_MISMATCH] = "tls_name_mismatch",
    [WD_E_TLS_HANDSHAKE] = "tls_handshake",
    [WD_E_PROTOCOL] = "protocol",
    [WD_E_HTTP_STATUS] = "http_status",
    [WD_E_REDIRECTS] = "redirects",
    [WD_E_PROXY] = "proxy",
    [WD_E_QUIC_BLOCKED] = "quic_blocked",
    [WD_E_BODY_TOO_LARGE] = "body_too_large",
    [WD_E_ASSERTION] = "assertion",
    [WD_E_PERMISSION] = "permission",
    [WD_E_LOCAL] = "local",
    [WD_E_CANCELLED] = "cancelled",
    [WD_E_SKIPPED] = "skipped",
    [WD_E_SCRIPT] = "script",
    [WD_E_BUDGET] = "budget",
};

_Static_assert(sizeof names / sizeof names[0] == WD_E__COUNT, "one name for each failure");

const char *wd_err_name(enum wd_err err) {
  return (unsigned)err < WD_E__COUNT ? names[err] : NULL;
}
