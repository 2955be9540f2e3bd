// Look-ups against a name server inside the test: every answer, sharing, cancelling, keeping, and nothing left open afterwards.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "runtime/resolve.h"
#include "runtime/watch.h"

// A name server that answers by the first letters of the name: "two" two A records and one AAAA, "v4" one A, "nx" NXDOMAIN,
// "serv" SERVFAIL, "ref" REFUSED, "none" no records, "mute" nothing.
struct server {
  struct wd_watch watch;
  char text[64];
  int asked;
};

static struct wd_loop loop;
static struct server server;

static size_t put_record(uint8_t *p, int type, const void *address, size_t len) {
  uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 60, 0, (uint8_t)len};
  memcpy(p, head, sizeof(head));
  memcpy(p + sizeof(head), address, len);
  return sizeof(head) + len;
}

static void on_question(struct wd_watch *w, uint32_t events) {
  (void)events;
  uint8_t m[600];
  struct sockaddr_in from;
  socklen_t from_len = sizeof(from);
  while (recvfrom(w->fd, m, 512, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len) > 12) {
    const char *name = (const char *)m + 13; // the first label
    size_t end = 12;
    while (m[end]) end += m[end] + 1U;
    int type = m[end + 2], answers = 0, rcode = 0;
    server.asked++;
    if (strncmp(name, "mute", 4) == 0) continue;
    ssize_t n = (ssize_t)end + 5;
    if (strncmp(name, "two", 3) == 0 && type == 1) {
      n += (ssize_t)put_record(m + n, 1, "\x7f\0\0\x02", 4);
      n += (ssize_t)put_record(m + n, 1, "\x7f\0\0\x03", 4);
      answers = 2;
    } else if (strncmp(name, "two", 3) == 0 && type == 28) {
      n += (ssize_t)put_record(m + n, 28, &in6addr_loopback, 16);
      answers = 1;
    } else if (strncmp(name, "v4", 2) == 0 && type == 1) {
      n += (ssize_t)put_record(m + n, 1, "\x7f\0\0\x04", 4);
      answers = 1;
    } else if (strncmp(name, "nx", 2) == 0) {
      rcode = 3;
    } else if (strncmp(name, "serv", 4) == 0) {
      rcode = 2;
    } else if (strncmp(name, "ref", 3) == 0) {
      rcode = 5;
    }
    m[2] = 0x81;
    m[3] = (uint8_t)(0x80 | rcode);
    memset(m + 6, 0, 6);
    m[7] = (uint8_t)answers;
    sendto(w->fd, m, (size_t)n, 0, (struct sockaddr *)&from, from_len);
  }
}

static int setup(void **state) {
  (void)state;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(at);
  if (wd_loop_open(&loop)) return -1;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) || getsockname(fd, (struct sockaddr *)&at, &len)) return -1;
  server = (struct server){.watch.on_event = on_question};
  snprintf(server.text, sizeof(server.text), "127.0.0.1:%d", ntohs(at.sin_port));
  return wd_watch_start(&loop, &server.watch, fd, EPOLLIN);
}

static int teardown(void **state) {
  (void)state;
  wd_watch_close(&server.watch);
  return wd_loop_close(&loop);
}

static int done_count;

static void on_done(struct wd_resolve *r) {
  (void)r;
  done_count++;
}

static void run_until(int count) {
  wd_ns end = wd_clock_now() + 5 * WD_S;
  while (done_count < count && wd_clock_now() < end) wd_loop_pass(&loop, 100 * WD_MS);
  assert_int_equal(done_count, count);
}

static struct wd_resolver_opts resolver;
static struct wd_common_opts opts;

static struct wd_resolve question(const char *name) {
  resolver = (struct wd_resolver_opts){.server = server.text, .cache = WD_CACHE_NONE};
  opts = (struct wd_common_opts){.family = WD_FAMILY_ANY, .resolver = &resolver};
  done_count = 0;
  return (struct wd_resolve){.name = name, .port = 80, .opts = &opts, .done = on_done};
}

