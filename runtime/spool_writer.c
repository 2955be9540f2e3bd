// The spool's writer: does in a thread of its own what touches the disk. See spool.h.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/pages.h"
#include "runtime/spool_inner.h"

enum {
  MOST_BATCH = 1024, // jobs of one transaction
  FEW_ROWS = 1000,   // that are worth moving to give their room back to the disk
};

static const uint64_t lock_retry_ns = 250 * WD_MS;                   // between two looks at a lock that another process has
static const uint64_t write_retry_ns = WD_S;                         // for what has to be written and could not be
static const wd_ns open_retry = 10 * WD_S;                           // at the next result after that
static const int64_t longest_delay_us = 2 * 3600 * INT64_C(1000000); // a row put off for longer was so before the clock jumped

void wd_spool_say(struct wd_spool *s, enum wd_log_level level, const char *fmt, ...) {
  char text[1500];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  struct wd_spool_line *line = malloc(sizeof(*line) + strlen(text) + 1);
  if (!line) return;
  line->next = NULL;
  line->level = level;
  memcpy(line->text, text, strlen(text) + 1);
  uv_mutex_lock(&s->lock);
  *s->lines_end = line;
  s->lines_end = &line->next;
  uv_mutex_unlock(&s->lock);
}

static void set_state(struct wd_spool *s, enum wd_spool_state state, const char *fault) {
  uv_mutex_lock(&s->lock);
  s->state = state;
  snprintf(s->fault, sizeof(s->fault), "%s", fault);
  uv_mutex_unlock(&s->lock);
}

static void now_in_memory(struct wd_spool *s, const char *why) {
  bool said = s->state == WD_SPOOL_IN_MEMORY; // only this thread writes it
  set_state(s, WD_SPOOL_IN_MEMORY, why);
  if (!said && !s->impatient)
    wd_spool_say(s, WD_LOG_ERROR,
                 "spool: %s cannot be written: %s; results wait in memory only, and are lost when this process ends", s->path,
                 why);
}

static void now_on_disk(struct wd_spool *s) {
  if (s->state == WD_SPOOL_IN_MEMORY) wd_spool_say(s, WD_LOG_WARNING, "spool: %s can be written again", s->path);
  set_state(s, WD_SPOOL_OPEN, "");
}

// ---- what the loop's side has to know after a change ----

void wd_spool_look(struct wd_spool *s, int64_t *oldest_us, int64_t *delayed_us) {
  struct wd_spool_row row;
  if (wd_spool_file_oldest(&s->file, oldest_us)) *oldest_us = 0;
  *delayed_us = wd_spool_file_next_delayed(&s->file, &row) == WD_SPOOL_OK ? row.not_before_us : 0;
  wd_spool_file_rest(&s->file);
}

void wd_spool_publish(struct wd_spool *s) {
  s->more = s->cursor < s->tail;
  s->aside = s->file.totals.aside;
}

static void look_and_publish(struct wd_spool *s) {
  int64_t oldest_us, delayed_us;
  wd_spool_look(s, &oldest_us, &delayed_us);
  uv_mutex_lock(&s->lock);
  s->oldest_us = oldest_us;
  s->delayed_us = delayed_us;
  wd_spool_publish(s);
  uv_mutex_unlock(&s->lock);
}

// ---- opening ----

static void begin_with_file(struct wd_spool *s) {
  struct wd_spool_memo memo;
  if (wd_spool_file_memo(&s->file, &memo)) memo = (struct wd_spool_memo){0};
  s->cursor = 0;
  s->tail = s->file.last_id;
  uv_mutex_lock(&s->lock);
  s->rows = s->file.totals.rows + s->leased.count;
  s->bytes = s->file.totals.bytes + s->leased.bytes;
  s->memo = memo;
  s->opened = true;
  uv_mutex_unlock(&s->lock);
  look_and_publish(s);
  now_on_disk(s);
  wd_pages_release(); // opening is the most that a small agent ever asks of this library
  if (*s->file.set_aside)
    wd_spool_say(s, WD_LOG_ERROR, "spool: %s was damaged (%s): it is kept as %s, and a new one is begun", s->path, s->file.error,
                 s->file.set_aside);
  if (s->file.totals.rows > 0)
    wd_spool_say(s, WD_LOG_INFO, "spool: %s: %" PRId64 " results wait from before", s->path, s->file.totals.rows);
}

