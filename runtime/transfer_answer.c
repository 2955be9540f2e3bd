// What libcurl calls while an answer comes: the connection is ready, a header line, a piece of the body.
// Nothing here calls libcurl but to read facts of the handle.
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/policy.h"
#include "runtime/text.h"
#include "runtime/transfer_inner.h"

enum { VALUE_MAX = 16 * 1024 };

// Before the request leaves, also on a connection that is used again. An error here ends the try.
int wd_transfer_on_ready(void *user, char *remote, char *local, int remote_port, int local_port) {
  struct wd_transfer_try *try = user;
  struct wd_transfer_inner *in = try->t->inner;
  struct curl_tlssessioninfo *tls = NULL;
  (void)remote, (void)local, (void)remote_port, (void)local_port;
  if (in->winner && in->winner != try) return CURL_PREREQFUNC_ABORT;
  if (!in->winner) {
    in->winner = try;
    wd_transfer_multi_won(in->multi, in);
  }
  if (in->ready == WD_NONE) in->ready = wd_clock_now();
  if (curl_easy_getinfo(try->easy, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK && tls && tls->internals) {
    if (tls->backend == CURLSSLBACKEND_GNUTLS)
      wd_tls_session_gnutls(&in->session, tls->internals);
    else if (tls->backend == CURLSSLBACKEND_OPENSSL)
      wd_tls_session_openssl(&in->session, tls->internals);
  }
  return CURL_PREREQFUNC_OK;
}

static bool room_for_line(struct wd_transfer_inner *in) {
  if (in->line_count < in->line_room) return true;
  if (in->line_count == WD_TRANSFER_HEADERS) return false;
  size_t room = in->line_room ? in->line_room * 2 : 16;
  struct wd_transfer_line *grown = realloc(in->lines, room * sizeof(*grown));
  if (!grown) return false;
  in->lines = grown;
  in->line_room = room;
  return true;
}

static size_t trimmed(const char **bytes, size_t n) {
  while (n && (**bytes == ' ' || **bytes == '\t')) ++*bytes, n--;
  while (n && strchr(" \t\r\n", (*bytes)[n - 1])) n--;
  return n;
}

static void keep_line(struct wd_transfer_inner *in, const char *bytes, size_t n) {
  struct wd_transfer *t = in->t;
  const char *colon = memchr(bytes, ':', n);
  if (!colon || colon == bytes) return;
  size_t name_len = (size_t)(colon - bytes);
  const char *value = colon + 1;
  size_t value_len = trimmed(&value, n - name_len - 1);
  if (value_len > VALUE_MAX || in->line_bytes + n > WD_TRANSFER_HEADER_BYTES || !room_for_line(in)) {
    t->headers_dropped = t->headers_dropped == WD_NONE ? 1 : t->headers_dropped + 1;
    return;
  }
  // A byte that is not UTF-8 becomes \xNN: four for one.
  char *name = wd_arena_alloc(t->arena, name_len * 4 + 1), *text = wd_arena_alloc(t->arena, value_len * 4 + 1);
  if (!name || !text) return;
  wd_text_escape(name, name_len * 4 + 1, bytes, name_len);
  wd_text_escape(text, value_len * 4 + 1, value, value_len);
  for (char *c = name; *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + ('a' - 'A'));
  in->lines[in->line_count] = (struct wd_transfer_line){name, text, in->line_count};
  in->line_count++;
  in->line_bytes += n;
}

size_t wd_transfer_on_header(char *bytes, size_t size, size_t count, void *user) {
  struct wd_transfer_try *try = user;
  struct wd_transfer_inner *in = try->t->inner;
  size_t n = size * count;
  if (in->ready == WD_NONE) { // what the proxy says to the wish for a tunnel
    in->tunnelled = wd_clock_now();
    if (n > 9 && strncmp(bytes, "HTTP/", 5) == 0) try->refused_tunnel = !memmem(bytes, n > 12 ? 12 : n, " 2", 2);
    return n;
  }
  if (in->first_byte == WD_NONE) in->first_byte = wd_clock_now();
  if (n >= 5 && strncmp(bytes, "HTTP/", 5) == 0) { // also after a 1xx
    in->line_count = in->line_bytes = 0;
    in->head_complete = false;
    try->t->headers_dropped = WD_NONE;
    return n;
  }
  if (*bytes == '\r' || *bytes == '\n')
    in->head_complete = true;
  else
    keep_line(in, bytes, n);
  return n;
}

static bool room_for_body(struct wd_transfer_inner *in, size_t need) {
  struct wd_transfer *t = in->t;
  if (need <= in->kept_room) return true;
  size_t room = in->kept_room ? in->kept_room : 4096;
  while (room < need) room *= 2;
  if (room > t->keep_body) room = t->keep_body;
  char *grown = realloc((char *)(uintptr_t)t->kept.p, room);
  if (!grown) return false;
  t->kept.p = grown;
  in->kept_room = room;
  return true;
}

size_t wd_transfer_on_body(char *bytes, size_t size, size_t count, void *user) {
  struct wd_transfer_try *try = user;
  struct wd_transfer *t = try->t;
  struct wd_transfer_inner *in = t->inner;
  size_t n = size * count, take = n;
  if (wd_transfer_multi_hold(try)) return CURL_WRITEFUNC_PAUSE; // TCP tells the peer; libcurl asks again with the same bytes
  wd_policy_charge(0, n);
  if (in->first_byte == WD_NONE) in->first_byte = wd_clock_now();
  t->one_read = t->body_bytes == 0;
  t->body_bytes += (int64_t)n;
  if (take > t->keep_body - t->kept.n) take = t->keep_body - t->kept.n;
  if (t->keep_body && take < n) t->truncated = true;
  if (take == 0) return n;
  if (!room_for_body(in, t->kept.n + take)) return CURL_WRITEFUNC_ERROR;
  memcpy((char *)(uintptr_t)t->kept.p + t->kept.n, bytes, take);
  t->kept.n += take;
  return n;
}

static int by_name(const void *a, const void *b) {
  const struct wd_transfer_line *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : x->order < y->order ? -1 : 1;
}

// The values of lines[from..to) as one.
static struct wd_data joined(struct wd_arena *arena, const struct wd_transfer_line *lines, size_t from, size_t to) {
  // RFC 9110 section 5.3; a Set-Cookie may hold a comma, and so is the exception there
  const char *mark = strcmp(lines[from].name, "set-cookie") == 0 ? "\n" : ", ";
  size_t n = 0;
  for (size_t i = from; i < to; i++) n += strlen(lines[i].value) + strlen(mark);
  char *out = wd_arena_alloc(arena, n + 1), *at = out;
  for (size_t i = from; out && i < to; i++) {
    if (i > from) at = stpcpy(at, mark);
    at = stpcpy(at, lines[i].value);
  }
  return (struct wd_data){out, out ? (size_t)(at - out) : 0};
}

void wd_transfer_answer_finish(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  if (t->status == 0) return;
  struct wd_pair *out = wd_arena_array(t->arena, in->line_count + 1, sizeof(*out));
  if (!out) return;
  size_t n = 0;
  if (in->line_count) qsort(in->lines, in->line_count, sizeof(*in->lines), by_name);
  for (size_t i = 0, next; i < in->line_count; i = next) {
    for (next = i + 1; next < in->line_count && strcmp(in->lines[next].name, in->lines[i].name) == 0;) next++;
    out[n] = (struct wd_pair){in->lines[i].name, joined(t->arena, in->lines, i, next)};
    if (out[n].value.p) n++;
  }
  t->answer = (struct wd_map){out, n};
}
