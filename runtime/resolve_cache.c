// A table of small rows: a question has its row, and in it the answer that would expire first makes room.
#include "runtime/resolve_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"

enum { ROWS = 256, IN_A_ROW = 4, LONGEST_S = 86400 };

struct entry {
  char name[WD_HOST_TEXT], server[WD_ADDR_TEXT];
  int family;
  wd_ns expires;
  size_t count;
  struct wd_addr found[];
};

static struct entry *rows[ROWS][IN_A_ROW];

static struct entry **row_of(const char *name, int family) {
  uint32_t hash = 2166136261U ^ (uint32_t)family; // FNV-1a
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619U;
  return rows[hash % ROWS];
}

static bool is(const struct entry *e, const char *name, int family, const char *server) {
  return e && e->family == family && strcmp(e->name, name) == 0 && strcmp(e->server, server) == 0;
}

size_t wd_resolve_cache_get(const char *name, int family, const char *server, struct wd_addr *out, size_t most) {
  struct entry **row = row_of(name, family);
  for (int i = 0; i < IN_A_ROW; i++) {
    const struct entry *e = row[i];
    if (!is(e, name, family, server)) continue;
    if (e->expires <= wd_clock_now()) return 0;
    size_t n = e->count < most ? e->count : most;
    memcpy(out, e->found, n * sizeof(*out));
    return n;
  }
  return 0;
}

void wd_resolve_cache_put(const char *name, int family, const char *server, const struct wd_addr *found, size_t count,
                          int64_t ttl_s) {
  struct entry **row = row_of(name, family), **place = NULL;
  for (int i = 0; i < IN_A_ROW; i++) {
    if (is(row[i], name, family, server)) {
      place = &row[i];
      break;
    }
    if (!place || (*place && (!row[i] || row[i]->expires < (*place)->expires))) place = &row[i];
  }
  struct entry *e = malloc(sizeof(*e) + count * sizeof(*found));
  if (!e) return;
  snprintf(e->name, sizeof(e->name), "%s", name);
  snprintf(e->server, sizeof(e->server), "%s", server);
  e->family = family;
  e->expires = wd_clock_now() + (ttl_s < LONGEST_S ? ttl_s : LONGEST_S) * WD_S;
  e->count = count;
  memcpy(e->found, found, count * sizeof(*found));
  free(*place);
  *place = e;
}

void wd_resolve_cache_free(void) {
  for (int i = 0; i < ROWS; i++)
    for (int k = 0; k < IN_A_ROW; k++) {
      free(rows[i][k]);
      rows[i][k] = NULL;
    }
}
