// See slab.h.
#include "runtime/slab.h"

#include <stdlib.h>
#include <string.h>

// Chunks are of ordinary pages. To fill a huge one takes a kernel up to 10 ms where its host has to find the memory first, and nothing else
// happens meanwhile.
enum { CHUNK_BYTES = 64 << 10, LARGEST = WD_SLAB_STEP * WD_SLAB_SIZES };

struct wd_slab_chunk {
  struct wd_slab_chunk *next;
  _Alignas(WD_SLAB_STEP) char bytes[];
};

static bool is_small(size_t size) {
  return size <= LARGEST;
}

static size_t class_of(size_t size) {
  return (size - 1) / WD_SLAB_STEP;
}

static void give_back(struct wd_slab *slab, void *block, size_t size) {
  void **list = &slab->free[class_of(size)];
  *(void **)block = *list;
  *list = block;
}

static bool new_chunk(struct wd_slab *slab) {
  struct wd_slab_chunk *chunk = malloc(CHUNK_BYTES);
  if (!chunk) return false;
  if (slab->at < slab->end) give_back(slab, slab->at, (size_t)(slab->end - slab->at));
  chunk->next = slab->chunks;
  slab->chunks = chunk;
  slab->small_bytes += CHUNK_BYTES;
  slab->at = chunk->bytes;
  slab->end = (char *)chunk + CHUNK_BYTES;
  return true;
}

static bool refused(struct wd_slab *slab, size_t size) {
  return slab->may_grow && !slab->may_grow(slab, size);
}

static void *take_large(struct wd_slab *slab, size_t size) {
  return refused(slab, size) ? NULL : malloc(size);
}

static void *take(struct wd_slab *slab, size_t size) {
  size_t class = class_of(size), rounded = (class + 1) * WD_SLAB_STEP;
  void *block = slab->free[class];
  if (block) {
    slab->free[class] = *(void **)block;
    return block;
  }
  if ((size_t)(slab->end - slab->at) < rounded && (refused(slab, size) || !new_chunk(slab))) return NULL;
  block = slab->at;
  slab->at += rounded;
  return block;
}

void *wd_slab_realloc(void *ctx, void *block, size_t old_size, size_t new_size) {
  struct wd_slab *slab = ctx;
  if (!block) return new_size == 0 ? NULL : is_small(new_size) ? take(slab, new_size) : take_large(slab, new_size);
  bool was_small = is_small(old_size), small = is_small(new_size);
  if (new_size == 0) {
    if (was_small)
      give_back(slab, block, old_size);
    else
      free(block);
    return NULL;
  }
  if (!was_small && !small) return new_size > old_size && refused(slab, new_size) ? NULL : realloc(block, new_size);
  if (was_small && small && class_of(old_size) == class_of(new_size)) return block;
  void *moved = small ? take(slab, new_size) : take_large(slab, new_size);
  if (!moved) return NULL;
  memcpy(moved, block, old_size < new_size ? old_size : new_size);
  wd_slab_realloc(slab, block, old_size, 0);
  return moved;
}

void *wd_slab_plain_realloc(void *ctx, void *block, size_t old_size, size_t new_size) {
  struct wd_slab *slab = ctx;
  if (new_size == 0) {
    free(block);
    return NULL;
  }
  return (!block || new_size > old_size) && refused(slab, new_size) ? NULL : realloc(block, new_size);
}

void wd_slab_free(struct wd_slab *slab) {
  while (slab->chunks) {
    struct wd_slab_chunk *next = slab->chunks->next;
    free(slab->chunks);
    slab->chunks = next;
  }
  *slab = (struct wd_slab){0};
}
