// Answers on their way: a heap by when they are due, first come first served among equals. Each is logged as it leaves.
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOG_BUFFER = 1 << 20 };

struct pending {
  int64_t due;
  uint64_t place;
  struct entry entry;
  size_t len;
  uint8_t bytes[];
};

static struct pending **heap;
static size_t count, room;
static FILE *log_file;

void log_open(const char *path) {
  if (strcmp(path, "-") == 0) return;
  log_file = fopen(path, "we");
  if (!log_file) {
    perror(path);
    exit(1);
  }
  setvbuf(log_file, NULL, _IOFBF, LOG_BUFFER);
}

static void log_line(const struct entry *e, int64_t left) {
  char host[ADDRESS_TEXT], from[ADDRESS_TEXT], key[KEY_TEXT];
  if (!log_file) return;
  fprintf(log_file, "%lld\t%lld\t%lld\t%s\t%s\t%s\t%s\t%s\n", (long long)e->entered, (long long)left, (long long)e->asked,
          proto_name(e->key.proto), address_text(host, &e->key.host), key_text(key, &e->key), e->fate,
          address_text(from, &e->from));
}

void log_unanswered(const struct entry *e) {
  log_line(e, 0);
}

static bool before(const struct pending *a, const struct pending *b) {
  return a->due != b->due ? a->due < b->due : a->place < b->place;
}

static void swap(size_t a, size_t b) {
  struct pending *was = heap[a];
  heap[a] = heap[b];
  heap[b] = was;
}

void answer_later(const struct entry *e, int64_t due, const uint8_t *bytes, size_t len) {
  static uint64_t places;
  if (count == room) {
    room = room ? room * 2 : 1024;
    struct pending **more = realloc(heap, room * sizeof(struct pending *));
    if (!more) abort();
    heap = more;
  }
  struct pending *p = malloc(sizeof(*p) + len);
  if (!p) abort();
  *p = (struct pending){.due = due, .place = places++, .entry = *e, .len = len};
  memcpy(p->bytes, bytes, len);
  heap[count] = p;
  for (size_t i = count++; i > 0 && before(heap[i], heap[(i - 1) / 2]); i = (i - 1) / 2) swap(i, (i - 1) / 2);
}

static struct pending *take_first(void) {
  struct pending *first = heap[0];
  heap[0] = heap[--count];
  for (size_t i = 0, child; (child = 2 * i + 1) < count; i = child) {
    if (child + 1 < count && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], heap[i])) break;
    swap(i, child);
  }
  return first;
}

int64_t answers_wait(int64_t now) {
  if (count == 0) return -1;
  return heap[0]->due > now ? heap[0]->due - now : 0;
}

void answers_send(int tun, int64_t now) {
  while (count > 0 && heap[0]->due <= now) {
    struct pending *p = take_first();
    int64_t left = wall_ns();
    ssize_t n;
    do n = write(tun, p->bytes, p->len);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)p->len) {
      perror("waddle-sim: an answer could not be written"); // the log would lie
      exit(1);
    }
    log_line(&p->entry, left);
    free(p);
  }
}

void log_close(void) {
  while (count > 0) {
    struct pending *p = take_first();
    log_line(&p->entry, 0);
    free(p);
  }
  free(heap);
  if (log_file && fclose(log_file)) {
    perror("waddle-sim: the log");
    exit(1);
  }
}
