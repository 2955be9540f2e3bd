// The bump allocator of arena.h. Blocks form a list, the newest first; only the newest is bumped.
#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1024, BLOCK_MAX_BYTES = 64 * 1024, ALIGN_BYTES = _Alignof(max_align_t) };

struct wd_arena_block {
  struct wd_arena_block *next;
  size_t used;
  size_t size;
  bool lent;
  _Alignas(max_align_t) unsigned char bytes[];
};

void wd_arena_lend(struct wd_arena *arena, void *memory, size_t size) {
  size_t skipped = -(uintptr_t)memory % ALIGN_BYTES;
  struct wd_arena_block *block = (void *)((char *)memory + skipped);
  block->size = size - skipped - sizeof *block;
  block->lent = true;
  arena->head = block;
}

void *wd_arena_alloc(struct wd_arena *arena, size_t size) {
  if (size > SIZE_MAX - sizeof(struct wd_arena_block) - ALIGN_BYTES) return NULL;
  size = size ? (size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES : ALIGN_BYTES;

  struct wd_arena_block *block = arena->head;
  if (!block || block->size - block->used < size) {
    // Doubling keeps the number of blocks small without charging a small arena for a large one.
    size_t want = block && !block->lent ? block->size * 2 : BLOCK_BYTES;
    if (want > BLOCK_MAX_BYTES) want = BLOCK_MAX_BYTES;
    if (want < size) want = size;
    struct wd_arena_block *fresh = calloc(1, sizeof *fresh + want);
    if (!fresh) {
      arena->failed = true;
      return NULL;
    }
    fresh->size = want;
    fresh->next = block;
    arena->head = block = fresh;
  }
  void *out = block->bytes + block->used;
  block->used += size;
  return out;
}

void *wd_arena_array(struct wd_arena *arena, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return NULL;
  return wd_arena_alloc(arena, total);
}

char *wd_arena_strdup(struct wd_arena *arena, const char *text) {
  return text ? wd_arena_strndup(arena, text, strlen(text)) : NULL;
}

char *wd_arena_strndup(struct wd_arena *arena, const char *bytes, size_t len) {
  if (len == SIZE_MAX) return NULL;
  char *out = wd_arena_alloc(arena, len + 1);
  if (out && len) memcpy(out, bytes, len);
  return out;
}

char *wd_arena_vprintf(struct wd_arena *arena, const char *format, va_list args) {
  va_list again;
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, format, args);
  char *out = len < 0 ? NULL : wd_arena_alloc(arena, (size_t)len + 1);
  if (out) vsnprintf(out, (size_t)len + 1, format, again);
  va_end(again);
  return out;
}

char *wd_arena_printf(struct wd_arena *arena, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *out = wd_arena_vprintf(arena, format, args);
  va_end(args);
  return out;
}

void wd_arena_free(struct wd_arena *arena) {
  while (arena->head) {
    struct wd_arena_block *block = arena->head;
    arena->head = block->next;
    if (!block->lent) free(block);
  }
}
