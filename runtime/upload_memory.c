// The store in memory. Rows that are due wait in the order of their ids; rows that must not be sent
// yet wait apart, in the order of their time, so that neither holds up the other.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/upload_queue.h"

// Rows set aside are kept for people to look at: the newest of them, within both bounds.
enum { MOST_ASIDE = 1000, MOST_ASIDE_BYTES = 8 << 20 };

struct memory {
  struct wd_store store;
  struct wd_store_limits limits;
  struct wd_queue due, later, aside;
  struct {
    int64_t count, bytes;
  } leased;
  int64_t last_id, dropped;
  bool full; // said so already
};

static struct memory *memory_of(struct wd_store *s) {
  return (struct memory *)s;
}

static void drop_first(struct memory *m, struct wd_queue *q) {
  wd_entry_free(wd_queue_take_first(q));
  m->dropped++;
}

// Moves what has become due and drops what is too old to be sent.
static void settle(struct memory *m, wd_ns now) {
  while (m->later.first && m->later.first->row.not_before <= now) wd_queue_insert(&m->due, wd_queue_take_first(&m->later));
  if (m->limits.max_age == WD_NONE) return;
  while (m->due.first && now - m->due.first->row.created > m->limits.max_age) drop_first(m, &m->due);
}

static bool has_room(const struct memory *m, size_t n) {
  return m->due.count + m->later.count + m->leased.count < m->limits.max_rows &&
      m->due.bytes + m->later.bytes + m->leased.bytes + (int64_t)n <= m->limits.max_bytes;
}

static void say_full(struct memory *m) {
  if (!m->full)
    wd_log(WD_LOG_ERROR, "upload: the queue is full (%" PRId64 " results, %" PRId64 " bytes), the %s results are dropped",
           m->due.count + m->later.count + m->leased.count, m->due.bytes + m->later.bytes + m->leased.bytes,
           m->limits.drop_oldest ? "oldest" : "newest");
  m->full = true;
}

static void put(struct wd_store *s, struct wd_store_put *p) {
  struct memory *m = memory_of(s);
  wd_ns now = wd_clock_now();
  settle(m, now);
  bool room = has_room(m, p->body.n);
  if (!room) say_full(m);
  while (!room && m->limits.drop_oldest && (int64_t)p->body.n <= m->limits.max_bytes && (m->due.first || m->later.first)) {
    drop_first(m, m->due.first ? &m->due : &m->later);
    room = has_room(m, p->body.n);
  }
  struct wd_entry *e = room ? wd_entry_new(p->key, p->body) : NULL;
  if (e) {
    e->row.id = ++m->last_id;
    e->row.created = now;
    e->row.home = s;
    wd_queue_append(&m->due, e);
  } else {
    m->dropped++;
  }
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
  struct wd_entry *e = wd_queue_take_first(&m->due);
  if (!e) return NULL;
  m->leased.count++;
  m->leased.bytes += (int64_t)e->row.body.n;
  return &e->row;
}

static struct wd_entry *give_back(struct memory *m, struct wd_row *row) {
  m->leased.count--;
  m->leased.bytes -= (int64_t)row->body.n;
  return WD_CONTAINER(row, struct wd_entry, row);
}

static void remove_row(struct wd_store *s, struct wd_row *row) {
  struct memory *m = memory_of(s);
  wd_entry_free(give_back(m, row));
  m->full = false;
}

static void put_back(struct wd_store *s, struct wd_row *row) {
  struct memory *m = memory_of(s);
  wd_queue_insert_by_time(&m->later, give_back(m, row));
}

static void set_aside(struct wd_store *s, struct wd_row *row, int64_t status, const char *answer) {
  struct memory *m = memory_of(s);
  struct wd_entry *e = give_back(m, row);
  e->status = status;
  e->at_us = wd_clock_wall_us();
  e->answer = strdup(answer);
  wd_queue_append(&m->aside, e);
  while (m->aside.count > 1 && (m->aside.count > MOST_ASIDE || m->aside.bytes > MOST_ASIDE_BYTES))
    wd_entry_free(wd_queue_take_first(&m->aside));
}

