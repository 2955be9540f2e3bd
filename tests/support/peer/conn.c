// The engine of the peer's TCP services: reads, writes, and goes through the steps. A connection ends when its client closes, or by a step.
#include "conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024, INPUT_MAX = 4 * 1024 * 1024 };
enum outcome { DONE, WAIT, GONE };

static unsigned last_id; // of connections; the log's second column
static char filler[64 * 1024];

void buffer_add(struct buffer *buffer, const void *data, size_t len)
{
    if (buffer->len + len > buffer->cap) {
        buffer->cap = (buffer->len + len) * 2;
        buffer->data = realloc(buffer->data, buffer->cap);
        if (!buffer->data)
            abort();
    }
    if (len)
        memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}

void buffer_drop(struct buffer *buffer, size_t len)
{
    buffer->len -= len;
    if (buffer->len)
        memmove(buffer->data, buffer->data + len, buffer->len);
}

void conn_send(struct conn *conn, const char *text)
{
    buffer_add(&conn->out, text, strlen(text));
}

void conn_printf(struct conn *conn, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_add(&conn->out, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

void conn_follow(struct conn *conn, const struct step *steps)
{
    conn->step = steps;
    conn->delayed = false;
}

static void conn_close(struct conn *conn, const char *why)
{
    struct conn *other = conn->other;
    if (other)
        other->other = NULL;
    log_text(conn->service->name, conn->id, "close", why);
    loop_cancel(&conn->timer);
    loop_unwatch(&conn->watch);
    close(conn->watch.fd);
    free(conn->in.data);
    free(conn->out.data);
    free(conn->http.head.data);
    free(conn->http.body.data);
    free(conn);
    if (other)
        conn_close(other, "the other side");
}

// Closing with a linger time of zero discards what is queued and sends RST (tcp(7), socket(7): SO_LINGER).
static void conn_reset(struct conn *conn)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->watch.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    conn_close(conn, "our reset");
}

static void update_watch(struct conn *conn)
{
    uint32_t bits = conn->blocked ? EPOLLOUT : 0;
    if (conn->step->kind == STEP_DEAF)
        bits |= EPOLLRDHUP;
    else if (!conn->client_closed && conn->in.len < INPUT_MAX)
        bits |= EPOLLIN;
    if (bits != conn->bits)
        loop_change(&conn->watch, conn->bits = bits);
}

static enum outcome flush(struct conn *conn)
{
    conn->blocked = false;
    if (conn->hold_ms) {
        loop_after(&conn->timer, conn->hold_ms);
        conn->hold_ms = 0;
        return WAIT;
    }
    while (conn->out.len || conn->fill) {
        const char *from = conn->out.len ? conn->out.data : filler;
        size_t len = conn->out.len ? conn->out.len : conn->fill < sizeof filler ? (size_t)conn->fill : sizeof filler;
        if (conn->drip_ms)
            len = conn->burst ? conn->burst : 1;
        ssize_t n = send(conn->watch.fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            conn->blocked = true;
            update_watch(conn);
            return WAIT;
        }
        if (n < 0) {
            conn_close(conn, strerror(errno));
            return GONE;
        }
        if (conn->out.len)
            buffer_drop(&conn->out, (size_t)n);
        else
            conn->fill -= (uint64_t)n;
        conn->burst -= conn->burst < (size_t)n ? conn->burst : (size_t)n;
        if (conn->drip_ms && conn->out.len) {
            loop_after(&conn->timer, conn->drip_ms);
            return WAIT;
        }
    }
    conn->drip_ms = 0;
    return DONE;
}

// Takes one line off the input; its end becomes a zero byte. False when there is no whole line.
static bool take_line(struct conn *conn, char *line, size_t size)
{
    char *end = conn->in.len ? memchr(conn->in.data, '\n', conn->in.len) : NULL;
    if (!end)
        return false;
    size_t len = (size_t)(end - conn->in.data);
    size_t keep = len < size ? len : size - 1;
    memcpy(line, conn->in.data, keep);
    line[keep] = 0;
    line[strcspn(line, "\r")] = 0;
    buffer_drop(&conn->in, len + 1);
    log_text(conn->service->name, conn->id, "line", line);
    return true;
}

static bool line_matches(struct conn *conn, const struct step *step, char *line)
{
    if (step->kind == STEP_TAG_LINE) {
        size_t tag = strcspn(line, " ");
        if (!line[tag] || tag >= sizeof conn->tag)
            return false;
        memcpy(conn->tag, line, tag);
        conn->tag[tag] = 0;
        line += tag + 1;
    }
    return strncasecmp(line, step->text, strlen(step->text)) == 0;
}

static const struct step finish[] = {{.kind = STEP_FIN}, {.kind = STEP_SILENT}};

static void on_ready(struct watch *watch, uint32_t events);
static void on_delay(struct timer *timer);

static struct conn *conn_new(const struct service *service, int fd, unsigned id)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        abort();
    conn->watch = (struct watch){.fd = fd, .ready = on_ready};
    conn->timer.fire = on_delay;
    conn->service = service;
    conn->step = service->steps;
    conn->id = id;
    conn->bits = EPOLLIN;
    loop_watch(&conn->watch, conn->bits);
    return conn;
}

static const struct step relay[] = {{.kind = STEP_SPLICE}};
static const struct service splice_service = {.name = "splice", .steps = relay};

static bool splice_open(struct conn *conn)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // A loopback connect ends at once, so a blocking one holds nobody up.
    if (fd < 0 || !splice_address.sin_port || connect(fd, (struct sockaddr *)&splice_address, sizeof splice_address) < 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    conn->other = conn_new(&splice_service, fd, conn->id);
    conn->other->other = conn;
    return true;
}

