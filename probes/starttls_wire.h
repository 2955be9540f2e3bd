// The clear-text dialogue that asks a server for TLS: smtp, imap, pop3, ftp, postgres. Bytes in, bytes out; no sockets.
//
// Must hold: nothing the server says in clear text survives into the TLS connection, and the dialogue is bounded whatever it says.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines_wire.h"

enum wd_starttls_protocol {
  WD_STARTTLS_SMTP,
  WD_STARTTLS_IMAP,
  WD_STARTTLS_POP3,
  WD_STARTTLS_FTP,
  WD_STARTTLS_POSTGRES,
  WD_STARTTLS__COUNT
};

enum wd_starttls_step {
  WD_STARTTLS_MORE,    // write send_bytes, if there are any, then feed what the server answers
  WD_STARTTLS_READY,   // begin the TLS handshake
  WD_STARTTLS_REFUSED, // detail says why, with the server's words
};

struct wd_starttls {
  enum wd_starttls_protocol protocol;
  const uint8_t *send_bytes; // static; NULL when there is nothing to write
  size_t send_len;
  char detail[256];
  // below: of the dialogue alone
  struct wd_lines lines;
  int state;
  char code[4]; // of a reply of several lines, "" outside
  bool offered; // smtp: the list of extensions names STARTTLS
};

// "smtp", "imap", "pop3", "ftp", "postgres", in the order of the enum, ended by NULL.
extern const char *const wd_starttls_names[];

// Begins the dialogue; send_bytes is set where the client speaks first.
void wd_starttls_begin(struct wd_starttls *dialogue, enum wd_starttls_protocol protocol);

// Takes what the server sent; send_bytes is replaced. Bytes behind the server's consent are refused: an attacker in the path could have put them there,
// to be taken for encrypted ones (CVE-2011-0411). Not to be called after READY or REFUSED.
enum wd_starttls_step wd_starttls_feed(struct wd_starttls *dialogue, const uint8_t *bytes, size_t len);

// For a server that closed or fell silent: where the dialogue stood, in dialogue->detail, which is returned.
const char *wd_starttls_unfinished(struct wd_starttls *dialogue);
