// Foreign bytes made printable.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/text.h"

static const char *escaped(const char *bytes, size_t len, size_t cap) {
  static char out[256];
  memset(out, 'Z', sizeof out);
  size_t n = wd_text_escape(out, cap, bytes, len);
  assert_int_equal(n, strlen(out));
  assert_true(n < cap);
  return out;
}

static void test_controls_and_bad_utf8(void **state) {
  (void)state;
  assert_string_equal(escaped("a\x1b[31m\r\n\0b", 10, 256), "a\\x1b[31m\\x0d\\x0a\\x00b");
  assert_string_equal(escaped("gr\xc3\xbc\xc3\x9f \xe2\x9c\x93 \xf0\x9f\x90\xa7", 15, 256),
                      "gr\xc3\xbc\xc3\x9f \xe2\x9c\x93 \xf0\x9f\x90\xa7");
  assert_string_equal(escaped("\xc0\xaf\xed\xa0\x80\xff", 6, 256), "\\xc0\\xaf\\xed\\xa0\\x80\\xff");
  assert_string_equal(escaped("\xc2\x9b"
                              "1m",
                              4, 256),
                      "\\xc2\\x9b"
                      "1m");
  assert_string_equal(escaped("\xe2\x80\xae", 3, 256), "\\xe2\\x80\\xae");
  assert_string_equal(escaped("\xc3", 1, 256), "\\xc3");
}

static void test_cut(void **state) {
  (void)state;
  assert_string_equal(escaped("abcdef", 6, 7), "abcdef");
  assert_string_equal(escaped("abcdef", 6, 6), "ab...");
  assert_string_equal(escaped("\xc3\xbc\xc3\xbc\xc3\xbc", 6, 6), "\xc3\xbc...");
  assert_string_equal(escaped("\n\n\n", 3, 9), "\\x0a...");
  assert_string_equal(escaped("abc", 3, 2), "a");
  assert_string_equal(escaped("abc", 3, 1), "");
  assert_string_equal(escaped("", 0, 1), "");
}

static void test_nocase(void **state) {
  (void)state;
  assert_true(wd_text_equal_nocase("ExAmple.", "eXaMPLE."));
  assert_false(wd_text_equal_nocase("a", "ab"));
  assert_false(wd_text_equal_nocase("ab", "a"));
  assert_false(wd_text_equal_nocase("[", "{"));
  assert_true(wd_text_equal_nocase("", ""));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_controls_and_bad_utf8),
      cmocka_unit_test(test_cut),
      cmocka_unit_test(test_nocase),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