// Gives whether it is known how things stand.
static bool open_file(struct wd_spool *s) {
  char holder[64] = "in use by another process", text[64];
  enum wd_spool_fault fault = wd_spool_file_open(&s->file, s->path);
  if (fault == WD_SPOOL_OK) {
    begin_with_file(s);
    return true;
  }
  if (fault != WD_SPOOL_BUSY) {
    s->retry_at = wd_clock_real() + open_retry;
    now_in_memory(s, s->file.error);
    return true;
  }
  long pid = wd_spool_file_holder(s->path);
  if (pid) snprintf(holder, sizeof(holder), "in use by process %ld", pid);
  if (s->impatient) {
    now_in_memory(s, holder);
    return true;
  }
  snprintf(text, sizeof(text), "%s", holder);
  set_state(s, WD_SPOOL_OPENING, text);
  if (!s->said_busy) wd_spool_say(s, WD_LOG_WARNING, "spool: %s is %s, waiting for it to end", s->path, holder);
  s->said_busy = true;
  return false;
}

// ---- a damaged file ----

// Rows that the file lost go back to the loop as puts that failed, for its store in memory.
static void hand_back(struct wd_spool *s, struct wd_queue *rows) {
  for (struct wd_entry *e; (e = wd_queue_take_first(rows));) {
    struct wd_spool_job *job = calloc(1, sizeof(*job));
    if (!job) {
      wd_entry_free(e);
      continue;
    }
    *job = (struct wd_spool_job){.kind = WD_JOB_PUT, .entry = e, .result = WD_STORE_FAILED};
    uv_mutex_lock(&s->lock);
    wd_spool_jobs_add(&s->done, job);
    uv_mutex_unlock(&s->lock);
  }
}

static enum wd_spool_fault write_again(struct wd_spool *s, struct wd_queue *rows) {
  enum wd_spool_fault fault = wd_spool_file_begin(&s->file, true);
  for (struct wd_entry *e = rows->first; e && !fault; e = e->next) {
    struct wd_spool_row row =
        wd_spool_row_of(e, &(struct wd_spool_row){.created_us = e->created_us, .tries = e->row.tries, .doubts = e->row.doubts});
    fault = wd_spool_file_put(&s->file, &row);
    e->row.id = row.id;
  }
  if (!fault) fault = wd_spool_file_commit(&s->file);
  if (fault) wd_spool_file_rollback(&s->file);
  return fault;
}

// Begins a new file with what is in the window; leased rows are written when they come back.
static enum wd_spool_fault replace_file(struct wd_spool *s) {
  struct wd_queue rows = {0};
  char why[sizeof(s->file.error)];
  snprintf(why, sizeof(why), "%s", s->file.error);
  uv_mutex_lock(&s->lock);
  wd_queue_move(&s->ready, &rows, NULL);
  uv_mutex_unlock(&s->lock);
  enum wd_spool_fault fault = wd_spool_file_begin_anew(&s->file);
  if (!fault)
    wd_spool_say(s, WD_LOG_ERROR,
                 "spool: %s is damaged (%s): it is kept as %s, and a new one is begun with the %" PRId64 " results at hand",
                 s->path, why, s->file.set_aside, rows.count);
  if (!fault) fault = write_again(s, &rows);
  if (fault) hand_back(s, &rows);
  s->cursor = s->tail = s->file.last_id;
  uv_mutex_lock(&s->lock);
  s->generation++;
  s->rows = rows.count + s->leased.count;
  s->bytes = rows.bytes + s->leased.bytes;
  s->oldest_us = s->delayed_us = 0;
  for (struct wd_entry *e; (e = wd_queue_take_first(&rows));) {
    e->generation = s->generation;
    wd_queue_insert(&s->ready, e);
  }
  wd_spool_publish(s);
  uv_mutex_unlock(&s->lock);
  return fault ? WD_SPOOL_FAILED : WD_SPOOL_OK;
}

