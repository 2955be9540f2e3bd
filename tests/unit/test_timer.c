// The timer heap: order, moving, stopping, and timers that arm timers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/timer.h"

struct probe {
  struct wd_timer timer;
  struct wd_timers *set;
  int id, again; // armed again at once this many times
};

static int order[4096], fired;

static void on_fire(struct wd_timer *t) {
  struct probe *p = WD_CONTAINER(t, struct probe, timer);
  assert_false(wd_timer_armed(t));
  order[fired++] = p->id;
  if (p->again-- > 0) assert_int_equal(wd_timer_arm(p->set, t, t->at), 0);
}

static void fires_in_order_of_due_time(void **state) {
  (void)state;
  struct wd_timers set = {0};
  struct probe probes[1000];
  fired = 0;
  srand(7);
  for (int i = 0; i < 1000; i++) {
    probes[i] = (struct probe){.timer.fire = on_fire, .set = &set, .id = i};
    assert_int_equal(wd_timer_arm(&set, &probes[i].timer, rand() % 500), 0);
  }
  for (int i = 0; i < 1000; i += 3) wd_timer_arm(&set, &probes[i].timer, rand() % 500); // moved
  for (int i = 0; i < 1000; i += 7) wd_timer_stop(&set, &probes[i].timer);
  size_t left = set.count;
  wd_ns before = wd_timers_next(&set);
  while (wd_timers_next(&set) != INT64_MAX) {
    wd_ns at = wd_timers_next(&set);
    assert_true(at >= before);
    before = at;
    wd_timers_expire(&set, at);
  }
  assert_int_equal(fired, left);
  for (int i = 1; i < fired; i++) assert_true(probes[order[i]].timer.at >= probes[order[i - 1]].timer.at);
  for (int i = 0; i < fired; i++) assert_true(order[i] % 7 != 0);
  wd_timers_free(&set);
}

static void nothing_fires_early(void **state) {
  (void)state;
  struct wd_timers set = {0};
  struct probe p = {.timer.fire = on_fire, .set = &set};
  fired = 0;
  wd_timer_arm(&set, &p.timer, 100);
  wd_timers_expire(&set, 99);
  assert_int_equal(fired, 0);
  wd_timers_expire(&set, 100);
  assert_int_equal(fired, 1);
  wd_timers_free(&set);
}

static void a_timer_that_arms_itself_cannot_hold_the_loop(void **state) {
  (void)state;
  struct wd_timers set = {0};
  struct probe p = {.timer.fire = on_fire, .set = &set, .again = 1000000};
  fired = 0;
  wd_timer_arm(&set, &p.timer, 1);
  wd_timers_expire(&set, 5);
  assert_int_equal(fired, 1);
  assert_true(wd_timer_armed(&p.timer));
  wd_timer_stop(&set, &p.timer);
  wd_timer_stop(&set, &p.timer);
  assert_int_equal(set.count, 0);
  wd_timers_free(&set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(fires_in_order_of_due_time),
    cmocka_unit_test(nothing_fires_early),
    cmocka_unit_test(a_timer_that_arms_itself_cannot_hold_the_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
