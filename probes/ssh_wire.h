// The SSH identification string (RFC 4253 section 4.2): read from a stream, judged, taken apart. No sockets.
//
// Must hold: only a line that begins with SSH-2.0- or SSH-1.99- is a banner; lines before it are skipped, a bounded number of them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lines_wire.h"

enum {
  WD_SSH_BANNER_MAX = 253, // without its CR LF
  WD_SSH_LINES_MAX = 100,  // lines before the banner
};

enum wd_ssh_step {
  WD_SSH_MORE,
  WD_SSH_DONE,    // banner, protocol, software, comments are set
  WD_SSH_REFUSED, // detail says why
};

// Zero-initialise. Texts are fit to print.
struct wd_ssh {
  struct wd_lines lines;
  char first_line[128]; // what the peer said before its banner, if anything
  char banner[4 * WD_SSH_BANNER_MAX + 4];
  char protocol[8];                         // "2.0" or "1.99"
  char software[4 * WD_SSH_BANNER_MAX + 4]; // "OpenSSH_9.2p1"; "" when the banner names none
  char comments[4 * WD_SSH_BANNER_MAX + 4]; // "Debian-2+deb12u3"; "" without
  size_t skipped;                           // lines before the banner
  char detail[256];
};

// Takes what the peer sent. Bytes behind the banner (its key exchange) are left alone. Not to be called after DONE or REFUSED.
enum wd_ssh_step wd_ssh_feed(struct wd_ssh *ssh, const uint8_t *bytes, size_t len);

// For a peer that closed or fell silent before its banner: what it said instead, as one line in ssh->detail, which is returned.
const char *wd_ssh_unfinished(struct wd_ssh *ssh);