// Moves what came in on `conn` to the other side; a side that is closed and drained ends both.
static enum outcome splice_pump(struct conn *conn)
{
    struct conn *other = conn->other;
    buffer_add(&other->out, conn->in.data, conn->in.len);
    conn->in.len = 0;
    enum outcome sent = flush(other); // a write error closes both
    if (sent == GONE)
        return GONE;
    if ((conn->client_closed && sent == DONE) || (other->client_closed && !conn->out.len)) {
        conn_close(conn, "spliced end");
        return GONE;
    }
    return WAIT;
}

static bool dns_turn(struct conn *conn)
{
    const uint8_t *in = (const uint8_t *)conn->in.data;
    size_t len = conn->in.len < 2 ? 0 : (size_t)in[0] << 8 | in[1];
    if (conn->in.len < 2 || conn->in.len < 2 + len)
        return false;
    dns_stream_message(conn, conn->service, in + 2, len);
    buffer_drop(&conn->in, 2 + len);
    return true;
}

// One step. DONE: look again (something was queued or the step changed); WAIT: until something happens on the socket or the timer.
static enum outcome take_step(struct conn *conn)
{
    const struct step *step = conn->step;
    size_t len = step->text && !step->number ? strlen(step->text) : step->number;
    char line[1024];
    switch (step->kind) {
    case STEP_END:
    case STEP_SILENT:
        conn->in.len = 0;
        return WAIT;
    case STEP_DEAF:
        return WAIT;
    case STEP_SEND_TAG:
        conn_send(conn, conn->tag);
        conn_send(conn, " ");
        // fall through
    case STEP_SEND:
        buffer_add(&conn->out, step->text, len);
        break;
    case STEP_DRIP:
        buffer_add(&conn->out, step->text, strlen(step->text));
        conn->drip_ms = (int)step->number;
        break;
    case STEP_ENDLESS:
        conn_send(conn, step->text);
        return DONE;
    case STEP_LINE:
    case STEP_TAG_LINE:
        if (!take_line(conn, line, sizeof line))
            return WAIT;
        if (!line_matches(conn, step, line)) {
            log_text(conn->service->name, conn->id, "unexpected", line);
            conn_follow(conn, finish);
            return DONE;
        }
        break;
    case STEP_BYTES:
        if (conn->in.len < step->number)
            return WAIT;
        if (step->text && memcmp(conn->in.data, step->text, step->number) != 0) {
            log_event(conn->service->name, conn->id, "unexpected", conn->in.data, step->number);
            conn_follow(conn, finish);
            return DONE;
        }
        buffer_drop(&conn->in, step->number);
        break;
    case STEP_DELAY:
        if (!conn->delayed) {
            conn->delayed = true;
            loop_after(&conn->timer, (int64_t)step->number);
            return WAIT;
        }
        break;
    case STEP_ECHO:
        if (!conn->in.len)
            return WAIT;
        buffer_add(&conn->out, conn->in.data, conn->in.len);
        conn->in.len = 0;
        return DONE;
    case STEP_FIN:
        shutdown(conn->watch.fd, SHUT_WR);
        break;
    case STEP_RESET:
        conn_reset(conn);
        return GONE;
    case STEP_SPLICE:
        if (conn->other)
            return splice_pump(conn);
        if (splice_open(conn))
            return DONE;
        conn_follow(conn, finish);
        return DONE;
    case STEP_HTTP:
        return http_turn(conn) ? DONE : WAIT;
    case STEP_DNS:
        return dns_turn(conn) ? DONE : WAIT;
    }
    conn_follow(conn, conn->step + 1);
    return DONE;
}

static void conn_run(struct conn *conn)
{
    enum outcome outcome = DONE;
    while (outcome == DONE && !conn->timer.armed && (outcome = flush(conn)) == DONE)
        outcome = take_step(conn);
    if (outcome == GONE)
        return;
    if (conn->client_closed && !conn->out.len && !conn->timer.armed && !conn->other) {
        conn_close(conn, "the client");
        return;
    }
    update_watch(conn);
}

static void on_delay(struct timer *timer)
{
    conn_run((struct conn *)((char *)timer - offsetof(struct conn, timer)));
}

static void on_ready(struct watch *watch, uint32_t events)
{
    struct conn *conn = (struct conn *)watch; // its first member
    if (events & EPOLLIN) {
        char data[READ_SIZE];
        ssize_t n = recv(watch->fd, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            conn_close(conn, errno == ECONNRESET ? "reset by the client" : strerror(errno));
            return;
        }
        if (n == 0) {
            conn->client_closed = true;
            log_text(conn->service->name, conn->id, "fin", "");
        }
        if (n > 0) {
            if (conn->step->kind != STEP_HTTP && conn->service != &splice_service)
                log_event(conn->service->name, conn->id, "recv", data, (size_t)n);
            buffer_add(&conn->in, data, (size_t)n);
        }
    } else if (events & (EPOLLERR | EPOLLRDHUP | EPOLLHUP)) {
        conn_close(conn, events & EPOLLERR ? "reset by the client" : "the client");
        return;
    }
    conn_run(conn);
}

void conn_accept(const struct service *service, int fd)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char text[16] = "";
    if (getpeername(fd, (struct sockaddr *)&from, &len) == 0)
        snprintf(text, sizeof text, "%s", from.ss_family == AF_INET6 ? "6" : "4");
    log_text(service->name, ++last_id, "accept", text);
    memset(filler, 'x', sizeof filler);
    conn_run(conn_new(service, fd, last_id));
}
