// An HTTP listener: libmicrohttpd on the loop, without threads. Requests wait in a queue until a
// task takes them; the connection is suspended until the task has answered.
// Must hold: a request is freed only when libmicrohttpd says that it is over and no Lua value
// points at it; slow clients are cut at a deadline, greedy ones meet limits.
#pragma once

#include "runtime/loop.h"
#include "runtime/op.h"

struct wd_httpd;
struct wd_httpd_request;

struct wd_httpd_options {
  const char *address;
  uint16_t port;
  const char *certificate, *key;    // PEM; NULL: plain HTTP. Copied by libmicrohttpd.
  unsigned connections, per_client; // most at once
  int64_t body_most;                // bytes of a request's body; more is answered with 413
  wd_ns deadline;                   // of one request, from the connection (or the answer before) to the answer's last byte
};

// NULL with a message in `error` when it cannot listen.
struct wd_httpd *wd_httpd_open(struct wd_loop *loop, const struct wd_httpd_options *options, char *error, size_t room);
void wd_httpd_close(struct wd_httpd *d); // cuts every connection; unanswered requests are forgotten
uint16_t wd_httpd_port(const struct wd_httpd *d);

// Op that waits for a request; after completion wd_httpd_take gives it (NULL: closed).
struct wd_httpd_wait {
  struct wd_op op;
  struct wd_httpd *daemon;
};
extern const struct wd_op_class wd_httpd_wait_class;
bool wd_httpd_await(struct wd_httpd *d, struct wd_httpd_wait *w); // false: somebody waits already
struct wd_httpd_request *wd_httpd_take(struct wd_httpd *d);

// What a client sent. Valid until the request is released.
const char *wd_httpd_method(const struct wd_httpd_request *r);
const char *wd_httpd_path(const struct wd_httpd_request *r);
const char *wd_httpd_version(const struct wd_httpd_request *r);
const char *wd_httpd_body(const struct wd_httpd_request *r, size_t *len);
void wd_httpd_peer(const struct wd_httpd_request *r, char *out, size_t room);
enum wd_httpd_kind { WD_HTTPD_HEADERS, WD_HTTPD_QUERY };
void wd_httpd_each(const struct wd_httpd_request *r, enum wd_httpd_kind kind,
                   void (*fn)(void *ctx, const char *name, const char *value), void *ctx);

// Answers: `len` bytes of `body` (copied), or `filler` bytes of filling when it is over 0. Headers
// come as pairs, ended by NULL. 0, -ENOTCONN when the client has gone or it was answered before, -EINVAL
// for a header that HTTP does not allow, -ENOMEM.
int wd_httpd_respond(struct wd_httpd_request *r, unsigned status, const char *const *headers, const char *body, size_t len, int64_t filler);

// The Lua side needs it no more; unanswered it becomes a 500.
void wd_httpd_release(struct wd_httpd_request *r);

const char *wd_httpd_library(void); // version of the libmicrohttpd in use
