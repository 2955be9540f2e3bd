// STARTTLS dialogues, see starttls_wire.h. SMTP: RFC 3207; IMAP: RFC 9051 section 6.2.1; POP3: RFC 2595 section 4; FTP: RFC 4217 section 4;
// PostgreSQL: "SSL Session Encryption" of its protocol's message flow.
#include "starttls_wire.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "runtime/text.h"

enum state { GREETING, HELLO, CONSENT };

const char *const wd_starttls_names[] = {"smtp", "imap", "pop3", "ftp", "postgres", NULL};
_Static_assert(sizeof wd_starttls_names / sizeof wd_starttls_names[0] == WD_STARTTLS__COUNT + 1, "one name for each protocol");

static void say(struct wd_starttls *dialogue, const char *text) {
  dialogue->send_bytes = (const uint8_t *)text;
  dialogue->send_len = strlen(text);
}

void wd_starttls_begin(struct wd_starttls *dialogue, enum wd_starttls_protocol protocol) {
  // SSLRequest: its length, and a number no protocol version has.
  static const uint8_t ssl_request[8] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};
  *dialogue = (struct wd_starttls){.protocol = protocol, .state = GREETING};
  if (protocol == WD_STARTTLS_POSTGRES) {
    dialogue->state = CONSENT;
    dialogue->send_bytes = ssl_request;
    dialogue->send_len = sizeof ssl_request;
  }
}

static enum wd_starttls_step refuse(struct wd_starttls *dialogue, const char *what, const char *said) {
  char shown[128];
  wd_text_escape(shown, sizeof shown, said, strlen(said));
  snprintf(dialogue->detail, sizeof dialogue->detail, *said ? "%s: the server said '%s'" : "%s", what, shown);
  return WD_STARTTLS_REFUSED;
}

static bool begins(const char *text, const char *with) {
  return strncasecmp(text, with, strlen(with)) == 0;
}

// One line of an SMTP or FTP reply: true when it is the last of its reply, whose first digit and text then count. FTP lets the lines between be
// anything (RFC 959 section 4.2).
static bool reply_ends(struct wd_starttls *dialogue, const char *text) {
  bool coded = strspn(text, "0123456789") >= 3 && (text[3] == ' ' || text[3] == '-' || text[3] == '\0');
  if (dialogue->code[0] == '\0') {
    if (coded && text[3] == '-') memcpy(dialogue->code, text, 3);
    return !coded || text[3] != '-';
  }
  if (coded && memcmp(text, dialogue->code, 3) == 0 && text[3] != '-') {
    dialogue->code[0] = '\0';
    return true;
  }
  return false;
}

static enum wd_starttls_step smtp_line(struct wd_starttls *dialogue, const char *text) {
  if (dialogue->state == HELLO && strlen(text) >= 12 && begins(text + 4, "STARTTLS") && (text[12] == '\0' || text[12] == ' '))
    dialogue->offered = true;
  if (!reply_ends(dialogue, text)) return WD_STARTTLS_MORE;
  switch (dialogue->state) {
  case GREETING:
    if (!begins(text, "220")) return refuse(dialogue, "no SMTP greeting", text);
    dialogue->state = HELLO;
    say(dialogue, "EHLO localhost\r\n");
    return WD_STARTTLS_MORE;
  case HELLO:
    if (!begins(text, "250")) return refuse(dialogue, "EHLO was refused", text);
    if (!dialogue->offered) return refuse(dialogue, "the server does not offer STARTTLS", "");
    dialogue->state = CONSENT;
    say(dialogue, "STARTTLS\r\n");
    return WD_STARTTLS_MORE;
  default: return begins(text, "220") ? WD_STARTTLS_READY : refuse(dialogue, "STARTTLS was refused", text);
  }
}

static enum wd_starttls_step ftp_line(struct wd_starttls *dialogue, const char *text) {
  if (!reply_ends(dialogue, text)) return WD_STARTTLS_MORE;
  if (dialogue->state == GREETING) {
    if (begins(text, "120")) // ready in some minutes: a 220 follows
      return WD_STARTTLS_MORE;
    if (!begins(text, "220")) return refuse(dialogue, "no FTP greeting", text);
    dialogue->state = CONSENT;
    say(dialogue, "AUTH TLS\r\n");
    return WD_STARTTLS_MORE;
  }
  return begins(text, "234") ? WD_STARTTLS_READY : refuse(dialogue, "AUTH TLS was refused", text);
}

