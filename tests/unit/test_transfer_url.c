// URLs: a name that cannot be written in ASCII costs nothing that stays, what is written out is no longer than it may be,
// and a zone holds nothing that means something in a URL.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <malloc.h>

#include "../../runtime/transfer_url.h"

// The locale of this program is C, in which libcurl reads no name beyond ASCII. With LeakSanitizer one time is enough.
static void test_leaves_nothing(void **state) {
  enum { TIMES = 1000 };
  (void)state;
  struct wd_url url;
  char text[4096] = "http://B\xc3\xbc";
  memset(text + strlen(text), 'x', 3000);
  strcat(text, ".test/");
  size_t before = mallinfo2().uordblks;
  for (int i = 0; i < TIMES; i++) {
    struct wd_arena arena = {0};
    wd_url_parse(&url, &arena, text);
    wd_arena_free(&arena);
  }
  assert_in_range(mallinfo2().uordblks, 0, before + TIMES * 1000);
}

static void test_zones(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  struct wd_url url;
  assert_null(wd_url_parse(&url, &arena, "http://[fe80::1%25eth0.1]/"));
  assert_string_equal(url.host, "fe80::1%eth0.1");
  assert_non_null(wd_url_parse(&url, &arena, "http:/@[0::%@]/"));
  assert_non_null(wd_url_parse(&url, &arena, "http://[fe80::1%25a@b.test]/"));
  wd_arena_free(&arena);
}

static void test_length(void **state) {
  enum { BYTES = 6000 };
  (void)state;
  struct wd_arena arena = {0};
  struct wd_url base, url;
  char text[BYTES + 1] = "/";
  memset(text + 1, 0xff, BYTES - 1);
  text[BYTES] = '\0';
  assert_null(wd_url_parse(&base, &arena, "http://a.test/"));
  assert_string_equal(wd_url_join(&url, &arena, &base, text), "it is longer than 16 KiB"); // with each byte as %ff
  assert_non_null(wd_url_join(&url, &arena, &base, "///\x7f/\x7f"));
  text[BYTES / 2] = '\0';
  assert_null(wd_url_join(&url, &arena, &base, text));
  wd_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_length), cmocka_unit_test(test_leaves_nothing), cmocka_unit_test(test_zones)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
