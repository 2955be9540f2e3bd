// The descriptions of http.request: its options, its result.
#include "probes/http.h"

static const char *const version_names[] = {"auto", "1.1", "2", "3", NULL};

// The options of wd_tls_opts that make sense where the protocol chooses the rest itself.
struct identity {
  struct wd_tls_opts opts;
};
static const struct wd_field tls_fields[] = {WD_TLS_IDENTITY_OPTS(struct identity, opts), {0}};
static const struct wd_desc tls_desc = {"tls", tls_fields, sizeof(struct identity)};

static const struct wd_field auth_fields[] = {
    WD_FIELD(struct http_auth, user, "user", WD_T_STR, .flags = WD_F_REQUIRED, .max = 1024, .help = "user name"),
    WD_FIELD(struct http_auth, password, "password", WD_T_STR, .def = "", .max = 1024, .help = "password"),
    {0}};
static const struct wd_desc auth_desc = {"auth", auth_fields, sizeof(struct http_auth)};

#define O struct http_opts
static const struct wd_field opts_fields[] = {
    WD_FIELD(O, url, "url", WD_T_STR, .flags = WD_F_POSITIONAL | WD_F_REQUIRED, .min = 1, .max = 16384,
             .help = "http:// or https:// URL"),
    WD_COMMON_OPTS(O, "30s", "limit for the whole probe, redirects too"),
    WD_FIELD(O, connect_timeout, "connect_timeout", WD_T_DURATION, .def = "10s", .min = 0.001, .max = 86400, .unit = "s",
             .help = "limit for the connection of each hop: look-up, connect and TLS"),
    WD_FIELD(O, method, "method", WD_T_STR, .def = "GET", .min = 1, .max = 32, .help = "request method"),
    WD_FIELD(O, headers, "headers", WD_T_MAP, .help = "request headers, by name"),
    WD_FIELD(O, body, "body", WD_T_DATA, .max = 64 << 20, .help = "request body, as it is sent"),
    WD_FIELD(O, version, "version", WD_T_ENUM, .def = "auto", .names = version_names,
             .help = "HTTP version; auto takes 2 where the server offers it, the others do not fall back"),
    WD_FIELD(O, follow, "follow", WD_T_INT, .def = "10", .min = 0, .max = 50,
             .help = "redirects to follow at most; with 0 a redirect is the answer"),
    WD_FIELD(O, tls, "tls", WD_T_TABLE, .sub = &tls_desc, .help = "how identities are proved and checked"),
    WD_FIELD(O, auth, "auth", WD_T_TABLE, .flags = WD_F_OPTIONAL, .sub = &auth_desc,
             .help = "Basic credentials; never sent on to another server"),
    WD_FIELD(O, bearer, "bearer", WD_T_STR, .min = 1, .max = 16384, .help = "Bearer token; never sent on to another server"),
    WD_FIELD(
        O, proxy, "proxy", WD_T_STR, .max = 1024,
        .help = "http://host:port of a proxy, \"\" for none; by default http_proxy, https_proxy and no_proxy of the environment"),
    WD_FIELD(O, keep_body, "keep_body", WD_T_BYTES, .def = "0", .min = 0, .max = 64 << 20, .unit = "bytes",
             .help = "bytes of the answer's body to keep; all of it is counted"),
    WD_FIELD(O, reuse, "reuse", WD_T_BOOL, .def = "false",
             .help = "use a connection that an earlier request left open, and leave this one open"),
    WD_FIELD(O, cookies, "cookies", WD_T_LIST, .elem = WD_T_STR, .flags = WD_F_HIDDEN, .min = 1, .max = 8192,
             .help = "cookies to take along, as an earlier result gave them back"),
    {0}};
#undef O
const struct wd_desc wd_http_opts_desc = {"http.request", opts_fields, sizeof(struct http_opts)};

#define T struct wd_transfer_times
static const struct wd_field timings_fields[] = {
    WD_FIELD(T, dns, "dns_ms", WD_T_MS, .help = "looking up the name"),
    WD_FIELD(T, fallback, "fallback_ms", WD_T_MS, .help = "waiting for addresses before the one that connected"),
    WD_FIELD(T, connect, "connect_ms", WD_T_MS, .help = WD_CONNECT_HELP),
    WD_FIELD(T, connect_wall, "connect_wall_ms", WD_T_MS, .help = WD_CONNECT_WALL_HELP),
    WD_FIELD(T, proxy, "proxy_ms", WD_T_MS, .help = "asking the proxy for a tunnel"),
    WD_FIELD(T, tls, "tls_ms", WD_T_MS, .help = "TLS handshake"),
    WD_FIELD(T, quic, "quic_ms", WD_T_MS, .help = "QUIC handshake, over HTTP/3 in place of connect and TLS"),
    WD_FIELD(T, request, "request_ms", WD_T_MS, .help = "sending the request"),
    WD_FIELD(T, ttfb, "ttfb_ms", WD_T_MS, .help = "request sent to the first byte of the answer"),
    WD_FIELD(T, transfer, "transfer_ms", WD_T_MS, .help = "first to last byte of the answer"),
    WD_FIELD(T, total, "total_ms", WD_T_MS, .help = "all phases together; connect_wall_ms is none of them"),
    {0}};
