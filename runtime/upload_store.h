// Where results wait until the manager has stored them: the interface between the uploader and its
// store. runtime/upload_memory.c keeps them in memory; a store on disk fits behind the same calls,
// which is why taking a row in and listing what was set aside end in a callback.
// Must hold: a row that `put` answered with WD_STORE_TAKEN stays until remove or set_aside, or until
// it is due and older than max_age (then it is counted as dropped); rows come out oldest first.
// All points in time are on the monotonic clock; a store that outlives the process converts them.
#pragma once

#include "runtime/arena.h"
#include "runtime/desc.h"

struct wd_store;

enum { WD_STORE_KEY_LEN = 64, WD_STORE_ANSWER_LEN = 1024 };

struct wd_store_limits {
  int64_t max_rows, max_bytes; // of bodies; both of what was not delivered and not set aside
  wd_ns max_age;               // WD_NONE: no bound
};

struct wd_row {
  int64_t id;      // rises with every put, never 0
  const char *key; // idempotency key
  struct wd_data body;
  wd_ns created, not_before;
  unsigned tries;  // how often it was sent without being stored
  unsigned doubts; // how often it was answered with a 500
};

enum wd_store_result { WD_STORE_TAKEN, WD_STORE_FULL, WD_STORE_FAILED };

// A row on its way in. Fill in the questions; `done` may be called from within wd_store_put.
struct wd_store_put {
  const char *key;     // at most WD_STORE_KEY_LEN - 1 bytes
  struct wd_data body; // copied before wd_store_put returns
  void (*done)(struct wd_store_put *put);
  enum wd_store_result result;
  void *inner; // the store's, while it is under way
};

struct wd_aside_row {
  const char *key, *answer; // answer: what the manager said, made fit to print
  struct wd_data body;
  int64_t status, at_us; // HTTP status; wall clock, microseconds since the epoch
};

// A list of the rows that were set aside, oldest first. `done` may be called from within wd_store_list.
struct wd_store_list {
  struct wd_arena arena; // holds the rows; freed by the caller
  struct wd_aside_row *rows;
  size_t count;
  void (*done)(struct wd_store_list *list);
  void *inner;
};

struct wd_store_counts {
  int64_t rows, bytes; // waiting or leased
  int64_t leased;
  int64_t dropped; // found the store full, or became too old
  int64_t aside;   // rows that wd_store_list gives
  wd_ns oldest;    // creation of the oldest row that waits; WD_NONE: none waits
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
  void (*list)(struct wd_store *s, struct wd_store_list *list);
  void (*forget_list)(struct wd_store *s, struct wd_store_list *list);
  void (*close)(struct wd_store *s);
};

struct wd_store {
  const struct wd_store_class *cls;
  void (*ready)(void *ctx); // the store calls it when a row may be due that was not before
  void *ctx;
};

// Takes a row in, or answers that there is no room: what is there already stays, the newcomer goes.
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

static inline void wd_store_list(struct wd_store *s, struct wd_store_list *list) {
  s->cls->list(s, list);
}

static inline void wd_store_forget_list(struct wd_store *s, struct wd_store_list *list) {
  s->cls->forget_list(s, list);
}

// Leased rows must have been given back.
static inline void wd_store_close(struct wd_store *s) {
  s->cls->close(s);
}

// A store in memory; NULL when memory is out.
struct wd_store *wd_store_memory(const struct wd_store_limits *limits);
