// ICMP messages: built, read back, quoted, cut and forged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../probes/icmp_wire.h"
#include "../../runtime/icmp_error.h"

enum { NONCE_HI = 0x01020304, NONCE_LO = 0x05060708 };
static const uint64_t nonce = (uint64_t)NONCE_HI << 32 | NONCE_LO;

// Copies to the heap, so that a read past the end is seen.
static bool parse(struct wd_icmp_message *out, int family, bool raw, const uint8_t *bytes, size_t len) {
  uint8_t *copy = malloc(len ? len : 1);
  memcpy(copy, bytes, len);
  bool ok = wd_icmp_parse(out, family, raw, copy, len);
  free(copy);
  return ok;
}

static void seal(uint8_t *bytes, size_t len) {
  bytes[2] = bytes[3] = 0;
  uint16_t sum = wd_icmp_checksum(bytes, len);
  bytes[2] = (uint8_t)(sum >> 8);
  bytes[3] = (uint8_t)sum;
}

static size_t v4_packet(uint8_t *out, size_t header, uint8_t proto, const uint8_t *body, size_t len) {
  size_t total = header + len;
  memset(out, 0, header);
  out[0] = (uint8_t)(0x40 | header / 4);
  out[2] = (uint8_t)(total >> 8);
  out[3] = (uint8_t)total;
  out[8] = 57;
  out[9] = proto;
  memcpy(out + 12, "\x0a\0\0\x01\xc0\0\x02\x07", 8);
  memcpy(out + header, body, len);
  return total;
}

