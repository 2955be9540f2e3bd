// The store on disk as the uploader sees it: its window, its order, its counts, with the writer at work beside it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/spool.h"

enum { MANY = 2000 };

static char folder[64], path[128];
static struct wd_loop loop;
static struct wd_store *store;
static struct wd_store_memo memo;
static int recalls, answers;
static struct wd_store_put asked[MANY];
static char keys[MANY][16];

static void nothing(void *ctx) {
  (void)ctx;
}

static void on_ready(void *ctx) {
  (void)ctx;
}

static void on_recall(void *ctx, const struct wd_store_memo *from) {
  (void)ctx;
  memo = *from;
  recalls++;
}

static void on_put(struct wd_store_put *put) {
  (void)put;
  answers++;
}

static void on_answer(struct wd_store_ask *ask) {
  (void)ask;
  answers++;
}

static void quiet(const char *line) {
  (void)line;
}

// Runs the loop until `wanted` answers came.
static void await(int wanted) {
  for (int i = 0; i < 5000 && answers < wanted; i++) wd_loop_pass(&loop, 10 * WD_MS);
  assert_int_equal(answers, wanted);
}

static struct wd_store_ask ask(enum wd_store_request request, bool aside, const char *key) {
  static struct wd_store_ask question;
  question = (struct wd_store_ask){.request = request, .aside = aside, .key = key, .most = 1000, .done = on_answer};
  answers = 0;
  wd_store_ask(store, &question);
  await(1);
  assert_null(question.fault);
  struct wd_store_ask copy = question;
  wd_arena_free(&question.arena);
  return copy;
}

static void open_store(int64_t rows, bool drop_oldest, wd_ns age) {
  struct wd_spool_opts opts = {.path = path, .limits = {rows, 1 << 30, age, drop_oldest}};
  store = wd_spool_new(&loop, &opts);
  assert_non_null(store);
  store->ready = on_ready;
  store->recall = on_recall;
  ask(WD_ASK_LIST, false, "");
}

static void close_store(void) {
  wd_store_close(store);
  uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof(folder), "/tmp/spoolXXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/waddle.db", folder);
  assert_int_equal(wd_loop_open(&loop), 0);
  loop.run_ready = nothing;
  recalls = 0;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char line[128];
  close_store();
  assert_int_equal(loop.awaited, 0);
  assert_int_equal(wd_loop_close(&loop), 0);
  snprintf(line, sizeof(line), "rm -r %s", folder);
  return system(line); // NOLINT(cert-env33-c): a folder of ours
}

// Puts n rows named FIRST, FIRST + 1 ... at once.
static void put_many(int first, int n) {
  answers = 0;
  for (int i = 0; i < n; i++) {
    snprintf(keys[i], sizeof(keys[i]), "k%d", first + i);
    asked[i] = (struct wd_store_put){.key = keys[i], .body = {"body", 4}, .done = on_put, .result = WD_STORE_FAILED};
    wd_store_put(store, &asked[i]);
  }
  await(n);
}

static struct wd_store_counts counts(void) {
  struct wd_store_counts c;
  wd_store_counts(store, wd_clock_now(), &c);
  return c;
}

// The next row; waits for the writer to read it.
static struct wd_row *lease(void) {
  for (int i = 0; i < 1000; i++) {
    struct wd_row *row = wd_store_due(store, wd_clock_now()) <= wd_clock_now() ? wd_store_lease(store, wd_clock_now()) : NULL;
    if (row) return row;
    wd_loop_pass(&loop, 10 * WD_MS);
  }
  return NULL;
}

// Takes all rows out; they are `n` from the one named `first`, in their order.
static void drain(int first, int n) {
  for (int i = 0; i < n; i++) {
    char key[16];
    snprintf(key, sizeof(key), "k%d", first + i);
    struct wd_row *row = lease();
    assert_non_null(row);
    assert_string_equal(row->key, key);
    assert_memory_equal(row->body.p, "body", 4);
    wd_store_remove(store, row);
  }
  assert_int_equal(counts().rows, 0);
  assert_int_equal(counts().bytes, 0);
}

