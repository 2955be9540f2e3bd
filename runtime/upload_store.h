// Where results wait until the manager has stored them: the interface between the uploader and its
// store. runtime/upload_memory.c keeps them in memory, runtime/spool.c in a file: taking a row in and
// looking at rows end in a callback, since a disk takes its time.
// Must hold: a row that `put` answered with WD_STORE_TAKEN stays until remove or set_aside, or until
// it has to give way to newer ones or is due and older than max_age (then it is counted as dropped);
// rows come out oldest first.
// All points in time are on the monotonic clock; a store that outlives the process converts them.
#pragma once

#include "runtime/arena.h"
#include "runtime/desc.h"

struct wd_store;

enum { WD_STORE_KEY_LEN = 64, WD_STORE_ANSWER_LEN = 1024 };

struct wd_store_limits {
  int64_t max_rows, max_bytes; // of bodies; both of what was not delivered and not set aside
  wd_ns max_age;               // WD_NONE: no bound
  bool drop_oldest;            // when it is full: the oldest that is not being sent gives way, else the newcomer is not taken
};

struct wd_row {
  int64_t id;      // rises with every put, never 0
  const char *key; // idempotency key
  struct wd_data body;
  wd_ns created, not_before;
  unsigned tries;  // how often it was sent without being stored
  unsigned doubts; // how often it was answered with a 500
  struct wd_store *home; // the store that has it, where stores share the work
};

enum wd_store_result { WD_STORE_TAKEN, WD_STORE_FULL, WD_STORE_FAILED };

// A row on its way in. Fill in the questions; `done` may be called from within wd_store_put.
struct wd_store_put {
  const char *key;     // at most WD_STORE_KEY_LEN - 1 bytes
  struct wd_data body; // copied before wd_store_put returns
  void (*done)(struct wd_store_put *put);
  enum wd_store_result result;
  void *owner; // whoever asks may keep something here
  void *inner; // the store's, while it is under way
};

struct wd_listed_row {
  int64_t id;
  const char *key;
  struct wd_data body;
  int64_t created_us, not_before_us; // wall clock, microseconds since the epoch; not_before_us 0: at once
  int64_t tries;
  const char *answer; // of a row that was set aside: what the manager said, made fit to print; NULL for one that waits
  int64_t status, at_us; // its HTTP status, and when it came
};

enum wd_store_request { WD_ASK_LIST, WD_ASK_REQUEUE, WD_ASK_PURGE };

// What people ask of a store. Fill in the questions; `done` may be called from within wd_store_ask.
// LIST: rows in the order of their ids; REQUEUE: rows that were set aside wait again, behind the others; PURGE: rows are
// deleted, but for those that are being sent.
struct wd_store_ask {
  enum wd_store_request request;
  bool aside;      // LIST, PURGE: of what was set aside, not of what waits
  const char *key; // only these; NULL: all
  int64_t after;   // LIST: those behind this id
  size_t most;     // LIST
  void (*done)(struct wd_store_ask *ask);

  struct wd_arena arena; // holds the answers; freed by the caller
  struct wd_listed_row *rows;
  size_t count;      // LIST
  bool more;         // LIST: there are, behind the last one's id
  int64_t changed;   // REQUEUE, PURGE: how many rows
  const char *fault; // it could not be done, and why; else NULL
  void *inner;       // the store's, while it is under way
};

// How delivery stands, for a store that outlives the process.
struct wd_store_memo {
  int state; // enum wd_upload_state
  unsigned faults, odd;
  wd_ns retry_at;
  char where[512], last_error[256];
};

struct wd_store_counts {
  int64_t rows, bytes; // waiting or leased
  bool opening;        // what earlier processes left is not counted yet
  int64_t leased;
  int64_t dropped; // since the store was opened: found it full, had to give way, or became too old
  int64_t aside;   // rows that were set aside and are still there
  wd_ns oldest;    // creation of the oldest row that waits; WD_NONE: none waits
  const char *fault; // why rows are not where they should be, valid until the next call; NULL: they are
};