#undef T
static const struct wd_desc timings_desc = {"timings", timings_fields, sizeof(struct wd_transfer_times)};

static const struct wd_field tcp_fields[] = {
    WD_FIELD(struct wd_transfer_tcp, rtt, "rtt_ms", WD_T_MS, .help = "round trip as the kernel measured it, smoothed"),
    WD_FIELD(struct wd_transfer_tcp, rtt_var, "rtt_var_ms", WD_T_MS, .help = "its mean deviation"),
    WD_FIELD(struct wd_transfer_tcp, retransmits, "retransmits", WD_T_INT, .help = "segments sent again"),
    {0}};
static const struct wd_desc tcp_desc = {"tcp", tcp_fields, sizeof(struct wd_transfer_tcp)};

#define H struct http_redirect
static const struct wd_field redirect_fields[] = {
    WD_FIELD(H, url, "url", WD_T_STR, .help = "what was asked for"),
    WD_FIELD(H, status, "status", WD_T_INT, .help = "status of the answer that led on"),
    WD_FIELD(H, timings, "timings", WD_T_TABLE, .sub = &timings_desc, .help = "phases of this hop"),
    {0}};
#undef H
static const struct wd_desc redirect_desc = {"redirect", redirect_fields, sizeof(struct http_redirect)};

#define R struct http_result
static const struct wd_field result_fields[] = {
    WD_COMMON_RESULT(R),
    WD_FIELD(R, status, "status", WD_T_INT, .help = "HTTP status; absent where there was no answer"),
    WD_FIELD(R, version, "version", WD_T_STR, .help = "HTTP version of the answer: 1.0, 1.1, 2 or 3"),
    WD_FIELD(R, headers, "headers", WD_T_MAP,
             .help = "headers of the answer by lower-case name; repeated ones joined by commas, set-cookie by line feeds"),
    WD_FIELD(R, headers_dropped, "headers_dropped", WD_T_INT,
             .help = "headers beyond what is kept of one answer (256 lines, 64 KiB)"),
    WD_FIELD(R, body_bytes, "body_bytes", WD_T_INT, .unit = "bytes", .help = "size of the body"),
    WD_FIELD(R, body, "body", WD_T_DATA, .help = "the beginning of the body, as much as keep_body asks for"),
    WD_FIELD(R, body_truncated, "body_truncated", WD_T_BOOL, .help = "whether `body` is not all of it"),
    WD_FIELD(R, throughput_mbps, "throughput_mbps", WD_T_NUM, .unit = "mbps",
             .help = "body over the transfer phase alone; absent where it came in one piece"),
    WD_FIELD(R, url_effective, "url_effective", WD_T_STR, .help = "URL of the last hop"),
    WD_FIELD(R, redirects, "redirects", WD_T_LIST, .elem = WD_T_TABLE, .sub = &redirect_desc, .help = "the hops before the last"),
    WD_FIELD(R, timings, "timings", WD_T_TABLE, .sub = &timings_desc, .help = "phases of the last hop"),
    WD_FIELD(R, reused, "reused", WD_T_BOOL, .help = "whether the connection was one of an earlier request"),
    WD_FIELD(R, dns_shared, "dns_shared", WD_T_BOOL, .help = "whether the look-up was in flight already, for somebody else"),
    WD_FIELD(R, proxy, "proxy", WD_T_STR, .help = "host and port of the proxy that was asked"),
    WD_FIELD(R, tcp, "tcp", WD_T_TABLE, .sub = &tcp_desc, .help = "what the kernel says of the connection"),
    WD_TLS_RESULT(R, tls),
    WD_FIELD(R, tls_second_look, "tls_second_look", WD_T_BOOL,
             .help = "true where the certificates are those of a second connection, made to see them"),
    WD_FIELD(R, cookies, "cookies", WD_T_LIST, .elem = WD_T_STR, .flags = WD_F_HIDDEN, .help = "what became of the cookies"),
    {0}};
#undef R
const struct wd_desc wd_http_result_desc = {"http result", result_fields, sizeof(struct http_result)};
