// The loop's side of the spool: the window of rows to send from, and what the writer has answered. See spool.h.
#include "runtime/spool.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/spool_inner.h"

enum {
  MOST_IN_MEMORY = 10000, // results that are kept while the file cannot be written
  MOST_BYTES_IN_MEMORY = 64 << 20,
  MOST_MOVED = 64, // of these that move to the file at once when it can
  WRITER_STACK = 512 << 10,
};

static struct wd_spool *spool_of(struct wd_store *s) {
  return (struct wd_spool *)s;
}

static void enqueue(struct wd_spool *s, struct wd_spool_job *job) { // with the lock
  wd_spool_jobs_add(&s->jobs, job);
  s->asked++;
  uv_cond_signal(&s->work);
}

static void hand_over(struct wd_spool *s, struct wd_spool_job *job) {
  uv_mutex_lock(&s->lock);
  enqueue(s, job);
  uv_mutex_unlock(&s->lock);
}

// ---- time: the file has the wall clock's ----

static int64_t wall_us_of(wd_ns at) {
  return wd_clock_wall_us() + (at - wd_clock_now()) / WD_US;
}

static wd_ns moment_of(int64_t wall_us) {
  return wd_clock_now() + (wall_us - wd_clock_wall_us()) * WD_US;
}

static wd_ns creation_of(int64_t wall_us) { // never in the future, however the clock was set meanwhile
  wd_ns now = wd_clock_now(), at = moment_of(wall_us);
  return at < now ? at : now;
}

// ---- putting ----

static void put(struct wd_store *store, struct wd_store_put *p) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_PUT);
  if (job) job->entry = wd_entry_new(p->key, p->body);
  if (!job || !job->entry) {
    free(job);
    p->result = WD_STORE_FAILED;
    p->done(p);
    return;
  }
  job->entry->created_us = job->row.created_us = wd_clock_wall_us();
  job->put = p;
  p->inner = job;
  s->loop->awaited++;
  hand_over(s, job);
}

static void forget_put(struct wd_store *store, struct wd_store_put *p) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = p->inner;
  p->inner = NULL;
  if (!job) return;
  uv_mutex_lock(&s->lock);
  job->put = NULL;
  uv_mutex_unlock(&s->lock);
  s->loop->awaited--;
}

static void on_moved(struct wd_store_put *p) {
  (void)p;
}

// A row that the file did not take goes into memory; on closing there is no use in that.
static enum wd_store_result put_into_memory(struct wd_spool *s, const struct wd_entry *e, bool closing) {
  struct wd_store_put p = {.key = e->row.key, .body = e->row.body, .done = on_moved};
  if (closing) return WD_STORE_FAILED;
  wd_store_put(s->memory, &p);
  return p.result;
}

static void finish_put(struct wd_spool *s, struct wd_spool_job *job, bool closing) {
  struct wd_store_put *p = job->put;
  enum wd_store_result result = job->result;
  if (job->moved && result == WD_STORE_TAKEN) wd_store_remove(s->memory, job->moved);
  if (job->moved && result != WD_STORE_TAKEN) wd_store_put_back(s->memory, job->moved);
  if (!job->moved && result == WD_STORE_FAILED) result = put_into_memory(s, job->entry, closing);
  if (!p) return;
  p->inner = NULL;
  p->result = result;
  s->loop->awaited--;
  p->done(p);
}

// Rows in memory move to the file, which can be written again.
static void move_to_file(struct wd_spool *s) {
  for (int i = 0; i < MOST_MOVED; i++) {
    struct wd_row *row = wd_store_lease(s->memory, wd_clock_now());
    if (!row) return;
    struct wd_spool_job *job = wd_spool_job_new(WD_JOB_PUT);
    if (job) job->entry = wd_entry_new(row->key, row->body);
    if (!job || !job->entry) {
      free(job);
      wd_store_put_back(s->memory, row);
      return;
    }
    job->entry->created_us = job->row.created_us = wall_us_of(row->created);
    job->moved = row;
    s->moving++;
    hand_over(s, job);
  }
}

// ---- sending ----

// Drops what is too old to be sent.
static void settle(struct wd_spool *s) { // with the lock
  if (s->limits.max_age == WD_NONE) return;
  int64_t oldest_us = wd_clock_wall_us() - s->limits.max_age / WD_US;
  while (s->ready.first && s->ready.first->created_us < oldest_us) {
    struct wd_spool_job *job = wd_spool_job_new(WD_JOB_REMOVE);
    if (!job) return;
    struct wd_entry *e = wd_queue_take_first(&s->ready);
    job->row.id = e->row.id;
    job->dropped = true;
    s->rows--;
    s->bytes -= (int64_t)e->row.body.n;
    s->dropped++;
    enqueue(s, job);
    wd_entry_free(e);
  }
}

