// Ranges of addresses: every way to write them, where they end, and what is said of those that are none.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/addr_range.h"

// "first last count" with ports, or the error.
static const char *shown(const char *text, int port) {
  static char out[400];
  char first[WD_ADDR_TEXT], last[WD_ADDR_TEXT];
  struct wd_addr_range range;
  if (!wd_addr_range_parse(&range, text, port, out, sizeof(out))) return out;
  struct wd_addr from = wd_addr_range_nth(&range, 0), to = wd_addr_range_nth(&range, range.count - 1);
  snprintf(out, sizeof(out), "%s %s %u", wd_addr_format_port(&from, first), wd_addr_format_port(&to, last), range.count);
  return out;
}

static void expect(const char *text, int port, const char *what) {
  assert_string_equal(shown(text, port), what);
  assert_true(wd_addr_range_is(text));
}

static void test_prefixes(void **state) {
  (void)state;
  expect("10.0.0.0/24", -1, "10.0.0.1:0 10.0.0.254:0 254");
  expect("10.0.0.77/24", 7, "10.0.0.1:7 10.0.0.254:7 254"); // any address of the network names it
  expect("10.0.0.0/24:9", 7, "10.0.0.1:9 10.0.0.254:9 254");
  expect("10.0.0.0/24:65535", 7, "10.0.0.1:65535 10.0.0.254:65535 254");
  expect("10.0.0.4/30", 7, "10.0.0.5:7 10.0.0.6:7 2");
  expect("10.0.0.5/31", 7, "10.0.0.4:7 10.0.0.5:7 2"); // RFC 3021: both are hosts
  expect("10.0.0.5/32", 7, "10.0.0.5:7 10.0.0.5:7 1");
  expect("2001:db8::/120", 7, "[2001:db8::]:7 [2001:db8::ff]:7 256");
  expect("[2001:db8::5/126]", 7, "[2001:db8::4]:7 [2001:db8::7]:7 4");
  expect("[2001:db8::/127]:9", 7, "[2001:db8::]:9 [2001:db8::1]:9 2");
  expect("::1/128", 7, "[::1]:7 [::1]:7 1");
  expect("fe80::%lo/126", 7, "[fe80::%lo]:7 [fe80::3%lo]:7 4");
}

static void test_pairs(void **state) {
  (void)state;
  expect("10.0.0.1-10.0.0.9", -1, "10.0.0.1:0 10.0.0.9:0 9");
  expect("10.0.0.255-10.0.1.0:9", 7, "10.0.0.255:9 10.0.1.0:9 2");
  expect("10.0.0.1-10.0.0.1", 7, "10.0.0.1:7 10.0.0.1:7 1");
  expect("2001:db8::1-2001:db8::1:0", 7, "[2001:db8::1]:7 [2001:db8::1:0]:7 65536");
  expect("[2001:db8::1-2001:db8::9]:9", 7, "[2001:db8::1]:9 [2001:db8::9]:9 9");
  expect("fe80::1%lo-fe80::3", 7, "[fe80::1%lo]:7 [fe80::3%lo]:7 3");
  expect("fe80::1%lo-fe80::3%lo", 7, "[fe80::1%lo]:7 [fe80::3%lo]:7 3");
}

