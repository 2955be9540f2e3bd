// The spool's file: a SQLite database of results that wait, and of those the manager refused for good.
// Everything that speaks SQLite is here; calls block, so they belong on a thread that may (spool.c).
//
// Durability: the database is in WAL mode. A transaction that takes results in runs with synchronous=FULL: the log is
// flushed to the disk at its commit, so a result that was acknowledged survives a power cut. NORMAL would lose the last
// commits then. A transaction that only lets go of results runs with synchronous=NORMAL: it survives the death of the
// process, and after a power cut a result that had been delivered is at worst delivered again, never lost.
// Must hold: the numbers in `totals` are those of the tables after every commit; one process at a time has the file, by
// a lock on FILE.lock; a file that is no waddle spool but somebody's database is left alone.
#pragma once

#include "runtime/arena.h"
#include "runtime/desc.h"

enum wd_spool_fault {
  WD_SPOOL_OK = 0,
  WD_SPOOL_BUSY,    // another process has it
  WD_SPOOL_DAMAGED, // not to be read any more
  WD_SPOOL_FAILED,  // cannot be read or written now: permissions, a full disk, a disk that fails
};

struct wd_spool_row {
  int64_t id; // in the order of their coming
  const char *key;
  struct wd_data body;
  int64_t created_us, not_before_us; // wall clock, since the epoch; not_before_us 0: at once
  int64_t tries, doubts;             // as wd_row has them
  int64_t status, at_us;             // of what was set aside: HTTP status, when
  const char *answer;                // what the manager said; NULL for a row that waits
};

struct wd_spool_totals {
  int64_t rows, bytes; // that wait; bytes of bodies
  int64_t aside, aside_bytes;
  int64_t dropped; // in the file's life: no room, or too old
};

// How delivery stood, for the next process.
struct wd_spool_memo {
  int64_t state, faults, odd, retry_at_us;
  char where[512], last_error[256];
};

struct sqlite3;
struct sqlite3_stmt;
enum { WD_SPOOL_STATEMENTS = 24 };

struct wd_spool_file {
  char path[4096];
  struct sqlite3 *db; // NULL: not open
  struct sqlite3_stmt *statements[WD_SPOOL_STATEMENTS];
  int lock_fd; // holds the lock; -1: not held
  bool durable, in_transaction;
  struct wd_spool_totals totals, before; // before: at the beginning of the transaction
  int64_t last_id;
  char error[512];      // the last fault in words
  char set_aside[4200]; // where a damaged file went; "" where none did since the last open
};

// Opens or makes the file and its folder. A damaged one is renamed FILE.corrupt-TIME, and a new one begun.
// On a fault nothing is open, f->error says why; the lock is kept over WD_SPOOL_FAILED, until wd_spool_file_close.
enum wd_spool_fault wd_spool_file_open(struct wd_spool_file *f, const char *path);

// Makes the folder of a file where it is not there; 0 or an errno.
int wd_spool_file_make_folder(const char *path);

// Renames a file that turned out damaged and begins a new one, whose ids go on where the old one's ended.
enum wd_spool_fault wd_spool_file_begin_anew(struct wd_spool_file *f);

// Gives up file and lock. Everything that was committed stays.
void wd_spool_file_close(struct wd_spool_file *f);

// The version of SQLite in use.
const char *wd_spool_file_library(void);

// Who holds the lock, 0 where that is not known.
long wd_spool_file_holder(const char *path);

// ---- transactions; `durable` as told above. What fails leaves the transaction to be rolled back ----

enum wd_spool_fault wd_spool_file_begin(struct wd_spool_file *f, bool durable);
enum wd_spool_fault wd_spool_file_commit(struct wd_spool_file *f);
void wd_spool_file_rollback(struct wd_spool_file *f);

// ---- in a transaction ----

// Gives the row its id.
enum wd_spool_fault wd_spool_file_put(struct wd_spool_file *f, struct wd_spool_row *row);

// A row that is not there is no fault. `dropped`: counted as such.
enum wd_spool_fault wd_spool_file_remove(struct wd_spool_file *f, int64_t id, bool dropped);

enum wd_spool_fault wd_spool_file_put_back(struct wd_spool_file *f, const struct wd_spool_row *row);

// Moves a row to the quarantine with the answer's status, text and time; the oldest there give way beyond 10,000 rows or 64 MiB.
enum wd_spool_fault wd_spool_file_set_aside(struct wd_spool_file *f, const struct wd_spool_row *row);

// Every row that is put off is due.
enum wd_spool_fault wd_spool_file_make_due(struct wd_spool_file *f);

// Marks a row that was put off as taken up again, so that wd_spool_file_read_delayed does not give it twice.
enum wd_spool_fault wd_spool_file_take_up(struct wd_spool_file *f, int64_t id);

// Counts rows that never came in as dropped.
void wd_spool_file_note_dropped(struct wd_spool_file *f, int64_t rows);

enum wd_spool_fault wd_spool_file_keep_memo(struct wd_spool_file *f, const struct wd_spool_memo *memo);

// Quarantined rows wait again, behind the others: those of `key`, or all where it is NULL. *changed: how many.
enum wd_spool_fault wd_spool_file_requeue(struct wd_spool_file *f, const char *key, int64_t *changed);

// Deletes rows of `key`, or all: of the quarantine, or those that wait but for the `kept` ids.
enum wd_spool_fault wd_spool_file_purge(struct wd_spool_file *f, bool aside, const char *key, const int64_t *kept,
                                        size_t kept_count, int64_t *changed);

// ---- reading, in a transaction or not ----

enum wd_spool_fault wd_spool_file_memo(struct wd_spool_file *f, struct wd_spool_memo *memo);

// The first row behind `after` that is not put off. On WD_SPOOL_OK without a row, row->id is 0. Texts and body are
// valid until the next call of this one or of wd_spool_file_rest, which must follow the last one: a reader that is not at
// rest keeps the log from being emptied.
enum wd_spool_fault wd_spool_file_next(struct wd_spool_file *f, int64_t after, struct wd_spool_row *row);

// Same: the row that was put off and is due first; row->not_before_us says when.
enum wd_spool_fault wd_spool_file_next_delayed(struct wd_spool_file *f, struct wd_spool_row *row);

void wd_spool_file_rest(struct wd_spool_file *f);

// When the oldest row that waits was created; 0 where none does.
enum wd_spool_fault wd_spool_file_oldest(struct wd_spool_file *f, int64_t *created_us);

// At most `most` rows behind the id `after`, of one key where `key` is not NULL, copied into the arena. Bodies together
// stay below a bound, but one row always fits.
enum wd_spool_fault wd_spool_file_list(struct wd_spool_file *f, bool aside, const char *key, int64_t after, size_t most,
                                       struct wd_arena *arena, struct wd_spool_row **rows, size_t *count);

// ---- between transactions ----

// Gives room that rows left behind back to the disk, a little at a time; false when there is nothing to give back.
bool wd_spool_file_shrink(struct wd_spool_file *f);
