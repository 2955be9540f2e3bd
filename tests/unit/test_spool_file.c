// The spool's file: rows and totals, the lock, damaged and foreign files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "runtime/spool_file.h"

static char folder[64], path[128];
static struct wd_spool_file file;

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof(folder), "/tmp/spoolXXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/a/b/waddle.db", folder);
  file = (struct wd_spool_file){.lock_fd = -1};
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char line[128];
  wd_spool_file_close(&file);
  snprintf(line, sizeof(line), "rm -r %s", folder);
  return system(line); // NOLINT(cert-env33-c): a folder of ours
}

static void open_file(void) {
  assert_int_equal(wd_spool_file_open(&file, path), WD_SPOOL_OK);
}

// One row in a transaction of its own; gives its id.
static int64_t put(const char *key, const char *body) {
  struct wd_spool_row row = {.key = key, .body = {body, strlen(body)}, .created_us = 1000};
  assert_int_equal(wd_spool_file_begin(&file, true), WD_SPOOL_OK);
  assert_int_equal(wd_spool_file_put(&file, &row), WD_SPOOL_OK);
  assert_int_equal(wd_spool_file_commit(&file), WD_SPOOL_OK);
  return row.id;
}

static void begin(void) {
  assert_int_equal(wd_spool_file_begin(&file, false), WD_SPOOL_OK);
}

static void commit(void) {
  assert_int_equal(wd_spool_file_commit(&file), WD_SPOOL_OK);
}

// What the tables themselves say must be what the totals say, now and after opening again.
static void check_totals(int64_t rows, int64_t bytes, int64_t aside) {
  for (int i = 0; i < 2; i++) {
    struct wd_arena arena = {0};
    struct wd_spool_row *list;
    size_t n;
    int64_t sum = 0;
    assert_int_equal(wd_spool_file_list(&file, false, NULL, 0, 1000, &arena, &list, &n), WD_SPOOL_OK);
    for (size_t k = 0; k < n; k++) sum += (int64_t)list[k].body.n;
    assert_int_equal(n, rows);
    assert_int_equal(sum, bytes);
    assert_int_equal(file.totals.rows, rows);
    assert_int_equal(file.totals.bytes, bytes);
    assert_int_equal(wd_spool_file_list(&file, true, NULL, 0, 1000, &arena, &list, &n), WD_SPOOL_OK);
    assert_int_equal(n, aside);
    assert_int_equal(file.totals.aside, aside);
    wd_arena_free(&arena);
    wd_spool_file_close(&file);
    open_file();
  }
}