static void make_due(struct wd_store *s) {
  struct memory *m = memory_of(s);
  for (struct wd_entry *e = m->later.first; e; e = e->next) e->row.not_before = 0;
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
  for (const struct wd_entry *e = m->later.first; e; e = e->next)
    if (out->oldest == WD_NONE || e->row.created < out->oldest) out->oldest = e->row.created;
}

static int64_t wall_us_of(wd_ns at) {
  return wd_clock_wall_us() + (at - wd_clock_now()) / WD_US;
}

static void list_queue(const struct wd_queue *q, struct wd_store_ask *ask) {
  for (const struct wd_entry *e = q->first; e; e = e->next) {
    if (ask->key && strcmp(ask->key, e->row.key) != 0) continue;
    const char *body = wd_arena_strndup(&ask->arena, e->row.body.p, e->row.body.n);
    ask->rows[ask->count++] = (struct wd_listed_row){
        .id = e->row.id,
        .key = wd_arena_strdup(&ask->arena, e->row.key),
        .body = {body, body ? e->row.body.n : 0},
        .created_us = wall_us_of(e->row.created),
        .not_before_us = e->row.not_before ? wall_us_of(e->row.not_before) : 0,
        .tries = e->row.tries,
        .answer = wd_arena_strdup(&ask->arena, e->answer),
        .status = e->status,
        .at_us = e->at_us,
    };
  }
}

static void requeue(struct memory *m, struct wd_store_ask *ask) {
  struct wd_queue back = {0};
  wd_queue_move(&m->aside, &back, ask->key);
  ask->changed = back.count;
  for (struct wd_entry *e; (e = wd_queue_take_first(&back));) {
    e->row.id = ++m->last_id;
    e->row.not_before = 0;
    e->row.tries = e->row.doubts = 0;
    wd_queue_append(&m->due, e);
  }
}

static void purge(struct memory *m, struct wd_store_ask *ask) {
  struct wd_queue gone = {0};
  wd_queue_move(ask->aside ? &m->aside : &m->due, &gone, ask->key);
  if (!ask->aside) wd_queue_move(&m->later, &gone, ask->key);
  ask->changed = gone.count;
  wd_queue_free(&gone);
}

// Everything in one page: it is in memory already.
static void list(struct memory *m, struct wd_store_ask *ask) {
  if (ask->after > 0) return;
  ask->rows = wd_arena_array(&ask->arena, (size_t)(m->aside.count + m->due.count + m->later.count), sizeof(*ask->rows));
  if (!ask->rows) {
    ask->fault = "not enough memory";
  } else if (ask->aside) {
    list_queue(&m->aside, ask);
  } else {
    list_queue(&m->due, ask);
    list_queue(&m->later, ask);
  }
}

static void ask_store(struct wd_store *s, struct wd_store_ask *ask) {
  struct memory *m = memory_of(s);
  if (ask->request == WD_ASK_LIST) list(m, ask);
  if (ask->request == WD_ASK_REQUEUE) requeue(m, ask);
  if (ask->request == WD_ASK_PURGE) purge(m, ask);
  if (ask->changed && s->ready) s->ready(s->ctx);
  ask->done(ask);
}

static void forget_ask(struct wd_store *s, struct wd_store_ask *ask) {
  (void)s;
  (void)ask;
}

static void close_store(struct wd_store *s) {
  struct memory *m = memory_of(s);
  wd_queue_free(&m->due);
  wd_queue_free(&m->later);
  wd_queue_free(&m->aside);
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
                                            .ask = ask_store,
                                            .forget_ask = forget_ask,
                                            .close = close_store};
  struct memory *m = calloc(1, sizeof(*m));
  if (!m) return NULL;
  m->store.cls = &cls;
  m->limits = *limits;
  return &m->store;
}
