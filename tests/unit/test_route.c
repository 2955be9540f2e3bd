// RFC 6724 order with given sources, and what the kernel says on loopback.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/route.h"

static struct wd_route route(const char *to, const char *from) {
  struct wd_route out = {0};
  assert_true(wd_addr_parse(&out.to, to, 0));
  if (from) assert_true(wd_addr_parse(&out.from, from, 0));
  return out;
}

static void expect_order(struct wd_route *routes, size_t count, const char *order) {
  char got[512] = "", text[WD_ADDR_TEXT];
  wd_route_order(routes, count);
  for (size_t i = 0; i < count; i++) {
    strcat(got, i ? " " : "");
    strcat(got, wd_addr_format(&routes[i].to, text));
  }
  assert_string_equal(got, order);
}

static void test_rfc6724_examples(void **state) {
  (void)state;
  // Section 10.2 of the RFC.
  struct wd_route global[] = {route("198.51.100.121", "169.254.13.78"), route("2001:db8:1::1", "2001:db8:1::2")};
  expect_order(global, 2, "2001:db8:1::1 198.51.100.121");
  struct wd_route v4_better[] = {route("2001:db8:1::1", "fe80::1"), route("198.51.100.121", "198.51.100.117")};
  expect_order(v4_better, 2, "198.51.100.121 2001:db8:1::1");
  struct wd_route precedence[] = {route("10.1.2.3", "10.1.2.4"), route("2001:db8:1::1", "2001:db8:1::2")};
  expect_order(precedence, 2, "2001:db8:1::1 10.1.2.3");
  struct wd_route smaller_scope[] = {route("2001:db8:1::1", "2001:db8:1::2"), route("fe80::1", "fe80::2")};
  expect_order(smaller_scope, 2, "fe80::1 2001:db8:1::1");
  struct wd_route label[] = {route("2002:c633:6401::1", "2002:c633:6401::2"), route("2001:db8:1::1", "2002:c633:6401::2")};
  expect_order(label, 2, "2002:c633:6401::1 2001:db8:1::1");
  struct wd_route six_to_four[] = {route("2002:c633:6401::1", "2002:c633:6401::2"), route("2001:db8:1::1", "2001:db8:1::2")};
  expect_order(six_to_four, 2, "2001:db8:1::1 2002:c633:6401::1");
  struct wd_route longest[] = {route("2001:db8:3ffe::1", "2001:db8:3f44::2"), route("2001:db8:1::1", "2001:db8:1::2")};
  expect_order(longest, 2, "2001:db8:1::1 2001:db8:3ffe::1");
}

static void test_no_route_last_and_stable(void **state) {
  (void)state;
  struct wd_route mixed[] = {route("2001:db8::1", NULL), route("2001:db8::2", NULL), route("192.0.2.9", "192.0.2.100"),
                             route("192.0.2.1", "192.0.2.100"), route("192.0.2.200", "192.0.2.100")};
  expect_order(mixed, 5, "192.0.2.9 192.0.2.1 192.0.2.200 2001:db8::1 2001:db8::2");
  struct wd_route loopback[] = {route("127.0.0.1", "127.0.0.1"), route("::1", "::1")};
  expect_order(loopback, 2, "::1 127.0.0.1");
}

static void test_source_is_learnt(void **state) {
  (void)state;
  struct wd_addr to, from = {0};
  char text[WD_ADDR_TEXT];
  wd_addr_parse(&to, "127.0.0.2", 0);
  assert_int_equal(wd_route_source(&to, &from), 0);
  assert_string_equal(wd_addr_format(&from, text), "127.0.0.1");
  wd_addr_parse(&to, "255.255.255.255", 0);
  assert_int_not_equal(wd_route_source(&to, &from), 0);
}

static void test_sort_keeps_all(void **state) {
  (void)state;
  struct wd_addr list[WD_ROUTE_SORT_MAX + 3];
  char text[32];
  for (int i = 0; i < WD_ROUTE_SORT_MAX + 3; i++) {
    snprintf(text, sizeof text, "127.0.1.%d", i);
    wd_addr_parse(&list[i], text, 80);
  }
  wd_addr_parse(&list[0], "255.255.255.255", 80);
  wd_route_sort(list, WD_ROUTE_SORT_MAX + 3);
  char out[WD_ADDR_TEXT];
  assert_string_equal(wd_addr_format_port(&list[0], out), "127.0.1.1:80");
  assert_string_equal(wd_addr_format_port(&list[WD_ROUTE_SORT_MAX - 1], out), "255.255.255.255:80");
  assert_string_equal(wd_addr_format_port(&list[WD_ROUTE_SORT_MAX + 2], out), "127.0.1.66:80");
  wd_route_sort(list, 0);
}

static enum wd_err try_bind(const char *source, char *error, struct wd_addr *bound) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_storage name;
  socklen_t len = sizeof name;
  error[0] = '\0';
  enum wd_err err = wd_route_bind(fd, AF_INET, source, error, 256);
  if (getsockname(fd, (struct sockaddr *)&name, &len) == 0) wd_addr_from_sockaddr(bound, (struct sockaddr *)&name, len);
  close(fd);
  return err;
}

static void test_bind(void **state) {
  (void)state;
  char error[256], text[WD_ADDR_TEXT];
  struct wd_addr bound;
  assert_int_equal(try_bind("127.0.0.3", error, &bound), WD_OK);
  assert_string_equal(wd_addr_format(&bound, text), "127.0.0.3");
  assert_int_equal(try_bind("lo", error, &bound), WD_OK);
  assert_int_equal(try_bind("::1", error, &bound), WD_E_LOCAL);
  assert_string_equal(error, "source '::1' is IPv6, but the target's address is IPv4");
  assert_int_equal(try_bind("nosuchif0", error, &bound), WD_E_LOCAL);
  assert_string_equal(error, "source 'nosuchif0' is neither an address nor an interface of this machine");
  assert_int_equal(try_bind("203.0.113.77", error, &bound), WD_E_LOCAL);
  assert_string_equal(error, "source '203.0.113.77': not an address of this machine");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rfc6724_examples),
      cmocka_unit_test(test_no_route_last_and_stable),
      cmocka_unit_test(test_source_is_learnt),
      cmocka_unit_test(test_sort_keeps_all),
      cmocka_unit_test(test_bind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