static enum wd_starttls_step imap_line(struct wd_starttls *dialogue, const char *text) {
  if (dialogue->state == GREETING) {
    if (begins(text, "* PREAUTH"))
      return refuse(dialogue, "the server takes us for logged in, STARTTLS is not possible any more", text);
    if (!begins(text, "* OK")) return refuse(dialogue, "no IMAP greeting", text);
    dialogue->state = CONSENT;
    say(dialogue, "w1 STARTTLS\r\n");
    return WD_STARTTLS_MORE;
  }
  if (begins(text, "* BYE")) return refuse(dialogue, "the server says goodbye", text);
  if (begins(text, "* ")) return WD_STARTTLS_MORE;
  return begins(text, "w1 OK") ? WD_STARTTLS_READY : refuse(dialogue, "STARTTLS was refused", text);
}

static enum wd_starttls_step pop3_line(struct wd_starttls *dialogue, const char *text) {
  if (!begins(text, "+OK")) return refuse(dialogue, dialogue->state == GREETING ? "no POP3 greeting" : "STLS was refused", text);
  if (dialogue->state == CONSENT) return WD_STARTTLS_READY;
  dialogue->state = CONSENT;
  say(dialogue, "STLS\r\n");
  return WD_STARTTLS_MORE;
}

static enum wd_starttls_step feed_postgres(struct wd_starttls *dialogue, const uint8_t *bytes, size_t len) {
  if (len == 0) return WD_STARTTLS_MORE;
  if (bytes[0] == 'S')
    return len == 1 ? WD_STARTTLS_READY : refuse(dialogue, "the server sent more behind its consent, in clear text", "");
  if (bytes[0] == 'N') return refuse(dialogue, "the server does not offer TLS", "");
  char said[64];
  size_t n = len < sizeof said ? len : sizeof said - 1;
  for (size_t i = 0; i < n; i++) said[i] = bytes[i] ? (char)bytes[i] : ' ';
  said[n] = '\0';
  return refuse(dialogue, "no answer of a PostgreSQL server", said);
}

static enum wd_starttls_step take_line(struct wd_starttls *dialogue) {
  // A NUL would end the text early for us, but not for the next reader of the message.
  if (strlen(dialogue->lines.text) != dialogue->lines.len)
    return refuse(dialogue, "the server sent a NUL byte", dialogue->lines.text);
  switch (dialogue->protocol) {
  case WD_STARTTLS_SMTP: return smtp_line(dialogue, dialogue->lines.text);
  case WD_STARTTLS_IMAP: return imap_line(dialogue, dialogue->lines.text);
  case WD_STARTTLS_POP3: return pop3_line(dialogue, dialogue->lines.text);
  default: return ftp_line(dialogue, dialogue->lines.text);
  }
}

enum wd_starttls_step wd_starttls_feed(struct wd_starttls *dialogue, const uint8_t *bytes, size_t len) {
  dialogue->send_bytes = NULL;
  dialogue->send_len = 0;
  if (dialogue->protocol == WD_STARTTLS_POSTGRES) return feed_postgres(dialogue, bytes, len);
  for (;;) {
    switch (wd_lines_next(&dialogue->lines, &bytes, &len)) {
    case WD_LINES_MORE: return WD_STARTTLS_MORE;
    case WD_LINES_TOO_LONG: return refuse(dialogue, "the server sent a line without an end", "");
    case WD_LINES_TOO_MUCH: return refuse(dialogue, "the server talks without an end", "");
    default: break;
    }
    enum wd_starttls_step step = take_line(dialogue);
    if (step == WD_STARTTLS_READY && len > 0)
      return refuse(dialogue, "the server sent more behind its consent, in clear text", "");
    if (step != WD_STARTTLS_MORE) return step;
    // An answer to what was not asked yet would be taken for the answer to it. IMAP's have tags, and it may speak at any time.
    if (dialogue->send_bytes && len > 0 && dialogue->protocol != WD_STARTTLS_IMAP)
      return refuse(dialogue, "the server spoke out of turn", "");
  }
}

const char *wd_starttls_unfinished(struct wd_starttls *dialogue) {
  static const char *const waits[] = {
      [GREETING] = "the server's greeting", [HELLO] = "the answer to EHLO", [CONSENT] = "the answer to the request for TLS"};
  snprintf(dialogue->detail, sizeof dialogue->detail, "%s: still waiting for %s", wd_starttls_names[dialogue->protocol],
           waits[dialogue->state]);
  return dialogue->detail;
}
