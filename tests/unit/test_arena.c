// The arena: alignment, zeroed memory, large requests, reuse after free; and the list of failure names.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/arena.h"
#include "../../runtime/wd.h"

static void test_zeroed_and_aligned(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  for (size_t size = 0; size < 300; size++) {
    unsigned char *p = wd_arena_alloc(&arena, size);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, size);
  }
  wd_arena_free(&arena);
}

static void test_earlier_stays_in_place(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  char *first = wd_arena_strdup(&arena, "first");
  char *big = wd_arena_alloc(&arena, 1 << 20);
  assert_non_null(big);
  memset(big, 'x', 1 << 20);
  char *last = wd_arena_printf(&arena, "%s-%d", "last", 7);
  assert_string_equal(first, "first");
  assert_string_equal(last, "last-7");
  wd_arena_free(&arena);
  assert_null(arena.head);
  assert_non_null(wd_arena_alloc(&arena, 1));
  wd_arena_free(&arena);
  wd_arena_free(&arena);
}

static void test_lent_memory_is_used_first_and_not_freed(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  unsigned char memory[201] = {0};
  wd_arena_lend(&arena, memory + 1, sizeof(memory) - 1);
  unsigned char *p = wd_arena_alloc(&arena, 64);
  assert_true(p > memory && p + 64 <= memory + sizeof(memory));
  assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
  unsigned char *more = wd_arena_alloc(&arena, 400);
  assert_true(more + 400 <= memory || more >= memory + sizeof(memory));
  memset(p, 0xff, 64);
  wd_arena_free(&arena);
  assert_null(arena.head);
}

static void test_strings(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  assert_null(wd_arena_strdup(&arena, NULL));
  char *cut = wd_arena_strndup(&arena, "a\0bcd", 3);
  assert_memory_equal(cut, "a\0b", 4);
  assert_string_equal(wd_arena_strndup(&arena, NULL, 0), "");
  wd_arena_free(&arena);
}

static void test_overflow_is_null(void **state) {
  (void)state;
  struct wd_arena arena = {0};
  assert_null(wd_arena_alloc(&arena, SIZE_MAX));
  assert_null(wd_arena_array(&arena, SIZE_MAX / 2, 4));
  assert_null(wd_arena_strndup(&arena, "", SIZE_MAX));
  assert_null(arena.head);
}

static void test_error_names(void **state) {
  (void)state;
  assert_null(wd_err_name(WD_OK));
  assert_null(wd_err_name(WD_E__COUNT));
  assert_string_equal(wd_err_name(WD_E_TIMEOUT), "timeout");
  assert_string_equal(wd_err_name(WD_E_BUDGET), "budget");
  for (int i = 1; i < WD_E__COUNT; i++) assert_non_null(wd_err_name((enum wd_err)i));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_zeroed_and_aligned),
      cmocka_unit_test(test_earlier_stays_in_place),
      cmocka_unit_test(test_lent_memory_is_used_first_and_not_freed),
      cmocka_unit_test(test_strings),
      cmocka_unit_test(test_overflow_is_null),
      cmocka_unit_test(test_error_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
