// The store in memory: order, bounds, age, rows that wait, rows set aside.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/upload_store.h"

static struct wd_store *store;
static int ready_calls;

static void on_ready(void *ctx) {
  (void)ctx;
  ready_calls++;
}

static void on_put(struct wd_store_put *put) {
  (void)put;
}

static void open_store(int64_t rows, int64_t bytes, wd_ns age) {
  store = wd_store_memory(&(struct wd_store_limits){rows, bytes, age, false});
  assert_non_null(store);
  store->ready = on_ready;
  ready_calls = 0;
}

static int teardown(void **state) {
  (void)state;
  wd_store_close(store);
  return 0;
}

static enum wd_store_result put(const char *key, const char *body) {
  struct wd_store_put put = {.key = key, .body = {body, strlen(body)}, .done = on_put, .result = WD_STORE_FAILED};
  wd_store_put(store, &put);
  return put.result;
}

static struct wd_row *lease(const char *key) {
  struct wd_row *row = wd_store_lease(store, wd_clock_now());
  if (!key) {
    assert_null(row);
  } else {
    assert_non_null(row);
    assert_string_equal(row->key, key);
  }
  return row;
}

static struct wd_store_counts counts(void) {
  struct wd_store_counts c;
  wd_store_counts(store, wd_clock_now(), &c);
  return c;
}

static void oldest_first(void **state) {
  (void)state;
  open_store(10, 1000, WD_NONE);
  assert_int_equal(wd_store_due(store, wd_clock_now()), INT64_MAX);
  char text[] = "body of a";
  assert_int_equal(put("a", text), WD_STORE_TAKEN);
  memset(text, 'x', strlen(text)); // the store has a copy
  put("b", "");
  put("c", "3");
  assert_int_equal(ready_calls, 3);
  struct wd_row *a = lease("a"), *b = lease("b");
  assert_memory_equal(a->body.p, "body of a", a->body.n);
  assert_int_equal(counts().leased, 2);
  assert_int_equal(counts().rows, 3);
  wd_store_put_back(store, b);
  wd_store_put_back(store, a);
  a = lease("a");
  wd_store_remove(store, a);
  assert_int_equal(counts().rows, 2);
  wd_store_remove(store, lease("b"));
  wd_store_remove(store, lease("c"));
  lease(NULL);
  assert_int_equal(counts().bytes, 0);
}

static void rows_that_wait_hold_up_nobody(void **state) {
  (void)state;
  open_store(10, 1000, WD_NONE);
  put("a", "");
  put("b", "");
  wd_ns now = wd_clock_now();
  struct wd_row *a = lease("a"), *b = lease("b");
  a->not_before = now + 5 * WD_S;
  b->not_before = now + 2 * WD_S;
  wd_store_put_back(store, a);
  wd_store_put_back(store, b);
  assert_int_equal(wd_store_due(store, now), now + 2 * WD_S);
  lease(NULL);
  put("c", "");
  wd_store_remove(store, lease("c"));
  wd_clock_advance(now + 2 * WD_S);
  b = lease("b");
  wd_store_put_back(store, b);
  wd_store_make_due(store);
  wd_store_remove(store, lease("a"));
  wd_store_remove(store, lease("b"));
}

static void full_by_rows_or_bytes(void **state) {
  (void)state;
  open_store(2, 10, WD_NONE);
  assert_int_equal(put("a", "12345678901"), WD_STORE_FULL);
  assert_int_equal(put("a", "123456"), WD_STORE_TAKEN);
  assert_int_equal(put("b", "12345"), WD_STORE_FULL);
  assert_int_equal(put("b", "1234"), WD_STORE_TAKEN);
  assert_int_equal(put("c", ""), WD_STORE_FULL);
  assert_int_equal(counts().dropped, 3);
  struct wd_row *a = lease("a");
  assert_int_equal(put("c", ""), WD_STORE_FULL); // in flight is not delivered
  wd_store_remove(store, a);
  assert_int_equal(put("c", ""), WD_STORE_TAKEN);
}