static void test_edges_of_the_number_space(void **state) {
  (void)state;
  expect("0.0.0.0-0.0.0.1", -1, "0.0.0.0:0 0.0.0.1:0 2");
  expect("255.255.255.255/32", -1, "255.255.255.255:0 255.255.255.255:0 1");
  expect("255.255.255.0/24", -1, "255.255.255.1:0 255.255.255.254:0 254");
  expect("255.255.255.250-255.255.255.255", -1, "255.255.255.250:0 255.255.255.255:0 6");
  expect("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", -1,
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:0 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:0 1");
  expect("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", -1,
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:0 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:0 2");
  // over the ends of 32 and of 64 bits
  expect("2001:db8::ffff:ffff-2001:db8::1:0:1", -1, "[2001:db8::ffff:ffff]:0 [2001:db8::1:0:1]:0 3");
  expect("2001:db8::ffff:ffff:ffff:fffe-2001:db8:0:1::1", -1, "[2001:db8::ffff:ffff:ffff:fffe]:0 [2001:db8:0:1::1]:0 4");
}

static void test_largest(void **state) {
  (void)state;
  expect("10.0.0.0/8", -1, "10.0.0.1:0 10.255.255.254:0 16777214");
  expect("10.0.0.0-10.255.255.255", -1, "10.0.0.0:0 10.255.255.255:0 16777216");
  expect("2001:db8::/104", -1, "[2001:db8::]:0 [2001:db8::ff:ffff]:0 16777216");
  const char *too_large[] = {"0.0.0.0/0", "10.0.0.0/7", "10.0.0.0/33", "10.0.0.0/99999999999999999999"};
  for (size_t i = 0; i < sizeof(too_large) / sizeof(too_large[0]); i++)
    assert_non_null(strstr(shown(too_large[i], -1), "': expected a prefix length from 8 to 32"));
  const char *too_large_v6[] = {"::/0", "2001:db8::/64", "2001:db8::/103", "::/129"};
  for (size_t i = 0; i < sizeof(too_large_v6) / sizeof(too_large_v6[0]); i++)
    assert_non_null(strstr(shown(too_large_v6[i], -1), "': expected a prefix length from 104 to 128"));
  const char *too_far[] = {"10.0.0.0-11.0.0.0", "0.0.0.0-255.255.255.255", "::-::100:0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                           "::1-1::1", "::-0:0:0:1::"};
  for (size_t i = 0; i < sizeof(too_far) / sizeof(too_far[0]); i++)
    assert_non_null(strstr(shown(too_far[i], -1), "': expected 16777216 addresses at most"));
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int port;
    const char *why;
  } cases[] = {
      {"10.0.0.9-10.0.0.1", 7, "'10.0.0.9-10.0.0.1': expected a last address that is not before the first"},
      {"2001:db8::1:0:0-2001:db8::ffff:ffff", 7, "not before the first"},
      {"2001:db8:0:1::-2001:db8::ffff", 7, "not before the first"},
      {"10.0.0.1-9", 7, "expected an IPv4 address behind '-'"},
      {"10.0.0.1-", 7, "expected an IPv4 address behind '-'"},
      {"10.0.0.1-::1", 7, "expected an IPv4 address behind '-'"},
      {"10.0.0.1-host.test", 7, "expected an IPv4 address behind '-'"},
      {"::1-10.0.0.1", 7, "expected an IPv6 address behind '-'"},
      {"::1-::2-::3", 7, "expected an IPv6 address behind '-'"},
      {"fe80::1-fe80::2%lo", 7, "expected the last address in the zone of the first"},
      {"fe80::%lo::%-fe80::", 7, "expected a range"},
      {"10.0.0.0/", 7, "expected a prefix length"},
      {"10.0.0.0/+8", 7, "expected a prefix length"},
      {"10.0.0.0/-1", 7, "expected a prefix length"},
      {"10.0.0.0/ 24", 7, "expected a prefix length"},
      {"10.0.0.0/24x", 7, "expected a prefix length"},
      {"10.0.0.0/24/24", 7, "expected a prefix length"},
      {"10.0.0.0/255.255.255.0", 7, "expected a prefix length"},
      {"10.0.0.0/24:", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24:0", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24:65536", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24:-1", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24: 7", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24:http", 7, "expected a port from 1 to 65535"},
      {"[::1/128]7", 7, "expected a port from 1 to 65535"},
      {"[::1/128]:", 7, "expected a port from 1 to 65535"},
      {"10.0.0.0/24:7", -1, "a port has no meaning here"},
      {"[::1/128]:7", -1, "a port has no meaning here"},
      {"[::1/128", 7, "has no ']'"},
      {"10.0.0.1", 7, "expected a range such as"},
      {"host/24", 7, "expected a range such as"},
      {"", 7, "expected a range such as"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    const char *got = shown(cases[i].text, cases[i].port);
    if (!strstr(got, cases[i].why)) fail_msg("%s: %s", cases[i].text, got);
  }
  char big[300];
  memset(big, '1', sizeof(big) - 1);
  big[sizeof(big) - 1] = '\0';
  assert_non_null(strstr(shown(big, 7), "too long for a range of addresses"));
  assert_non_null(strstr(shown("10.0.0.0/\x1b[31m", 7), "'10.0.0.0/\\x1b[31m'"));
}

// What is meant as a range is told as one when it is wrong; a name or an address is none.
static void test_what_is_meant(void **state) {
  (void)state;
  const char *ranges[] = {"10.0.0.0/99", "10.0.0.1-x", "10.0.0.1-", "::/x", "[::1/128", "10.0.0.9-10.0.0.1", "10.0.0.0/24:x"};
  for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) assert_true(wd_addr_range_is(ranges[i]));
  const char *others[] = {"", "10.0.0.1", "10.0.0.1:7", "[::1]:7", "::1", "host", "host-1.test", "a-b:7", "host/24", "/24", "-", "10.0.0/24"};
  for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) assert_false(wd_addr_range_is(others[i]));
}

static void test_nth(void **state) {
  (void)state;
  struct wd_addr_range range;
  char error[200], text[WD_ADDR_TEXT];
  assert_true(wd_addr_range_parse(&range, "10.0.0.254-10.0.1.1:7", 1, error, sizeof(error)));
  static const char *const each[] = {"10.0.0.254:7", "10.0.0.255:7", "10.0.1.0:7", "10.0.1.1:7"};
  assert_int_equal(range.count, 4);
  for (uint32_t i = 0; i < range.count; i++) {
    struct wd_addr a = wd_addr_range_nth(&range, i);
    assert_string_equal(wd_addr_format_port(&a, text), each[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_prefixes), cmocka_unit_test(test_pairs),         cmocka_unit_test(test_edges_of_the_number_space), cmocka_unit_test(test_largest),
      cmocka_unit_test(test_refusals), cmocka_unit_test(test_what_is_meant), cmocka_unit_test(test_nth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
