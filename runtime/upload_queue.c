// Lists of rows. See upload_queue.h.
#include "runtime/upload_queue.h"

#include <stdlib.h>
#include <string.h>

struct wd_entry *wd_entry_new(const char *key, struct wd_data body) {
  size_t key_size = strlen(key) + 1;
  struct wd_entry *e = malloc(sizeof(*e) + key_size + body.n + 1);
  if (!e) return NULL;
  *e = (struct wd_entry){.row = {.key = e->bytes, .body = {e->bytes + key_size, body.n}}};
  memcpy(e->bytes, key, key_size);
  if (body.n) memcpy(e->bytes + key_size, body.p, body.n);
  e->bytes[key_size + body.n] = '\0';
  return e;
}

void wd_entry_free(struct wd_entry *e) {
  if (e) free(e->answer);
  free(e);
}

static void insert(struct wd_queue *q, struct wd_entry *e, struct wd_entry **at) {
  e->next = *at;
  *at = e;
  if (!e->next) q->end = &e->next;
  q->count++;
  q->bytes += (int64_t)e->row.body.n;
}

static struct wd_entry *take(struct wd_queue *q, struct wd_entry **at) {
  struct wd_entry *e = *at;
  *at = e->next;
  if (!*at) q->end = at;
  q->count--;
  q->bytes -= (int64_t)e->row.body.n;
  return e;
}

void wd_queue_append(struct wd_queue *q, struct wd_entry *e) {
  insert(q, e, q->first ? q->end : &q->first);
}

void wd_queue_insert(struct wd_queue *q, struct wd_entry *e) {
  struct wd_entry **at = &q->first;
  while (*at && (*at)->row.id < e->row.id) at = &(*at)->next;
  insert(q, e, at);
}

void wd_queue_insert_by_time(struct wd_queue *q, struct wd_entry *e) {
  struct wd_entry **at = &q->first;
  while (*at && (*at)->row.not_before <= e->row.not_before) at = &(*at)->next;
  insert(q, e, at);
}

struct wd_entry *wd_queue_take_first(struct wd_queue *q) {
  return q->first ? take(q, &q->first) : NULL;
}

void wd_queue_move(struct wd_queue *from, struct wd_queue *to, const char *key) {
  for (struct wd_entry **at = &from->first; *at;) {
    if (key && strcmp((*at)->row.key, key) != 0)
      at = &(*at)->next;
    else
      wd_queue_append(to, take(from, at));
  }
}

void wd_queue_take(struct wd_queue *q, struct wd_entry *e) {
  for (struct wd_entry **at = &q->first; *at; at = &(*at)->next) {
    if (*at != e) continue;
    take(q, at);
    return;
  }
}

void wd_queue_free(struct wd_queue *q) {
  for (struct wd_entry *e; (e = wd_queue_take_first(q));) wd_entry_free(e);
}