static void too_old_is_dropped_and_counted(void **state) {
  (void)state;
  open_store(10, 1000, 10 * WD_S);
  wd_ns begin = wd_clock_now();
  put("a", "");
  put("b", "");
  struct wd_row *a = lease("a");
  a->not_before = begin + 20 * WD_S;
  wd_store_put_back(store, a);
  wd_clock_advance(begin + 10 * WD_S);
  assert_int_equal(counts().dropped, 0);
  assert_int_equal(counts().oldest, begin);
  wd_clock_advance(begin + 15 * WD_S);
  put("c", "");
  assert_int_equal(counts().dropped, 1); // b; a is not to be sent yet
  wd_clock_advance(begin + 20 * WD_S);
  struct wd_store_counts c = counts();
  assert_int_equal(c.rows, 1);
  assert_int_equal(c.dropped, 2);
  assert_int_equal(c.oldest, begin + 15 * WD_S);
  wd_store_remove(store, lease("c"));
}

static void on_answer(struct wd_store_ask *ask) {
  assert_null(ask->fault);
}

static void on_list(struct wd_store_ask *ask) {
  assert_int_equal(ask->count, counts().aside);
}

static void set_aside_is_kept_within_bounds(void **state) {
  (void)state;
  open_store(10, 1000, WD_NONE);
  for (int i = 1; i <= 1005; i++) {
    char key[16];
    snprintf(key, sizeof(key), "k%d", i);
    assert_int_equal(put(key, "body"), WD_STORE_TAKEN);
    wd_store_set_aside(store, lease(key), 400, "missing target_host");
  }
  assert_int_equal(counts().rows, 0);
  struct wd_store_ask list = {.request = WD_ASK_LIST, .aside = true, .done = on_list};
  wd_store_ask(store, &list);
  assert_int_equal(list.count, 1000);
  assert_string_equal(list.rows[0].key, "k6");
  assert_string_equal(list.rows[999].key, "k1005");
  assert_string_equal(list.rows[999].answer, "missing target_host");
  assert_int_equal(list.rows[999].status, 400);
  assert_memory_equal(list.rows[999].body.p, "body", 4);
  wd_arena_free(&list.arena);
}

static void the_oldest_gives_way_where_asked(void **state) {
  (void)state;
  store = wd_store_memory(&(struct wd_store_limits){2, 10, WD_NONE, true});
  put("a", "1234");
  put("b", "1234");
  struct wd_row *a = lease("a");
  assert_int_equal(put("c", "123456"), WD_STORE_TAKEN); // b goes, a is being sent
  assert_int_equal(counts().dropped, 1);
  assert_int_equal(put("d", "12345678901"), WD_STORE_FULL); // never fits, so nobody goes
  assert_int_equal(counts().rows, 2);
  wd_store_remove(store, a);
  wd_store_remove(store, lease("c"));
}

static int64_t ask(enum wd_store_request request, bool aside, const char *key) {
  struct wd_store_ask question = {.request = request, .aside = aside, .key = key, .most = 100, .done = on_answer};
  wd_store_ask(store, &question);
  wd_arena_free(&question.arena);
  return request == WD_ASK_LIST ? (int64_t)question.count : question.changed;
}

static void people_look_requeue_and_purge(void **state) {
  (void)state;
  open_store(10, 1000, WD_NONE);
  put("a", "");
  put("b", "");
  put("c", "");
  wd_store_set_aside(store, lease("a"), 400, "no");
  assert_int_equal(ask(WD_ASK_LIST, false, NULL), 2);
  assert_int_equal(ask(WD_ASK_LIST, false, "c"), 1);
  assert_int_equal(ask(WD_ASK_LIST, true, NULL), 1);
  assert_int_equal(ask(WD_ASK_REQUEUE, false, "b"), 0);
  assert_int_equal(ask(WD_ASK_REQUEUE, false, NULL), 1);
  assert_int_equal(counts().aside, 0);
  assert_int_equal(ask(WD_ASK_PURGE, false, "b"), 1);
  struct wd_row *c = lease("c");
  assert_int_equal(ask(WD_ASK_PURGE, false, NULL), 1); // a; c is being sent
  assert_int_equal(counts().rows, 1);
  wd_store_remove(store, c);
}

static void quiet(const char *line) {
  (void)line;
}

int main(void) {
  wd_clock_make_virtual();
  wd_log_set_sink(quiet);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(oldest_first, teardown),
      cmocka_unit_test_teardown(rows_that_wait_hold_up_nobody, teardown),
      cmocka_unit_test_teardown(full_by_rows_or_bytes, teardown),
      cmocka_unit_test_teardown(too_old_is_dropped_and_counted, teardown),
      cmocka_unit_test_teardown(the_oldest_gives_way_where_asked, teardown),
      cmocka_unit_test_teardown(people_look_requeue_and_purge, teardown),
      cmocka_unit_test_teardown(set_aside_is_kept_within_bounds, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
