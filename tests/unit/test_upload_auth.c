// The header of every auth type, the login, its renewal, what a 401 means, and the JSON all this is made of.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/upload_auth.h"
#include "runtime/upload_json.h"

static const struct wd_auth_opts userpass = {.type = WD_AUTH_USERPASS, .user = "user", .password = "pass"};
static struct wd_arena arena;
static struct wd_auth auth;
static const char *why;

static int teardown(void **state) {
  (void)state;
  wd_auth_close(&auth);
  wd_arena_free(&arena);
  return 0;
}

static enum wd_upload_verdict answer(int64_t status, const char *body, wd_ns now) {
  why = "";
  return wd_auth_answer(&auth, status, body, strlen(body), now, &why);
}

static void one_header_a_type(void **state) {
  (void)state;
  static const struct {
    struct wd_auth_opts opts;
    const char *name, *value;
  } cases[] = {
      {{.type = WD_AUTH_NONE}, NULL, NULL},
      {{.type = WD_AUTH_JWT, .token = "abc"}, "Authorization", "Bearer abc"},
      {{.type = WD_AUTH_APIKEY, .key = "k 1"}, "X-API-Key", "k 1"},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) {
    assert_int_equal(wd_auth_open(&auth, &cases[i].opts), 0);
    assert_true(wd_auth_ready(&auth, 0));
    if (cases[i].name) {
      assert_string_equal(auth.name, cases[i].name);
      assert_string_equal(auth.value, cases[i].value);
    } else {
      assert_null(auth.name);
    }
    assert_int_equal(wd_auth_denied(&auth, auth.generation, 1), WD_AUTH_WRONG);
    wd_auth_close(&auth);
  }
}

static void says_what_is_missing(void **state) {
  (void)state;
  static const struct {
    struct wd_auth_opts opts;
    const char *word;
  } cases[] = {
      {{.type = WD_AUTH_JWT}, "'token'"},
      {{.type = WD_AUTH_JWT, .token = ""}, "'token'"},
      {{.type = WD_AUTH_JWT, .token = "a\r\nX: b"}, "ends of lines"},
      {{.type = WD_AUTH_APIKEY, .key = ""}, "'key'"},
      {{.type = WD_AUTH_APIKEY, .key = "a\nb"}, "ends of lines"},
      {{.type = WD_AUTH_USERPASS, .password = "p"}, "'user'"},
      {{.type = WD_AUTH_USERPASS, .user = "u"}, "'password'"},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) {
    const char *wrong = wd_auth_check(&cases[i].opts);
    assert_non_null(wrong);
    if (!strstr(wrong, cases[i].word)) fail_msg("%s: no %s in it", wrong, cases[i].word);
  }
  assert_null(wd_auth_check(&userpass));
}

static void logs_in_and_renews(void **state) {
  (void)state;
  assert_int_equal(wd_auth_open(&auth, &userpass), 0);
  assert_false(wd_auth_ready(&auth, 0));
  assert_string_equal(wd_auth_login_body(&auth, &arena), "{\"username\":\"user\",\"password\":\"pass\"}");
  assert_int_equal(answer(200, "{\"token\":\"t1\",\"expires_in\":86400,\"user\":{\"id\":1}}", 0), WD_UPLOAD_STORED);
  assert_string_equal(auth.value, "Bearer t1");
  assert_true(wd_auth_ready(&auth, (86400 - 300) * WD_S - 1));
  assert_false(wd_auth_ready(&auth, (86400 - 300) * WD_S));
  assert_int_equal(answer(200, "{\"expires_in\":10,\"token\":\"t2\"}", 0), WD_UPLOAD_STORED);
  assert_string_equal(auth.value, "Bearer t2");
  assert_true(wd_auth_ready(&auth, 9 * WD_S - 1));
  assert_false(wd_auth_ready(&auth, 9 * WD_S));
  assert_int_equal(answer(200, "{\"token\":\"t3\",\"expires_in\":1e300}", 0), WD_UPLOAD_STORED);
  assert_true(wd_auth_ready(&auth, 300 * 86400 * WD_S));
}

