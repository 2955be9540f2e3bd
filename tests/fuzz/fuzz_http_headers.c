// Header lines and bodies of any bytes as libcurl hands them over, a line of the input each: facts in bounds, in order, and fit to print.
// Behind an empty line comes the body; a second head begins with a status line, as after a 1xx.
#include <stdlib.h>
#include <string.h>

#include "runtime/text.h"
#include "runtime/transfer_inner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *text, size_t n) {
  for (size_t at = 0; at < n;) {
    size_t step = wd_text_utf8_len(text + at, n - at);
    if (step == 0 || ((unsigned char)text[at] < 0x20 && text[at] != '\n')) abort();
    at += step;
  }
}

static void check(const struct wd_transfer *t, const struct wd_transfer_inner *in) {
  if (in->line_count > WD_TRANSFER_HEADERS || in->line_bytes > WD_TRANSFER_HEADER_BYTES || t->answer.n > in->line_count) abort();
  if (t->kept.n > t->keep_body || (int64_t)t->kept.n > t->body_bytes) abort();
  for (size_t i = 0; i < t->answer.n; i++) {
    const struct wd_pair *pair = &t->answer.items[i];
    if (i && strcmp(pair[-1].name, pair->name) >= 0) abort();
    for (const char *c = pair->name; *c; c++)
      if (*c >= 'A' && *c <= 'Z') abort();
    printable(pair->name, strlen(pair->name));
    printable(pair->value.p, pair->value.n);
  }
}

// A copy of its own size, as libcurl's may end there.
static void feed(size_t (*hand_over)(char *, size_t, size_t, void *), struct wd_transfer_try *try, const uint8_t *bytes, size_t n) {
  char *copy = malloc(n);
  memcpy(copy, bytes, n);
  hand_over(copy, 1, n, try);
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wd_arena arena = {0};
  if (size < 2) return 0;
  struct wd_transfer t = {.arena = &arena, .status = 200, .keep_body = data[0], .headers_dropped = WD_NONE};
  struct wd_transfer_inner in = {.t = &t, .ready = data[1] & 1 ? 1 : WD_NONE, .first_byte = WD_NONE, .tunnelled = WD_NONE};
  struct wd_transfer_try try = {.t = &t};
  t.inner = &in;
  for (size_t at = 2; at < size;) {
    const uint8_t *end = memchr(data + at, '\n', size - at);
    size_t n = end ? (size_t)(end - data) - at + 1 : size - at;
    feed(in.head_complete ? wd_transfer_on_body : wd_transfer_on_header, &try, data + at, n);
    at += n;
  }
  wd_transfer_answer_finish(&in);
  check(&t, &in);
  free((char *)(uintptr_t)t.kept.p);
  free(in.lines);
  wd_arena_free(&arena);
  return 0;
}