static void rows_and_totals(void **state) {
  (void)state;
  struct stat st;
  open_file();
  int64_t a = put("a", "12345"), b = put("b", ""), c = put("c", "123");
  assert_true(a < b && b < c);
  check_totals(3, 8, 0);
  begin();
  assert_int_equal(wd_spool_file_remove(&file, a, false), WD_SPOOL_OK);
  assert_int_equal(wd_spool_file_remove(&file, a, true), WD_SPOOL_OK); // is not there any more: counts nothing
  wd_spool_file_rollback(&file);
  check_totals(3, 8, 0);
  begin();
  assert_int_equal(wd_spool_file_remove(&file, a, true), WD_SPOOL_OK);
  commit();
  check_totals(2, 3, 0);
  assert_int_equal(file.totals.dropped, 1);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void rows_come_in_their_order_and_delayed_ones_apart(void **state) {
  (void)state;
  struct wd_spool_row row;
  open_file();
  int64_t a = put("a", "1"), b = put("b", "2");
  assert_int_equal(wd_spool_file_next(&file, 0, &row), WD_SPOOL_OK);
  assert_string_equal(row.key, "a");
  assert_int_equal(wd_spool_file_next(&file, b, &row), WD_SPOOL_OK);
  assert_int_equal(row.id, 0);
  wd_spool_file_rest(&file);
  begin();
  assert_int_equal(wd_spool_file_put_back(&file, &(struct wd_spool_row){.id = a, .not_before_us = 5000, .tries = 2, .doubts = 1}), WD_SPOOL_OK);
  commit();
  assert_int_equal(wd_spool_file_next(&file, 0, &row), WD_SPOOL_OK);
  assert_string_equal(row.key, "b");
  assert_int_equal(wd_spool_file_next_delayed(&file, &row), WD_SPOOL_OK);
  assert_int_equal(row.id, a);
  assert_int_equal(row.not_before_us, 5000);
  assert_int_equal(row.tries, 2);
  assert_int_equal(row.doubts, 1);
  wd_spool_file_rest(&file);
  begin();
  assert_int_equal(wd_spool_file_make_due(&file), WD_SPOOL_OK);
  commit();
  assert_int_equal(wd_spool_file_next_delayed(&file, &row), WD_SPOOL_OK);
  assert_int_equal(row.not_before_us, 1);
  wd_spool_file_rest(&file);
  begin();
  assert_int_equal(wd_spool_file_take_up(&file, a), WD_SPOOL_OK);
  commit();
  assert_int_equal(wd_spool_file_next_delayed(&file, &row), WD_SPOOL_OK);
  assert_int_equal(row.id, 0);
  wd_spool_file_rest(&file);
}

static void quarantine_and_back(void **state) {
  (void)state;
  int64_t changed = 0;
  open_file();
  int64_t a = put("a", "12345"), b = put("b", "123");
  begin();
  assert_int_equal(wd_spool_file_set_aside(&file, &(struct wd_spool_row){.id = a, .status = 400, .answer = "no", .at_us = 7}), WD_SPOOL_OK);
  assert_int_equal(wd_spool_file_set_aside(&file, &(struct wd_spool_row){.id = b, .status = 413, .answer = "", .at_us = 8}), WD_SPOOL_OK);
  commit();
  check_totals(0, 0, 2);
  begin();
  assert_int_equal(wd_spool_file_requeue(&file, "zz", &changed), WD_SPOOL_OK);
  assert_int_equal(changed, 0);
  assert_int_equal(wd_spool_file_requeue(&file, "b", &changed), WD_SPOOL_OK);
  assert_int_equal(changed, 1);
  commit();
  check_totals(1, 3, 1);
  begin();
  assert_int_equal(wd_spool_file_requeue(&file, NULL, &changed), WD_SPOOL_OK);
  commit();
  check_totals(2, 8, 0);
}

static void purge_spares_what_is_being_sent(void **state) {
  (void)state;
  int64_t changed = 0;
  open_file();
  int64_t a = put("a", "1");
  put("b", "22");
  put("b", "333");
  begin();
  assert_int_equal(wd_spool_file_purge(&file, false, "a", &a, 1, &changed), WD_SPOOL_OK);
  assert_int_equal(changed, 0);
  assert_int_equal(wd_spool_file_purge(&file, false, "b", NULL, 0, &changed), WD_SPOOL_OK);
  assert_int_equal(changed, 2);
  commit();
  check_totals(1, 1, 0);
  begin();
  assert_int_equal(wd_spool_file_purge(&file, false, NULL, NULL, 0, &changed), WD_SPOOL_OK);
  commit();
  check_totals(0, 0, 0);
}

static void remembers(void **state) {
  (void)state;
  struct wd_spool_memo memo = {.state = 1, .faults = 4, .odd = 2, .retry_at_us = 99, .where = "http://m", .last_error = "it's"}, again;
  open_file();
  begin();
  assert_int_equal(wd_spool_file_keep_memo(&file, &memo), WD_SPOOL_OK);
  commit();
  wd_spool_file_close(&file);
  open_file();
  assert_int_equal(wd_spool_file_memo(&file, &again), WD_SPOOL_OK);
  assert_int_equal(again.state, 1);
  assert_int_equal(again.faults, 4);
  assert_int_equal(again.odd, 2);
  assert_int_equal(again.retry_at_us, 99);
  assert_string_equal(again.where, "http://m");
  assert_string_equal(again.last_error, "it's");
}

static void one_at_a_time(void **state) {
  (void)state;
  struct wd_spool_file second = {.lock_fd = -1};
  open_file();
  assert_int_equal(wd_spool_file_open(&second, path), WD_SPOOL_BUSY);
  assert_int_equal(wd_spool_file_holder(path), getpid());
  wd_spool_file_close(&file);
  assert_int_equal(wd_spool_file_open(&second, path), WD_SPOOL_OK);
  wd_spool_file_close(&second);
}

static void run_sql(const char *sql) {
  sqlite3 *db = NULL;
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void damaged_files_are_kept_aside(void **state) {
  (void)state;
  static const char *const damages[] = {"DROP TABLE meta", "DROP TABLE queue", "DELETE FROM meta", "ALTER TABLE queue RENAME body TO corpus",
                                        "DROP INDEX delayed"};
  for (size_t i = 0; i < WD_COUNT(damages); i++) {
    open_file();
    put("a", "1");
    wd_spool_file_close(&file);
    run_sql(damages[i]);
    open_file();
    assert_non_null(strstr(file.set_aside, ".corrupt-"));
    assert_int_equal(access(file.set_aside, F_OK), 0);
    assert_true(*file.error != '\0');
    check_totals(0, 0, 0);
    wd_spool_file_close(&file);
  }
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs("this is no database at all, but long enough to have a header of a hundred bytes, which would be the first thing to be read", f);
  fclose(f);
  open_file();
  assert_non_null(strstr(file.set_aside, ".corrupt-"));
}

static void what_is_not_ours_is_left_alone(void **state) {
  (void)state;
  open_file();
  wd_spool_file_close(&file);
  run_sql("PRAGMA application_id=5");
  assert_int_equal(wd_spool_file_open(&file, path), WD_SPOOL_FAILED);
  assert_non_null(strstr(file.error, "something else"));
  run_sql("PRAGMA application_id=0x77646c31; PRAGMA user_version=7");
  assert_int_equal(wd_spool_file_open(&file, path), WD_SPOOL_FAILED);
  assert_non_null(strstr(file.error, "newer waddle"));
  assert_string_equal(file.set_aside, "");
}

static void gives_room_back(void **state) {
  (void)state;
  struct stat before, after;
  static char body[100000];
  int64_t changed;
  memset(body, 'x', sizeof(body) - 1);
  open_file();
  for (int i = 0; i < 100; i++) put("a", body);
  wd_spool_file_close(&file);
  open_file();
  assert_int_equal(stat(path, &before), 0);
  begin();
  assert_int_equal(wd_spool_file_purge(&file, false, NULL, NULL, 0, &changed), WD_SPOOL_OK);
  commit();
  int steps = 0;
  while (wd_spool_file_shrink(&file)) steps++;
  assert_true(steps > 1 && steps < 100);
  wd_spool_file_close(&file);
  assert_int_equal(stat(path, &after), 0);
  assert_true(after.st_size < before.st_size / 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(rows_and_totals),
      TEST(rows_come_in_their_order_and_delayed_ones_apart),
      TEST(quarantine_and_back),
      TEST(purge_spares_what_is_being_sent),
      TEST(remembers),
      TEST(one_at_a_time),
      TEST(damaged_files_are_kept_aside),
      TEST(what_is_not_ours_is_left_alone),
      TEST(gives_room_back),
  };
#undef TEST
  return cmocka_run_group_tests(tests, NULL, NULL);
}
