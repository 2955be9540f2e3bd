// The state machine of delivery against a transport that answers what the test says, under a virtual clock.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/upload.h"

enum { MOST_CALLS = 64 };

// Requests under way, oldest first, and how many there were of each kind.
static struct {
  struct wd_transport base;
  struct wd_upload_call *calls[MOST_CALLS];
  int under_way, most, results, logins, closed;
} fake;

static const struct wd_auth_opts no_auth = {.type = WD_AUTH_NONE}, jwt = {.type = WD_AUTH_JWT, .token = "t"},
                                 userpass = {.type = WD_AUTH_USERPASS, .user = "u", .password = "p"};
static struct wd_loop loop;
static struct wd_upload upload;
static int flushed;

static void fake_start(struct wd_transport *t, struct wd_upload_call *call) {
  (void)t;
  fake.calls[fake.under_way++] = call;
  if (fake.under_way > fake.most) fake.most = fake.under_way;
  *(call->route == WD_ROUTE_LOGIN ? &fake.logins : &fake.results) += 1;
}

static void forget(int i) {
  fake.under_way--;
  memmove(&fake.calls[i], &fake.calls[i + 1], (size_t)(fake.under_way - i) * sizeof(fake.calls[0]));
}

static void fake_stop(struct wd_transport *t, struct wd_upload_call *call) {
  (void)t;
  for (int i = 0; i < fake.under_way; i++)
    if (fake.calls[i] == call) forget(i--);
}

static void fake_close(struct wd_transport *t) {
  (void)t;
  fake.closed++;
}

// Answers the oldest request that is under way.
static void answer_with(int status, const char *content, const char *retry_after) {
  assert_true(fake.under_way > 0);
  struct wd_upload_call *call = fake.calls[0];
  forget(0);
  call->status = status;
  call->content = content;
  call->content_len = strlen(content);
  call->retry_after = retry_after;
  call->fault = status ? NULL : "connection_refused: nobody there";
  call->done(call);
}

static void answer(int status) {
  answer_with(status, "", NULL);
}

static void begin(const struct wd_auth_opts *auth, unsigned concurrency) {
  memset(&fake, 0, sizeof(fake));
  fake.base = (struct wd_transport){NULL, fake_start, fake_stop, fake_stop, fake_close};
  flushed = 0;
  assert_int_equal(wd_loop_open(&loop), 0);
  struct wd_store *store = wd_store_memory(&(struct wd_store_limits){1000, 1 << 20, WD_NONE, false});
  assert_int_equal(wd_upload_open(&upload, &loop, store, &fake.base, auth, concurrency, "http://m"), 0);
}

static int teardown(void **state) {
  (void)state;
  wd_upload_close(&upload);
  assert_int_equal(fake.closed, 1);
  assert_int_equal(fake.under_way, 0);
  assert_int_equal(loop.timers.count, 0);
  assert_int_equal(wd_loop_close(&loop), 0);
  return 0;
}

static void on_put(struct wd_store_put *put) {
  assert_int_equal(put->result, WD_STORE_TAKEN);
}

static void put(int n) {
  static int serial;
  for (int i = 0; i < n; i++) {
    char key[16];
    snprintf(key, sizeof(key), "k%d", ++serial);
    struct wd_store_put row = {.key = key, .body = {"{}", 2}, .done = on_put};
    wd_store_put(upload.store, &row);
  }
}

static void pass(wd_ns span) {
  wd_clock_advance(wd_clock_now() + span);
  wd_timers_expire(&loop.timers, wd_clock_now());
}

static struct wd_upload_status status(void) {
  struct wd_upload_status s;
  wd_upload_status(&upload, &s);
  return s;
}

static void on_flushed(struct wd_upload_flush *flush) {
  (void)flush;
  flushed++;
}

static void stores_side_by_side(void **state) {
  (void)state;
  begin(&jwt, 4);
  put(10);
  assert_int_equal(fake.under_way, 4);
  assert_string_equal(fake.calls[0]->auth_value, "Bearer t");
  assert_int_equal(status().in_flight, 4);
  assert_int_equal(status().queued, 6);
  for (int i = 0; i < 10; i++) answer(i % 2 ? 201 : 200);
  assert_int_equal(fake.most, 4);
  assert_int_equal(status().sent, 10);
  assert_int_equal(status().queued, 0);
  assert_true(isnan(status().oldest_s));
  assert_null(status().last_error);
}

