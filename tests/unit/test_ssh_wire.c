// SSH banners: good, old, foreign, hostile, in pieces of every size.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../probes/ssh_wire.h"

static struct wd_ssh ssh;

// Feeds in pieces of `piece` bytes, each on the heap at its exact size.
static enum wd_ssh_step feed(const char *bytes, size_t len, size_t piece) {
  enum wd_ssh_step step = WD_SSH_MORE;
  memset(&ssh, 0, sizeof ssh);
  for (size_t at = 0; at < len && step == WD_SSH_MORE; at += piece) {
    size_t n = len - at < piece ? len - at : piece;
    uint8_t *copy = malloc(n);
    memcpy(copy, bytes + at, n);
    step = wd_ssh_feed(&ssh, copy, n);
    free(copy);
  }
  return step;
}

static enum wd_ssh_step feed_text(const char *text) {
  return feed(text, strlen(text), strlen(text));
}

static void test_banners(void **state) {
  (void)state;
  static const char text[] = "welcome\r\n\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n\0\0\1binary";
  for (size_t piece = 1; piece < sizeof text; piece++) {
    assert_int_equal(feed(text, sizeof text, piece), WD_SSH_DONE);
    assert_string_equal(ssh.banner, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3");
    assert_string_equal(ssh.protocol, "2.0");
    assert_string_equal(ssh.software, "OpenSSH_9.2p1");
    assert_string_equal(ssh.comments, "Debian-2+deb12u3");
    assert_int_equal(ssh.skipped, 2);
  }
  assert_int_equal(feed_text("SSH-1.99-Cisco-1.25\n"), WD_SSH_DONE);
  assert_string_equal(ssh.protocol, "1.99");
  assert_string_equal(ssh.software, "Cisco-1.25");
  assert_string_equal(ssh.comments, "");
  assert_int_equal(feed_text("SSH-2.0-\r\n"), WD_SSH_DONE);
  assert_string_equal(ssh.software, "");
  assert_int_equal(feed_text("SSH-2.0-x \xff\r\n"), WD_SSH_DONE);
  assert_string_equal(ssh.comments, "\\xff");
}

static void test_refused(void **state) {
  (void)state;
  assert_int_equal(feed_text("SSH-1.5-old\r\n"), WD_SSH_REFUSED);
  assert_string_equal(ssh.detail, "the banner is of another protocol version, expected SSH-2.0- or SSH-1.99-: 'SSH-1.5-old'");
  assert_int_equal(feed_text("SSH-\r\n"), WD_SSH_REFUSED);
  assert_int_equal(feed_text("SSH-2.0-a\x1b[2Jb\r\n"), WD_SSH_REFUSED);
  assert_string_equal(ssh.detail, "the banner has a control character: 'SSH-2.0-a\\x1b[2Jb'");
  assert_int_equal(feed("SSH-2.0-a\0b\r\n", 13, 13), WD_SSH_REFUSED);
  assert_int_equal(feed_text("SSH-2.0-a"), WD_SSH_MORE);
  assert_int_equal(feed_text("ssh-2.0-a\r\n"), WD_SSH_MORE);

  char longest[300] = "SSH-2.0-";
  memset(longest + 8, 'x', sizeof longest - 8);
  memcpy(longest + WD_SSH_BANNER_MAX, "\r\n", 3);
  assert_int_equal(feed_text(longest), WD_SSH_DONE);
  memcpy(longest + WD_SSH_BANNER_MAX, "x\r\n", 4);
  assert_int_equal(feed_text(longest), WD_SSH_REFUSED);
  memset(longest + 8, 'x', sizeof longest - 8);
  assert_int_equal(feed(longest, sizeof longest, sizeof longest), WD_SSH_REFUSED); // no end of line awaited
}

static void test_bounded(void **state) {
  (void)state;
  static char big[WD_LINES_TOTAL_MAX * 2];
  memset(big, '\n', sizeof big);
  assert_int_equal(feed(big, WD_SSH_LINES_MAX, 7), WD_SSH_MORE);
  assert_int_equal(feed(big, WD_SSH_LINES_MAX + 1, 7), WD_SSH_REFUSED);
  memset(big, 'x', sizeof big);
  assert_int_equal(feed(big, WD_LINE_MAX, 100), WD_SSH_MORE);
  assert_int_equal(feed(big, WD_LINE_MAX + 1, 100), WD_SSH_REFUSED);
  for (size_t i = 999; i < sizeof big; i += 1000) big[i] = '\n';
  assert_int_equal(feed(big, WD_LINES_TOTAL_MAX, 100), WD_SSH_MORE);
  assert_int_equal(feed(big, WD_LINES_TOTAL_MAX + 1, 100), WD_SSH_REFUSED);
  assert_non_null(strstr(ssh.detail, "too much text before a banner"));
}

static void test_unfinished(void **state) {
  (void)state;
  assert_int_equal(feed_text("220 mail ESMTP\r\n"), WD_SSH_MORE);
  assert_string_equal(wd_ssh_unfinished(&ssh), "no SSH banner; the peer said '220 mail ESMTP'");
  assert_int_equal(feed_text("HTTP/1.1"), WD_SSH_MORE);
  assert_string_equal(wd_ssh_unfinished(&ssh), "no SSH banner; the peer said 'HTTP/1.1'");
  memset(&ssh, 0, sizeof ssh);
  assert_string_equal(wd_ssh_unfinished(&ssh), "no SSH banner; the peer said nothing");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_banners),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_bounded),
      cmocka_unit_test(test_unfinished),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
