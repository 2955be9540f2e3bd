// The slab: blocks keep what is in them when they grow, shrink and change sides, do not overlap, and are taken again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/slab.h"

enum { BLOCKS = 400, ROUNDS = 20000, LARGEST = WD_SLAB_STEP * WD_SLAB_SIZES };

static void is_filled(const unsigned char *block, size_t size, unsigned char with) {
  for (size_t i = 0; i < size; i++) assert_int_equal(block[i], with);
}

static void test_blocks_keep_what_is_in_them(void **state) {
  (void)state;
  struct wd_slab slab = {0};
  static unsigned char *blocks[BLOCKS];
  static size_t sizes[BLOCKS];
  srand(11);
  for (int round = 0; round < ROUNDS; round++) {
    int i = rand() % BLOCKS;
    size_t size = (size_t)rand() % (rand() % 10 ? 300 : LARGEST + 600), kept = size < sizes[i] ? size : sizes[i];
    blocks[i] = wd_slab_realloc(&slab, blocks[i], sizes[i], size);
    sizes[i] = size;
    if (size == 0) {
      assert_null(blocks[i]);
      continue;
    }
    assert_non_null(blocks[i]);
    assert_int_equal((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
    is_filled(blocks[i], kept, (unsigned char)i);
    memset(blocks[i], i, size);
  }
  for (int i = 0; i < BLOCKS; i++) {
    is_filled(blocks[i], sizes[i], (unsigned char)i);
    if (blocks[i]) wd_slab_realloc(&slab, blocks[i], sizes[i], 0);
  }
  wd_slab_free(&slab);
}

static void test_a_free_block_is_the_next_of_its_size(void **state) {
  (void)state;
  struct wd_slab slab = {0};
  void *first = wd_slab_realloc(&slab, NULL, 0, 50), *second = wd_slab_realloc(&slab, NULL, 0, 50);
  assert_ptr_not_equal(first, second);
  wd_slab_realloc(&slab, first, 50, 0);
  assert_ptr_equal(wd_slab_realloc(&slab, NULL, 0, 64), first);
  assert_ptr_equal(wd_slab_realloc(&slab, second, 50, 60), second);
  wd_slab_free(&slab);
}

// More than one chunk holds.
static void test_many_blocks(void **state) {
  (void)state;
  enum { MANY = 10000, SIZE = 1000 };
  struct wd_slab slab = {0};
  unsigned char **blocks = calloc(MANY, sizeof(*blocks));
  assert_non_null(blocks);
  for (int i = 0; i < MANY; i++) {
    blocks[i] = wd_slab_realloc(&slab, NULL, 0, SIZE);
    assert_non_null(blocks[i]);
    memset(blocks[i], i, SIZE);
  }
  for (int i = 0; i < MANY; i++) is_filled(blocks[i], SIZE, (unsigned char)i);
  free(blocks);
  wd_slab_free(&slab);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blocks_keep_what_is_in_them),
      cmocka_unit_test(test_a_free_block_is_the_next_of_its_size),
      cmocka_unit_test(test_many_blocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
