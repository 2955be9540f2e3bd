// STARTTLS dialogues: consent, refusal, injection, endless talk, in pieces of every size.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../probes/starttls_wire.h"

static struct wd_starttls dialogue;
static char sent[256]; // all that was to be sent, turns divided by |

static void note_sent(void) {
  if (dialogue.send_bytes) {
    strncat(sent, (const char *)dialogue.send_bytes, dialogue.send_len);
    strcat(sent, "|");
  }
}

// Plays the server's turns (divided by |), each in pieces of `piece` bytes.
static enum wd_starttls_step play(enum wd_starttls_protocol protocol, const char *turns, size_t piece) {
  enum wd_starttls_step step = WD_STARTTLS_MORE;
  sent[0] = '\0';
  wd_starttls_begin(&dialogue, protocol);
  if (protocol != WD_STARTTLS_POSTGRES) note_sent();
  while (*turns && step == WD_STARTTLS_MORE) {
    size_t turn = strcspn(turns, "|");
    for (size_t at = 0; at < turn && step == WD_STARTTLS_MORE; at += piece) {
      size_t n = turn - at < piece ? turn - at : piece;
      uint8_t *copy = malloc(n);
      memcpy(copy, turns + at, n);
      step = wd_starttls_feed(&dialogue, copy, n);
      note_sent();
      free(copy);
    }
    turns += turn + (turns[turn] == '|');
  }
  return step;
}

static void expect_ready(enum wd_starttls_protocol protocol, const char *turns, const char *says) {
  for (size_t piece = 1; piece <= strlen(turns); piece++) {
    enum wd_starttls_step step = play(protocol, turns, piece);
    if (step != WD_STARTTLS_READY) fail_msg("%s: step %d, %s", turns, (int)step, dialogue.detail);
    assert_string_equal(sent, says);
  }
}

static void expect_refused(enum wd_starttls_protocol protocol, const char *turns, const char *detail) {
  assert_int_equal(play(protocol, turns, 1000), WD_STARTTLS_REFUSED);
  assert_string_equal(dialogue.detail, detail);
}

static void test_ready(void **state) {
  (void)state;
  expect_ready(WD_STARTTLS_SMTP, "220-mail\r\n220 ready\r\n|250-mail\r\n250-SIZE 1\r\n250-STARTTLS\r\n250 HELP\r\n|220 go\r\n",
               "EHLO localhost\r\n|STARTTLS\r\n|");
  expect_ready(WD_STARTTLS_SMTP, "220\n|250 starttls\n|220\n", "EHLO localhost\r\n|STARTTLS\r\n|");
  expect_ready(WD_STARTTLS_IMAP, "* OK [CAPABILITY IMAP4rev1] hi\r\n|* NOOP\r\nw1 OK begin\r\n", "w1 STARTTLS\r\n|");
  expect_ready(WD_STARTTLS_IMAP, "* OK\r\n* CAPABILITY STARTTLS\r\n|w1 ok\r\n", "w1 STARTTLS\r\n|");
  expect_ready(WD_STARTTLS_POP3, "+OK pop\r\n|+OK begin\r\n", "STLS\r\n|");
  expect_ready(WD_STARTTLS_FTP, "120 soon\r\n220-hello\r\n 220 not the end\r\nfree text\r\n220 ftp\r\n|234 go\r\n",
               "AUTH TLS\r\n|");
  expect_ready(WD_STARTTLS_POSTGRES, "S", "");
  wd_starttls_begin(&dialogue, WD_STARTTLS_POSTGRES);
  assert_int_equal(dialogue.send_len, 8);
  assert_memory_equal(dialogue.send_bytes, "\0\0\0\x08\x04\xd2\x16\x2f", 8);
}

