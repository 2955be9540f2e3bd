// The peer's HTTP/1.1 server. The path says what goes wrong:
//
//   /ok                      200 "ok\n"                     /echo             200 with the request's body (1 MiB at most)
//   /status/N                status N                       /headers          200 with the request's head as body
//   /bytes/N  /mib/N         200 with N bytes, N MiB        /delay/MS         200 after MS milliseconds
//   /retry-after/N/S         status N, Retry-After: S       /cookies          200 and two Set-Cookie
//   /redirect/N              302 N times, then /ok          /loop             302 to itself
//   /to/N?URL                status N, Location: URL        /no-location      302 without a Location
//   /chunked                 200 in chunks                  /chunked-bad      a chunk size that is no number
//   /chunked-short           FIN before the last chunk      /close            200 without a length, ended by FIN
//   /continue  /hints        100, 103 before the 200        /hangup           200 that promises keep-alive, then FIN
//   /short                   FIN after 5 of 100 bytes       /reset-body       RST after 5 of 100 bytes
//   /stall                   silence after 5 of 100 bytes   /drip             100 bytes at 20 ms each
//   /long                    more body than promised        /two-lengths      Content-Length twice, different
//   /fin  /reset  /silent    no answer at all               /garbage          an answer that is no HTTP
//   /half-head               FIN inside the head            /drip-head        the head at 20 ms a byte
//   /huge-header             one header of 300 KiB          /many-headers     5,000 headers
//   /reset-upload            RST once the head was read, before any of the request's body
//
// A query (?anything) is ignored except by /to, so that a test can mark its own requests in the log: event "request" is METHOD PATH, then one
// "header" each, then "body" with the count of bytes received.
#include "conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DRIP_MS = 20, HEAD_MAX = 64 * 1024, ECHO_MAX = 1024 * 1024 };

static const struct step then_fin[] = {{STEP_FIN, 0, 0}, {STEP_SILENT, 0, 0}};
static const struct step then_silence[] = {{STEP_SILENT, 0, 0}};
static const struct step then_reset[] = {{STEP_RESET, 0, 0}};
// the wait lets the client read what was sent before the RST overtakes it
static const struct step then_late_reset[] = {{STEP_DELAY, 0, 50}, {STEP_RESET, 0, 0}};

static void head(struct conn *conn, int status, const char *more, uint64_t length)
{
    conn_printf(conn, "HTTP/1.1 %d %s\r\nServer: waddle-peer\r\nContent-Type: text/plain\r\n%sContent-Length: %llu\r\n\r\n", status,
                status < 400 ? "Fine" : "Not Fine", more, (unsigned long long)length);
}

static void plain(struct conn *conn, int status, const char *more, const char *body)
{
    bool bodiless = status == 204 || status == 304 || status < 200;
    if (bodiless) {
        conn_printf(conn, "HTTP/1.1 %d Fine\r\nServer: waddle-peer\r\n%s\r\n", status, more);
        return;
    }
    head(conn, status, more, strlen(body));
    conn_send(conn, body);
}

static void five_of_hundred(struct conn *conn, const struct step *then)
{
    head(conn, 200, "", 100);
    conn_send(conn, "hello");
    conn_follow(conn, then);
}

static void redirect(struct conn *conn, int status, const char *to)
{
    char more[2100];
    snprintf(more, sizeof more, "Location: %s\r\n", to);
    plain(conn, status, more, "elsewhere\n");
}

static void many_headers(struct conn *conn)
{
    conn_send(conn, "HTTP/1.1 200 Fine\r\n");
    for (int i = 0; i < 5000; i++)
        conn_printf(conn, "X-Header-%d: value\r\n", i);
    conn_send(conn, "Content-Length: 3\r\n\r\nok\n");
}

static void huge_header(struct conn *conn)
{
    static const char block[] = "0123456789abcdef";
    conn_send(conn, "HTTP/1.1 200 Fine\r\nX-Huge: ");
    for (int i = 0; i < 300 * 1024 / 16; i++)
        conn_send(conn, block);
    conn_send(conn, "\r\nContent-Length: 3\r\n\r\nok\n");
}

