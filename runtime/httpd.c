// See httpd.h. libmicrohttpd's own timeout only counts silence, so a client that drips a byte a
// second, or one that never reads its answer, would never be cut: each request has a deadline of ours.
#include "runtime/httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/addr.h"
#include "runtime/log.h"
#include "runtime/policy.h"
#include "runtime/watch.h"

enum { SILENCE_S = 30, REQUEST_MEMORY = 32768, QUEUE_MOST = 4096, IN_VAIN_MOST = 8 };

static const wd_ns PAUSE = 100 * WD_MS;

struct connection {
  struct wd_httpd *daemon;
  struct wd_timer deadline;
  int fd;
};

struct wd_httpd {
  struct wd_loop *loop;
  struct MHD_Daemon *mhd;
  struct wd_watch watch;
  struct wd_timer timer;
  struct wd_httpd_wait *waiting;
  struct wd_httpd_request *first, *last, *all;
  unsigned queued;
  int64_t body_most;
  wd_ns deadline;
  bool running, closing, closed_some;
  unsigned clients, in_vain; // connections now; wake-ups in a row that found none and brought none
};

struct wd_httpd_request {
  struct wd_httpd *daemon; // NULL once the listener is closed
  struct MHD_Connection *connection; // NULL once the client has gone
  struct MHD_Response *response;
  struct wd_httpd_request *next, *all_next;
  unsigned status;
  char *method, *path, *version, *body;
  size_t body_len;
  bool too_large, suspended, queued, held; // held: a Lua value points here
};

static void run(struct wd_httpd *d) {
  if (d->running || d->closing) return;
  d->running = true;
  do { // a place that has become free is offered to the next client in the run after
    d->closed_some = false;
    MHD_run(d->mhd);
  } while (d->closed_some);
  d->running = false;
  MHD_UNSIGNED_LONG_LONG ms;
  if (MHD_get_timeout(d->mhd, &ms) == MHD_YES)
    wd_loop_arm(d->loop, &d->timer, (wd_ns)(ms < 60000 ? ms : 60000) * WD_MS);
  else
    wd_timer_stop(&d->loop->timers, &d->timer);
}

// Where accept fails for want of descriptors and there is no connection whose end could help, libmicrohttpd
// tries again at once, for ever: then it is left alone for a moment.
static void on_ready(struct wd_watch *w, uint32_t events) {
  (void)events;
  struct wd_httpd *d = WD_CONTAINER(w, struct wd_httpd, watch);
  d->in_vain = d->clients ? 0 : d->in_vain + 1; // a connection that opens sets it back
  run(d);
  if (d->in_vain < IN_VAIN_MOST) return;
  d->in_vain = 0;
  wd_watch_set(&d->watch, 0);
  wd_loop_arm(d->loop, &d->timer, PAUSE);
}

static void on_timer(struct wd_timer *t) {
  struct wd_httpd *d = WD_CONTAINER(t, struct wd_httpd, timer);
  wd_watch_set(&d->watch, EPOLLIN);
  run(d);
}

static void on_deadline(struct wd_timer *t) {
  struct connection *c = WD_CONTAINER(t, struct connection, deadline);
  shutdown(c->fd, SHUT_RDWR);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_ConnectionNotificationCode code) {
  struct wd_httpd *d = cls;
  struct connection *c = *slot;
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    if (c) wd_timer_stop(&d->loop->timers, &c->deadline);
    free(c);
    *slot = NULL;
    d->closed_some = true;
    d->clients--;
    return;
  }
  d->clients++;
  d->in_vain = 0;
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  c = calloc(1, sizeof(*c));
  *slot = c;
  if (!c || !info) return;
  *c = (struct connection){.daemon = d, .fd = info->connect_fd, .deadline.fire = on_deadline};
  wd_loop_arm(d->loop, &c->deadline, d->deadline);
}

