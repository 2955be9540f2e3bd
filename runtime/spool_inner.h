// What the loop's side (spool.c) and the writer (spool_writer.c) share. See spool.h.
// Must hold: every member below `lock` is touched with the lock held; those above it belong to one side.
#pragma once

#include "runtime/log.h"
#include "runtime/spool.h"
#include "runtime/spool_file.h"
#include "runtime/upload_queue.h"

enum {
  WD_SPOOL_WINDOW_ROWS = 256, // rows in memory, ready to be sent
  WD_SPOOL_WINDOW_BYTES = 1 << 20,
  WD_SPOOL_MOST_UNRECORDED = 16,                  // what a process that is killed may deliver twice besides what is in flight
  WD_SPOOL_LOW_WINDOW = WD_SPOOL_WINDOW_ROWS / 2, // from here down more are read
};

enum wd_spool_job_kind {
  WD_JOB_PUT,
  WD_JOB_REMOVE,
  WD_JOB_PUT_BACK,
  WD_JOB_SET_ASIDE,
  WD_JOB_MAKE_DUE,
  WD_JOB_KEEP,
  WD_JOB_ASK,
};

// Something for the writer to do; jobs that somebody waits for come back to the loop.
struct wd_spool_job {
  enum wd_spool_job_kind kind;
  struct wd_spool_job *next;
  bool dropped;             // REMOVE: counted as dropped
  struct wd_entry *entry;   // PUT: the row; NULL once it is in the window
  struct wd_store_put *put; // who waits for it; NULL: nobody (any more)
  struct wd_row *moved;     // the row of the store in memory that it comes from; NULL: none
  enum wd_store_result result;
  struct wd_spool_row row;      // its numbers; key, body and answer are not in it
  char *answer;                 // SET_ASIDE
  struct wd_spool_memo *memo;   // KEEP
  struct wd_store_ask *ask;     // ASK; NULL: nobody waits for it any more
  struct wd_store_ask *answers; // its copy, which the writer fills in; `key` is its own
  bool no_file;                 // ASK: there was none to answer from
};

struct wd_spool_jobs {
  struct wd_spool_job *first, **end;
};

struct wd_spool_line {
  struct wd_spool_line *next;
  enum wd_log_level level;
  char text[];
};

enum wd_spool_state { WD_SPOOL_OPENING, WD_SPOOL_OPEN, WD_SPOOL_IN_MEMORY };

struct wd_spool {
  struct wd_store store;
  struct wd_loop *loop;
  struct wd_store *memory; // takes what the file cannot
  struct wd_store_limits limits;
  bool impatient;
  char *path;
  uv_async_t async;
  uv_thread_t thread;
  char fault_shown[512]; // what `counts` gave last
  int64_t moving;        // rows on their way from memory to the file

  // the writer's
  struct wd_spool_file file;
  int64_t cursor, tail; // ids: rows up to the one are in the window, leased, or put off; the other is the last row's
  wd_ns retry_at;       // real clock: when to try again to open a file that could not be
  bool said_busy, said_full;
  bool slack; // rows have left since the file was last made smaller

  uv_mutex_t lock;
  uv_cond_t work;
  struct wd_spool_jobs jobs, done;
  uint64_t asked; // jobs there ever were
  struct wd_spool_line *lines, **lines_end;
  enum wd_spool_state state;
  char fault[512]; // why the file is not written; "" where it is
  bool stop;
  bool opened; // `memo` is what the file had; the loop has not taken it yet
  struct wd_spool_memo memo;
  struct wd_queue ready, leased;
  unsigned generation; // rises when a damaged file is replaced
  bool more;           // there are rows on the disk alone that are not put off
  int64_t delayed_us;  // when the first row that is put off is due (wall clock), 0: there is none
  int64_t now_us;      // rows put off until then are wanted
  int64_t oldest_us;   // creation of the oldest row in the file, 0: none
  int64_t rows, bytes; // in the file and not removed
  int64_t aside, dropped;
  int64_t unrecorded; // rows that were delivered or refused, which the file does not know yet
  bool held;          // there are so many of these that nothing more is sent before they are fewer
};

// ---- spool_jobs.c ----

void wd_spool_jobs_add(struct wd_spool_jobs *q, struct wd_spool_job *job);
struct wd_spool_job *wd_spool_jobs_take(struct wd_spool_jobs *q);
struct wd_spool_job *wd_spool_job_new(enum wd_spool_job_kind kind); // NULL: memory is out
void wd_spool_job_free(struct wd_spool_job *job);

// Whether it records that a row was delivered or refused.
bool wd_spool_job_records(const struct wd_spool_job *job);

// The row of an entry, with the numbers given.
struct wd_spool_row wd_spool_row_of(const struct wd_entry *e, const struct wd_spool_row *numbers);

// ---- spool_batch.c: the writer's, without the lock ----

// What a transaction did besides its jobs' own results.
struct wd_spool_batch {
  struct wd_spool_jobs jobs;
  struct wd_queue gone;          // taken out of the window
  int64_t cursor;                // at its beginning
  int64_t loop_rows, loop_bytes; // change of the totals that the loop's side has counted already
  int64_t dropped;
  bool writes;
  bool wake;  // the loop may send again
  bool quiet; // rows left, and the loop knows: nothing of it has to be looked up or told
};

// Runs the jobs as one transaction; on a fault nothing of it has happened.
enum wd_spool_fault wd_spool_batch_run(struct wd_spool *s, struct wd_spool_batch *b);

// Hands the jobs back to the loop, with what came of them.
void wd_spool_batch_done(struct wd_spool *s, struct wd_spool_batch *b);

// Nothing was written: who waits is told, the rest is kept for the next try.
void wd_spool_batch_failed(struct wd_spool *s, struct wd_spool_batch *b);

// ---- spool_writer.c ----

// The thread.
void wd_spool_write(void *spool);

// A line for the log, which the loop writes. Call without the lock.
void wd_spool_say(struct wd_spool *s, enum wd_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// What the loop's side has to know after a change: from the file, without the lock; from the writer, with it.
void wd_spool_look(struct wd_spool *s, int64_t *oldest_us, int64_t *delayed_us);
void wd_spool_publish(struct wd_spool *s);
