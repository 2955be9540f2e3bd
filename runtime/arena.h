// A bump allocator: many small allocations, one free.
//
// Must hold: a zero-initialised struct wd_arena is valid and empty; what an arena handed out stays in place until wd_arena_free.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct wd_arena_block;

struct wd_arena {
  struct wd_arena_block *head;
  bool failed; // it had no memory for something: what is in it may be half of the story
};

// Gives an empty arena zeroed memory to begin with, at least 100 bytes; it stays the caller's and must outlive the use of the arena.
void wd_arena_lend(struct wd_arena *arena, void *memory, size_t size);

// `size` zeroed bytes, aligned for any type, owned by the arena; NULL only when memory is out. A size of 0 gives a valid pointer.
void *wd_arena_alloc(struct wd_arena *arena, size_t size);

// `count` zeroed elements of `size` bytes; NULL when memory is out or the product overflows.
void *wd_arena_array(struct wd_arena *arena, size_t count, size_t size);

// A copy of `text`; NULL for NULL and when memory is out.
char *wd_arena_strdup(struct wd_arena *arena, const char *text);

// A copy of `len` bytes with a NUL behind them (bytes that are NUL stay); NULL when memory is out.
char *wd_arena_strndup(struct wd_arena *arena, const char *bytes, size_t len);

// Formatted text; NULL when memory is out.
char *wd_arena_printf(struct wd_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *wd_arena_vprintf(struct wd_arena *arena, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

// Frees everything; the arena is empty and usable again.
void wd_arena_free(struct wd_arena *arena);