static void test_refused(void **state) {
  (void)state;
  expect_refused(WD_STARTTLS_SMTP, "554 go away\r\n", "no SMTP greeting: the server said '554 go away'");
  expect_refused(WD_STARTTLS_SMTP, "SSH-2.0-x\r\n", "no SMTP greeting: the server said 'SSH-2.0-x'");
  expect_refused(WD_STARTTLS_SMTP, "220 hi\r\n|502 what\r\n", "EHLO was refused: the server said '502 what'");
  expect_refused(WD_STARTTLS_SMTP, "220 hi\r\n|250-x\r\n250 STARTTLSX\r\n", "the server does not offer STARTTLS");
  expect_refused(WD_STARTTLS_SMTP, "220 hi\r\n|250 STARTTLS\r\n|454 no\x1b[2J\r\n",
                 "STARTTLS was refused: the server said '454 no\\x1b[2J'");
  expect_refused(WD_STARTTLS_IMAP, "* PREAUTH x\r\n",
                 "the server takes us for logged in, STARTTLS is not possible any more: the server said '* PREAUTH x'");
  expect_refused(WD_STARTTLS_IMAP, "* BYE\r\n", "no IMAP greeting: the server said '* BYE'");
  expect_refused(WD_STARTTLS_IMAP, "* OK\r\n|w1 BAD no\r\n", "STARTTLS was refused: the server said 'w1 BAD no'");
  expect_refused(WD_STARTTLS_POP3, "-ERR\r\n", "no POP3 greeting: the server said '-ERR'");
  expect_refused(WD_STARTTLS_POP3, "+OK\r\n|-ERR\r\n", "STLS was refused: the server said '-ERR'");
  expect_refused(WD_STARTTLS_FTP, "220 x\r\n|534 no\r\n", "AUTH TLS was refused: the server said '534 no'");
  expect_refused(WD_STARTTLS_POSTGRES, "N", "the server does not offer TLS");
  expect_refused(WD_STARTTLS_POSTGRES, "HTTP/1.1 400", "no answer of a PostgreSQL server: the server said 'HTTP/1.1 400'");
}

static void test_injection(void **state) {
  (void)state;
  const char *excess = "the server sent more behind its consent, in clear text";
  expect_refused(WD_STARTTLS_SMTP, "220 x\r\n|250 STARTTLS\r\n|220 go\r\n250 injected\r\n", excess);
  expect_refused(WD_STARTTLS_IMAP, "* OK\r\n|w1 OK\r\n*", excess);
  expect_refused(WD_STARTTLS_POP3, "+OK\r\n|+OK\r\n+OK\r\n", excess);
  expect_refused(WD_STARTTLS_FTP, "220 x\r\n|234 go\r\n ", excess);
  expect_refused(WD_STARTTLS_POSTGRES, "SX", excess);
  expect_refused(WD_STARTTLS_SMTP, "220 x\r\n250 STARTTLS\r\n", "the server spoke out of turn");
  wd_starttls_begin(&dialogue, WD_STARTTLS_POP3);
  assert_int_equal(wd_starttls_feed(&dialogue, (const uint8_t *)"+OK\0x\r\n", 7), WD_STARTTLS_REFUSED);
  assert_string_equal(dialogue.detail, "the server sent a NUL byte: the server said '+OK'");
}

static void test_bounded(void **state) {
  (void)state;
  static uint8_t big[WD_LINES_TOTAL_MAX + 100];
  memset(big, 'x', sizeof big);
  for (int p = 0; p < WD_STARTTLS_POSTGRES; p++) {
    wd_starttls_begin(&dialogue, (enum wd_starttls_protocol)p);
    assert_int_equal(wd_starttls_feed(&dialogue, big, sizeof big), WD_STARTTLS_REFUSED);
    assert_string_equal(dialogue.detail, "the server sent a line without an end");
  }
  for (size_t i = 0; i + 5 <= sizeof big; i += 5) memcpy(big + i, "220-\n", 5);
  wd_starttls_begin(&dialogue, WD_STARTTLS_FTP);
  assert_int_equal(wd_starttls_feed(&dialogue, big, sizeof big), WD_STARTTLS_REFUSED);
  assert_string_equal(dialogue.detail, "the server talks without an end");
}

static void test_unfinished(void **state) {
  (void)state;
  play(WD_STARTTLS_SMTP, "220 x\r\n|250-", 100);
  assert_string_equal(wd_starttls_unfinished(&dialogue), "smtp: still waiting for the answer to EHLO");
  play(WD_STARTTLS_POSTGRES, "", 100);
  assert_string_equal(wd_starttls_unfinished(&dialogue), "postgres: still waiting for the answer to the request for TLS");
}

static void test_noise(void **state) {
  (void)state;
  static const char *const words[] = {"220", "250", "-", " ", "\r\n", "\n", "STARTTLS", "+OK", "* OK", "w1 OK", "x", "\r"};
  srand(1);
  for (int round = 0; round < 20000; round++) {
    char text[200] = "";
    for (int i = 0; i < 15; i++) strcat(text, words[(size_t)rand() % (sizeof words / sizeof words[0])]);
    play((enum wd_starttls_protocol)(round % WD_STARTTLS__COUNT), text, 1 + (size_t)rand() % 20);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ready),   cmocka_unit_test(test_refused),    cmocka_unit_test(test_injection),
      cmocka_unit_test(test_bounded), cmocka_unit_test(test_unfinished), cmocka_unit_test(test_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
