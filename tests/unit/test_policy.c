// What a sandbox may reach: rules as people write them, what no broad rule opens, the forms an address can hide in, and how much may be sent.
// A policy begins once a process, so each test is in one of its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/policy.h"

static bool may(const char *text, uint16_t port) {
  struct wd_addr addr;
  assert_true(wd_addr_parse(&addr, text, port));
  return wd_policy_allows(&addr);
}

static void allow(const char *text) {
  char error[300];
  assert_true(wd_policy_allow(text, error, sizeof(error)));
}

static void refuse(const char *text) {
  char error[300];
  assert_false(wd_policy_allow(text, error, sizeof(error)));
  assert_non_null(strstr(error, "expected a network such as"));
  assert_non_null(strstr(error, text));
}

static void test_none(void) {
  assert_true(may("169.254.169.254", 80)); // no policy, no rules
  assert_int_equal(wd_policy_wait(), 0);
  assert_int_equal(wd_policy_room(1000), 1000);
  assert_true(wd_policy_may_listen() && wd_policy_may_dial_unix());
}

static void test_default(void) {
  static const char *const denied[] = {
    "169.254.0.1", "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "febf::1", "fd00:ec2::254",
    "fd00:ec2:0:0::53", "100.100.100.200", "::ffff:100.100.100.200", "168.63.129.16", "192.0.0.192",
  };
  static const char *const allowed[] = {"127.0.0.1", "0.0.0.0", "::", "::1", "10.0.0.1", "169.253.255.255", "169.255.0.0", "fec0::1",
                                        "fd00:ec3::254", "100.100.100.201", "192.0.0.191", "255.255.255.255", "2001:db8::1"};
  assert_true(wd_policy_begin(0, 0, false));
  assert_false(wd_policy_begin(0, 0, true));
  assert_false(wd_policy_may_listen() || wd_policy_may_dial_unix());
  for (size_t i = 0; i < WD_COUNT(denied); i++)
    if (may(denied[i], 80)) fail_msg("%s is allowed", denied[i]);
  for (size_t i = 0; i < WD_COUNT(allowed); i++)
    if (!may(allowed[i], 80)) fail_msg("%s is denied", allowed[i]);
  struct wd_addr none = {0};
  assert_false(wd_policy_allows(&none));
}

static void test_rules(void) {
  char error[300];
  allow("192.0.2.77/24");
  allow("198.51.100.7:443");
  allow("198.51.100.8:8000-8099");
  allow("[2001:db8::/33]:443");
  allow("2001:db9::1");
  allow("[2001:dba::/32]");
  assert_true(wd_policy_begin(0, 0, true));
  assert_false(wd_policy_allow("10.0.0.0/8", error, sizeof(error))); // nothing widens it
  assert_true(wd_policy_may_listen());
  assert_false(wd_policy_may_dial_unix());
  assert_true(may("192.0.2.0", 1) && may("192.0.2.255", 65535) && may("192.0.2.9", 0) && may("::ffff:192.0.2.9", 9));
  assert_true(may("64:ff9b::c000:209", 9));
  assert_false(may("192.0.1.255", 1) || may("192.0.3.0", 1) || may("127.0.0.1", 80) || may("::1", 80) || may("10.0.0.1", 80));
  assert_true(may("198.51.100.7", 443));
  assert_false(may("198.51.100.7", 442) || may("198.51.100.7", 444) || may("198.51.100.7", 0) || may("198.51.100.6", 443));
  assert_true(may("198.51.100.8", 8000) && may("198.51.100.8", 8099));
  assert_false(may("198.51.100.8", 7999) || may("198.51.100.8", 8100));
  assert_true(may("2001:db8::1", 443) && may("2001:db8:7fff::1", 443) && may("2001:db9::1", 9) && may("2001:dba:ffff::", 0));
  assert_false(may("2001:db8:8000::1", 443) || may("2001:db8::1", 80) || may("2001:db9::2", 9));
}

static void test_guarded(void) {
  allow("0.0.0.0/0");
  allow("::/0");
  allow("169.254.0.0/15");
  allow("100.100.100.0/24");
  allow("169.254.7.0/24:80");
  allow("fe80::/10");
  assert_true(wd_policy_begin(0, 0, false));
  assert_true(may("10.0.0.1", 80) && may("2001:db8::1", 80) && may("169.255.0.1", 80));
  assert_false(may("169.254.169.254", 80) || may("100.100.100.200", 80) || may("fd00:ec2::254", 80)); // a broad rule does not mean them
  assert_true(may("169.254.7.9", 80) && may("fe80::1", 80));
  assert_false(may("169.254.7.9", 81));
}