static void unlink_request(struct wd_httpd_request *r) {
  struct wd_httpd *d = r->daemon;
  if (!d) return;
  for (struct wd_httpd_request **at = &d->all; *at; at = &(*at)->all_next)
    if (*at == r) {
      *at = r->all_next;
      break;
    }
  if (r->queued) {
    struct wd_httpd_request *before = NULL;
    for (struct wd_httpd_request *q = d->first; q; before = q, q = q->next) {
      if (q != r) continue;
      if (before)
        before->next = r->next;
      else
        d->first = r->next;
      if (d->last == r) d->last = before;
      d->queued--;
      break;
    }
    r->queued = false;
  }
  r->daemon = NULL;
}

static void free_request(struct wd_httpd_request *r) {
  if (r->connection || r->held) return; // the other side still points here
  unlink_request(r);
  if (r->response) MHD_destroy_response(r->response);
  free(r->method);
  free(r->path);
  free(r->version);
  free(r->body);
  free(r);
}

// The next request on the connection has its own deadline, which counts from here.
static void on_completed(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode code) {
  (void)code;
  struct wd_httpd *d = cls;
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  struct connection *c = info ? info->socket_context : NULL;
  if (c) wd_loop_arm(d->loop, &c->deadline, d->deadline);
  struct wd_httpd_request *r = *slot;
  *slot = NULL;
  if (!r) return;
  r->connection = NULL;
  free_request(r);
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text) {
  struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
  enum MHD_Result rc = response ? MHD_queue_response(connection, status, response) : MHD_NO;
  if (response) MHD_destroy_response(response);
  return rc;
}

static struct wd_httpd_request *new_request(struct wd_httpd *d, struct MHD_Connection *connection, const char *method,
                                            const char *url, const char *version) {
  struct wd_httpd_request *r = calloc(1, sizeof(*r));
  if (!r) return NULL;
  *r = (struct wd_httpd_request){.daemon = d, .connection = connection, .all_next = d->all,
                                 .method = strdup(method), .path = strdup(url), .version = strdup(version)};
  d->all = r;
  return r;
}

// Whether the headers announce more than is taken: then the body need not come first.
static bool announces_too_much(const struct wd_httpd *d, struct MHD_Connection *connection) {
  const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
  return length && strtoull(length, NULL, 10) > (unsigned long long)d->body_most;
}

// What is too large is read to its end (libmicrohttpd answers no sooner), but not kept.
static void take_body(struct wd_httpd_request *r, const char *bytes, size_t n) {
  r->too_large = r->too_large || r->body_len + n > (size_t)r->daemon->body_most;
  char *grown = r->too_large ? NULL : realloc(r->body, r->body_len + n);
  if (!grown) {
    r->too_large = true;
    free(r->body);
    r->body = NULL;
    r->body_len = 0;
    return;
  }
  memcpy(grown + r->body_len, bytes, n);
  r->body = grown;
  r->body_len += n;
}

static void enqueue(struct wd_httpd *d, struct wd_httpd_request *r) {
  r->queued = true;
  if (d->last)
    d->last->next = r;
  else
    d->first = r;
  d->last = r;
  d->queued++;
  if (d->waiting) wd_op_complete(&d->waiting->op, WD_OK);
}

// Called for the headers, for each piece of the body, at its end, and again after the connection
// was resumed with an answer.
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *bytes, size_t *n, void **slot) {
  struct wd_httpd *d = cls;
  struct wd_httpd_request *r = *slot;
  if (!r) {
    if (announces_too_much(d, connection)) return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "body too large\n");
    *slot = r = new_request(d, connection, method, url, version);
    return r && r->method && r->path && r->version ? MHD_YES : MHD_NO;
  }
  if (*n) {
    take_body(r, bytes, *n);
    *n = 0;
    return MHD_YES;
  }
  if (r->response) return MHD_queue_response(connection, r->status, r->response);
  if (r->suspended) return MHD_NO; // resumed without an answer: the listener is closing
  if (r->too_large) return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "body too large\n");
  if (d->queued >= QUEUE_MOST) return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "busy\n");
  r->suspended = true;
  MHD_suspend_connection(connection);
  enqueue(d, r);
  return MHD_YES;
}