static void refused_rows_go_aside_and_hold_up_nobody(void **state) {
  (void)state;
  begin(&no_auth, 1);
  put(4);
  answer_with(400, "missing target_host", NULL);
  answer(413);
  answer(422);
  answer(201);
  struct wd_upload_status s = status();
  assert_int_equal(s.rejected, 3);
  assert_int_equal(s.sent, 1);
  assert_int_equal(s.state, WD_UPLOAD_OK);
  pass(3600 * WD_S);
  assert_int_equal(fake.results, 4);
}

static void condemned_blocks_and_keeps_everything(void **state) {
  (void)state;
  static const int statuses[] = {301, 302, 307, 401, 403, 404, 405};
  for (size_t i = 0; i < WD_COUNT(statuses); i++) {
    begin(&jwt, 4);
    put(10);
    while (fake.under_way) answer(statuses[i]);
    assert_int_equal(status().state, WD_UPLOAD_STOPPED);
    assert_int_equal(status().queued, 10);
    assert_int_equal(status().rejected, 0);
    assert_int_equal(fake.results, 4);
    put(1);
    pass(200 * WD_S);
    assert_int_equal(fake.under_way, 0);
    pass(150 * WD_S); // rarely, and with one row only
    assert_int_equal(fake.under_way, 1);
    answer(201);
    assert_int_equal(status().state, WD_UPLOAD_OK);
    assert_int_equal(fake.under_way, 4);
    if (i + 1 < WD_COUNT(statuses)) teardown(NULL);
  }
}

static void a_row_that_a_filter_dislikes_does_not_block_for_ever(void **state) {
  (void)state;
  begin(&no_auth, 1);
  put(2);
  const char *bad = fake.calls[0]->key;
  char key[16];
  strcpy(key, bad);
  answer(403);
  pass(upload.retry_at - wd_clock_now());
  assert_string_not_equal(fake.calls[0]->key, key);
  answer(201);
}

static void passing_faults_back_off_with_one_try_at_a_time(void **state) {
  (void)state;
  static const int statuses[] = {0, 408, 425, 429, 502, 503, 504};
  for (size_t i = 0; i < WD_COUNT(statuses); i++) {
    begin(&no_auth, 4);
    put(10);
    for (int k = 0; k < 4; k++) answer(statuses[i]);
    assert_int_equal(status().state, WD_UPLOAD_BACKOFF);
    assert_int_equal(upload.faults, 1); // four answers to one outage
    wd_ns spans[] = {1, 2, 4, 8, 16, 32, 60, 60};
    for (size_t k = 0; k < WD_COUNT(spans); k++) {
      assert_int_equal(fake.under_way, 0);
      assert_true(upload.retry_at - wd_clock_now() <= spans[k] * WD_S);
      pass(spans[k] * WD_S);
      assert_int_equal(fake.under_way, 1);
      answer(statuses[i]);
    }
    assert_int_equal(status().queued, 10);
    assert_non_null(status().last_error);
    pass(60 * WD_S);
    answer(201);
    assert_int_equal(status().state, WD_UPLOAD_OK);
    assert_int_equal(fake.under_way, 4);
    while (fake.under_way) answer(201);
    assert_int_equal(status().sent, 10);
    assert_int_equal(status().retried, 9 + 3);
    if (i + 1 < WD_COUNT(statuses)) teardown(NULL);
  }
}

static void retry_after_is_kept(void **state) {
  (void)state;
  begin(&no_auth, 1);
  put(1);
  answer_with(429, "", "30");
  pass(30 * WD_S - 1);
  assert_int_equal(fake.under_way, 0);
  pass(WD_S + 1);
  assert_int_equal(fake.under_way, 1);
  char date[64];
  time_t at = (time_t)(wd_clock_wall_us() / 1000000 + 100);
  strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&at));
  answer_with(503, "", date);
  pass(98 * WD_S);
  assert_int_equal(fake.under_way, 0);
  pass(4 * WD_S);
  assert_int_equal(fake.under_way, 1);
  answer(201);
}