// Gives whether it could be written.
static bool run_batch(struct wd_spool *s, struct wd_spool_batch *b) {
  bool wants_file = !s->file.db && !s->stop && wd_clock_real() >= s->retry_at;
  if (wants_file && !s->impatient) open_file(s);
  enum wd_spool_fault fault = s->file.db ? wd_spool_batch_run(s, b) : WD_SPOOL_FAILED;
  if (fault == WD_SPOOL_DAMAGED) {
    fault = replace_file(s);
    if (!fault) fault = wd_spool_batch_run(s, b);
  }
  if (fault) {
    if (s->file.db) now_in_memory(s, s->file.error);
    wd_spool_batch_failed(s, b);
  } else {
    if (s->state == WD_SPOOL_IN_MEMORY && b->writes) now_on_disk(s);
    wd_spool_batch_done(s, b);
  }
  return !fault;
}

// ---- the window ----

static struct wd_entry *copy_row(const struct wd_spool_row *row) {
  struct wd_entry *e = wd_entry_new(row->key, row->body);
  if (!e) return NULL;
  e->row.id = row->id;
  e->row.tries = (unsigned)row->tries;
  e->row.doubts = (unsigned)row->doubts;
  e->created_us = row->created_us;
  return e;
}

static enum wd_spool_fault out_of_memory(struct wd_spool *s) {
  snprintf(s->file.error, sizeof(s->file.error), "not enough memory");
  return WD_SPOOL_FAILED;
}

static enum wd_spool_fault read_fresh(struct wd_spool *s, struct wd_queue *to, int64_t room) {
  while (to->count < room && to->bytes < WD_SPOOL_WINDOW_BYTES && s->cursor < s->tail) {
    struct wd_spool_row row;
    enum wd_spool_fault fault = wd_spool_file_next(&s->file, s->cursor, &row);
    if (fault) return fault;
    if (!row.id) s->cursor = s->tail;
    if (!row.id) break;
    struct wd_entry *e = copy_row(&row);
    if (!e) return out_of_memory(s);
    s->cursor = row.id;
    wd_queue_append(to, e);
  }
  return WD_SPOOL_OK;
}

// Rows that were put off and are due. They are marked as taken up, so that they are not read twice; those behind the cursor are then
// read in their turn.
static enum wd_spool_fault read_delayed(struct wd_spool *s, struct wd_queue *to, int64_t room, int64_t now_us) {
  struct wd_spool_row row = {.id = 1};
  enum wd_spool_fault fault = wd_spool_file_begin(&s->file, false);
  for (int64_t n = 0; !fault && row.id && n < room; n++) {
    fault = wd_spool_file_next_delayed(&s->file, &row);
    if (fault || !row.id || (row.not_before_us > now_us && row.not_before_us < now_us + longest_delay_us)) break;
    struct wd_entry *e = row.id <= s->cursor ? copy_row(&row) : NULL;
    if (e) wd_queue_insert(to, e);
    fault = !e && row.id <= s->cursor ? out_of_memory(s) : wd_spool_file_take_up(&s->file, row.id);
  }
  wd_spool_file_rest(&s->file);
  if (!fault) fault = wd_spool_file_commit(&s->file);
  if (!fault) return WD_SPOOL_OK;
  wd_spool_file_rollback(&s->file);
  wd_queue_free(to);
  return fault;
}

static bool wants_delayed(const struct wd_spool *s) { // with the lock
  return s->delayed_us && s->now_us && (s->delayed_us <= s->now_us || s->delayed_us >= s->now_us + longest_delay_us);
}