__attribute__((format(printf, 2, 0))) static void on_message(void *cls, const char *fmt, va_list ap) {
  (void)cls;
  char text[400];
  vsnprintf(text, sizeof(text), fmt, ap);
  text[strcspn(text, "\n")] = '\0';
  wd_log(WD_LOG_DEBUG, "httpd: %s", text);
}

// A listening socket, or -1 with the reason in `error`.
static int listen_on(const struct wd_addr *addr, char *error, size_t room) {
  if (!wd_policy_may_listen()) {
    snprintf(error, room, "the sandbox does not allow to listen");
    return -1;
  }
  int on = 1, fd = socket(wd_addr_family(addr), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
  if (ok && wd_addr_family(addr) == AF_INET6) ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
  if (ok && bind(fd, &addr->sa, wd_addr_len(addr)) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  snprintf(error, room, "%s", strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

struct wd_httpd *wd_httpd_open(struct wd_loop *loop, const struct wd_httpd_options *o, char *error, size_t room) {
  struct wd_addr addr;
  struct wd_httpd *d = calloc(1, sizeof(*d));
  if (!d || !wd_addr_parse(&addr, o->address, o->port)) {
    snprintf(error, room, d ? "expected an IP address to listen on" : "out of memory");
    free(d);
    return NULL;
  }
  int fd = listen_on(&addr, error, room);
  if (fd < 0) {
    free(d);
    return NULL;
  }
  *d = (struct wd_httpd){.loop = loop, .watch = {.fd = -1, .on_event = on_ready}, .timer.fire = on_timer,
                         .body_most = o->body_most, .deadline = o->deadline};
  unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
  if (wd_addr_family(&addr) == AF_INET6) flags |= MHD_USE_IPv6;
  if (o->certificate) flags |= MHD_USE_TLS;
  struct MHD_OptionItem items[] = {
    {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
    {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, d},
    {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, d},
    {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)o->connections, NULL},
    {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)o->per_client, NULL},
    {MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_S, NULL},
    {MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY, NULL},
    {o->certificate ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)o->certificate},
    {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->key},
    {MHD_OPTION_END, 0, NULL}};
  d->mhd = MHD_start_daemon(flags, o->port, NULL, NULL, on_request, d, MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL,
                            MHD_OPTION_ARRAY, items, MHD_OPTION_END);
  const union MHD_DaemonInfo *info = d->mhd ? MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
  if (!info || wd_watch_start(loop, &d->watch, info->epoll_fd, EPOLLIN)) {
    snprintf(error, room, "%s", o->certificate ? "libmicrohttpd takes neither the certificate nor the key" : "libmicrohttpd does not start");
    if (d->mhd)
      MHD_stop_daemon(d->mhd); // closes the socket, too
    else
      close(fd);
    free(d);
    return NULL;
  }
  run(d);
  return d;
}

uint16_t wd_httpd_port(const struct wd_httpd *d) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_BIND_PORT);
  return info ? info->port : 0;
}

void wd_httpd_close(struct wd_httpd *d) {
  if (d->waiting) wd_op_complete(&d->waiting->op, WD_E_CANCELLED);
  d->closing = true;
  for (struct wd_httpd_request *r = d->all; r; r = r->all_next)
    if (r->connection && r->suspended && !r->response) MHD_resume_connection(r->connection);
  wd_watch_stop(&d->watch);
  wd_timer_stop(&d->loop->timers, &d->timer);
  MHD_stop_daemon(d->mhd); // calls on_completed and on_connection for all
  for (struct wd_httpd_request *r = d->all, *next; r; r = next) {
    next = r->all_next;
    r->connection = NULL;
    unlink_request(r);
    free_request(r);
  }
  free(d);
}

static void wait_stop(struct wd_op *op) {
  struct wd_httpd_wait *w = (struct wd_httpd_wait *)op;
  if (w->daemon && w->daemon->waiting == w) w->daemon->waiting = NULL;
  w->daemon = NULL;
}

const struct wd_op_class wd_httpd_wait_class = {.name = "request", .stop = wait_stop};

