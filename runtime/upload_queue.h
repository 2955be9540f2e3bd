// Rows in memory and lists of them, shared by the stores.
// Must hold: an entry is in at most one queue; a queue knows the bytes of the bodies in it.
#pragma once

#include "runtime/upload_store.h"

struct wd_entry {
  struct wd_row row; // key and body point into `bytes`
  struct wd_entry *next;
  int64_t status, at_us; // of a row that was set aside
  char *answer;
  int64_t created_us;  // wall clock; spool.c
  unsigned generation; // of the file that it is in; spool.c
  char bytes[];        // key, NUL, body
};

struct wd_queue {
  struct wd_entry *first, **end; // end: where the next one is linked; NULL while the queue was never used
  int64_t count, bytes;
};

// A copy of key and body, with a NUL behind the body; NULL when memory is out.
struct wd_entry *wd_entry_new(const char *key, struct wd_data body);
void wd_entry_free(struct wd_entry *e);

void wd_queue_append(struct wd_queue *q, struct wd_entry *e);

// In the order of ids. A row that comes back is older than most of what waits, so its place is near the front.
void wd_queue_insert(struct wd_queue *q, struct wd_entry *e);

// In the order of not_before, behind those of the same moment.
void wd_queue_insert_by_time(struct wd_queue *q, struct wd_entry *e);

struct wd_entry *wd_queue_take_first(struct wd_queue *q); // NULL: empty

// Takes those of `key` out, or all where it is NULL, and appends them to `to`.
void wd_queue_move(struct wd_queue *from, struct wd_queue *to, const char *key);

// No harm when it is not in it.
void wd_queue_take(struct wd_queue *q, struct wd_entry *e);

void wd_queue_free(struct wd_queue *q);
