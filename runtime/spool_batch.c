// What the writer does in one transaction: the jobs of a batch, and what becomes of them. See spool.h.
#include <inttypes.h>
#include <stdio.h>

#include "runtime/spool_inner.h"

// ---- jobs ----

static bool fits(const struct wd_spool *s, size_t n) {
  return s->file.totals.rows < s->limits.max_rows && s->file.totals.bytes + (int64_t)n <= s->limits.max_bytes;
}

static void say_full(struct wd_spool *s) {
  if (!s->said_full)
    wd_spool_say(s, WD_LOG_ERROR, "spool: %s is full (%" PRId64 " results, %" PRId64 " bytes), the %s results are dropped",
                 s->path, s->file.totals.rows, s->file.totals.bytes, s->limits.drop_oldest ? "oldest" : "newest");
  s->said_full = true;
}

// Drops the oldest row that is not being sent. *found: whether there was one.
static enum wd_spool_fault drop_oldest(struct wd_spool *s, struct wd_spool_batch *b, bool *found) {
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

static enum wd_spool_fault run_put(struct wd_spool *s, struct wd_spool_batch *b, struct wd_spool_job *job) {
  size_t n = job->entry->row.body.n;
  bool found = true;
  enum wd_spool_fault fault = WD_SPOOL_OK;
  job->result = WD_STORE_TAKEN;
  if (!fits(s, n)) say_full(s);
  if (s->file.totals.rows < s->limits.max_rows / 10 * 9 && s->file.totals.bytes < s->limits.max_bytes / 10 * 9)
    s->said_full = false;
  while (!fault && found && !fits(s, n) && s->limits.drop_oldest && (int64_t)n <= s->limits.max_bytes)
    fault = drop_oldest(s, b, &found);
  if (fault) return fault;
  if (!fits(s, n)) {
    job->result = WD_STORE_FULL;
    b->dropped++;
    wd_spool_file_note_dropped(&s->file, 1);
    return WD_SPOOL_OK;
  }
  struct wd_spool_row row = wd_spool_row_of(job->entry, &job->row);
  fault = wd_spool_file_put(&s->file, &row);
  job->entry->row.id = row.id;
  return fault;
}

// What the loop's side has counted already when it asked for it.
static enum wd_spool_fault run_removal(struct wd_spool *s, struct wd_spool_batch *b, struct wd_spool_job *job) {
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
  enum wd_spool_fault fault =
      wd_spool_file_list(&s->file, ask->aside, ask->key, ask->after, ask->most, &ask->arena, &rows, &count);
  if (fault) return fault;
  ask->rows = wd_arena_array(&ask->arena, count, sizeof(*ask->rows));
  ask->count = ask->rows ? count : 0;
  ask->more = count > 0;
  for (size_t i = 0; i < ask->count; i++)
    ask->rows[i] =
        (struct wd_listed_row){rows[i].id,    rows[i].key,    rows[i].body,   rows[i].created_us, rows[i].not_before_us,
                               rows[i].tries, rows[i].answer, rows[i].status, rows[i].at_us};
  return WD_SPOOL_OK;
}

static enum wd_spool_fault purge(struct wd_spool *s, struct wd_spool_batch *b, struct wd_store_ask *ask) {
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

static enum wd_spool_fault run_ask(struct wd_spool *s, struct wd_spool_batch *b, struct wd_spool_job *job) {
  struct wd_store_ask *ask = job->answers;
  if (ask->request == WD_ASK_LIST) return list(s, ask);
  if (ask->request == WD_ASK_PURGE) return purge(s, b, ask);
  enum wd_spool_fault fault = wd_spool_file_requeue(&s->file, ask->key, &ask->changed);
  job->row.id = s->file.last_id;
  return fault;
}

static enum wd_spool_fault run_job(struct wd_spool *s, struct wd_spool_batch *b, struct wd_spool_job *job) {
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

enum wd_spool_fault wd_spool_batch_run(struct wd_spool *s, struct wd_spool_batch *b) {
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

// Where a row goes that was written: into the window when nothing older is on the disk alone. One that gave way to later rows of the
// same batch goes nowhere.
static void place(struct wd_spool *s, struct wd_spool_job *job) { // with the lock
  struct wd_entry *e = job->entry;
  bool next = s->cursor >= s->tail, delayed = job->row.not_before_us > 0, gone = e->row.id <= s->cursor;
  s->tail = e->row.id;
  if (gone || !next) return;
  if (!delayed && (s->ready.count >= WD_SPOOL_WINDOW_ROWS || s->ready.bytes >= WD_SPOOL_WINDOW_BYTES)) return;
  s->cursor = s->tail;
  if (delayed) return;
  job->entry = NULL;
  e->generation = s->generation;
  wd_queue_append(&s->ready, e);
}

void wd_spool_batch_done(struct wd_spool *s, struct wd_spool_batch *b) {
  const struct wd_spool_totals *now = &s->file.totals, *before = &s->file.before;
  struct wd_spool_jobs over = {0};
  int64_t oldest_us = 0, delayed_us = 0;
  if (!b->quiet) wd_spool_look(s, &oldest_us, &delayed_us);
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
    s->unrecorded -= wd_spool_job_records(job);
    wd_spool_jobs_add(is_quiet(job) ? &over : &s->done, job);
  }
  b->wake = s->held;
  s->dropped += b->dropped;
  wd_spool_publish(s);
  uv_mutex_unlock(&s->lock);
  wd_queue_free(&b->gone);
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&over));) wd_spool_job_free(job);
}

void wd_spool_batch_failed(struct wd_spool *s, struct wd_spool_batch *b) {
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
    if (!s->file.db) s->unrecorded -= wd_spool_job_records(job);
    wd_spool_jobs_add(waited_for || !s->file.db ? &s->done : &kept, job);
  }
  while (s->jobs.first) wd_spool_jobs_add(&kept, wd_spool_jobs_take(&s->jobs));
  s->jobs = kept;
  uv_mutex_unlock(&s->lock);
}
