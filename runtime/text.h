// Bytes from the network made fit to print.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Writes `len` bytes to `out` (at most `cap` with the NUL, which is always written; cap > 0) so that they are valid UTF-8 without control
// characters: every other byte becomes \xNN. What does not fit is cut between characters and ends in "..." where cap allows.
// Returns the length written.
size_t wd_text_escape(char *out, size_t cap, const char *bytes, size_t len);

// The length in bytes of the valid UTF-8 character at `bytes` (1 to 4), 0 when there is none (RFC 3629; surrogates are not valid).
size_t wd_text_utf8_len(const char *bytes, size_t len);

// Whether two texts are equal but for the case of ASCII letters, whatever the locale.
bool wd_text_equal_nocase(const char *a, const char *b);
