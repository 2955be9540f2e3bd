// Just enough JSON (RFC 8259) for talking to the manager's login: members of an answer's top-level
// object, and a string to be sent. Pure.
#pragma once

#include "runtime/arena.h"
#include "runtime/wd.h"

enum wd_json_kind { WD_JSON_NONE, WD_JSON_STRING, WD_JSON_NUMBER, WD_JSON_TRUE, WD_JSON_OTHER };

struct wd_json_value {
  enum wd_json_kind kind; // WD_JSON_NONE: no such member, or the text is no JSON object
  const char *text;       // of a string, in the arena, with a NUL behind it (a string with U+0000 in it is WD_JSON_OTHER)
  double number;
};

// The first member of that name in the object that `text` (of `n` bytes) is. The whole text is checked.
struct wd_json_value wd_json_member(const char *text, size_t n, const char *name, struct wd_arena *arena);

// The text as a JSON string with its quotes, in the arena; NULL when memory is out. Bytes from 0x80 on stay as they are.
char *wd_json_quote(struct wd_arena *arena, const char *text);