static struct wd_resolve answer_to(const char *name, int family) {
  struct wd_resolve r = question(name);
  opts.family = family;
  wd_resolve_start(&loop, &r);
  assert_int_equal(done_count, 0); // never from within the start
  run_until(1);
  return r;
}

static const char *text_of(const struct wd_resolve *r, size_t i) {
  static char text[80];
  char host[INET6_ADDRSTRLEN];
  const struct sockaddr *sa = (const struct sockaddr *)&r->addresses[i].sa;
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
  inet_ntop(sa->sa_family, sa->sa_family == AF_INET ? (const void *)&v4->sin_addr : &v6->sin6_addr, host, sizeof(host));
  snprintf(text, sizeof(text), "%s %d", host, ntohs(sa->sa_family == AF_INET ? v4->sin_port : v6->sin6_port));
  return text;
}

static void expect_error(const char *name, enum wd_err err, const char *words) {
  struct wd_resolve r = answer_to(name, WD_FAMILY_ANY);
  assert_int_equal(r.err, err);
  assert_int_equal(r.count, 0);
  if (!strstr(r.detail, words)) fail_msg("'%s' does not say '%s'", r.detail, words);
  wd_resolve_clear(&r);
}

static void test_literals_ask_nobody(void **state) {
  (void)state;
  struct wd_resolve r = answer_to("127.0.0.9", WD_FAMILY_ANY);
  assert_int_equal(r.err, WD_OK);
  assert_int_equal(r.count, 1);
  assert_string_equal(text_of(&r, 0), "127.0.0.9 80");
  assert_true(r.took == WD_NONE);
  wd_resolve_clear(&r);

  r = answer_to("127.0.0.9", WD_FAMILY_6);
  assert_int_equal(r.err, WD_E_LOCAL);
  wd_resolve_clear(&r);

  r = question("nx.test");
  opts.address = "::1";
  wd_resolve_start(&loop, &r);
  run_until(1);
  assert_string_equal(text_of(&r, 0), "::1 80");
  wd_resolve_clear(&r);
  assert_int_equal(server.asked, 0);
}

static void test_both_families(void **state) {
  (void)state;
  struct wd_resolve r = answer_to("two.test", WD_FAMILY_ANY);
  assert_int_equal(r.err, WD_OK);
  assert_int_equal(r.count, 3);
  assert_true(r.took > 0);
  assert_false(r.shared);
  wd_resolve_clear(&r);
  r = answer_to("two.test", WD_FAMILY_4);
  assert_int_equal(r.count, 2);
  assert_string_equal(text_of(&r, 0), "127.0.0.2 80");
  wd_resolve_clear(&r);
  r = answer_to("two.test", WD_FAMILY_6);
  assert_int_equal(r.count, 1);
  assert_string_equal(text_of(&r, 0), "::1 80");
  wd_resolve_clear(&r);
  r = answer_to("v4.test", WD_FAMILY_6);
  assert_int_equal(r.err, WD_E_DNS_NODATA);
  wd_resolve_clear(&r);
  r = answer_to("v4.test", WD_FAMILY_ANY);
  assert_int_equal(r.err, WD_OK);
  assert_int_equal(r.count, 1);
  wd_resolve_clear(&r);
}

static void test_failures_have_their_names(void **state) {
  (void)state;
  expect_error("nx.test", WD_E_DNS_NXDOMAIN, "does not exist");
  expect_error("none.test", WD_E_DNS_NODATA, "no address");
  expect_error("serv.test", WD_E_DNS_SERVFAIL, "SERVFAIL");
  expect_error("ref.test", WD_E_DNS_REFUSED, "REFUSED");
}

static void test_bad_names_ask_nobody(void **state) {
  (void)state;
  expect_error("", WD_E_LOCAL, "empty");
  expect_error("a..b", WD_E_LOCAL, "empty part");
  expect_error("a b", WD_E_LOCAL, "characters");
  expect_error("1.2.3.999", WD_E_LOCAL, "IPv4");
  expect_error("b\xc3\xbc"
               "cher.test",
               WD_E_LOCAL, "xn--");
  expect_error("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test", WD_E_LOCAL, "63");
  assert_int_equal(server.asked, 0);
}