static void quotes_what_it_sends(void **state) {
  (void)state;
  const struct wd_auth_opts odd = {.type = WD_AUTH_USERPASS, .user = "ü", .password = "\"\\\n", .mfa_code = "123"};
  assert_int_equal(wd_auth_open(&auth, &odd), 0);
  assert_string_equal(wd_auth_login_body(&auth, &arena),
                      "{\"username\":\"ü\",\"password\":\"\\\"\\\\\\u000a\",\"mfa_code\":\"123\"}");
}

static void basic_where_there_is_no_login_route(void **state) {
  (void)state;
  for (int status = 404; status <= 405; status++) {
    assert_int_equal(wd_auth_open(&auth, &userpass), 0);
    assert_int_equal(answer(status, "", 0), WD_UPLOAD_STORED);
    assert_string_equal(auth.name, "Authorization");
    assert_string_equal(auth.value, "Basic dXNlcjpwYXNz");
    assert_true(wd_auth_ready(&auth, INT64_MAX));
    assert_int_equal(wd_auth_denied(&auth, auth.generation, 1), WD_AUTH_WRONG);
    wd_auth_close(&auth);
  }
}

static void tells_wrong_credentials_from_a_fault(void **state) {
  (void)state;
  static const struct {
    int status;
    const char *body;
    enum wd_upload_verdict verdict;
    const char *word;
  } cases[] = {
      {401, "{\"error\":\"Invalid credentials\"}", WD_UPLOAD_BLOCKED, "does not accept"},
      {401, "{\"error\":\"x\",\"mfa_required\":true}", WD_UPLOAD_BLOCKED, "mfa_code"},
      {401, "{\"mfa_required\":false}", WD_UPLOAD_BLOCKED, "does not accept"},
      {403, "", WD_UPLOAD_BLOCKED, ""},
      {302, "", WD_UPLOAD_BLOCKED, "refused"},
      {422, "", WD_UPLOAD_BLOCKED, "refused"},
      {503, "", WD_UPLOAD_FAULT, ""},
      {500, "", WD_UPLOAD_FAULT, ""},
      {429, "", WD_UPLOAD_FAULT, ""},
      {0, "", WD_UPLOAD_FAULT, "not answered"},
      {200, "<html>", WD_UPLOAD_BLOCKED, "without a token"},
      {200, "{\"token\":null}", WD_UPLOAD_BLOCKED, "without a token"},
      {200, "{\"token\":\"a\\nb\"}", WD_UPLOAD_BLOCKED, "without a token"},
      {200, "{\"token\":\"\"}", WD_UPLOAD_BLOCKED, "without a token"},
      {200, "{\"token\":\"t\"", WD_UPLOAD_BLOCKED, "without a token"},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) {
    assert_int_equal(wd_auth_open(&auth, &userpass), 0);
    assert_int_equal(answer(cases[i].status, cases[i].body, 0), cases[i].verdict);
    if (!strstr(why, cases[i].word)) fail_msg("case %zu: no '%s' in '%s'", i, cases[i].word, why);
    assert_false(wd_auth_ready(&auth, 0));
    assert_null(auth.value);
    wd_auth_close(&auth);
  }
}

static void one_fresh_login_on_a_401(void **state) {
  (void)state;
  assert_int_equal(wd_auth_open(&auth, &userpass), 0);
  assert_int_equal(answer(200, "{\"token\":\"t1\"}", 0), WD_UPLOAD_STORED);
  unsigned first = auth.generation;
  wd_auth_stored(&auth, first);
  assert_int_equal(wd_auth_denied(&auth, first, 1), WD_AUTH_LOGIN);
  assert_int_equal(wd_auth_denied(&auth, first, 2), WD_AUTH_AGAIN); // another one that was under way
  assert_false(wd_auth_ready(&auth, 0));
  assert_int_equal(answer(200, "{\"token\":\"t2\"}", 0), WD_UPLOAD_STORED);
  assert_int_equal(wd_auth_denied(&auth, first, 3), WD_AUTH_AGAIN);
  assert_int_equal(wd_auth_denied(&auth, auth.generation, 1), WD_AUTH_WRONG); // fresh, and not good either
  wd_auth_stored(&auth, auth.generation);
  assert_int_equal(wd_auth_denied(&auth, auth.generation, 1), WD_AUTH_WRONG); // good for other rows: no login a row
  assert_int_equal(wd_auth_denied(&auth, auth.generation, 4), WD_AUTH_LOGIN);
}

static enum wd_json_kind kind_of(const char *text) {
  return wd_json_member(text, strlen(text), "a", &arena).kind;
}

