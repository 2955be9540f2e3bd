// Requests of the uploader as transfers: headers, deadlines, and answers cut to what matters.
#include "runtime/upload_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/transfer.h"

#define USER_AGENT "waddle/" WADDLE_VERSION

enum { KEEP_OF_RESULT = 2048, KEEP_OF_LOGIN = 65536, MOST_HEADERS = 5 };

static const wd_ns connect_timeout = 10 * WD_S;

struct http {
  struct wd_transport base;
  struct wd_loop *loop;
  struct wd_arena arena; // of the URLs
  struct wd_url urls[2]; // by enum wd_upload_route
  wd_ns timeout;
  const struct wd_tls_opts *tls;
  struct wd_common_opts net;
  struct wd_transfer_pool *pool; // made with the first request
};

struct http_call {
  struct http *http;
  struct wd_upload_call *call;
  struct wd_transfer transfer;
  struct wd_arena arena; // of one request
  struct wd_timer deadline;
  struct wd_pair pairs[MOST_HEADERS];
  struct wd_map headers;
  char fault[200];
};

static void finish(struct http_call *c) {
  struct wd_transfer *t = &c->transfer;
  struct wd_upload_call *call = c->call;
  wd_timer_stop(&c->http->loop->timers, &c->deadline);
  // An answer that was cut off has not said what became of the row.
  call->status = t->err ? 0 : t->status;
  call->retry_after = wd_transfer_header(t, "retry-after");
  call->content = t->kept.p ? t->kept.p : "";
  call->content_len = t->kept.p ? t->kept.n : 0;
  call->fault = c->fault;
  snprintf(c->fault, sizeof(c->fault), "%s%s%s", t->err ? wd_err_name(t->err) : "no answer", t->detail ? ": " : "",
           t->detail ? t->detail : "");
  call->done(call);
}

static void on_transfer(struct wd_transfer *t) {
  finish(WD_CONTAINER(t, struct http_call, transfer));
}

static void on_deadline(struct wd_timer *t) {
  struct http_call *c = WD_CONTAINER(t, struct http_call, deadline);
  wd_transfer_expire(&c->transfer, c->http->timeout);
  finish(c);
}

static void add(struct http_call *c, const char *name, const char *value) {
  if (value) c->pairs[c->headers.n++] = (struct wd_pair){name, {value, strlen(value)}};
}

static bool prepare(struct wd_transport *base, struct wd_upload_call *call) {
  struct http_call *c = calloc(1, sizeof(*c));
  if (!c) return false;
  c->http = (struct http *)base;
  c->call = call;
  c->deadline.fire = on_deadline;
  c->headers.items = c->pairs;
  call->inner = c;
  return true;
}

static void start(struct wd_transport *base, struct wd_upload_call *call) {
  struct http *h = (struct http *)base;
  struct http_call *c = call->inner;
  if (!h->pool) h->pool = wd_transfer_pool_open(h->loop);
  wd_transfer_clear(&c->transfer);
  wd_arena_free(&c->arena);
  c->headers.n = 0;
  add(c, "Content-Type", "application/json");
  add(c, "Idempotency-Key", call->key);
  add(c, "User-Agent", USER_AGENT);
  add(c, call->auth_name ? call->auth_name : "", call->auth_value);
  c->transfer = (struct wd_transfer){
      .arena = &c->arena,
      .url = h->urls[call->route],
      .method = "POST",
      .headers = &c->headers,
      .body = call->body,
      .version = WD_HTTP_AUTO,
      .reuse = true,
      .pool = h->pool,
      .tls = h->tls,
      .net = &h->net,
      .connect_timeout = h->timeout < connect_timeout ? h->timeout : connect_timeout,
      .keep_body = call->route == WD_ROUTE_LOGIN ? KEEP_OF_LOGIN : KEEP_OF_RESULT,
      .done = on_transfer,
  };
  wd_loop_arm(h->loop, &c->deadline, h->timeout);
  wd_transfer_start(h->loop, &c->transfer);
}

static void stop(struct wd_transport *base, struct wd_upload_call *call) {
  struct http *h = (struct http *)base;
  struct http_call *c = call->inner;
  if (!c) return;
  wd_timer_stop(&h->loop->timers, &c->deadline);
  wd_transfer_stop(&c->transfer);
}

static void clear(struct wd_transport *base, struct wd_upload_call *call) {
  struct http_call *c = call->inner;
  if (!c) return;
  stop(base, call);
  wd_transfer_clear(&c->transfer);
  wd_arena_free(&c->arena);
  free(c);
  call->inner = NULL;
}

static void close_transport(struct wd_transport *base) {
  struct http *h = (struct http *)base;
  wd_transfer_pool_close(h->pool);
  wd_arena_free(&h->arena);
  free(h);
}

static const char *read_url(struct http *h, enum wd_upload_route route, const char *text) {
  const char *wrong = wd_url_parse(&h->urls[route], &h->arena, text);
  if (wrong) return wrong;
  return h->urls[route].user || h->urls[route].password ? "credentials do not belong in the URL, give them as auth" : NULL;
}

struct wd_transport *wd_upload_http(struct wd_loop *loop, const struct wd_upload_http_opts *opts, struct wd_arena *arena,
                                    const char **wrong) {
  struct http *h = calloc(1, sizeof(*h));
  if (!h) {
    *wrong = "out of memory";
    return NULL;
  }
  h->base = (struct wd_transport){prepare, start, stop, clear, close_transport};
  h->loop = loop;
  h->timeout = opts->timeout;
  h->tls = opts->tls;
  h->net = (struct wd_common_opts){.timeout = opts->timeout, .family = WD_FAMILY_ANY, .tos = WD_NONE, .planned = WD_NAN};
  *wrong = read_url(h, WD_ROUTE_RESULTS, opts->results_url);
  if (!*wrong) *wrong = read_url(h, WD_ROUTE_LOGIN, opts->login_url);
  if (!*wrong) return &h->base;
  *wrong = wd_arena_strdup(arena, *wrong);
  close_transport(&h->base);
  return NULL;
}

const char *wd_upload_http_where(const struct wd_transport *t) {
  return ((const struct http *)t)->urls[WD_ROUTE_RESULTS].full;
}