static void test_checksum(void **state) {
  (void)state;
  // The example of RFC 1071 section 3, and an odd length.
  assert_int_equal(wd_icmp_checksum((const uint8_t *)"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8), (uint16_t)~0xddf2);
  assert_int_equal(wd_icmp_checksum((const uint8_t *)"\x01", 1), (uint16_t)~0x0100);
  assert_int_equal(wd_icmp_checksum((const uint8_t *)"", 0), 0xffff);
}

static void test_request(void **state) {
  (void)state;
  uint8_t out[64];
  assert_int_equal(wd_icmp_build(out, sizeof out, AF_INET, 0x1234, 0x0102, nonce, 10), 18);
  assert_memory_equal(out, "\x08\x00", 2);
  assert_memory_equal(out + 4, "\x12\x34\x01\x02\x01\x02\x03\x04\x05\x06\x07\x08\x08\x09", 14);
  assert_int_equal(wd_icmp_checksum(out, 18), 0);
  assert_int_equal(wd_icmp_build(out, sizeof out, AF_INET6, 1, 2, nonce, 0), 8);
  assert_memory_equal(out, "\x80\x00\x00\x00\x00\x01\x00\x02", 8);
  assert_int_equal(wd_icmp_build(out, 17, AF_INET, 1, 2, nonce, 10), 0);
  assert_int_equal(wd_icmp_build(out, sizeof out, AF_INET, 1, 2, nonce, WD_ICMP_SIZE_MAX + 1), 0);
}

static void test_replies(void **state) {
  (void)state;
  struct wd_icmp_message got;
  uint8_t echo[64], packet[160];
  const size_t headers[] = {20, 24, 60};
  size_t len = wd_icmp_build(echo, sizeof echo, AF_INET, 7, 9, nonce, 56);
  echo[0] = 0;
  assert_true(parse(&got, AF_INET, false, echo, len));
  assert_int_equal(got.kind, WD_ICMP_REPLY);
  assert_int_equal(got.echo.id, 7);
  assert_int_equal(got.echo.seq, 9);
  assert_int_equal(got.echo.nonce_len, 8);
  assert_true(got.echo.nonce == nonce);
  assert_int_equal(got.size, 56);
  assert_int_equal(got.ttl, -1);

  seal(echo, len);
  for (int i = 0; i < 3; i++) {
    size_t total = v4_packet(packet, headers[i], 1, echo, len);
    assert_true(parse(&got, AF_INET, true, packet, total));
    assert_int_equal(got.kind, WD_ICMP_REPLY);
    assert_int_equal(got.echo.seq, 9);
    assert_int_equal(got.ttl, 57);
    // Padding behind the packet (short Ethernet frames have it) is not payload.
    assert_true(parse(&got, AF_INET, true, packet, total + 4));
    assert_int_equal(got.size, 56);
    assert_false(parse(&got, AF_INET, true, packet, total - 1));
    packet[total - 1] ^= 1;
    assert_false(parse(&got, AF_INET, true, packet, total));
  }
  len = wd_icmp_build(echo, sizeof echo, AF_INET6, 7, 9, nonce, 3);
  echo[0] = 129;
  assert_true(parse(&got, AF_INET6, true, echo, len));
  assert_int_equal(got.kind, WD_ICMP_REPLY);
  assert_int_equal(got.echo.nonce_len, 3);
  assert_true(wd_icmp_nonce_fits(&got.echo, nonce));
  assert_false(wd_icmp_nonce_fits(&got.echo, nonce ^ (uint64_t)1 << 40));
  echo[0] = 128;
  assert_true(parse(&got, AF_INET6, true, echo, len));
  assert_int_equal(got.kind, WD_ICMP_OTHER);
}

static void test_v4_errors(void **state) {
  (void)state;
  struct wd_icmp_message got;
  char text[WD_ADDR_TEXT];
  uint8_t echo[64], inner[128], error[160], packet[220];
  size_t len = wd_icmp_build(echo, sizeof echo, AF_INET, 7, 9, nonce, 56);
  // As RFC 792 asks at least: the inner header (here with options) and 8 bytes.
  v4_packet(inner, 24, 1, echo, len);
  memcpy(error, "\x03\x04\0\0\0\0\x05\x78", 8);
  memcpy(error + 8, inner, 32);
  seal(error, 40);
  size_t total = v4_packet(packet, 20, 1, error, 40);
  assert_true(parse(&got, AF_INET, true, packet, total));
  assert_int_equal(got.kind, WD_ICMP_ERROR);
  assert_int_equal(got.err, WD_E_MESSAGE_TOO_BIG);
  assert_int_equal(got.mtu, 1400);
  assert_true(got.quotes_echo);
  assert_int_equal(got.echo.id, 7);
  assert_int_equal(got.echo.seq, 9);
  assert_int_equal(got.echo.nonce_len, 0);
  assert_true(wd_icmp_nonce_fits(&got.echo, 42));
  assert_string_equal(wd_addr_format(&got.to, text), "192.0.2.7");

  memcpy(error, "\x0b\0", 2);
  memcpy(error + 8, inner, 44);
  seal(error, 52);
  total = v4_packet(packet, 20, 1, error, 52);
  assert_true(parse(&got, AF_INET, true, packet, total));
  assert_int_equal(got.err, WD_E_TTL_EXCEEDED);
  assert_int_equal(got.mtu, 0);
  assert_true(got.echo.nonce == nonce && got.echo.nonce_len == 8);

  // Not ours to read: another protocol, a later fragment, a reply, a header that is longer than the quote.
  const struct {
    size_t at;
    uint8_t value;
  } forged[] = {{9, 17}, {7, 1}, {24, 0}, {0, 0x4f}, {0, 0x41}, {0, 0x65}};
  for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
    uint8_t copy[52];
    memcpy(copy, error, 52);
    copy[8 + forged[i].at] = forged[i].value;
    assert_true(parse(&got, AF_INET, false, copy, 52));
    assert_int_equal(got.kind, WD_ICMP_ERROR);
    assert_false(got.quotes_echo);
  }
}

static void test_v6_errors(void **state) {
  (void)state;
  struct wd_icmp_message got;
  char text[WD_ADDR_TEXT];
  uint8_t error[160] = {2, 0, 0, 0, 0, 0, 0x05, 0x00};
  uint8_t *inner = error + 8;
  inner[0] = 0x60;
  inner[6] = 44; // fragment, then hop-by-hop options of 16 bytes, then the echo
  inner[24 + 15] = 1;
  inner[40] = 0;
  inner[48] = 58;
  inner[49] = 1;
  size_t len = 8 + 64 + wd_icmp_build(inner + 64, 64, AF_INET6, 0xffff, 0xfffe, nonce, 16);
  assert_true(parse(&got, AF_INET6, true, error, len));
  assert_int_equal(got.err, WD_E_MESSAGE_TOO_BIG);
  assert_int_equal(got.mtu, 1280);
  assert_true(got.quotes_echo);
  assert_int_equal(got.echo.seq, 0xfffe);
  assert_true(got.echo.nonce == nonce);
  assert_string_equal(wd_addr_format(&got.to, text), "::1");
  for (size_t cut = 0; cut < len; cut++) assert_int_equal(parse(&got, AF_INET6, true, error, cut), cut >= 8);
  inner[43] = 8; // a later fragment
  assert_true(parse(&got, AF_INET6, true, error, len));
  assert_false(got.quotes_echo);
}

static void test_quote(void **state) {
  (void)state;
  struct wd_icmp_echo got;
  uint8_t echo[64];
  wd_icmp_build(echo, sizeof echo, AF_INET, 7, 9, nonce, 56);
  assert_false(wd_icmp_parse_quote(&got, AF_INET, echo, 7));
  assert_true(wd_icmp_parse_quote(&got, AF_INET, echo, 10));
  assert_int_equal(got.nonce_len, 2);
  assert_true(wd_icmp_nonce_fits(&got, nonce));
  assert_false(wd_icmp_nonce_fits(&got, ~nonce));
  assert_false(wd_icmp_parse_quote(&got, AF_INET6, echo, 64));
}

static void test_meanings(void **state) {
  (void)state;
  assert_int_equal(wd_icmp_err(AF_INET, 3, 0), WD_E_NETWORK_UNREACHABLE);
  assert_int_equal(wd_icmp_err(AF_INET, 3, 1), WD_E_HOST_UNREACHABLE);
  assert_int_equal(wd_icmp_err(AF_INET, 3, 3), WD_E_CONNECTION_REFUSED);
  assert_int_equal(wd_icmp_err(AF_INET, 3, 13), WD_E_ADMIN_PROHIBITED);
  assert_int_equal(wd_icmp_err(AF_INET, 3, 200), WD_E_HOST_UNREACHABLE);
  assert_int_equal(wd_icmp_err(AF_INET, 4, 0), WD_OK);
  assert_int_equal(wd_icmp_err(AF_INET, 8, 0), WD_OK);
  assert_int_equal(wd_icmp_err(AF_INET6, 1, 0), WD_E_NETWORK_UNREACHABLE);
  assert_int_equal(wd_icmp_err(AF_INET6, 1, 1), WD_E_ADMIN_PROHIBITED);
  assert_int_equal(wd_icmp_err(AF_INET6, 1, 4), WD_E_CONNECTION_REFUSED);
  assert_int_equal(wd_icmp_err(AF_INET6, 3, 0), WD_E_TTL_EXCEEDED);
  assert_int_equal(wd_icmp_err(AF_INET6, 129, 0), WD_OK);
  assert_string_equal(wd_icmp_text(AF_INET, 3, 3), "port unreachable");
  assert_string_equal(wd_icmp_text(AF_INET6, 200, 3), "unknown ICMP message");
}

static void test_noise(void **state) {
  (void)state;
  struct wd_icmp_message got;
  uint8_t bytes[128];
  srand(1);
  for (int round = 0; round < 20000; round++) {
    size_t len = (size_t)rand() % sizeof bytes;
    for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)rand();
    bytes[0] = round % 4 ? (uint8_t)(0x40 | (bytes[0] & 0xf)) : 3;
    bytes[8] = round % 2 ? 0x45 : 0x60;
    parse(&got, round % 3 ? AF_INET : AF_INET6, round % 5 != 0, bytes, len);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_checksum),  cmocka_unit_test(test_request),   cmocka_unit_test(test_replies),
      cmocka_unit_test(test_v4_errors), cmocka_unit_test(test_v6_errors), cmocka_unit_test(test_quote),
      cmocka_unit_test(test_meanings),  cmocka_unit_test(test_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