static void late_answers_ask_for_more_patience(void **state) {
  (void)state;
  begin(&no_auth, 2);
  put(2);
  answer(503);
  answer_with(429, "", "50");
  pass(49 * WD_S);
  assert_int_equal(fake.under_way, 0);
  pass(2 * WD_S);
  assert_int_equal(fake.under_way, 1);
  answer(201);
  answer(201);
}

static void a_500_is_tried_five_times_then_set_aside(void **state) {
  (void)state;
  begin(&no_auth, 1);
  put(2);
  answer(500);
  answer(201); // the one behind it
  assert_int_equal(status().state, WD_UPLOAD_BACKOFF);
  for (int i = 1; i < WD_UPLOAD_DOUBTS; i++) {
    assert_int_equal(status().rejected, 0);
    pass(16 * WD_S);
    answer(500);
  }
  assert_int_equal(status().rejected, 1);
  assert_int_equal(status().queued, 0);
  assert_int_equal(fake.results, 6);
}

static void a_server_that_refuses_everything_does_not_empty_the_queue(void **state) {
  (void)state;
  static const int statuses[] = {400, 500};
  for (size_t i = 0; i < WD_COUNT(statuses); i++) {
    begin(&no_auth, 4);
    put(500);
    for (int s = 0; s < 3600; s++) {
      while (fake.under_way) answer(statuses[i]);
      pass(WD_S);
    }
    assert_true(status().rejected < 250);
    assert_true(status().queued + status().in_flight > 250);
    if (i + 1 < WD_COUNT(statuses)) teardown(NULL);
  }
}

static void logs_in_before_the_first_row(void **state) {
  (void)state;
  begin(&userpass, 4);
  assert_int_equal(fake.logins, 0);
  put(10);
  assert_int_equal(fake.logins, 1);
  assert_int_equal(fake.results, 0);
  assert_int_equal(fake.calls[0]->route, WD_ROUTE_LOGIN);
  assert_memory_equal(fake.calls[0]->body.p, "{\"username\":\"u\",\"password\":\"p\"}", fake.calls[0]->body.n);
  assert_null(fake.calls[0]->key);
  answer_with(200, "{\"token\":\"t1\",\"expires_in\":1000}", NULL);
  assert_int_equal(fake.under_way, 4);
  assert_string_equal(fake.calls[0]->auth_value, "Bearer t1");
  while (fake.under_way) answer(201);
  pass(899 * WD_S);
  put(1);
  answer(201);
  assert_int_equal(fake.logins, 1);
  pass(2 * WD_S);
  put(1);
  assert_int_equal(fake.logins, 2); // a tenth of its life before the token dies
  answer_with(200, "{\"token\":\"t2\"}", NULL);
  assert_string_equal(fake.calls[0]->auth_value, "Bearer t2");
  answer(201);
  assert_int_equal(status().sent, 12);
}

static void one_login_for_many_401s(void **state) {
  (void)state;
  begin(&userpass, 4);
  put(10);
  answer_with(200, "{\"token\":\"t1\"}", NULL);
  answer(201);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(fake.calls[0]->route, WD_ROUTE_RESULTS);
    answer(401);
  }
  assert_int_equal(fake.logins, 2);
  assert_int_equal(fake.under_way, 1);
  answer_with(200, "{\"token\":\"t2\"}", NULL);
  while (fake.under_way) answer(201);
  assert_int_equal(status().sent, 10);
  assert_int_equal(status().state, WD_UPLOAD_OK);
}

static void a_401_after_a_fresh_login_blocks(void **state) {
  (void)state;
  begin(&userpass, 1);
  put(2);
  answer_with(200, "{\"token\":\"t1\"}", NULL);
  answer(401);
  assert_int_equal(status().state, WD_UPLOAD_STOPPED);
  assert_int_equal(fake.logins, 1);
  assert_int_equal(status().queued, 2);
  pass(331 * WD_S); // begins with a login again
  assert_int_equal(fake.logins, 2);
  answer_with(200, "{\"token\":\"t2\"}", NULL);
  answer(201);
  assert_int_equal(status().state, WD_UPLOAD_OK);
  answer(201);
}

