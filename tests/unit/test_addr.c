// Literals, host:port texts and their messages, comparison.
#include <arpa/inet.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/addr.h"

static const char *round_trip(const char *text) {
  static char out[WD_ADDR_TEXT];
  struct wd_addr addr;
  if (!wd_addr_parse(&addr, text, 53)) return NULL;
  return wd_addr_format_port(&addr, out);
}

static void test_literals(void **state) {
  (void)state;
  assert_string_equal(round_trip("192.0.2.1"), "192.0.2.1:53");
  assert_string_equal(round_trip("::1"), "[::1]:53");
  assert_string_equal(round_trip("[2001:DB8:0::1]"), "[2001:db8::1]:53");
  assert_string_equal(round_trip("::ffff:192.0.2.1"), "[::ffff:192.0.2.1]:53");
  assert_string_equal(round_trip("fe80::1%lo"), "[fe80::1%lo]:53");
  char by_index[32];
  snprintf(by_index, sizeof by_index, "fe80::1%%%u", if_nametoindex("lo"));
  assert_string_equal(round_trip(by_index), "[fe80::1%lo]:53");
  const char *bad[] = {"",
                       "[]",
                       "[",
                       "1.2.3",
                       "1.2.3.4.5",
                       "256.1.1.1",
                       "01.2.3.4x",
                       "::1::",
                       "fe80::1%",
                       "fe80::1%nosuchif0",
                       "[192.0.2.1]",
                       "localhost",
                       "fe80::1%99999999999",
                       "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_null(round_trip(bad[i]));
}

static void test_no_address(void **state) {
  (void)state;
  struct wd_addr none = {0};
  char out[WD_ADDR_TEXT];
  assert_int_equal(wd_addr_family(&none), 0);
  assert_int_equal(wd_addr_len(&none), 0);
  assert_int_equal(wd_addr_port(&none), 0);
  assert_string_equal(wd_addr_format(&none, out), "");
  assert_string_equal(wd_addr_format_port(&none, out), "");
  assert_false(wd_addr_same_host(&none, &none));
}

static void test_from_sockaddr(void **state) {
  (void)state;
  struct wd_addr in, out;
  assert_true(wd_addr_parse(&in, "::1", 7));
  assert_true(wd_addr_from_sockaddr(&out, &in.sa, wd_addr_len(&in)));
  assert_true(wd_addr_equal(&in, &out));
  assert_false(wd_addr_from_sockaddr(&out, &in.sa, 16));
  assert_false(wd_addr_from_sockaddr(&out, &in.sa, 1));
  in.sa.sa_family = AF_UNIX;
  assert_false(wd_addr_from_sockaddr(&out, &in.sa, sizeof in));
}

static void test_compare(void **state) {
  (void)state;
  struct wd_addr a, b;
  wd_addr_parse(&a, "192.0.2.1", 1);
  wd_addr_parse(&b, "192.0.2.1", 2);
  assert_true(wd_addr_same_host(&a, &b));
  assert_false(wd_addr_equal(&a, &b));
  wd_addr_set_port(&b, 1);
  assert_true(wd_addr_equal(&a, &b));
  wd_addr_parse(&b, "::ffff:192.0.2.1", 1);
  assert_false(wd_addr_same_host(&a, &b));
  wd_addr_parse(&a, "fe80::1%lo", 1);
  wd_addr_parse(&b, "fe80::1", 1);
  assert_true(wd_addr_same_host(&a, &b));
  b.v6.sin6_scope_id = a.v6.sin6_scope_id + 1;
  assert_false(wd_addr_same_host(&a, &b));
}

static void expect_split(const char *text, int default_port, const char *host, int port, bool literal) {
  struct wd_hostport out;
  char error[256] = "";
  if (!wd_hostport_split(&out, text, default_port, error, sizeof error)) fail_msg("%s: %s", text, error);
  assert_string_equal(out.host, host);
  assert_int_equal(out.port, port);
  assert_int_equal(out.literal, literal);
  if (literal) assert_int_equal(wd_addr_port(&out.addr), port);
}

static void test_split(void **state) {
  (void)state;
  expect_split("example.com", 80, "example.com", 80, false);
  expect_split("example.com:8080", 80, "example.com", 8080, false);
  expect_split("example.com.:8080", WD_PORT_REQUIRED, "example.com.", 8080, false);
  expect_split("_sip._tcp.example.com", 80, "_sip._tcp.example.com", 80, false);
  expect_split("127.0.0.1:1", 80, "127.0.0.1", 1, true);
  expect_split("127.0.0.1", WD_PORT_NONE, "127.0.0.1", 0, true);
  expect_split("[::1]:65535", 80, "::1", 65535, true);
  expect_split("[::1]", 80, "::1", 80, true);
  expect_split("::1", 80, "::1", 80, true);
  expect_split("fe80::1%lo", 80, "fe80::1%lo", 80, true);
  expect_split("[fe80::1%lo]:22", 80, "fe80::1%lo", 22, true);
  expect_split("1.example", 80, "1.example", 80, false);
  expect_split("a-1", 80, "a-1", 80, false);
}

static void expect_refused(const char *text, int default_port, const char *reason) {
  struct wd_hostport out;
  char error[256] = "";
  assert_false(wd_hostport_split(&out, text, default_port, error, sizeof error));
  if (!strstr(error, reason)) fail_msg("%s: got <%s>, wanted <%s>", text, error, reason);
}

static void test_refusals(void **state) {
  (void)state;
  expect_refused("", 80, "names no host");
  expect_refused(":80", 80, "names no host");
  expect_refused("[]:80", 80, "names no host");
  expect_refused(".", 80, "names no host");
  expect_refused("host:", 80, "'host:' has no port behind ':'");
  expect_refused("host:http", 80, "has the port 'http': expected a number from 1 to 65535");
  expect_refused("host:0", 80, "has the port '0'");
  expect_refused("host:65536", 80, "has the port '65536'");
  expect_refused("host:-1", 80, "has the port '-1'");
  expect_refused("host: 1", 80, "has the port ' 1'");
  expect_refused("host", WD_PORT_REQUIRED, "has no port: write host:port");
  expect_refused("host:1", WD_PORT_NONE, "takes a name or an address alone");
  expect_refused("[::1", 80, "has no ']'");
  expect_refused("[::1]443", 80, "more behind ']'");
  expect_refused("[::1]:", 80, "has no port behind ':'");
  expect_refused("[127.0.0.1]:80", 80, "in brackets that is not");
  expect_refused("[host]:80", 80, "in brackets that is not");
  expect_refused("a:b:c", 80, "neither host:port nor an IPv6 address");
  expect_refused("fe80::1%nosuchif0", 80, "names the zone 'nosuchif0'");
  expect_refused("fe80::1%lo:443", 80, "names the zone 'lo:443'");
  expect_refused("256.1.1.1", 80, "is not an IPv4 address");
  expect_refused("1.2.3:80", 80, "is not an IPv4 address");
  expect_refused("a..b", 80, "empty part");
  expect_refused("b\xc3\xbc"
                 "cher.example",
                 80, "xn--");
  expect_refused("two words", 80, "blank");
  expect_refused("user@host:80", 80, "no host name has");
  expect_refused("$(reboot)", 80, "no host name has");
  expect_refused("a\x1b[31m", 80, "'a\\x1b[31m' has a");
  char big[400];
  memset(big, 'a', sizeof big - 1);
  big[sizeof big - 1] = '\0';
  expect_refused(big, 80, "longer than a host name can be");
  big[100] = '\0';
  expect_refused(big, 80, "longer than 63");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_literals), cmocka_unit_test(test_no_address), cmocka_unit_test(test_from_sockaddr),
      cmocka_unit_test(test_compare),  cmocka_unit_test(test_split),      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
