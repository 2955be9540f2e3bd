// What the kernel says of its clock, and that an unsynchronized one has no error that means anything.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/timex.h>

#include <cmocka.h>

#include "runtime/clock_state.h"

static void test_states(void **state) {
  (void)state;
  struct timex told = {.maxerror = 2500, .status = STA_PLL};
  struct wd_clock_state s = wd_clock_state_of(TIME_OK, &told);
  assert_int_equal(s.synchronized, 1);
  assert_int_equal(s.error, 2500 * WD_US);
  s = wd_clock_state_of(TIME_INS, &told); // a leap second is coming
  assert_int_equal(s.synchronized, 1);
  told.status |= STA_UNSYNC;
  s = wd_clock_state_of(TIME_ERROR, &told);
  assert_int_equal(s.synchronized, 0);
  assert_true(s.error == WD_NONE);
  s = wd_clock_state_of(-1, &told);
  assert_int_equal(s.synchronized, -1);
  assert_true(s.error == WD_NONE);
}

static void test_now(void **state) {
  (void)state;
  struct timex told = {0};
  int rc = adjtimex(&told);
  struct wd_clock_state s = wd_clock_state_at(5 * WD_S);
  if (rc < 0)
    assert_int_equal(s.synchronized, -1);
  else
    assert_int_equal(s.synchronized, !(told.status & STA_UNSYNC));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_states), cmocka_unit_test(test_now)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