static wd_ns due(struct wd_store *store, wd_ns now) {
  struct wd_spool *s = spool_of(store);
  wd_ns at = wd_store_due(s->memory, now);
  uv_mutex_lock(&s->lock);
  settle(s);
  int64_t delayed_us = s->delayed_us;
  s->held = s->state == WD_SPOOL_OPEN && s->unrecorded >= WD_SPOOL_MOST_UNRECORDED;
  if (s->held) {
    // goes on with a call of ready
  } else if (s->ready.first) {
    at = now;
  } else if (delayed_us && moment_of(delayed_us) > now) {
    if (moment_of(delayed_us) < at) at = moment_of(delayed_us);
  } else if (delayed_us) {
    s->now_us = wd_clock_wall_us(); // they come with a call of ready
  }
  if (s->now_us || (s->more && s->ready.count < WD_SPOOL_LOW_WINDOW)) uv_cond_signal(&s->work);
  uv_mutex_unlock(&s->lock);
  return at;
}

static struct wd_row *lease(struct wd_store *store, wd_ns now) {
  struct wd_spool *s = spool_of(store);
  uv_mutex_lock(&s->lock);
  settle(s);
  struct wd_entry *e = wd_queue_take_first(&s->ready);
  if (e) wd_queue_append(&s->leased, e);
  if (s->more && s->ready.count < WD_SPOOL_LOW_WINDOW) uv_cond_signal(&s->work);
  uv_mutex_unlock(&s->lock);
  if (!e) return wd_store_lease(s->memory, now);
  e->row.home = store;
  e->row.created = creation_of(e->created_us);
  return &e->row;
}

// Takes a row out of those that are leased. Gives whether the file has it. With the lock.
static bool give_back(struct wd_spool *s, struct wd_entry *e) {
  wd_queue_take(&s->leased, e);
  return e->generation == s->generation;
}

static void forget_row(struct wd_spool *s, const struct wd_entry *e) { // with the lock
  s->rows--;
  s->bytes -= (int64_t)e->row.body.n;
}

// A row leaves for good, by `job`, which may be NULL where memory is out: then the file keeps the row, and it is sent again.
static void let_go(struct wd_spool *s, struct wd_row *row, struct wd_spool_job *job) {
  struct wd_entry *e = WD_CONTAINER(row, struct wd_entry, row);
  if (job) job->row.id = row->id;
  uv_mutex_lock(&s->lock);
  bool in_file = give_back(s, e);
  forget_row(s, e);
  if (in_file && job) {
    s->unrecorded++;
    enqueue(s, job);
  }
  uv_mutex_unlock(&s->lock);
  if (!in_file && job) wd_spool_job_free(job);
  wd_entry_free(e);
}

static void remove_row(struct wd_store *store, struct wd_row *row) {
  struct wd_spool *s = spool_of(store);
  if (row->home != store)
    wd_store_remove(s->memory, row);
  else
    let_go(s, row, wd_spool_job_new(WD_JOB_REMOVE));
}

static void set_aside(struct wd_store *store, struct wd_row *row, int64_t status, const char *answer) {
  struct wd_spool *s = spool_of(store);
  if (row->home != store) {
    wd_store_set_aside(s->memory, row, status, answer);
    return;
  }
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_SET_ASIDE);
  if (job) {
    job->row = (struct wd_spool_row){.status = status, .at_us = wd_clock_wall_us(), .tries = row->tries};
    job->answer = strdup(answer);
  }
  let_go(s, row, job);
}

// A row that is to wait goes to the disk alone. One that a damaged file had is written to the new one.
static void put_back(struct wd_store *store, struct wd_row *row) {
  struct wd_spool *s = spool_of(store);
  if (row->home != store) {
    wd_store_put_back(s->memory, row);
    return;
  }
  struct wd_entry *e = WD_CONTAINER(row, struct wd_entry, row);
  bool waits = row->not_before > wd_clock_now();
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_PUT_BACK);
  if (job)
    job->row = (struct wd_spool_row){.id = row->id,
                                     .created_us = e->created_us,
                                     .tries = row->tries,
                                     .doubts = row->doubts,
                                     .not_before_us = waits ? wall_us_of(row->not_before) : 0};
  uv_mutex_lock(&s->lock);
  bool in_file = give_back(s, e);
  if (job && !in_file) {
    job->kind = WD_JOB_PUT;
    job->entry = e;
    forget_row(s, e);
    enqueue(s, job);
  } else if (job && waits) {
    enqueue(s, job);
    wd_entry_free(e);
  } else {
    wd_queue_insert(&s->ready, e);
    free(job);
  }
  uv_mutex_unlock(&s->lock);
}

