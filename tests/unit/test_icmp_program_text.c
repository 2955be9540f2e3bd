// What iputils and BusyBox print, read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "probes/icmp_program_text.h"

static struct wd_ping_text said(const char *text) {
  struct wd_ping_text out;
  wd_ping_read(&out, text);
  return out;
}

static void assert_from(const struct wd_ping_text *out, const char *address) {
  char text[WD_ADDR_TEXT];
  assert_string_equal(wd_addr_format(&out->from, text), address);
}

static void test_replies(void **state) {
  (void)state;
  struct wd_ping_text out =
      said("PING 127.0.0.1 (127.0.0.1) 56(84) bytes of data.\n"
           "64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.033 ms\n\n--- 127.0.0.1 ping statistics ---\n"
           "1 packets transmitted, 1 received, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 0.033/0.033/0.033/0.000 ms\n");
  assert_int_equal(out.verdict, WD_PING_REPLY);
  assert_int_equal(out.rtt, 33000);
  assert_int_equal(out.resolution, 1000);
  assert_int_equal(out.ttl, 64);
  assert_from(&out, "127.0.0.1");
  out = said("64 bytes from 2001:db8::1: icmp_seq=1 ttl=57 time=123 ms\n");
  assert_int_equal(out.rtt, 123 * WD_MS);
  assert_int_equal(out.resolution, WD_MS);
  assert_from(&out, "2001:db8::1");
  out = said("PING 192.0.2.1 (192.0.2.1): 56 data bytes\n64 bytes from 192.0.2.1: seq=0 ttl=50 time=12.5 ms\n"); // BusyBox
  assert_int_equal(out.verdict, WD_PING_REPLY);
  assert_int_equal(out.rtt, 12500000);
  assert_int_equal(out.ttl, 50);
  out = said("64 bytes from 192.0.2.1: seq=0 ttl=644 time=12.5 ms\n"); // no header holds it
  assert_int_equal(out.ttl, -1);
}

static void test_errors(void **state) {
  (void)state;
  const struct {
    const char *text;
    enum wd_err err;
    const char *from;
    uint32_t mtu;
  } cases[] = {
      {"From 10.0.0.1 icmp_seq=1 Destination Host Unreachable\n", WD_E_HOST_UNREACHABLE, "10.0.0.1", 0},
      {"From 10.0.0.1 icmp_seq=1 Time to live exceeded\n", WD_E_TTL_EXCEEDED, "10.0.0.1", 0},
      {"From 10.0.0.1 icmp_seq=1 Packet filtered\n", WD_E_ADMIN_PROHIBITED, "10.0.0.1", 0},
      {"From 10.0.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1300)\n", WD_E_MESSAGE_TOO_BIG, "10.0.0.1", 1300},
      {"From fd99:1::2 icmp_seq=1 Destination unreachable: No route\n", WD_E_NETWORK_UNREACHABLE, "fd99:1::2", 0},
      {"From fd99:1::2: icmp_seq=1 Time exceeded: Hop limit\n", WD_E_TTL_EXCEEDED, "fd99:1::2", 0},
      {"From fd99:1::2 icmp_seq=1 Packet too big: mtu=1300\n", WD_E_MESSAGE_TOO_BIG, "fd99:1::2", 1300},
  };
  for (size_t i = 0; i < WD_COUNT(cases); i++) {
    struct wd_ping_text out = said(cases[i].text);
    assert_int_equal(out.verdict, WD_PING_ERROR);
    assert_int_equal(out.err, cases[i].err);
    assert_int_equal(out.mtu, cases[i].mtu);
    assert_from(&out, cases[i].from);
  }
}

static void test_refusals(void **state) {
  (void)state;
  assert_int_equal(said("ping: socktype: SOCK_RAW\nping: socket: Operation not permitted\n").verdict, WD_PING_DENIED);
  assert_int_equal(said("ping: permission denied (are you root?)\n").verdict, WD_PING_DENIED);
  assert_int_equal(said("ping: connect: Network is unreachable\n").err, WD_E_LOCAL);
  struct wd_ping_text out = said("ping: local error: message too long, mtu=1500\n");
  assert_int_equal(out.verdict, WD_PING_REFUSED);
  assert_int_equal(out.err, WD_E_MESSAGE_TOO_BIG);
  assert_int_equal(out.mtu, 1500);
  out = said("16 bytes from 127.0.0.1: icmp_seq=1 ttl=64\n"); // too small for a time
  assert_int_equal(out.verdict, WD_PING_REFUSED);
}

static void test_silence_and_noise(void **state) {
  (void)state;
  assert_int_equal(said("").verdict, WD_PING_SILENT);
  assert_int_equal(said("1 packets transmitted, 0 received, 100% packet loss, time 0ms\n").verdict, WD_PING_SILENT);
  assert_int_equal(said("64 bytes from nowhere: icmp_seq=1 ttl=64 time=1 ms\n").verdict, WD_PING_SILENT);
  assert_int_equal(said("64 bytes from 127.0.0.1: time=-1 ms\n").verdict, WD_PING_REFUSED);
  assert_int_equal(said("64 bytes from 127.0.0.1: time=nan ms\n").verdict, WD_PING_REFUSED);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_replies), cmocka_unit_test(test_errors),
                                     cmocka_unit_test(test_refusals), cmocka_unit_test(test_silence_and_noise)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
