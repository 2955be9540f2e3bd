// What the bare loops share. They are the physical limit in the tables of ./dev bench: the fewest system calls that do the same work, no names, no
// results, no deadlines. Each prints {"count": N}, how often the work succeeded, and ends with 1 when something that must not fail did.
#pragma once

#include <stdio.h>
#include <stdlib.h>

static inline void bare_must(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static inline void bare_usage(int ok, const char *text) {
  if (ok) return;
  fprintf(stderr, "usage: %s\n", text);
  exit(2);
}

static inline long bare_number(const char *text, long least) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*end == '\0' && end != text && value >= least) return value;
  fprintf(stderr, "'%s' is no number from %ld up\n", text, least);
  exit(2);
}
