// A four-ary heap of timers. Must hold: heap[i].timer->slot == i + 1 for every armed timer, with heap[i].at its due time.
#include "runtime/timer.h"

#include <stdlib.h>

enum { WAYS = 4, FIRST_ROOM = 512 };

static void put(struct wd_timers *set, size_t i, struct wd_timers_entry e) {
  set->heap[i] = e;
  e.timer->slot = i + 1;
}

static void sift_up(struct wd_timers *set, size_t i, struct wd_timers_entry e) {
  while (i > 0) {
    size_t up = (i - 1) / WAYS;
    if (set->heap[up].at <= e.at) break;
    put(set, i, set->heap[up]);
    i = up;
  }
  put(set, i, e);
}

static void sift_down(struct wd_timers *set, size_t i, struct wd_timers_entry e) {
  for (;;) {
    size_t least = 0, first = i * WAYS + 1;
    for (size_t k = first; k < first + WAYS && k < set->count; k++)
      if (least == 0 || set->heap[k].at < set->heap[least].at) least = k;
    if (least == 0 || set->heap[least].at >= e.at) break;
    put(set, i, set->heap[least]);
    i = least;
  }
  put(set, i, e);
}

static void replace(struct wd_timers *set, size_t i, struct wd_timers_entry e) {
  if (i > 0 && e.at < set->heap[(i - 1) / WAYS].at)
    sift_up(set, i, e);
  else
    sift_down(set, i, e);
}

int wd_timers_grow(struct wd_timers *set) {
  size_t room = set->room ? set->room * 2 : FIRST_ROOM;
  struct wd_timers_entry *heap = realloc(set->heap, room * sizeof(*heap));
  if (!heap) return -1;
  set->heap = heap;
  set->room = room;
  return 0;
}

int wd_timer_arm(struct wd_timers *set, struct wd_timer *t, wd_ns at) {
  struct wd_timers_entry e = {at, t};
  t->at = at;
  if (t->slot) {
    replace(set, t->slot - 1, e);
    return 0;
  }
  // It grows when half of it is used, and again at the next timer where there was no memory: none is left without its place.
  if (set->count >= set->room / 2 && wd_timers_grow(set) && set->count == set->room) return -1;
  sift_up(set, set->count++, e);
  return 0;
}

void wd_timer_stop(struct wd_timers *set, struct wd_timer *t) {
  if (!t->slot) return;
  size_t i = t->slot - 1;
  struct wd_timers_entry last = set->heap[--set->count];
  t->slot = 0;
  if (last.timer != t) replace(set, i, last);
}

wd_ns wd_timers_next(const struct wd_timers *set) {
  return set->count ? set->heap[0].at : INT64_MAX;
}

void wd_timers_expire(struct wd_timers *set, wd_ns now) {
  for (size_t budget = set->count; budget > 0 && set->count && set->heap[0].at <= now; budget--) {
    struct wd_timer *t = set->heap[0].timer;
    wd_timer_stop(set, t);
    t->fire(t);
  }
}

void wd_timers_free(struct wd_timers *set) {
  free(set->heap);
  *set = (struct wd_timers){0};
}