// What needs a number or a target from the path. False when the path is none of these.
static bool answer_with_number(struct conn *conn, const char *path, const char *query)
{
    unsigned long long n = 0;
    unsigned seconds = 0;
    char text[64];
    if (sscanf(path, "/status/%llu", &n) == 1) {
        snprintf(text, sizeof text, "status %llu\n", n);
        plain(conn, (int)n, n == 401 ? "WWW-Authenticate: Basic realm=\"peer\"\r\n" : "", text);
    } else if (sscanf(path, "/retry-after/%llu/%u", &n, &seconds) == 2) {
        snprintf(text, sizeof text, "Retry-After: %u\r\n", seconds);
        plain(conn, (int)n, text, "later\n");
    } else if (sscanf(path, "/bytes/%llu", &n) == 1 || (sscanf(path, "/mib/%llu", &n) == 1 && (n <<= 20, true))) {
        head(conn, 200, "", n);
        conn->fill = n;
    } else if (sscanf(path, "/delay/%llu", &n) == 1) {
        conn->hold_ms = (int)n;
        plain(conn, 200, "", "ok\n");
    } else if (sscanf(path, "/redirect/%llu", &n) == 1) {
        snprintf(text, sizeof text, "/redirect/%llu", n - 1);
        if (n == 0)
            plain(conn, 200, "", "ok\n");
        else
            redirect(conn, 302, text);
    } else if (sscanf(path, "/to/%llu", &n) == 1) {
        redirect(conn, (int)n, query);
    } else {
        return false;
    }
    return true;
}

struct canned {
    const char *path;
    const char *reply;
    const struct step *then;
};