static void more_than_the_window_in_order(void **state) {
  (void)state;
  open_store(MANY * 2, false, WD_NONE);
  put_many(0, MANY);
  assert_int_equal(counts().rows, MANY);
  assert_int_equal(counts().bytes, 4 * MANY);
  struct wd_row *a = lease(), *b = lease();
  assert_int_equal(counts().leased, 2);
  wd_store_put_back(store, b);
  wd_store_put_back(store, a);
  drain(0, MANY);
}

static void the_next_process_goes_on(void **state) {
  (void)state;
  struct wd_store_memo kept = {.state = 1, .faults = 3, .odd = 2, .retry_at = wd_clock_now() + 100 * WD_S, .where = "http://m", .last_error = "e"};
  open_store(MANY, false, WD_NONE);
  put_many(0, 700);
  wd_store_keep(store, &kept);
  struct wd_row *row = lease();
  wd_store_remove(store, row);
  row = lease();
  wd_store_put_back(store, row); // as the uploader does before it closes
  close_store();
  recalls = 0;
  open_store(MANY, false, WD_NONE);
  assert_int_equal(recalls, 1);
  assert_int_equal(memo.state, 1);
  assert_int_equal(memo.faults, 3);
  assert_int_equal(memo.odd, 2);
  assert_string_equal(memo.where, "http://m");
  assert_true(memo.retry_at > wd_clock_now() + 95 * WD_S && memo.retry_at <= wd_clock_now() + 100 * WD_S);
  put_many(700, 10);
  drain(1, 709);
}

static void the_newest_is_not_taken(void **state) {
  (void)state;
  open_store(5, false, WD_NONE);
  put_many(0, 8);
  for (int i = 0; i < 8; i++) assert_int_equal(asked[i].result, i < 5 ? WD_STORE_TAKEN : WD_STORE_FULL);
  assert_int_equal(counts().dropped, 3);
  drain(0, 5);
  put_many(8, 1);
  drain(8, 1);
}

static void the_oldest_gives_way(void **state) {
  (void)state;
  open_store(5, true, WD_NONE);
  put_many(0, 3);
  struct wd_row *first = lease();
  put_many(3, 300); // more than there is room for, in few transactions
  for (int i = 0; i < 300; i++) assert_int_equal(asked[i].result, WD_STORE_TAKEN);
  assert_int_equal(counts().rows, 5);
  assert_int_equal(counts().dropped, 298);
  assert_string_equal(first->key, "k0");
  wd_store_remove(store, first);
  drain(299, 4);
}

static void rows_put_off_come_back_when_they_are_due(void **state) {
  (void)state;
  open_store(MANY, false, WD_NONE);
  put_many(0, 3);
  struct wd_row *row = lease();
  row->not_before = wd_clock_now() + 50 * WD_MS;
  row->tries = 4;
  row->doubts = 2;
  wd_store_put_back(store, row);
  row = lease();
  row->not_before = wd_clock_now() + 3600 * WD_S;
  wd_store_put_back(store, row);
  row = lease();
  assert_string_equal(row->key, "k2");
  wd_store_remove(store, row);
  ask(WD_ASK_LIST, false, ""); // the writer has done it all
  wd_ns due = wd_store_due(store, wd_clock_now());
  assert_true(due <= wd_clock_now() + 50 * WD_MS);
  row = lease();
  assert_string_equal(row->key, "k0");
  assert_int_equal(row->tries, 4);
  assert_int_equal(row->doubts, 2);
  wd_store_remove(store, row);
  ask(WD_ASK_LIST, false, "");
  assert_true(wd_store_due(store, wd_clock_now()) > wd_clock_now() + 3000 * WD_S);
  wd_store_make_due(store);
  ask(WD_ASK_LIST, false, "");
  drain(1, 1);
}