static void test_in_flight_is_shared(void **state) {
  (void)state;
  struct wd_resolve a = question("two.test"), b = a, c = a, d = a;
  b.name = "TWO.test";
  b.port = 81;
  d.name = "v4.test";
  wd_resolve_start(&loop, &a);
  wd_resolve_start(&loop, &b);
  wd_resolve_start(&loop, &c);
  wd_resolve_start(&loop, &d);
  wd_resolve_cancel(&a); // the others still get the answer
  run_until(3);
  assert_int_equal(server.asked, 4);
  assert_true(b.shared);
  assert_true(c.shared);
  assert_false(d.shared);
  assert_int_equal(a.count, 0);
  assert_int_equal(b.count, 3);
  assert_int_equal(c.count, 3);
  assert_non_null(strstr(text_of(&b, 0), " 81"));
  wd_resolve_clear(&a);
  wd_resolve_clear(&b);
  wd_resolve_clear(&c);
  wd_resolve_clear(&d);
}

static void test_answers_are_kept_only_when_asked(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    struct wd_resolve r = question("v4.test");
    opts.family = WD_FAMILY_4;
    resolver.cache = i ? WD_CACHE_TTL : WD_CACHE_NONE;
    wd_resolve_start(&loop, &r);
    run_until(1);
    assert_string_equal(text_of(&r, 0), "127.0.0.4 80");
    assert_int_equal(server.asked, i ? 2 : 1);
    if (i == 2) assert_true(r.took == WD_NONE);
    wd_resolve_clear(&r);
  }
}

static void test_cancelled_leaves_nothing(void **state) {
  (void)state;
  struct wd_resolve r = question("mute.test");
  wd_resolve_start(&loop, &r);
  while (server.asked < 2) wd_loop_pass(&loop, 100 * WD_MS);
  assert_true(loop.watches > 1);
  wd_resolve_cancel(&r);
  wd_resolve_cancel(&r);
  for (int i = 0; i < 5; i++) wd_loop_pass(&loop, 0);
  assert_int_equal(loop.watches, 1);
  assert_true(wd_timers_next(&loop.timers) == INT64_MAX);
  assert_int_equal(done_count, 0);
}

static void test_idle_holds_nothing(void **state) {
  (void)state;
  struct wd_resolve r = answer_to("two.test", WD_FAMILY_ANY);
  wd_resolve_clear(&r);
  assert_int_equal(loop.watches, 1);
  assert_true(wd_timers_next(&loop.timers) == INT64_MAX);
}

static void test_a_burst_loses_nothing(void **state) {
  (void)state;
  enum { MANY = 600 };
  static struct wd_resolve all[MANY];
  static char names[MANY][24];
  for (int i = 0; i < MANY; i++) {
    all[i] = question(names[i]);
    snprintf(names[i], sizeof(names[i]), "v4-%d.test", i);
  }
  for (int i = 0; i < MANY; i++) wd_resolve_start(&loop, &all[i]);
  run_until(MANY);
  assert_int_equal(server.asked, 2 * MANY); // what is lost is asked again
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(all[i].count, 1);
    wd_resolve_clear(&all[i]);
  }
}

static void test_closed_port(void **state) {
  (void)state;
  struct wd_resolve r = question("two.test");
  wd_watch_close(&server.watch);
  wd_resolve_start(&loop, &r);
  run_until(1);
  assert_int_equal(r.err, WD_E_DNS_REFUSED);
  assert_non_null(strstr(r.detail, "nothing listens"));
  wd_resolve_clear(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_literals_ask_nobody, setup, teardown),
      cmocka_unit_test_setup_teardown(test_both_families, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failures_have_their_names, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad_names_ask_nobody, setup, teardown),
      cmocka_unit_test_setup_teardown(test_in_flight_is_shared, setup, teardown),
      cmocka_unit_test_setup_teardown(test_answers_are_kept_only_when_asked, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cancelled_leaves_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_idle_holds_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_burst_loses_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_closed_port, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
