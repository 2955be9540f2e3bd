// Certificates of any bytes: facts, and a verdict that is never good.
#include <stdlib.h>

#include "runtime/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct x509_store_st *store;
  struct wd_arena arena = {0};
  struct wd_cert_report report;
  char error[256];
  if (!store) {
    const char *name = "a.test";
    struct wd_cert_pair pair;
    if (!wd_cert_self_signed(&pair, &arena, &name, 1, 1, error, sizeof error) ||
        !(store = wd_cert_store(pair.cert_pem, error, sizeof error)))
      abort();
  }
  struct wd_cert_blob blob = {data, size};
  if (wd_cert_examine(&report, &arena, &blob, 1, store, "a.test", 1800000000) && report.verify == WD_OK) abort();
  wd_arena_free(&arena);
  return 0;
}
