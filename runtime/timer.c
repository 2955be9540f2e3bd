// A four-ary heap of timers. Must hold: heap[i]->slot == i + 1 for every armed timer.
#include "runtime/timer.h"

#include <stdlib.h>

enum { WAYS = 4 };

static void put(struct wd_timers *set, size_t i, struct wd_timer *t) {
  set->heap[i] = t;
  t->slot = i + 1;
}

static void sift_up(struct wd_timers *set, size_t i, struct wd_timer *t) {
  while (i > 0) {
    size_t up = (i - 1) / WAYS;
    if (set->heap[up]->at <= t->at) break;
    put(set, i, set->heap[up]);
    i = up;
  }
  put(set, i, t);
}

static void sift_down(struct wd_timers *set, size_t i, struct wd_timer *t) {
  for (;;) {
    size_t least = 0, first = i * WAYS + 1;
    for (size_t k = first; k < first + WAYS && k < set->count; k++)
      if (least == 0 || set->heap[k]->at < set->heap[least]->at) least = k;
    if (least == 0 || set->heap[least]->at >= t->at) break;
    put(set, i, set->heap[least]);
    i = least;
  }
  put(set, i, t);
}

static void replace(struct wd_timers *set, size_t i, struct wd_timer *t) {
  if (i > 0 && t->at < set->heap[(i - 1) / WAYS]->at)
    sift_up(set, i, t);
  else
    sift_down(set, i, t);
}

int wd_timer_arm(struct wd_timers *set, struct wd_timer *t, wd_ns at) {
  t->at = at;
  if (t->slot) {
    replace(set, t->slot - 1, t);
    return 0;
  }
  if (set->count == set->room) {
    size_t room = set->room ? set->room * 2 : 64;
    struct wd_timer **heap = realloc(set->heap, room * sizeof(*heap));
    if (!heap) return -1;
    set->heap = heap;
    set->room = room;
  }
  sift_up(set, set->count++, t);
  return 0;
}

void wd_timer_stop(struct wd_timers *set, struct wd_timer *t) {
  if (!t->slot) return;
  size_t i = t->slot - 1;
  struct wd_timer *last = set->heap[--set->count];
  t->slot = 0;
  if (last != t) replace(set, i, last);
}

wd_ns wd_timers_next(const struct wd_timers *set) {
  return set->count ? set->heap[0]->at : INT64_MAX;
}

void wd_timers_expire(struct wd_timers *set, wd_ns now) {
  for (size_t budget = set->count; budget > 0 && set->count && set->heap[0]->at <= now; budget--) {
    struct wd_timer *t = set->heap[0];
    wd_timer_stop(set, t);
    t->fire(t);
  }
}

void wd_timers_free(struct wd_timers *set) {
  free(set->heap);
  *set = (struct wd_timers){0};
}
