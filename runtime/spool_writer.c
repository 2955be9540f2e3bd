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
  FEW_ROWS = 1000, // that are worth moving to give their room back to the disk
};

static const uint64_t lock_retry_ns = 250 * WD_MS;  // between two looks at a lock that another process has
static const uint64_t write_retry_ns = WD_S;        // for what has to be written and could not be
static const wd_ns open_retry = 10 * WD_S;          // at the next result after that
static const int64_t longest_delay_us = 2 * 3600 * INT64_C(1000000); // a row put off for longer was so before the clock jumped

// What a transaction did besides its jobs' own results.
struct batch {
  struct wd_spool_jobs jobs;
  struct wd_queue gone; // taken out of the window
  int64_t cursor;       // at its beginning
  int64_t loop_rows, loop_bytes; // change of the totals that the loop's side has counted already
  int64_t dropped;
  bool writes;
  bool quiet; // rows left, and the loop knows: nothing of it has to be looked up or told
};

static void say(struct wd_spool *s, enum wd_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// A line for the log, which the loop writes. Call without the lock.
static void say(struct wd_spool *s, enum wd_log_level level, const char *fmt, ...) {
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
    say(s, WD_LOG_ERROR, "spool: %s cannot be written: %s; results wait in memory only, and are lost when this process ends", s->path, why);
}

static void now_on_disk(struct wd_spool *s) {
  if (s->state == WD_SPOOL_IN_MEMORY) say(s, WD_LOG_WARNING, "spool: %s can be written again", s->path);
  set_state(s, WD_SPOOL_OPEN, "");
}

// ---- what the loop's side has to know after a change ----

static void look(struct wd_spool *s, int64_t *oldest_us, int64_t *delayed_us) {
  struct wd_spool_row row;
  if (wd_spool_file_oldest(&s->file, oldest_us)) *oldest_us = 0;
  *delayed_us = wd_spool_file_next_delayed(&s->file, &row) == WD_SPOOL_OK ? row.not_before_us : 0;
  wd_spool_file_rest(&s->file);
}

static void publish(struct wd_spool *s) { // with the lock
  s->more = s->cursor < s->tail;
  s->aside = s->file.totals.aside;
}

static void look_and_publish(struct wd_spool *s) {
  int64_t oldest_us, delayed_us;
  look(s, &oldest_us, &delayed_us);
  uv_mutex_lock(&s->lock);
  s->oldest_us = oldest_us;
  s->delayed_us = delayed_us;
  publish(s);
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
    say(s, WD_LOG_ERROR, "spool: %s was damaged (%s): it is kept as %s, and a new one is begun", s->path, s->file.error, s->file.set_aside);
  if (s->file.totals.rows > 0)
    say(s, WD_LOG_INFO, "spool: %s: %" PRId64 " results wait from before", s->path, s->file.totals.rows);
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
  if (!s->said_busy) say(s, WD_LOG_WARNING, "spool: %s is %s, waiting for it to end", s->path, holder);
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

static struct wd_spool_row row_of(const struct wd_entry *e, const struct wd_spool_row *numbers) {
  struct wd_spool_row row = *numbers;
  row.key = e->row.key;
  row.body = e->row.body;
  return row;
}

static enum wd_spool_fault write_again(struct wd_spool *s, struct wd_queue *rows) {
  enum wd_spool_fault fault = wd_spool_file_begin(&s->file, true);
  for (struct wd_entry *e = rows->first; e && !fault; e = e->next) {
    struct wd_spool_row row = row_of(e, &(struct wd_spool_row){.created_us = e->created_us, .tries = e->row.tries, .doubts = e->row.doubts});
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
    say(s, WD_LOG_ERROR, "spool: %s is damaged (%s): it is kept as %s, and a new one is begun with the %" PRId64 " results at hand", s->path, why,
        s->file.set_aside, rows.count);
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
  publish(s);
  uv_mutex_unlock(&s->lock);
  return fault ? WD_SPOOL_FAILED : WD_SPOOL_OK;
}

// ---- jobs ----

static bool fits(const struct wd_spool *s, size_t n) {
  return s->file.totals.rows < s->limits.max_rows && s->file.totals.bytes + (int64_t)n <= s->limits.max_bytes;
}

static void say_full(struct wd_spool *s) {
  if (!s->said_full)
    say(s, WD_LOG_ERROR, "spool: %s is full (%" PRId64 " results, %" PRId64 " bytes), the %s results are dropped", s->path, s->file.totals.rows,
        s->file.totals.bytes, s->limits.drop_oldest ? "oldest" : "newest");
  s->said_full = true;
}

// Drops the oldest row that is not being sent. *found: whether there was one.
static enum wd_spool_fault drop_oldest(struct wd_spool *s, struct batch *b, bool *found) {
  struct wd_spool_row row = {0};
  enum wd_spool_fault fault = WD_SPOOL_OK;
  uv_mutex_lock(&s->lock);
  struct wd_entry *e = wd_queue_take_first(&s->ready);
  if (e) {
    row.id = e->row.id;
    wd_queue_append(&b->gone, e);
  }
  uv_mutex_unlock(&s->lock);
  if (!e) {
    fault = wd_spool_file_next(&s->file, s->cursor, &row);
    if (!fault && row.id) s->cursor = row.id;
    if (!fault && !row.id) fault = wd_spool_file_next_delayed(&s->file, &row);
    wd_spool_file_rest(&s->file);
  }
  *found = row.id != 0;
  b->dropped += *found;
  return fault || !row.id ? fault : wd_spool_file_remove(&s->file, row.id, true);
}

static enum wd_spool_fault run_put(struct wd_spool *s, struct batch *b, struct wd_spool_job *job) {
  size_t n = job->entry->row.body.n;
  bool found = true;
  enum wd_spool_fault fault = WD_SPOOL_OK;
  job->result = WD_STORE_TAKEN;
  if (!fits(s, n)) say_full(s);
  if (s->file.totals.rows < s->limits.max_rows / 10 * 9 && s->file.totals.bytes < s->limits.max_bytes / 10 * 9) s->said_full = false;
  while (!fault && found && !fits(s, n) && s->limits.drop_oldest && (int64_t)n <= s->limits.max_bytes) fault = drop_oldest(s, b, &found);
  if (fault) return fault;
  if (!fits(s, n)) {
    job->result = WD_STORE_FULL;
    b->dropped++;
    wd_spool_file_note_dropped(&s->file, 1);
    return WD_SPOOL_OK;
  }
  struct wd_spool_row row = row_of(job->entry, &job->row);
  fault = wd_spool_file_put(&s->file, &row);
  job->entry->row.id = row.id;
  return fault;
}

// What the loop's side has counted already when it asked for it.
static enum wd_spool_fault run_removal(struct wd_spool *s, struct batch *b, struct wd_spool_job *job) {
  struct wd_spool_totals before = s->file.totals;
  job->row.answer = job->answer ? job->answer : "";
  enum wd_spool_fault fault = job->kind == WD_JOB_REMOVE ? wd_spool_file_remove(&s->file, job->row.id, job->dropped)
                                                         : wd_spool_file_set_aside(&s->file, &job->row);
  b->loop_rows += s->file.totals.rows - before.rows;
  b->loop_bytes += s->file.totals.bytes - before.bytes;
  return fault;
}

static enum wd_spool_fault list(struct wd_spool *s, struct wd_store_ask *ask) {
  struct wd_spool_row *rows;
  size_t count;
  enum wd_spool_fault fault = wd_spool_file_list(&s->file, ask->aside, ask->key, ask->after, ask->most, &ask->arena, &rows, &count);
  if (fault) return fault;
  ask->rows = wd_arena_array(&ask->arena, count, sizeof(*ask->rows));
  ask->count = ask->rows ? count : 0;
  ask->more = count > 0;
  for (size_t i = 0; i < ask->count; i++)
    ask->rows[i] = (struct wd_listed_row){rows[i].id,    rows[i].key,    rows[i].body,   rows[i].created_us, rows[i].not_before_us,
                                          rows[i].tries, rows[i].answer, rows[i].status, rows[i].at_us};
  return WD_SPOOL_OK;
}

static enum wd_spool_fault purge(struct wd_spool *s, struct batch *b, struct wd_store_ask *ask) {
  enum { MOST_KEPT = 64 };
  int64_t kept[MOST_KEPT];
  size_t count = 0;
  if (!ask->aside) {
    uv_mutex_lock(&s->lock);
    wd_queue_move(&s->ready, &b->gone, ask->key);
    for (const struct wd_entry *e = s->leased.first; e && count < MOST_KEPT; e = e->next) kept[count++] = e->row.id;
    uv_mutex_unlock(&s->lock);
  }
  return wd_spool_file_purge(&s->file, ask->aside, ask->key, kept, count, &ask->changed);
}

static enum wd_spool_fault run_ask(struct wd_spool *s, struct batch *b, struct wd_spool_job *job) {
  struct wd_store_ask *ask = job->answers;
  if (ask->request == WD_ASK_LIST) return list(s, ask);
  if (ask->request == WD_ASK_PURGE) return purge(s, b, ask);
  enum wd_spool_fault fault = wd_spool_file_requeue(&s->file, ask->key, &ask->changed);
  job->row.id = s->file.last_id;
  return fault;
}

static enum wd_spool_fault run_job(struct wd_spool *s, struct batch *b, struct wd_spool_job *job) {
  switch (job->kind) {
  case WD_JOB_PUT: return run_put(s, b, job);
  case WD_JOB_REMOVE:
  case WD_JOB_SET_ASIDE: return run_removal(s, b, job);
  case WD_JOB_PUT_BACK: return wd_spool_file_put_back(&s->file, &job->row);
  case WD_JOB_MAKE_DUE: return wd_spool_file_make_due(&s->file);
  case WD_JOB_KEEP: return wd_spool_file_keep_memo(&s->file, job->memo);
  case WD_JOB_ASK: return run_ask(s, b, job);
  }
  return WD_SPOOL_OK;
}

// ---- transactions ----

static bool only_reads(const struct wd_spool_job *job) {
  return job->kind == WD_JOB_ASK && job->answers->request == WD_ASK_LIST;
}

static bool is_durable(const struct wd_spool_job *job) {
  return job->kind == WD_JOB_PUT || (job->kind == WD_JOB_ASK && job->answers->request == WD_ASK_REQUEUE);
}

static bool is_quiet(const struct wd_spool_job *job) {
  return job->kind == WD_JOB_REMOVE || job->kind == WD_JOB_KEEP;
}

static enum wd_spool_fault run_transaction(struct wd_spool *s, struct batch *b) {
  bool durable = false;
  b->quiet = true;
  for (const struct wd_spool_job *job = b->jobs.first; job; job = job->next) {
    b->writes |= !only_reads(job);
    durable |= is_durable(job);
    b->quiet &= is_quiet(job);
  }
  b->cursor = s->cursor;
  b->loop_rows = b->loop_bytes = b->dropped = 0;
  s->file.before = s->file.totals;
  enum wd_spool_fault fault = b->writes ? wd_spool_file_begin(&s->file, durable) : WD_SPOOL_OK;
  for (struct wd_spool_job *job = b->jobs.first; job && !fault; job = job->next) fault = run_job(s, b, job);
  if (!fault && b->writes) fault = wd_spool_file_commit(&s->file);
  if (!fault) return WD_SPOOL_OK;
  wd_spool_file_rollback(&s->file);
  s->cursor = b->cursor;
  uv_mutex_lock(&s->lock);
  for (struct wd_entry *e; (e = wd_queue_take_first(&b->gone));) wd_queue_insert(&s->ready, e);
  uv_mutex_unlock(&s->lock);
  return fault;
}

// Where a row goes that was written: into the window when nothing older is on the disk alone.
static void place(struct wd_spool *s, struct wd_spool_job *job) { // with the lock
  struct wd_entry *e = job->entry;
  bool next = s->cursor >= s->tail, delayed = job->row.not_before_us > 0;
  s->tail = e->row.id;
  if (!next || (!delayed && (s->ready.count >= WD_SPOOL_WINDOW_ROWS || s->ready.bytes >= WD_SPOOL_WINDOW_BYTES))) return;
  s->cursor = s->tail;
  if (delayed) return;
  job->entry = NULL;
  e->generation = s->generation;
  wd_queue_append(&s->ready, e);
}

static void take_results(struct wd_spool *s, struct batch *b) {
  const struct wd_spool_totals *now = &s->file.totals, *before = &s->file.before;
  struct wd_spool_jobs over = {0};
  int64_t oldest_us = 0, delayed_us = 0;
  if (!b->quiet) look(s, &oldest_us, &delayed_us);
  s->slack |= now->rows < before->rows;
  uv_mutex_lock(&s->lock);
  s->rows += now->rows - before->rows - b->loop_rows;
  s->bytes += now->bytes - before->bytes - b->loop_bytes;
  if (!b->quiet) {
    s->oldest_us = oldest_us;
    s->delayed_us = delayed_us;
  }
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&b->jobs));) {
    if (job->kind == WD_JOB_PUT && job->result == WD_STORE_TAKEN) place(s, job);
    if (job->kind == WD_JOB_ASK && job->answers->request == WD_ASK_REQUEUE) s->tail = job->row.id;
    wd_spool_jobs_add(is_quiet(job) ? &over : &s->done, job);
  }
  s->dropped += b->dropped;
  publish(s);
  uv_mutex_unlock(&s->lock);
  wd_queue_free(&b->gone);
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&over));) wd_spool_job_free(job);
}

