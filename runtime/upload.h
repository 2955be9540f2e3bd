// The uploader: takes results in, keeps them in a store and sends them to the manager, a few at a
// time, until each is stored or refused for good. Knows neither Lua nor sockets: requests go through
// a transport, rows come from a store.
// Must hold: a row leaves the store only when the manager stored it or refused it for good; an answer
// that condemns the address or the credentials empties nothing; at most `concurrency` requests at once,
// and a single one while it is not known that the manager takes anything.
#pragma once

#include "runtime/loop.h"
#include "runtime/upload_auth.h"
#include "runtime/upload_store.h"

enum wd_upload_state { WD_UPLOAD_OK, WD_UPLOAD_BACKOFF, WD_UPLOAD_STOPPED };

enum wd_upload_route { WD_ROUTE_RESULTS, WD_ROUTE_LOGIN };

// One request to the manager and its answer.
struct wd_upload_call {
  // questions; what they point at lives until `done` or stop
  enum wd_upload_route route;
  const char *auth_name, *auth_value; // header; NULL for none
  const char *key;                    // idempotency key; NULL for none
  struct wd_data body;
  void (*done)(struct wd_upload_call *call); // never called from within start; may start the call again

  // answers, valid within `done`
  int64_t status;                    // 0: none came
  const char *retry_after, *content; // header or NULL; the beginning of the body, "" for none
  size_t content_len;
  const char *fault; // when status is 0: "connection_refused: ..."

  void *inner; // the transport's
};

struct wd_transport {
  bool (*prepare)(struct wd_transport *t, struct wd_upload_call *call); // makes `inner`, before the first start; false: no memory; NULL: nothing to do
  void (*start)(struct wd_transport *t, struct wd_upload_call *call);
  void (*stop)(struct wd_transport *t, struct wd_upload_call *call);  // `done` is not called; no harm when it is over
  void (*clear)(struct wd_transport *t, struct wd_upload_call *call); // stops and frees `inner`
  void (*close)(struct wd_transport *t);                              // after every call was cleared
};

// Somebody who waits until nothing is left, or until waiting is of no use.
struct wd_upload_flush {
  void (*done)(struct wd_upload_flush *flush);
  struct wd_upload_flush *next;
  bool waiting;
};

struct wd_upload_slot {
  struct wd_upload_call call;
  struct wd_upload *upload;
  struct wd_row *row;  // NULL: free
  unsigned generation; // of the token it was sent with
  unsigned epoch;      // wd_upload.epoch when it was sent
};

struct wd_upload {
  struct wd_loop *loop;
  struct wd_store *store;         // owned
  struct wd_transport *transport; // owned
  struct wd_auth auth;
  struct wd_upload_slot *slots;
  unsigned concurrency, in_flight;
  struct wd_upload_call login;
  struct wd_arena login_arena;
  bool logging_in, closed;
  enum wd_upload_state state;
  unsigned faults; // in a row
  unsigned odd;    // answers in a row that stored nothing although they were answers
  unsigned epoch;  // rises with every fault: answers to what was sent before say nothing new
  wd_ns retry_at;  // not in WD_UPLOAD_OK: when to send a single row again
  struct wd_timer wake;
  struct wd_upload_flush *flushes;
  int64_t sent, retried, rejected, left_behind; // left_behind: rows at close
  char last_error[256];                         // "" where all was well so far
  const char *where;                            // the manager's address, fit to print
};

struct wd_upload_status {
  int state; // enum wd_upload_state
  int64_t queued, in_flight, sent, retried, rejected, dropped, aside;
  double oldest_s; // age of the oldest row that is not delivered; NaN: there is none
  const char *last_error, *spool, *spool_error;
};

extern const struct wd_desc wd_upload_status_desc;

// Takes over store and transport, also on failure. `auth` and `where` must live as long. 0, or -1 when memory is out.
int wd_upload_open(struct wd_upload *u, struct wd_loop *loop, struct wd_store *store, struct wd_transport *transport,
                   const struct wd_auth_opts *auth, unsigned concurrency, const char *where);

// Stops what is under way and frees everything; whether rows that are left are kept or gone is logged.
// Those who wait in wd_upload_flush are told. A second call does no harm.
void wd_upload_close(struct wd_upload *u);

// Rows not delivered yet: waiting or in flight; after close, those that were left.
int64_t wd_upload_left(struct wd_upload *u);

// Tries at once, whatever the back-off says. `flush->done` is called, maybe from within, when nothing is
// left, or when the queue turns out to be blocked.
void wd_upload_flush(struct wd_upload *u, struct wd_upload_flush *flush);
void wd_upload_unflush(struct wd_upload *u, struct wd_upload_flush *flush);

// The texts of *out belong to *u and its store.
void wd_upload_status(struct wd_upload *u, struct wd_upload_status *out);
