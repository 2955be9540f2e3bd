// The store in memory. Rows that are due wait in the order of their ids; rows that must not be sent
// yet wait apart, in the order of their time, so that neither holds up the other.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/upload_store.h"

// Rows set aside are kept for people to look at: the newest of them, within both bounds.
enum { MOST_ASIDE = 1000, MOST_ASIDE_BYTES = 8 << 20 };

struct entry {
  struct wd_row row;
  struct entry *next;
  int64_t status, at_us;
  char *answer;
  char bytes[]; // key, NUL, body
};

struct queue {
  struct entry *first, **end; // end: where the next one is linked; NULL while the queue was never used
  int64_t count, bytes;
};

struct memory {
  struct wd_store store;
  struct wd_store_limits limits;
  struct queue due, later, aside;
  struct {
    int64_t count, bytes;
  } leased;
  int64_t last_id, dropped;
  bool full; // said so already
};

static struct memory *memory_of(struct wd_store *s) {
  return (struct memory *)s;
}

static void insert(struct queue *q, struct entry *e, struct entry **at) {
  e->next = *at;
  *at = e;
  if (!e->next) q->end = &e->next;
  q->count++;
  q->bytes += (int64_t)e->row.body.n;
}

static void append(struct queue *q, struct entry *e) {
  insert(q, e, q->first ? q->end : &q->first);
}

static struct entry *take_first(struct queue *q) {
  struct entry *e = q->first;
  if (!e) return NULL;
  q->first = e->next;
  q->count--;
  q->bytes -= (int64_t)e->row.body.n;
  return e;
}

static void discard(struct entry *e) {
  free(e->answer);
  free(e);
}

// A row that comes back is older than most of what waits, so its place is near the front.
static void insert_due(struct queue *q, struct entry *e) {
  struct entry **at = &q->first;
  while (*at && (*at)->row.id < e->row.id) at = &(*at)->next;
  insert(q, e, at);
}

// Moves what has become due and drops what is too old to be sent.
static void settle(struct memory *m, wd_ns now) {
  while (m->later.first && m->later.first->row.not_before <= now) insert_due(&m->due, take_first(&m->later));
  if (m->limits.max_age == WD_NONE) return;
  while (m->due.first && now - m->due.first->row.created > m->limits.max_age) {
    discard(take_first(&m->due));
    m->dropped++;
  }
}

static void put(struct wd_store *s, struct wd_store_put *p) {
  struct memory *m = memory_of(s);
  wd_ns now = wd_clock_now();
  settle(m, now);
  int64_t rows = m->due.count + m->later.count + m->leased.count, bytes = m->due.bytes + m->later.bytes + m->leased.bytes;
  size_t key = strlen(p->key) + 1;
  struct entry *e = NULL;
  if (rows < m->limits.max_rows && bytes + (int64_t)p->body.n <= m->limits.max_bytes) e = malloc(sizeof(*e) + key + p->body.n);
  if (e) {
    *e = (struct entry){.row = {.id = ++m->last_id, .key = e->bytes, .body = {e->bytes + key, p->body.n}, .created = now}};
    memcpy(e->bytes, p->key, key);
    memcpy(e->bytes + key, p->body.p, p->body.n);
    append(&m->due, e);
  } else {
    m->dropped++;
    if (!m->full)
      wd_log(WD_LOG_ERROR, "upload: the queue is full (%" PRId64 " results, %" PRId64 " bytes), newer results are dropped", rows,
             bytes);
  }
  m->full = !e;
  p->result = e ? WD_STORE_TAKEN : WD_STORE_FULL;
  if (e && s->ready) s->ready(s->ctx);
  p->done(p);
}

static void forget_put(struct wd_store *s, struct wd_store_put *p) { // every put is over when it returns
  (void)s;
  (void)p;
}

static wd_ns due(struct wd_store *s, wd_ns now) {
  struct memory *m = memory_of(s);
  settle(m, now);
  return m->due.first ? now : m->later.first ? m->later.first->row.not_before : INT64_MAX;
}