static void a_login_that_fails(void **state) {
  (void)state;
  begin(&userpass, 1);
  put(1);
  answer(503);
  assert_int_equal(status().state, WD_UPLOAD_BACKOFF);
  assert_non_null(strstr(status().last_error, "login answered 503"));
  pass(WD_S);
  assert_int_equal(fake.logins, 2);
  answer_with(401, "{\"error\":\"Invalid credentials\"}", NULL);
  assert_int_equal(status().state, WD_UPLOAD_STOPPED);
  assert_non_null(strstr(status().last_error, "does not accept user and password"));
  pass(331 * WD_S);
  answer(404); // no login route: Basic
  assert_string_equal(fake.calls[0]->auth_value, "Basic dTpw");
  answer(201);
  assert_int_equal(status().sent, 1);
}

static void flush_tries_at_once(void **state) {
  (void)state;
  struct wd_upload_flush flush = {.done = on_flushed};
  begin(&no_auth, 1);
  wd_upload_flush(&upload, &flush);
  assert_int_equal(flushed, 1); // nothing to wait for
  put(2);
  answer_with(503, "", "3000");
  wd_upload_flush(&upload, &flush);
  assert_int_equal(fake.under_way, 1);
  answer(500);
  assert_int_equal(fake.under_way, 0);
  wd_upload_unflush(&upload, &flush);
  wd_upload_flush(&upload, &flush);
  answer(201);
  assert_int_equal(flushed, 1);
  answer(201);
  assert_int_equal(flushed, 2);
}

static void flush_ends_where_the_queue_is_blocked(void **state) {
  (void)state;
  struct wd_upload_flush flush = {.done = on_flushed};
  begin(&no_auth, 1);
  put(2);
  answer(404);
  wd_upload_flush(&upload, &flush);
  assert_int_equal(fake.under_way, 1); // somebody may have mended it
  answer(404);
  assert_int_equal(flushed, 1);
  assert_int_equal(wd_upload_left(&upload), 2);
}

static void close_stops_what_is_under_way(void **state) {
  (void)state;
  struct wd_upload_flush flush = {.done = on_flushed};
  begin(&userpass, 2);
  put(3);
  wd_upload_flush(&upload, &flush);
  answer_with(200, "{\"token\":\"t1\"}", NULL);
  assert_int_equal(fake.under_way, 2);
  wd_upload_close(&upload);
  assert_int_equal(fake.under_way, 0);
  assert_int_equal(flushed, 1);
}

static void quiet(const char *line) {
  (void)line;
}

int main(void) {
  wd_clock_make_virtual();
  wd_log_set_sink(quiet);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(stores_side_by_side, teardown),
      cmocka_unit_test_teardown(refused_rows_go_aside_and_hold_up_nobody, teardown),
      cmocka_unit_test_teardown(condemned_blocks_and_keeps_everything, teardown),
      cmocka_unit_test_teardown(a_row_that_a_filter_dislikes_does_not_block_for_ever, teardown),
      cmocka_unit_test_teardown(passing_faults_back_off_with_one_try_at_a_time, teardown),
      cmocka_unit_test_teardown(retry_after_is_kept, teardown),
      cmocka_unit_test_teardown(late_answers_ask_for_more_patience, teardown),
      cmocka_unit_test_teardown(a_500_is_tried_five_times_then_set_aside, teardown),
      cmocka_unit_test_teardown(a_server_that_refuses_everything_does_not_empty_the_queue, teardown),
      cmocka_unit_test_teardown(logs_in_before_the_first_row, teardown),
      cmocka_unit_test_teardown(one_login_for_many_401s, teardown),
      cmocka_unit_test_teardown(a_401_after_a_fresh_login_blocks, teardown),
      cmocka_unit_test_teardown(a_login_that_fails, teardown),
      cmocka_unit_test_teardown(flush_tries_at_once, teardown),
      cmocka_unit_test_teardown(flush_ends_where_the_queue_is_blocked, teardown),
      cmocka_unit_test_teardown(close_stops_what_is_under_way, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