static void a_row_put_off_far_behind_the_window_comes_once(void **state) {
  (void)state;
  static struct wd_row *leased[600];
  open_store(MANY, false, WD_NONE);
  put_many(0, 600);
  for (int i = 0; i < 600; i++) leased[i] = lease();
  for (int i = 400; i < 600; i++) leased[i]->not_before = wd_clock_now() + 20 * WD_MS;
  for (int i = 0; i < 600; i++) wd_store_put_back(store, leased[i]);
  close_store();
  wd_ns until = wd_clock_now() + 30 * WD_MS;
  open_store(MANY, false, WD_NONE);
  while (wd_clock_now() < until) wd_loop_pass(&loop, 10 * WD_MS);
  for (int i = 0; i < 600; i++) wd_store_remove(store, lease());
  for (int i = 0; i < 10; i++) wd_loop_pass(&loop, 5 * WD_MS);
  assert_int_equal(counts().rows, 0);
  assert_null(wd_store_lease(store, wd_clock_now()));
}

static void too_old_is_dropped(void **state) {
  (void)state;
  open_store(MANY, false, 200 * WD_MS);
  put_many(0, 600);
  for (int i = 0; i < 300 && counts().rows; i++) wd_loop_pass(&loop, 10 * WD_MS);
  assert_int_equal(counts().rows, 0);
  assert_int_equal(counts().dropped, 600);
  assert_int_equal(wd_store_due(store, wd_clock_now()), INT64_MAX);
}

static void people_look_requeue_and_purge(void **state) {
  (void)state;
  open_store(MANY, false, WD_NONE);
  put_many(0, 5);
  wd_store_set_aside(store, lease(), 400, "no");
  assert_int_equal(ask(WD_ASK_LIST, true, NULL).count, 1);
  assert_int_equal(counts().aside, 1);
  assert_int_equal(counts().rows, 4);
  assert_int_equal(ask(WD_ASK_REQUEUE, false, NULL).changed, 1);
  assert_int_equal(counts().rows, 5);
  struct wd_row *row = lease();
  assert_string_equal(row->key, "k1");
  assert_int_equal(ask(WD_ASK_PURGE, false, "k3").changed, 1);
  assert_int_equal(counts().rows, 4);
  assert_int_equal(ask(WD_ASK_PURGE, false, NULL).changed, 3); // k2, k4, k0; k1 is being sent
  wd_store_put_back(store, row);
  drain(1, 1);
}

static void who_no_longer_waits_is_not_called(void **state) {
  (void)state;
  open_store(MANY, false, WD_NONE);
  struct wd_store_ask question = {.request = WD_ASK_LIST, .most = 10, .done = on_answer};
  answers = 0;
  asked[0] = (struct wd_store_put){.key = "k0", .body = {"body", 4}, .done = on_put};
  wd_store_put(store, &asked[0]);
  wd_store_forget_put(store, &asked[0]);
  wd_store_ask(store, &question);
  wd_store_forget_ask(store, &question);
  for (int i = 0; i < 20; i++) wd_loop_pass(&loop, 5 * WD_MS);
  assert_int_equal(answers, 0);
  assert_int_equal(counts().rows, 1);
  asked[0] = (struct wd_store_put){.key = "k1", .body = {"body", 4}, .done = on_put};
  wd_store_put(store, &asked[0]); // and closed at once: it is written
  close_store();
  assert_int_equal(answers, 1);
  assert_int_equal(asked[0].result, WD_STORE_TAKEN);
  open_store(MANY, false, WD_NONE);
  drain(0, 2);
}

static void without_a_file_rows_are_in_memory(void **state) {
  (void)state;
  snprintf(path, sizeof(path), "/proc/no/waddle.db");
  open_store(MANY, false, WD_NONE);
  put_many(0, 3);
  assert_int_equal(asked[2].result, WD_STORE_TAKEN);
  assert_non_null(counts().fault);
  assert_int_equal(ask(WD_ASK_LIST, false, NULL).count, 3);
  drain(0, 3);
}

int main(void) {
  wd_log_set_sink(quiet);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(more_than_the_window_in_order),
      TEST(the_next_process_goes_on),
      TEST(the_newest_is_not_taken),
      TEST(the_oldest_gives_way),
      TEST(rows_put_off_come_back_when_they_are_due),
      TEST(a_row_put_off_far_behind_the_window_comes_once),
      TEST(too_old_is_dropped),
      TEST(people_look_requeue_and_purge),
      TEST(who_no_longer_waits_is_not_called),
      TEST(without_a_file_rows_are_in_memory),
  };
#undef TEST
  return cmocka_run_group_tests(tests, NULL, NULL);
}