static void make_due(struct wd_store *store) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_MAKE_DUE);
  wd_store_make_due(s->memory);
  if (job) hand_over(s, job);
}

static void keep(struct wd_store *store, const struct wd_store_memo *memo) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_KEEP);
  if (job) job->memo = malloc(sizeof(*job->memo));
  if (!job || !job->memo) {
    free(job);
    return;
  }
  *job->memo = (struct wd_spool_memo){
      .state = memo->state, .faults = memo->faults, .odd = memo->odd, .retry_at_us = wall_us_of(memo->retry_at)};
  snprintf(job->memo->where, sizeof(job->memo->where), "%s", memo->where);
  snprintf(job->memo->last_error, sizeof(job->memo->last_error), "%s", memo->last_error);
  hand_over(s, job);
}

// ---- looking ----

static void counts(struct wd_store *store, wd_ns now, struct wd_store_counts *out) {
  struct wd_spool *s = spool_of(store);
  wd_store_counts(s->memory, now, out);
  uv_mutex_lock(&s->lock);
  settle(s);
  // Rows on their way from memory to the file are leased there; they are being sent nowhere.
  out->leased -= s->moving;
  out->rows += s->rows;
  out->opening = s->state == WD_SPOOL_OPENING && !*s->fault; // not while it waits for another process to end
  out->bytes += s->bytes;
  out->leased += s->leased.count;
  out->dropped += s->dropped;
  out->aside += s->aside;
  // Rows leave in the order of their coming, but for those that are put off.
  int64_t oldest_us = s->ready.first && !s->delayed_us ? s->ready.first->created_us : s->oldest_us;
  wd_ns oldest = s->rows > s->leased.count && oldest_us ? creation_of(oldest_us) : WD_NONE;
  if (oldest != WD_NONE && (out->oldest == WD_NONE || oldest < out->oldest)) out->oldest = oldest;
  memcpy(s->fault_shown, s->fault, sizeof(s->fault_shown));
  uv_mutex_unlock(&s->lock);
  out->fault = *s->fault_shown ? s->fault_shown : NULL;
}

static void ask(struct wd_store *store, struct wd_store_ask *question) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = wd_spool_job_new(WD_JOB_ASK);
  if (job) job->answers = malloc(sizeof(*job->answers));
  if (!job || !job->answers) {
    free(job);
    question->fault = "not enough memory";
    question->done(question);
    return;
  }
  *job->answers = *question;
  job->answers->arena = (struct wd_arena){0};
  job->answers->key = wd_arena_strdup(&job->answers->arena, question->key);
  job->ask = question;
  question->inner = job;
  s->loop->awaited++;
  hand_over(s, job);
}

static void forget_ask(struct wd_store *store, struct wd_store_ask *question) {
  struct wd_spool *s = spool_of(store);
  struct wd_spool_job *job = question->inner;
  question->inner = NULL;
  if (!job) return;
  uv_mutex_lock(&s->lock);
  job->ask = NULL;
  uv_mutex_unlock(&s->lock);
  s->loop->awaited--;
}

// Without a file the rows are in memory, and so is the answer; but who did not want to wait for the file is told.
static void finish_ask(struct wd_spool *s, struct wd_spool_job *job, bool closing) {
  struct wd_store_ask *question = job->ask;
  if (!question) return;
  question->inner = NULL;
  s->loop->awaited--;
  if (job->no_file && !s->impatient && !closing) {
    wd_store_ask(s->memory, question);
    return;
  }
  struct wd_arena arena = job->answers->arena;
  job->answers->arena = question->arena;
  question->arena = arena;
  question->rows = job->answers->rows;
  question->count = job->answers->count;
  question->more = job->answers->more;
  question->changed = job->answers->changed;
  question->fault = job->answers->fault;
  question->done(question);
}

// ---- what the writer has answered ----

static void recall(struct wd_spool *s, const struct wd_spool_memo *from) {
  struct wd_store_memo memo = {.state = (int)from->state,
                               .faults = (unsigned)from->faults,
                               .odd = (unsigned)from->odd,
                               .retry_at = moment_of(from->retry_at_us)};
  snprintf(memo.where, sizeof(memo.where), "%s", from->where);
  snprintf(memo.last_error, sizeof(memo.last_error), "%s", from->last_error);
  if (s->store.recall) s->store.recall(s->store.ctx, &memo);
  s->store.recall = NULL; // a file that was opened later knows nothing newer
}

