// DNS answers of any bytes behind a right header and question, so that the records are reached.
#include <stdlib.h>
#include <string.h>

#include "probes/dns_wire.h"
#include "runtime/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *text) {
  for (size_t len = text ? strlen(text) : 0, at = 0; at < len;) {
    size_t step = wd_text_utf8_len(text + at, len - at);
    if (step == 0 || (unsigned char)text[at] < 0x20) abort();
    at += step;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct wd_arena query_arena;
  static struct wd_dns_query query;
  struct wd_dns_ask ask = {.name = "a.test", .type = "ANY"};
  struct wd_dns_answer answer;
  struct wd_arena arena = {0};
  char error[128];
  if (!query.udp && !wd_dns_build(&query, &query_arena, &ask, error, sizeof error)) abort();
  if (size < 8) return 0;
  size_t question = 12 + query.question_len, len = question + size - 8;
  uint8_t *wire = malloc(len);
  if (!wire) return 0;
  memcpy(wire, query.udp, question);
  wire[2] = (uint8_t)(0x80 | (data[0] & 0x07));
  wire[3] = data[1];
  memcpy(wire + 6, data + 2, 6); // the counts of the three sections
  memcpy(wire + question, data + 8, size - 8);
  if (wd_dns_parse(&answer, &arena, &query, wire, len, error, sizeof error) == WD_DNS_OURS) {
    if (answer.count > WD_DNS_RECORDS_MAX) abort();
    for (size_t i = 0; i < answer.count; i++) {
      printable(answer.records[i].name);
      printable(answer.records[i].data);
      printable(answer.records[i].text);
      printable(answer.records[i].target);
    }
    wd_dns_err(&answer);
  }
  wd_arena_free(&arena);
  free(wire);
  return 0;
}