// Nothing was written: who waits is told, the rest is kept for the next try.
static void take_failure(struct wd_spool *s, struct batch *b) {
  struct wd_spool_jobs kept = {0};
  uv_mutex_lock(&s->lock);
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&b->jobs));) {
    bool waited_for = job->kind == WD_JOB_PUT || job->kind == WD_JOB_ASK;
    if (job->kind == WD_JOB_PUT) job->result = WD_STORE_FAILED;
    if (job->kind == WD_JOB_ASK) {
      wd_arena_free(&job->answers->arena);
      job->answers->count = 0;
      job->answers->changed = 0;
      job->answers->fault = wd_arena_strdup(&job->answers->arena, s->file.db ? s->file.error : s->fault);
      job->no_file = !s->file.db;
    }
    wd_spool_jobs_add(waited_for || !s->file.db ? &s->done : &kept, job);
  }
  while (s->jobs.first) wd_spool_jobs_add(&kept, wd_spool_jobs_take(&s->jobs));
  s->jobs = kept;
  uv_mutex_unlock(&s->lock);
}

// Gives whether it could be written.
static bool run_batch(struct wd_spool *s, struct batch *b) {
  bool wants_file = !s->file.db && !s->stop && wd_clock_real() >= s->retry_at;
  if (wants_file && !s->impatient) open_file(s);
  enum wd_spool_fault fault = s->file.db ? run_transaction(s, b) : WD_SPOOL_FAILED;
  if (fault == WD_SPOOL_DAMAGED) {
    fault = replace_file(s);
    if (!fault) fault = run_transaction(s, b);
  }
  if (fault) {
    if (s->file.db) now_in_memory(s, s->file.error);
    take_failure(s, b);
  } else {
    if (s->state == WD_SPOOL_IN_MEMORY && b->writes) now_on_disk(s);
    take_results(s, b);
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

static enum wd_spool_fault read_fresh(struct wd_spool *s, struct wd_queue *to, int64_t room) {
  while (to->count < room && to->bytes < WD_SPOOL_WINDOW_BYTES && s->cursor < s->tail) {
    struct wd_spool_row row;
    enum wd_spool_fault fault = wd_spool_file_next(&s->file, s->cursor, &row);
    if (fault) return fault;
    if (!row.id) s->cursor = s->tail;
    struct wd_entry *e = row.id ? copy_row(&row) : NULL;
    if (!e) break;
    s->cursor = row.id;
    wd_queue_append(to, e);
  }
  return WD_SPOOL_OK;
}

// Rows that were put off and are due. They are marked as taken up, so that they are not read twice.
static enum wd_spool_fault read_delayed(struct wd_spool *s, struct wd_queue *to, int64_t room, int64_t now_us) {
  struct wd_spool_row row = {.id = 1};
  enum wd_spool_fault fault = wd_spool_file_begin(&s->file, false);
  while (!fault && row.id && to->count < room) {
    fault = wd_spool_file_next_delayed(&s->file, &row);
    if (fault || !row.id || (row.not_before_us > now_us && row.not_before_us < now_us + longest_delay_us)) break;
    struct wd_entry *e = copy_row(&row);
    if (!e) break;
    wd_queue_insert(to, e);
    fault = wd_spool_file_take_up(&s->file, row.id);
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
  return s->file.db && s->ready.count < WD_SPOOL_LOW_WINDOW && s->ready.bytes < WD_SPOOL_WINDOW_BYTES / 2 && (s->more || wants_delayed(s));
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
  struct batch b = {0};
  take_batch(s, &b.jobs);
  uv_mutex_unlock(&s->lock);
  enum wd_spool_state before = s->state;
  bool written = run_batch(s, &b);
  if (!b.quiet || !written || s->state != before) uv_async_send(&s->async);
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

void wd_spool_write(void *spool) {
  struct wd_spool *s = spool;
  uv_mutex_lock(&s->lock);
  bool useful = wait_for_file(s);
  while (useful) {
    bool fine = true;
    if (s->jobs.first)
      fine = work_off(s);
    else if (s->stop)
      break;
    else if (window_is_low(s))
      fine = fill_window(s);
    else if (has_slack(s))
      shrink(s);
    else
      uv_cond_wait(&s->work, &s->lock);
    if (!fine && s->stop) break;
    if (!fine && s->file.db) uv_cond_timedwait(&s->work, &s->lock, write_retry_ns);
  }
  uv_mutex_unlock(&s->lock);
  wd_spool_file_close(&s->file);
}