static struct wd_row *lease(struct wd_store *s, wd_ns now) {
  struct memory *m = memory_of(s);
  settle(m, now);
  struct entry *e = take_first(&m->due);
  if (!e) return NULL;
  m->leased.count++;
  m->leased.bytes += (int64_t)e->row.body.n;
  return &e->row;
}

static struct entry *give_back(struct memory *m, struct wd_row *row) {
  m->leased.count--;
  m->leased.bytes -= (int64_t)row->body.n;
  return WD_CONTAINER(row, struct entry, row);
}

static void remove_row(struct wd_store *s, struct wd_row *row) {
  discard(give_back(memory_of(s), row));
}

static void put_back(struct wd_store *s, struct wd_row *row) {
  struct memory *m = memory_of(s);
  struct entry *e = give_back(m, row), **at = &m->later.first;
  while (*at && (*at)->row.not_before <= row->not_before) at = &(*at)->next;
  insert(&m->later, e, at);
}

static void set_aside(struct wd_store *s, struct wd_row *row, int64_t status, const char *answer) {
  struct memory *m = memory_of(s);
  struct entry *e = give_back(m, row);
  e->status = status;
  e->at_us = wd_clock_wall_us();
  e->answer = strdup(answer);
  append(&m->aside, e);
  while (m->aside.count > 1 && (m->aside.count > MOST_ASIDE || m->aside.bytes > MOST_ASIDE_BYTES)) discard(take_first(&m->aside));
}

static void make_due(struct wd_store *s) {
  struct memory *m = memory_of(s);
  for (struct entry *e = m->later.first; e; e = e->next) e->row.not_before = 0;
  settle(m, wd_clock_now());
}

static void counts(struct wd_store *s, wd_ns now, struct wd_store_counts *out) {
  struct memory *m = memory_of(s);
  settle(m, now);
  *out = (struct wd_store_counts){
      .rows = m->due.count + m->later.count + m->leased.count,
      .bytes = m->due.bytes + m->later.bytes + m->leased.bytes,
      .leased = m->leased.count,
      .dropped = m->dropped,
      .aside = m->aside.count,
      .oldest = m->due.first ? m->due.first->row.created : WD_NONE,
  };
  for (const struct entry *e = m->later.first; e; e = e->next)
    if (out->oldest == WD_NONE || e->row.created < out->oldest) out->oldest = e->row.created;
}

static void list(struct wd_store *s, struct wd_store_list *l) {
  struct memory *m = memory_of(s);
  l->count = 0;
  l->rows = wd_arena_array(&l->arena, (size_t)m->aside.count, sizeof(*l->rows));
  for (const struct entry *e = m->aside.first; e && l->rows; e = e->next) {
    const char *body = wd_arena_strndup(&l->arena, e->row.body.p, e->row.body.n);
    l->rows[l->count++] = (struct wd_aside_row){
        .key = wd_arena_strdup(&l->arena, e->row.key),
        .answer = wd_arena_strdup(&l->arena, e->answer),
        .body = {body, body ? e->row.body.n : 0},
        .status = e->status,
        .at_us = e->at_us,
    };
  }
  l->done(l);
}

static void forget_list(struct wd_store *s, struct wd_store_list *l) {
  (void)s;
  (void)l;
}

static void close_store(struct wd_store *s) {
  struct memory *m = memory_of(s);
  struct queue *const queues[] = {&m->due, &m->later, &m->aside};
  for (size_t i = 0; i < WD_COUNT(queues); i++)
    while (queues[i]->first) discard(take_first(queues[i]));
  free(m);
}

struct wd_store *wd_store_memory(const struct wd_store_limits *limits) {
  static const struct wd_store_class cls = {.put = put,
                                            .forget_put = forget_put,
                                            .due = due,
                                            .lease = lease,
                                            .remove = remove_row,
                                            .put_back = put_back,
                                            .set_aside = set_aside,
                                            .make_due = make_due,
                                            .counts = counts,
                                            .list = list,
                                            .forget_list = forget_list,
                                            .close = close_store};
  struct memory *m = calloc(1, sizeof(*m));
  if (!m) return NULL;
  m->store.cls = &cls;
  m->limits = *limits;
  return &m->store;
}