static void reads_json(void **state) {
  (void)state;
  const char *text = " { \"b\" : [1, {\"a\": 2}, \"x\"], \"a\" : \"q\\u00e4\\ud83d\\ude00\\\\\\\"\\/\" , \"a\":3} ";
  struct wd_json_value value = wd_json_member(text, strlen(text), "a", &arena);
  assert_int_equal(value.kind, WD_JSON_STRING);
  assert_string_equal(value.text, "qä😀\\\"/");
  value = wd_json_member("{\"a\":-1.5e2}", 12, "a", &arena);
  assert_int_equal(value.kind, WD_JSON_NUMBER);
  assert_true(value.number == -150.0);
  assert_int_equal(kind_of("{\"a\":true}"), WD_JSON_TRUE);
  assert_int_equal(kind_of("{\"a\":false}"), WD_JSON_OTHER);
  assert_int_equal(kind_of("{\"a\":{}}"), WD_JSON_OTHER);
  assert_int_equal(kind_of("{\"a\":[[],{\"x\":[]}]}"), WD_JSON_OTHER);
  assert_int_equal(kind_of("{\"a\":\"x\\u0000y\"}"), WD_JSON_OTHER);
  static const char *const bad[] = {
      "",
      "[]",
      "{",
      "{\"a\"}",
      "{\"a\":}",
      "{\"a\":1,}",
      "{\"a\":1}x",
      "{\"a\":\"",
      "{\"a\":\"\\",
      "{\"a\":\"\\",
      "{\"a\":\"\\x\"}",
      "{\"a\":\"\\u12\"}",
      "{\"a\":\"\\ud800\"}",
      "{\"a\":\"\n\"}",
      "{\"a\":tru",
      "{\"a\":1.}",
      "{\"a\":-}",
      "{a:1}",
      "{\"a\":[1}",
      "{\"a\":\"\\ud800\\u0041\"}",
  };
  for (size_t i = 0; i < WD_COUNT(bad); i++)
    if (kind_of(bad[i]) != WD_JSON_NONE) fail_msg("taken for JSON: %s", bad[i]);
  char deep[300] = "{\"a\":";
  memset(deep + 5, '[', 200);
  assert_int_equal(kind_of(deep), WD_JSON_NONE);
}

static void masks_what_comes_back(void **state) {
  (void)state;
  static const struct wd_auth_opts jwt = {.type = WD_AUTH_JWT, .token = "t0k3n.abc"}, key = {.type = WD_AUTH_APIKEY, .key = "k3y"};
  char text[] = "bad token t0k3n.abc! t0k3n.abct0k3n.abc t0k t0k3";
  assert_int_equal(wd_auth_open(&auth, &jwt), 0);
  wd_auth_mask(&auth, text, strlen(text));
  assert_string_equal(text, "bad token *********! ****************** t0k ****");
  char few[] = "t0k3n.abc";
  wd_auth_mask(&auth, few, 0);
  assert_string_equal(few, "t0k3n.abc");
  wd_auth_close(&auth);
  assert_int_equal(wd_auth_open(&auth, &key), 0);
  char word[] = "a k3y";
  wd_auth_mask(&auth, word, strlen(word));
  assert_string_equal(word, "a k3y"); // so short that it may be a word
  assert_int_equal(wd_auth_open(&auth, &userpass), 0);
  assert_int_equal(answer(200, "{\"token\":\"fresh-token\",\"expires_in\":3600}", 0), WD_UPLOAD_STORED);
  char both[] = "pass, fresh-token and user";
  wd_auth_mask(&auth, both, strlen(both));
  assert_string_equal(both, "****, *********** and user");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(one_header_a_type, teardown),
      cmocka_unit_test_teardown(says_what_is_missing, teardown),
      cmocka_unit_test_teardown(logs_in_and_renews, teardown),
      cmocka_unit_test_teardown(quotes_what_it_sends, teardown),
      cmocka_unit_test_teardown(basic_where_there_is_no_login_route, teardown),
      cmocka_unit_test_teardown(tells_wrong_credentials_from_a_fault, teardown),
      cmocka_unit_test_teardown(one_fresh_login_on_a_401, teardown),
      cmocka_unit_test_teardown(reads_json, teardown),
      cmocka_unit_test_teardown(masks_what_comes_back, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
