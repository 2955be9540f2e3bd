// Bytes of a text protocol cut into lines, bounded. No sockets.
//
// Must hold: a peer that never ends a line, or never ends, is cut off by length and by total.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
  WD_LINE_MAX = 2048,         // bytes of one line without its end
  WD_LINES_TOTAL_MAX = 32768, // bytes of all lines
};

// Zero-initialise.
struct wd_lines {
  char text[WD_LINE_MAX + 1]; // the line so far, or the whole of it after WD_LINES_WHOLE; always with a NUL behind
  size_t len;
  size_t total; // bytes taken so far
  size_t count; // whole lines so far
  int ended;
};

enum wd_lines_step {
  WD_LINES_MORE,  // all bytes taken, the line is not whole yet
  WD_LINES_WHOLE, // text holds a line without its LF or CR LF; the bytes behind it are not taken
  WD_LINES_TOO_LONG,
  WD_LINES_TOO_MUCH,
};

// Takes bytes from *bytes (advancing both) up to the end of a line.
enum wd_lines_step wd_lines_next(struct wd_lines *lines, const uint8_t **bytes, size_t *len);