// With the lock, which it lets go of meanwhile. Gives whether it could read.
static bool fill_window(struct wd_spool *s) {
  struct wd_queue fresh = {0}, delayed = {0};
  int64_t room = WD_SPOOL_WINDOW_ROWS - s->ready.count, now_us = s->now_us;
  bool put_off = wants_delayed(s);
  s->now_us = 0;
  uv_mutex_unlock(&s->lock);
  enum wd_spool_fault fault = put_off ? read_delayed(s, &delayed, room, now_us) : WD_SPOOL_OK;
  if (!fault) fault = read_fresh(s, &fresh, room - delayed.count);
  wd_spool_file_rest(&s->file);
  uv_mutex_lock(&s->lock);
  for (struct wd_entry *e; (e = wd_queue_take_first(delayed.first ? &delayed : &fresh));) {
    e->generation = s->generation;
    wd_queue_insert(&s->ready, e);
  }
  uv_mutex_unlock(&s->lock);
  if (fault == WD_SPOOL_DAMAGED) fault = replace_file(s);
  if (fault)
    now_in_memory(s, s->file.error);
  else
    look_and_publish(s);
  uv_async_send(&s->async);
  uv_mutex_lock(&s->lock);
  return !fault;
}

static bool window_is_low(const struct wd_spool *s) { // with the lock
  return s->file.db && s->ready.count < WD_SPOOL_LOW_WINDOW && s->ready.bytes < WD_SPOOL_WINDOW_BYTES / 2 &&
      (s->more || wants_delayed(s));
}

static bool has_slack(const struct wd_spool *s) {
  return s->slack && s->file.db && s->file.totals.rows < FEW_ROWS;
}

// With the lock, which it lets go of meanwhile.
static void shrink(struct wd_spool *s) {
  uv_mutex_unlock(&s->lock);
  s->slack = wd_spool_file_shrink(&s->file);
  uv_mutex_lock(&s->lock);
}

// ---- the thread ----

static void take_batch(struct wd_spool *s, struct wd_spool_jobs *to) { // with the lock
  for (int n = 0; s->jobs.first && n < MOST_BATCH; n++) wd_spool_jobs_add(to, wd_spool_jobs_take(&s->jobs));
}

// With the lock, which it lets go of meanwhile. Gives whether it could be written.
static bool work_off(struct wd_spool *s) {
  struct wd_spool_batch b = {0};
  take_batch(s, &b.jobs);
  uv_mutex_unlock(&s->lock);
  enum wd_spool_state before = s->state;
  bool written = run_batch(s, &b);
  if (b.wake || !b.quiet || !written || s->state != before) uv_async_send(&s->async);
  uv_mutex_lock(&s->lock);
  return written;
}

// With the lock. Gives false when the process is to end before another one has let go of the file.
static bool wait_for_file(struct wd_spool *s) {
  for (;;) {
    uv_mutex_unlock(&s->lock);
    bool known = open_file(s);
    uv_async_send(&s->async);
    uv_mutex_lock(&s->lock);
    if (known) return true;
    if (s->stop) return false;
    uv_cond_timedwait(&s->work, &s->lock, lock_retry_ns);
  }
}

// With the lock. Gives whether there may be more to do.
static bool work(struct wd_spool *s) {
  uint64_t asked = s->asked;
  bool fine = true, idle = !s->jobs.first;
  if (idle && s->stop) return false;
  if (!idle) fine = work_off(s);
  if (fine && window_is_low(s)) { // also between batches: a flood of results must not keep those that wait from being sent
    idle = false;
    fine = fill_window(s);
  }
  if (idle && has_slack(s))
    shrink(s);
  else if (idle)
    uv_cond_wait(&s->work, &s->lock);
  if (fine || !s->file.db || s->asked != asked) return fine || !s->stop;
  if (s->stop) return false;
  uv_cond_timedwait(&s->work, &s->lock, write_retry_ns);
  return true;
}

void wd_spool_write(void *spool) {
  struct wd_spool *s = spool;
  uv_mutex_lock(&s->lock);
  bool more = wait_for_file(s);
  while (more) more = work(s);
  uv_mutex_unlock(&s->lock);
  wd_spool_file_close(&s->file);
}
