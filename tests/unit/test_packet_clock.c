// Kernel stamps on our own clock: where they are placed, and which are not believed when the wall clock was set.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "probes/packet_clock.h"

#define WALL (1000 * WD_S) // wall clock minus monotonic clock
#define NOW (500 * WD_S)

static wd_ns place(const struct wd_packet_clock *clock, wd_ns wall, wd_ns now) {
  struct timespec stamp = {.tv_sec = wall / WD_S, .tv_nsec = wall % WD_S};
  return wd_packet_clock_place(clock, &stamp, now);
}

static void test_a_stamp_is_placed_where_it_was_taken(void **state) {
  (void)state;
  struct wd_packet_clock clock = wd_packet_clock_next(NULL, WALL, 100, NOW);
  assert_int_equal(place(&clock, WALL + NOW - 7, NOW), NOW - 7);
  assert_int_equal(place(&clock, WALL + NOW + 100, NOW), NOW + 100); // within what the reading may be off
  assert_int_equal(place(&clock, WALL + NOW + 101, NOW), WD_NONE);
  assert_int_equal(place(&clock, WALL + NOW - WD_PACKET_STAMP_AGE - 1, NOW), WD_NONE);
  assert_int_equal(place(&clock, 0, NOW), WD_NONE);
}

static void test_slewing_is_no_step(void **state) {
  (void)state;
  struct wd_packet_clock clock = wd_packet_clock_next(NULL, WALL, 100, NOW);
  clock = wd_packet_clock_next(&clock, WALL + 10 * WD_US, 200, NOW + WD_MS);
  assert_int_equal(place(&clock, WALL + 10 * WD_US + NOW - WD_MS, NOW + WD_MS), NOW - WD_MS);
}

// The clock was set by `step`. A stamp of before is read in a later batch, `age` after it was taken; one that was taken after is read at the same time.
static void hold_step(wd_ns step, wd_ns age) {
  struct wd_packet_clock clock = wd_packet_clock_next(NULL, WALL, 100, NOW - WD_S);
  clock = wd_packet_clock_next(&clock, WALL + step, 100, NOW);
  wd_ns taken = NOW - 1, later = taken + age;
  clock = wd_packet_clock_next(&clock, WALL + step, 100, later);
  assert_int_equal(place(&clock, WALL + taken, later), WD_NONE);
  wd_ns trusted = NOW + (step < 0 && -step < WD_PACKET_STAMP_AGE ? -step : 0);
  assert_int_equal(place(&clock, WALL + step + trusted, trusted + WD_S), trusted);
}

static void test_stamps_of_before_a_step_are_not_believed(void **state) {
  (void)state;
  static const wd_ns steps[] = {20 * WD_US, WD_MS, WD_S, 30 * WD_S, 61 * WD_S, 365 * 86400 * WD_S};
  for (size_t i = 0; i < WD_COUNT(steps); i++) {
    for (wd_ns age = WD_US; age < WD_PACKET_STAMP_AGE; age *= 7) {
      hold_step(steps[i], age);
      hold_step(-steps[i], age);
    }
  }
}

static void test_a_second_step_does_not_make_the_first_forgotten(void **state) {
  (void)state;
  struct wd_packet_clock clock = wd_packet_clock_next(NULL, WALL, 100, NOW);
  clock = wd_packet_clock_next(&clock, WALL - WD_S, 100, NOW);
  clock = wd_packet_clock_next(&clock, WALL - WD_S - WD_MS, 100, NOW + 10 * WD_MS);
  assert_int_equal(clock.since, NOW + WD_S);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_stamp_is_placed_where_it_was_taken),
      cmocka_unit_test(test_slewing_is_no_step),
      cmocka_unit_test(test_stamps_of_before_a_step_are_not_believed),
      cmocka_unit_test(test_a_second_step_does_not_make_the_first_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