bool wd_httpd_await(struct wd_httpd *d, struct wd_httpd_wait *w) {
  if (d->waiting) return false;
  w->daemon = d;
  d->waiting = w;
  if (d->first) wd_op_complete(&w->op, WD_OK);
  return true;
}

struct wd_httpd_request *wd_httpd_take(struct wd_httpd *d) {
  struct wd_httpd_request *r = d->first;
  if (!r) return NULL;
  d->first = r->next;
  if (!d->first) d->last = NULL;
  d->queued--;
  r->queued = false;
  r->held = true;
  return r;
}

const char *wd_httpd_method(const struct wd_httpd_request *r) {
  return r->method;
}

const char *wd_httpd_path(const struct wd_httpd_request *r) {
  return r->path;
}

const char *wd_httpd_version(const struct wd_httpd_request *r) {
  return r->version;
}

const char *wd_httpd_body(const struct wd_httpd_request *r, size_t *len) {
  *len = r->body_len;
  return r->body ? r->body : "";
}

void wd_httpd_peer(const struct wd_httpd_request *r, char *out, size_t room) {
  const union MHD_ConnectionInfo *info =
    r->connection ? MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS) : NULL;
  struct wd_addr addr;
  char text[WD_ADDR_TEXT] = "";
  if (info && wd_addr_from_sockaddr(&addr, info->client_addr, sizeof(struct sockaddr_in6))) wd_addr_format_port(&addr, text);
  snprintf(out, room, "%s", text);
}

struct each {
  void (*fn)(void *ctx, const char *name, const char *value);
  void *ctx;
};

static enum MHD_Result each_value(void *cls, enum MHD_ValueKind kind, const char *name, const char *value) {
  (void)kind;
  struct each *e = cls;
  e->fn(e->ctx, name, value ? value : "");
  return MHD_YES;
}

void wd_httpd_each(const struct wd_httpd_request *r, enum wd_httpd_kind kind,
                   void (*fn)(void *ctx, const char *name, const char *value), void *ctx) {
  struct each e = {fn, ctx};
  if (r->connection)
    MHD_get_connection_values(r->connection, kind == WD_HTTPD_QUERY ? MHD_GET_ARGUMENT_KIND : MHD_HEADER_KIND, each_value, &e);
}

static ssize_t on_fill(void *cls, uint64_t at, char *out, size_t most) {
  int64_t left = *(int64_t *)cls - (int64_t)at;
  if (left <= 0) return MHD_CONTENT_READER_END_OF_STREAM;
  size_t n = (int64_t)most < left ? most : (size_t)left;
  memset(out, 'w', n);
  return (ssize_t)n;
}

static struct MHD_Response *new_response(const char *body, size_t len, int64_t filler) {
  if (filler <= 0) return MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
  int64_t *size = malloc(sizeof(*size));
  if (!size) return NULL;
  *size = filler;
  struct MHD_Response *response = MHD_create_response_from_callback((uint64_t)filler, 65536, on_fill, size, free);
  if (!response) free(size);
  return response;
}

int wd_httpd_respond(struct wd_httpd_request *r, unsigned status, const char *const *headers, const char *body, size_t len, int64_t filler) {
  if (!r->connection || !r->daemon || r->response) return -ENOTCONN;
  struct MHD_Response *response = new_response(body, len, filler);
  if (!response) return -ENOMEM;
  for (size_t i = 0; headers && headers[i]; i += 2) {
    if (MHD_add_response_header(response, headers[i], headers[i + 1]) == MHD_YES) continue;
    MHD_destroy_response(response);
    return -EINVAL;
  }
  r->response = response;
  r->status = status;
  struct wd_httpd *d = r->daemon;
  MHD_resume_connection(r->connection);
  run(d);
  return 0;
}

void wd_httpd_release(struct wd_httpd_request *r) {
  if (r->connection && r->daemon && !r->response && !r->daemon->closing)
    wd_httpd_respond(r, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "no answer\n", 10, 0);
  r->held = false;
  free_request(r);
}

const char *wd_httpd_library(void) {
  return MHD_get_version();
}
