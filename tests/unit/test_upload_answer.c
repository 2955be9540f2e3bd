// What answers mean, how waits grow, and every form of Retry-After.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/upload_answer.h"

static const int64_t noon_us = INT64_C(1767268800) * 1000000; // 2026-01-01T12:00:00Z

static void judges(void **state) {
  (void)state;
  static const struct {
    int64_t status;
    enum wd_upload_verdict verdict;
  } cases[] = {
      {200, WD_UPLOAD_STORED},  {201, WD_UPLOAD_STORED},  {400, WD_UPLOAD_REFUSED}, {409, WD_UPLOAD_REFUSED},
      {413, WD_UPLOAD_REFUSED}, {422, WD_UPLOAD_REFUSED}, {401, WD_UPLOAD_DENIED},  {403, WD_UPLOAD_BLOCKED},
      {404, WD_UPLOAD_BLOCKED}, {405, WD_UPLOAD_BLOCKED}, {407, WD_UPLOAD_BLOCKED}, {301, WD_UPLOAD_BLOCKED},
      {302, WD_UPLOAD_BLOCKED}, {307, WD_UPLOAD_BLOCKED}, {308, WD_UPLOAD_BLOCKED}, {0, WD_UPLOAD_FAULT},
      {408, WD_UPLOAD_FAULT},   {425, WD_UPLOAD_FAULT},   {429, WD_UPLOAD_FAULT},   {500, WD_UPLOAD_DOUBT},
      {501, WD_UPLOAD_BLOCKED}, {502, WD_UPLOAD_FAULT},   {503, WD_UPLOAD_FAULT},   {504, WD_UPLOAD_FAULT},
      {511, WD_UPLOAD_BLOCKED}, {522, WD_UPLOAD_FAULT},   {204, WD_UPLOAD_BLOCKED}, {600, WD_UPLOAD_BLOCKED},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) assert_int_equal(wd_upload_judge(cases[i].status), cases[i].verdict);
}

static void waits_double_up_to_a_bound(void **state) {
  (void)state;
  static const int64_t spans_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
  for (unsigned i = 0; i < WD_COUNT(spans_s); i++) {
    wd_ns span = spans_s[i] * WD_S;
    assert_int_equal(wd_upload_backoff(i + 1, 0), 0);
    assert_int_equal(wd_upload_backoff(i + 1, (uint64_t)span - 1), span - 1);
    assert_int_equal(wd_upload_backoff(i + 1, (uint64_t)span + 5), 5);
  }
  assert_true(wd_upload_backoff(4000000000U, UINT64_MAX) < 60 * WD_S);
}

static void reads_retry_after(void **state) {
  (void)state;
  static const struct {
    const char *value;
    wd_ns wait;
  } cases[] = {
      {"0", 0},
      {"7", 7 * WD_S},
      {" 7 ", 7 * WD_S},
      {"86400", 3600 * WD_S},
      {"99999999999999999999999", 3600 * WD_S},
      {"Thu, 01 Jan 2026 12:00:30 GMT", 30 * WD_S},
      {"Thursday, 01-Jan-26 12:00:30 GMT", 30 * WD_S},
      {"Thu Jan  1 12:00:30 2026", 30 * WD_S},
      {"Thu, 01 Jan 2026 11:00:00 GMT", 0},
      {"Fri, 01 Jan 2027 12:00:00 GMT", 3600 * WD_S},
      {"Thu, 01 Jan 2026 12:00:30 CET", WD_NONE},
      {"Thu, 01 Foo 2026 12:00:30 GMT", WD_NONE},
      {"Thu, 01 Jan 2026 12:00:30 GMT, x", WD_NONE},
      {"-5", WD_NONE},
      {"7s", WD_NONE},
      {"1.5", WD_NONE},
      {"soon", WD_NONE},
      {"", WD_NONE},
      {NULL, WD_NONE},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) {
    if (wd_upload_retry_after(cases[i].value, noon_us) != cases[i].wait) fail_msg("case %zu: %s", i, cases[i].value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(judges),
      cmocka_unit_test(waits_double_up_to_a_bound),
      cmocka_unit_test(reads_retry_after),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
