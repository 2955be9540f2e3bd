// The answers of a manager: to a login, and the waits it asks for.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/upload_auth.h"
#include "runtime/upload_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct wd_auth_opts opts = {.type = WD_AUTH_USERPASS, .user = "u", .password = "p"};
  struct wd_auth auth;
  const char *why = "";
  if (size < 2 || wd_auth_open(&auth, &opts)) return 0;
  int64_t status = data[0] & 1 ? 200 : 200 + data[1] * 2;
  size_t n = size - 2;
  char *text = malloc(n + 1), *exact = malloc(n ? n : 1); // one for functions that take a string, one without a byte behind it
  memcpy(text, data + 2, n);
  memcpy(exact, data + 2, n);
  text[n] = 0;
  enum wd_upload_verdict verdict = wd_auth_answer(&auth, status, exact, n, 0, &why);
  if (verdict == WD_UPLOAD_STORED && !auth.value) abort();
  if (verdict == WD_UPLOAD_STORED && strpbrk(auth.value, "\r\n")) abort();
  wd_ns wait = wd_upload_retry_after(text, INT64_C(1767268800) * 1000000);
  if (wait != WD_NONE && (wait < 0 || wait > 3600 * WD_S)) abort();
  struct wd_arena arena = {0};
  if (!memchr(text, 0, n)) wd_json_quote(&arena, text);
  wd_arena_free(&arena);
  wd_auth_close(&auth);
  free(exact);
  free(text);
  return 0;
}
