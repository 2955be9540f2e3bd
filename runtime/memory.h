// For libraries that crash where they get no memory: asks for it before them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

// Whether so many bytes can be had now. What is asked for next in small blocks then finds them free.
static inline bool wd_memory_left(size_t bytes) {
  void *volatile block = malloc(bytes); // volatile: a compiler may take for granted what nobody looks at
  free(block);
  return block != NULL;
}
