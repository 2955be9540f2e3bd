// The udp.ping payload: built, echoed, cut, harmed, foreign.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../probes/udp_wire.h"

static const struct wd_udp_ping ping = {0xdeadbeef, 0xfffffffe, 0x0123456789abcdef};

static void test_round_trip(void **state) {
  (void)state;
  const size_t sizes[] = {WD_UDP_SIZE_MIN, 21, 64, 1472, WD_UDP_SIZE_MAX};
  uint8_t *out = malloc(WD_UDP_SIZE_MAX);
  for (int i = 0; i < 5; i++) {
    struct wd_udp_ping got;
    assert_int_equal(wd_udp_build(out, WD_UDP_SIZE_MAX, &ping, sizes[i]), sizes[i]);
    assert_true(wd_udp_parse(&got, out, sizes[i]));
    assert_true(got.id == ping.id && got.seq == ping.seq && got.nonce == ping.nonce);
  }
  assert_int_equal(wd_udp_build(out, WD_UDP_SIZE_MAX, &ping, WD_UDP_SIZE_MIN - 1), 0);
  assert_int_equal(wd_udp_build(out, WD_UDP_SIZE_MAX, &ping, WD_UDP_SIZE_MAX + 1), 0);
  assert_int_equal(wd_udp_build(out, 63, &ping, 64), 0);
  free(out);
}

static void test_foreign(void **state) {
  (void)state;
  uint8_t out[64];
  struct wd_udp_ping got;
  wd_udp_build(out, sizeof out, &ping, sizeof out);
  for (size_t i = 0; i < 4; i++) {
    out[i] ^= 1;
    assert_false(wd_udp_parse(&got, out, sizeof out));
    out[i] ^= 1;
  }
  for (size_t i = WD_UDP_SIZE_MIN; i < sizeof out; i++) {
    out[i] ^= 0x80;
    assert_false(wd_udp_parse(&got, out, sizeof out));
    out[i] ^= 0x80;
  }
  assert_true(wd_udp_parse(&got, out, sizeof out));
  assert_false(wd_udp_parse(&got, (const uint8_t *)"pong", 4));
  assert_false(wd_udp_parse(&got, out, 0));
}

static void test_quotes(void **state) {
  (void)state;
  uint8_t out[64];
  wd_udp_build(out, sizeof out, &ping, sizeof out);
  for (size_t len = 0; len <= sizeof out; len++) {
    struct wd_udp_ping got;
    bool nonce_known;
    uint8_t *copy = malloc(len ? len : 1); // exact, so that a read past the end is seen
    memcpy(copy, out, len);
    assert_int_equal(wd_udp_parse(&got, copy, len), len >= WD_UDP_SIZE_MIN);
    bool read = wd_udp_parse_quote(&got, &nonce_known, copy, len);
    assert_int_equal(read, len >= 12);
    if (read) {
      assert_true(got.id == ping.id && got.seq == ping.seq);
      assert_int_equal(nonce_known, len >= WD_UDP_SIZE_MIN);
      assert_true(got.nonce == (nonce_known ? ping.nonce : 0));
    }
    free(copy);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_foreign),
      cmocka_unit_test(test_quotes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