static const struct canned canned_replies[] = {
    {"/loop", "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n", NULL},
    {"/no-location", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", NULL},
    {"/cookies", "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=two; Path=/; HttpOnly\r\nContent-Length: 3\r\n\r\nok\n", NULL},
    {"/chunked", "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n", NULL},
    {"/chunked-bad", "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", then_fin},
    {"/chunked-short", "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", then_fin},
    {"/close", "HTTP/1.1 200 Fine\r\nConnection: close\r\n\r\nuntil the end\n", then_fin},
    {"/continue", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nok\n", NULL},
    {"/hints", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nok\n", NULL},
    {"/hangup", "HTTP/1.1 200 Fine\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nok\n", then_fin},
    {"/long", "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\nhello and much more than that\n", then_fin},
    {"/two-lengths", "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello, \n", then_fin},
    {"/fin", "", then_fin},
    {"/reset", "", then_reset},
    {"/silent", "", then_silence},
    {"/garbage", "\x01\x02\xff this is not HTTP\r\n\r\n", then_fin},
    {"/half-head", "HTTP/1.1 200 Fine\r\nContent-Le", then_fin},
    {"/drip-head", "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nok\n", NULL},
    {NULL, NULL, NULL},
};

static bool answer_canned(struct conn *conn, const char *path)
{
    for (const struct canned *canned = canned_replies; canned->path; canned++) {
        if (strcmp(path, canned->path) != 0)
            continue;
        conn_send(conn, canned->reply);
        if (canned->then)
            conn_follow(conn, canned->then);
        return true;
    }
    return false;
}

static void answer(struct conn *conn, const char *path, const char *query)
{
    if (answer_canned(conn, path)) {
        conn->drip_ms = strcmp(path, "/drip-head") == 0 ? DRIP_MS : 0;
    } else if (answer_with_number(conn, path, query)) {
        return;
    } else if (strcmp(path, "/ok") == 0) {
        plain(conn, 200, "", "ok\n");
    } else if (strcmp(path, "/headers") == 0) {
        head(conn, 200, "", conn->http.head.len);
        buffer_add(&conn->out, conn->http.head.data, conn->http.head.len);
    } else if (strcmp(path, "/echo") == 0) {
        head(conn, 200, "", conn->http.body.len);
        buffer_add(&conn->out, conn->http.body.data, conn->http.body.len);
    } else if (strcmp(path, "/short") == 0) {
        five_of_hundred(conn, then_fin);
    } else if (strcmp(path, "/reset-body") == 0) {
        five_of_hundred(conn, then_late_reset);
    } else if (strcmp(path, "/stall") == 0) {
        five_of_hundred(conn, then_silence);
    } else if (strcmp(path, "/drip") == 0) {
        head(conn, 200, "", 100);
        conn->burst = conn->out.len;
        conn->drip_ms = DRIP_MS;
        for (int i = 0; i < 10; i++)
            conn_send(conn, "0123456789");
    } else if (strcmp(path, "/huge-header") == 0) {
        huge_header(conn);
    } else if (strcmp(path, "/many-headers") == 0) {
        many_headers(conn);
    } else {
        plain(conn, 404, "", "no such fault\n");
    }
}

// Logs the request line and the headers, and takes from them how the body ends. The head's lines are cut apart in a copy.
static void read_head(struct conn *conn)
{
    struct http_request *http = &conn->http;
    char *copy = strndup(http->head.data, http->head.len), *rest = copy, *line;
    if (!copy)
        abort();
    http->left = 0;
    http->chunked = false;
    for (bool first = true; (line = strsep(&rest, "\n")) && *line && *line != '\r'; first = false) {
        line[strcspn(line, "\r")] = 0;
        if (first)
            line[strcspn(line, " ") + 1 + strcspn(line + strcspn(line, " ") + 1, " ")] = 0; // the version is no news
        log_text(conn->service->name, conn->id, first ? "request" : "header", line);
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            http->left = strtoull(line + 15, NULL, 10);
        if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0)
            http->chunked = true;
        if (strncasecmp(line, "Expect: 100", 11) == 0)
            conn_send(conn, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    http->ended = !http->left && !http->chunked;
    free(copy);
}

static void keep_body(struct conn *conn, size_t len)
{
    struct http_request *http = &conn->http;
    http->received += len;
    http->left -= len;
    buffer_add(&http->body, conn->in.data, http->body.len + len <= ECHO_MAX ? len : 0);
    buffer_drop(&conn->in, len);
}

// Takes what there is of the body; true once all of it was read.
static bool read_body(struct conn *conn)
{
    struct http_request *http = &conn->http;
    while (!http->ended && conn->in.len) {
        if (http->left) {
            keep_body(conn, conn->in.len < http->left ? conn->in.len : (size_t)http->left);
            http->ended = !http->left && !http->chunked;
            continue;
        }
        char *end = memchr(conn->in.data, '\n', conn->in.len);
        if (!end)
            return false;
        // a chunk's size, or the empty line behind the chunk before it
        size_t len = (size_t)(end - conn->in.data) + 1;
        bool empty = len <= 2;
        http->left = empty ? 0 : strtoull(conn->in.data, NULL, 16);
        bool last = !empty && !http->left;
        buffer_drop(&conn->in, len);
        http->ended = last; // requests of tests carry no trailers; the empty line is skipped as the start of the next head
    }
    return http->ended;
}

static void finish_request(struct conn *conn)
{
    struct http_request *http = &conn->http;
    char target[2048] = "", text[32];
    sscanf(http->head.data, "%*s %2047s", target);
    snprintf(text, sizeof text, "%llu", (unsigned long long)http->received);
    log_text(conn->service->name, conn->id, "body", text);
    char *query = strchr(target, '?');
    if (query)
        *query++ = 0;
    answer(conn, target, query ? query : "");
    if (strncmp(http->head.data, "HEAD ", 5) == 0) {
        char *end = memmem(conn->out.data, conn->out.len, "\r\n\r\n", 4);
        conn->out.len = end ? (size_t)(end + 4 - conn->out.data) : conn->out.len;
        conn->fill = 0;
    }
    http->head.len = http->body.len = 0;
    http->received = 0;
}

bool http_turn(struct conn *conn)
{
    struct http_request *http = &conn->http;
    if (!http->head.len) {
        while (conn->in.len && (conn->in.data[0] == '\r' || conn->in.data[0] == '\n'))
            buffer_drop(&conn->in, 1);
        char *end = conn->in.len ? memmem(conn->in.data, conn->in.len, "\r\n\r\n", 4) : NULL;
        if (!end && conn->in.len < HEAD_MAX)
            return false;
        if (!end) {
            plain(conn, 431, "", "head too long\n");
            conn_follow(conn, then_fin);
            return true;
        }
        size_t len = (size_t)(end + 4 - conn->in.data);
        buffer_add(&http->head, conn->in.data, len);
        buffer_add(&http->head, "", 1); // for the string functions; not counted
        http->head.len--;
        buffer_drop(&conn->in, len);
        read_head(conn);
        if (memmem(http->head.data, http->head.len, " /reset-upload", 14)) {
            conn_follow(conn, then_late_reset);
            return true;
        }
    }
    bool close_after = memmem(http->head.data, http->head.len, "\r\nConnection: close\r\n", 21) != NULL;
    if (!read_body(conn))
        return conn->out.len > 0; // "100 Continue" has to leave
    finish_request(conn);
    if (close_after && conn->step->kind == STEP_HTTP)
        conn_follow(conn, then_fin);
    return true;
}