static void take_answers(struct wd_spool *s, bool closing) {
  struct wd_spool_jobs done;
  struct wd_spool_line *lines;
  struct wd_spool_memo memo;
  uv_mutex_lock(&s->lock);
  done = s->done;
  lines = s->lines;
  memo = s->memo;
  bool opened = s->opened, can_write = s->state == WD_SPOOL_OPEN;
  s->done = (struct wd_spool_jobs){0};
  s->lines = NULL;
  s->lines_end = &s->lines;
  s->opened = false;
  uv_mutex_unlock(&s->lock);
  while (lines) {
    struct wd_spool_line *line = lines;
    lines = line->next;
    wd_log(line->level, "%s", line->text);
    free(line);
  }
  if (opened && !closing) recall(s, &memo);
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&done));) {
    if (job->moved) s->moving--;
    if (job->kind == WD_JOB_PUT) finish_put(s, job, closing);
    if (job->kind == WD_JOB_ASK) finish_ask(s, job, closing);
    wd_spool_job_free(job);
  }
  if (can_write && !closing && s->moving == 0) move_to_file(s);
}

static void on_answers(uv_async_t *async) {
  struct wd_spool *s = WD_CONTAINER(async, struct wd_spool, async);
  take_answers(s, false);
  if (s->store.ready) s->store.ready(s->store.ctx);
}

// ---- opening and closing ----

static void free_spool(struct wd_spool *s) {
  uv_mutex_destroy(&s->lock);
  uv_cond_destroy(&s->work);
  free(s->path);
  free(s);
}

static void on_closed(uv_handle_t *async) {
  free_spool(WD_CONTAINER((uv_async_t *)async, struct wd_spool, async));
}

static void close_store(struct wd_store *store) {
  struct wd_spool *s = spool_of(store);
  struct wd_store_counts left;
  uv_mutex_lock(&s->lock);
  s->stop = true;
  uv_cond_signal(&s->work);
  uv_mutex_unlock(&s->lock);
  uv_thread_join(&s->thread);
  take_answers(s, true);
  // What the file could not take any more.
  for (struct wd_spool_job *job; (job = wd_spool_jobs_take(&s->jobs));) wd_spool_jobs_add(&s->done, job);
  for (struct wd_spool_job *job = s->done.first; job; job = job->next) {
    job->result = WD_STORE_FAILED;
    if (job->answers) job->answers->fault = "the spool was closed";
  }
  take_answers(s, true);
  wd_store_counts(s->memory, wd_clock_now(), &left);
  if (left.rows) wd_log(WD_LOG_ERROR, "spool: %s: %" PRId64 " results were in memory only, they are lost", s->path, left.rows);
  wd_store_close(s->memory);
  wd_queue_free(&s->ready);
  wd_queue_free(&s->leased);
  uv_close((uv_handle_t *)&s->async, on_closed);
}

// Signals are the loop's, but for those that a thread brings on itself.
static int start_writer(struct wd_spool *s) {
  sigset_t all, before;
  uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = WRITER_STACK};
  static const int own[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sigfillset(&all);
  for (size_t i = 0; i < WD_COUNT(own); i++) sigdelset(&all, own[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = uv_thread_create_ex(&s->thread, &options, wd_spool_write, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

struct wd_store *wd_spool_new(struct wd_loop *loop, const struct wd_spool_opts *opts) {
  static const struct wd_store_class cls = {.put = put,
                                            .forget_put = forget_put,
                                            .due = due,
                                            .lease = lease,
                                            .remove = remove_row,
                                            .put_back = put_back,
                                            .set_aside = set_aside,
                                            .make_due = make_due,
                                            .counts = counts,
                                            .ask = ask,
                                            .forget_ask = forget_ask,
                                            .keep = keep,
                                            .close = close_store};
  struct wd_spool *s = calloc(1, sizeof(*s));
  if (!s) return NULL;
  s->store.cls = &cls;
  s->loop = loop;
  s->limits = opts->limits;
  s->impatient = opts->impatient;
  s->file.lock_fd = -1;
  s->lines_end = &s->lines;
  s->path = strdup(opts->path);
  s->store.kept_in = s->path;
  s->memory = wd_store_memory(
      &(struct wd_store_limits){MOST_IN_MEMORY, MOST_BYTES_IN_MEMORY, opts->limits.max_age, opts->limits.drop_oldest});
  uv_mutex_init(&s->lock); // with default attributes neither of these can fail
  uv_cond_init(&s->work);
  bool async = s->path && s->memory && uv_async_init(&loop->uv, &s->async, on_answers) == 0;
  if (async && start_writer(s) == 0) return &s->store;
  if (s->memory) wd_store_close(s->memory);
  if (async)
    uv_close((uv_handle_t *)&s->async, on_closed);
  else
    free_spool(s);
  return NULL;
}
