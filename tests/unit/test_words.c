// Durations, sizes, times and nearest names as people write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/words.h"

static void durations(void **state) {
  (void)state;
  static const struct {
    const char *text;
    wd_ns ns;
  } good[] = {{"3", 3 * WD_S},        {"0.5", 500 * WD_MS},   {"250ms", 250 * WD_MS}, {"1.5s", 1500 * WD_MS}, {"2m", 120 * WD_S},
              {"1h30m", 5400 * WD_S}, {"10us", 10 * WD_US},   {"7ns", 7},             {"1d", 86400 * WD_S},   {".5s", 500 * WD_MS},
              {"0", 0}};
  static const char *const bad[] = {"", "s", "-1", "1 s", "1x", "ten", "1h30", "0x10", "inf", "nan", "1e", "11y", "4000d", "1s1"};
  wd_ns ns;
  for (size_t i = 0; i < WD_COUNT(good); i++) {
    assert_int_equal(wd_words_duration(good[i].text, &ns), 0);
    assert_int_equal(ns, good[i].ns);
  }
  for (size_t i = 0; i < WD_COUNT(bad); i++) assert_int_equal(wd_words_duration(bad[i], &ns), -1);
}

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t bytes;
  } good[] = {{"1500", 1500}, {"64k", 65536}, {"64K", 65536}, {"16MiB", 16777216}, {"1.5GB", 1500000000}, {"1 kB", 1000}, {"0", 0}};
  static const char *const bad[] = {"", "k", "-5", "1q", "10000T"};
  int64_t bytes;
  for (size_t i = 0; i < WD_COUNT(good); i++) {
    assert_int_equal(wd_words_bytes(good[i].text, &bytes), 0);
    assert_int_equal(bytes, good[i].bytes);
  }
  for (size_t i = 0; i < WD_COUNT(bad); i++) assert_int_equal(wd_words_bytes(bad[i], &bytes), -1);
}

static void times(void **state) {
  (void)state;
  char out[WD_TIME_LEN];
  wd_words_time(0, out);
  assert_string_equal(out, "1970-01-01T00:00:00.000000Z");
  wd_words_time(1769860800123456, out);
  assert_string_equal(out, "2026-01-31T12:00:00.123456Z");
  wd_words_time(-1, out);
  assert_string_equal(out, "1969-12-31T23:59:59.999999Z");
}

static const char *name_at(const void *ctx, size_t i) {
  return ((const char *const *)ctx)[i];
}

static void nearest_names(void **state) {
  (void)state;
  static const char *const names[] = {"timeout", "family", "address", NULL, "source"};
  size_t n = WD_COUNT(names);
  assert_string_equal(wd_words_nearest("timout", name_at, names, n), "timeout");
  assert_string_equal(wd_words_nearest("tiemout", name_at, names, n), "timeout");
  assert_string_equal(wd_words_nearest("sorce", name_at, names, n), "source");
  assert_null(wd_words_nearest("zebra", name_at, names, n));
  assert_null(wd_words_nearest("a-name-that-is-far-longer-than-any-field-of-any-description-could-ever-be", name_at, names, n));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(durations),
    cmocka_unit_test(sizes),
    cmocka_unit_test(times),
    cmocka_unit_test(nearest_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