struct wd_store_class {
  void (*put)(struct wd_store *s, struct wd_store_put *put);
  void (*forget_put)(struct wd_store *s, struct wd_store_put *put);
  wd_ns (*due)(struct wd_store *s, wd_ns now);
  struct wd_row *(*lease)(struct wd_store *s, wd_ns now);
  void (*remove)(struct wd_store *s, struct wd_row *row);
  void (*put_back)(struct wd_store *s, struct wd_row *row);
  void (*set_aside)(struct wd_store *s, struct wd_row *row, int64_t status, const char *answer);
  void (*make_due)(struct wd_store *s);
  void (*counts)(struct wd_store *s, wd_ns now, struct wd_store_counts *out);
  void (*ask)(struct wd_store *s, struct wd_store_ask *ask);
  void (*forget_ask)(struct wd_store *s, struct wd_store_ask *ask);
  void (*keep)(struct wd_store *s, const struct wd_store_memo *memo); // NULL: it does not outlive the process
  void (*close)(struct wd_store *s);
};

struct wd_store {
  const struct wd_store_class *cls;
  // Called by the store: a row may be due that was not before, or one less is there than before; and, before the first
  // row is due, how delivery stood when another process had the rows.
  void (*ready)(void *ctx);
  void (*recall)(void *ctx, const struct wd_store_memo *memo);
  void *ctx;
  const char *kept_in; // the file that outlives the process; NULL: none does
};

// Takes a row in, or answers that there is no room.
static inline void wd_store_put(struct wd_store *s, struct wd_store_put *put) {
  s->cls->put(s, put);
}

// `done` is not called any more; the row may have been stored all the same. No harm when it is over.
static inline void wd_store_forget_put(struct wd_store *s, struct wd_store_put *put) {
  s->cls->forget_put(s, put);
}

// When the next row may be leased: at most `now` if one can be, INT64_MAX if none waits.
static inline wd_ns wd_store_due(struct wd_store *s, wd_ns now) {
  return s->cls->due(s, now);
}

// The oldest row that is due, NULL for none. It stays the store's memory and is the caller's to change
// (not_before, tries, doubts) until remove, put_back or set_aside.
static inline struct wd_row *wd_store_lease(struct wd_store *s, wd_ns now) {
  return s->cls->lease(s, now);
}

static inline void wd_store_remove(struct wd_store *s, struct wd_row *row) {
  s->cls->remove(s, row);
}

static inline void wd_store_put_back(struct wd_store *s, struct wd_row *row) {
  s->cls->put_back(s, row);
}

// The row moves to the list of those the manager will never take.
static inline void wd_store_set_aside(struct wd_store *s, struct wd_row *row, int64_t status, const char *answer) {
  s->cls->set_aside(s, row, status, answer);
}

// Every row that waits is due now.
static inline void wd_store_make_due(struct wd_store *s) {
  s->cls->make_due(s);
}

static inline void wd_store_counts(struct wd_store *s, wd_ns now, struct wd_store_counts *out) {
  s->cls->counts(s, now, out);
}

static inline void wd_store_ask(struct wd_store *s, struct wd_store_ask *ask) {
  s->cls->ask(s, ask);
}

// `done` is not called any more. No harm when it is over.
static inline void wd_store_forget_ask(struct wd_store *s, struct wd_store_ask *ask) {
  s->cls->forget_ask(s, ask);
}

static inline void wd_store_keep(struct wd_store *s, const struct wd_store_memo *memo) {
  if (s->cls->keep) s->cls->keep(s, memo);
}

// Leased rows must have been given back. Puts and questions that are under way end within; what is on its way to a file is
// written, for which it waits.
static inline void wd_store_close(struct wd_store *s) {
  s->cls->close(s);
}

// A store in memory; NULL when memory is out.
struct wd_store *wd_store_memory(const struct wd_store_limits *limits);
