// Memory for Lua: many small blocks of few sizes. A free block is the next one of its size that is taken; no block has a header, because
// Lua says how large a block was. Measured against malloc: a tenth of the time of a plain probe.
// Must hold: small blocks stay with their size until wd_slab_free; what is larger is malloc's.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { WD_SLAB_STEP = 16, WD_SLAB_SIZES = 256 }; // the largest small block is their product

struct wd_slab_chunk;

// Zero-initialised it is valid, empty and without bounds.
struct wd_slab {
  // Asked before memory is got from the system for a block of this size, new or larger than before; false refuses it. NULL: never.
  bool (*may_grow)(struct wd_slab *slab, size_t size);
  void *free[WD_SLAB_SIZES];
  struct wd_slab_chunk *chunks;
  char *at, *end;     // of the newest chunk, what was not handed out yet
  size_t small_bytes; // of all chunks: more or less what a collection has to look at
};

// A lua_Alloc with a struct wd_slab as `ctx`: gives, moves and takes back blocks, aligned for any type.
void *wd_slab_realloc(void *ctx, void *block, size_t old_size, size_t new_size);

// The same with every block malloc's, for builds that watch over each.
void *wd_slab_plain_realloc(void *ctx, void *block, size_t old_size, size_t new_size);

// Frees every small block at once; larger ones must have been given back.
void wd_slab_free(struct wd_slab *slab);
