// URLs: a name that cannot be written in ASCII costs nothing that stays.
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_leaves_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
