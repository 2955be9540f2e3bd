// The store on disk: what was taken is in a file before `put` says so, and stays there until it is removed.
// One thread per spool does everything that touches the disk, in the order in which it was asked for; what was asked for
// while it was busy goes into one transaction (group commit). The loop's side keeps a window of rows in memory to send
// from, so that a million waiting rows cost no more memory than a hundred.
// Must hold: the loop never waits for the disk (but in wd_store_close); the writer never calls what belongs to the loop:
// log lines and answers go back through a list; a row is in the window, leased, or on the disk alone, never in two of these.
// Where the file cannot be written (a read-only folder, a full disk), rows are taken into a store in memory, which is said
// loudly, and move to the file as soon as it can be.
#pragma once

#include "runtime/loop.h"
#include "runtime/upload_store.h"

struct wd_spool_opts {
  const char *path;
  struct wd_store_limits limits;
  bool impatient; // a file that another process has is a fault, not something to wait for
};

// NULL when memory or threads are out. Whether the file can be opened turns out later: an answer to wd_store_ask comes
// when it did, or when it is clear that it cannot be.
struct wd_store *wd_spool_new(struct wd_loop *loop, const struct wd_spool_opts *opts);