static void test_wrong(void) {
  static const char *const wrong[] = {
    "a.test", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8", "::/129", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:80-79", "10.0.0.1:",
    "10.0.0.1:80-", "10.0.0.1:+80", "[::1", "[::1]80", "[::1]:", "[::1]:80-90-95", "fe80::1%lo", "10.0.0.0/8:80:90", "/8", ":80", "10.0.0.0/8 ",
    "[10.0.0.0/8]:99999999999999999999", "10.0.0.0/00000000000000000000000000008x",
  };
  for (size_t i = 0; i < WD_COUNT(wrong); i++) refuse(wrong[i]);
  char longest[1024];
  memset(longest, '1', sizeof(longest) - 1);
  longest[sizeof(longest) - 1] = '\0';
  char error[300];
  assert_false(wd_policy_allow(longest, error, sizeof(error)));
  for (int i = 0; i < WD_POLICY_RULES; i++) allow("10.0.0.0/8");
  assert_false(wd_policy_allow("10.0.0.0/8", error, sizeof(error)));
  assert_string_equal(error, "more than 256 networks");
}

static void pass(long ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

static void test_packets(void) {
  assert_true(wd_policy_begin(100, 0, false));
  unsigned room = wd_policy_room(1000);
  assert_in_range(room, 4, 6); // a twentieth of a second's
  wd_policy_charge(room, 0);
  assert_int_equal(wd_policy_room(1), 0);
  assert_in_range(wd_policy_wait(), 1, 20 * WD_MS);
  wd_policy_charge(10, 0); // what cannot wait is owed
  assert_in_range(wd_policy_wait(), 80 * WD_MS, 120 * WD_MS);
  pass(150);
  assert_true(wd_policy_room(1) == 1);
}

static void test_places(void) {
  assert_true(wd_policy_begin(100, 0, false));
  wd_ns last = 0;
  for (int i = 0; i < 50; i++) {
    wd_ns wait = wd_policy_admit();
    assert_true(i < 5 ? wait == 0 : wait > last && wait < last + 11 * WD_MS);
    last = wait;
  }
  assert_in_range(last, 400 * WD_MS, 455 * WD_MS);
  assert_int_equal(wd_policy_room(10), 0);
  wd_policy_admitted();
  wd_policy_admitted();
  assert_int_equal(wd_policy_wait(), 0);
  assert_int_equal(wd_policy_room(10), 2); // those that were paid for
  wd_policy_charge(2, 0);
  assert_int_equal(wd_policy_room(10), 0);
}

static void test_bytes(void) {
  assert_true(wd_policy_begin(0, 1e6, false));
  assert_int_equal(wd_policy_wait_bytes(), 0);
  wd_policy_charge(1, 150000);
  assert_in_range(wd_policy_wait_bytes(), 80 * WD_MS, 101 * WD_MS); // less the burst
  assert_true(wd_policy_wait() > 0);
  assert_int_equal(wd_policy_room(5), 0);
  pass(120);
  assert_int_equal(wd_policy_wait_bytes(), 0);
  assert_int_equal(wd_policy_room(5), 5);
}

static void test_connect(void) {
  struct sockaddr_in metadata = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0xa9fea9fe)};
  struct sockaddr local = {.sa_family = AF_UNIX};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  assert_true(wd_policy_begin(0, 0, false));
  assert_int_equal(wd_policy_connect(fd, (struct sockaddr *)&metadata, sizeof(metadata)), -1);
  assert_int_equal(errno, WD_POLICY_DENIED);
  assert_int_equal(wd_policy_connect(fd, &local, sizeof(local)), -1);
  assert_int_equal(errno, WD_POLICY_DENIED);
  metadata.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(wd_policy_connect(fd, (struct sockaddr *)&metadata, sizeof(metadata)), 0);
  close(fd);
}

// Runs the test that the state names in a process of its own; a failed assertion ends that.
static void apart(void **state) {
  void (*const *test)(void) = *state;
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    (*test)();
    fflush(NULL);
    _exit(42);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 42);
}

int main(void) {
  static void (*const cases[])(void) = {test_none,    test_default, test_rules, test_guarded, test_wrong,
                                        test_packets, test_places,  test_bytes, test_connect};
  static const char *const names[] = {"none", "default", "rules", "guarded", "wrong", "packets", "places", "bytes", "connect"};
  struct CMUnitTest tests[WD_COUNT(cases)];
  for (size_t i = 0; i < WD_COUNT(cases); i++)
    tests[i] = (struct CMUnitTest){.name = names[i], .test_func = apart, .initial_state = (void *)(uintptr_t)&cases[i]};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
