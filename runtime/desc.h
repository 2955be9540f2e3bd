// Descriptions: what a struct's fields are called, what they hold, in which unit, in which range.
// From one table come the reading and checking of options, the writing of results, the help text,
// completion and the manual's pages; nothing of it is written twice.
#pragma once

#include "runtime/wd.h"

// What a field is in Lua, and in C (the type at `offset`).
enum wd_type {
  WD_T_BOOL,     // boolean: int8_t, -1 = absent
  WD_T_INT,      // integer: int64_t, WD_NONE = absent
  WD_T_NUM,      // number: double, NaN = absent
  WD_T_STR,      // string without NUL bytes: const char *, NULL = absent
  WD_T_DATA,     // any bytes: struct wd_data, p NULL = absent
  WD_T_ENUM,     // one of `names`: int, -1 = absent
  WD_T_DURATION, // seconds or "250ms": wd_ns, WD_NONE = absent (options)
  WD_T_BYTES,    // integer or "64k": int64_t, WD_NONE = absent (options)
  WD_T_MAP,      // table of strings by name: struct wd_map, in order of name
  WD_T_TABLE,    // nested table: pointer to the struct of `sub`; options: always there but for WD_F_OPTIONAL, and not to be written to; results: NULL = absent
  WD_T_LIST,     // list of `elem` (a scalar type above, or WD_T_TABLE): struct wd_list
  WD_T_LUA,      // a table that only Lua looks at (labels, expect): nothing in C
  WD_T_MS,       // a span, written in milliseconds: wd_ns, WD_NONE = absent (results)
  WD_T_TIME,     // a moment, written as RFC 3339: int64_t microseconds since the epoch, WD_NONE = absent (results)
  WD_T_ERR,      // a failure's name: enum wd_err, WD_OK = absent (results)
};

struct wd_data {
  const char *p;
  size_t n;
};

struct wd_pair {
  const char *name;
  struct wd_data value;
};

struct wd_map {
  struct wd_pair *items;
  size_t n;
};

struct wd_list {
  void *items; // WD_T_TABLE: structs of `sub`, one after the other; else values of `elem`'s C type
  size_t n;
  bool given;   // an empty list that is there is not an absent one
  size_t width; // results: over 1, each of the n is a list of so many values, one group after the other
};

enum { WD_F_POSITIONAL = 1, WD_F_REQUIRED = 2, WD_F_HIDDEN = 4, WD_F_OPTIONAL = 8 };

struct wd_desc;

struct wd_field {
  const char *name;
  enum wd_type type;
  size_t offset;
  unsigned flags;            // WD_F_...: the first argument of the call; must be given; not shown in help;
                             // an option table that is NULL when it was not given
  enum wd_type elem;         // of a list
  const char *def;           // default, as a user would write it; NULL = absent
  double min, max;           // numbers, durations (seconds), bytes, a string's length; both 0 = any
  const char *const *names;  // of an enum, ends with NULL
  const struct wd_desc *sub; // of a table, or of a list of tables
  const char *unit;          // "ms", "bytes" ... for people
  const char *help;          // one line
  const char *(*valid)(const char *text); // for strings: NULL, or what is wrong with it
};

struct wd_desc {
  const char *name;
  const struct wd_field *fields; // ends with a NULL name
  size_t size;                   // of the struct
};

#define WD_FIELD(st, member, nm, ty, ...) {.name = (nm), .type = (ty), .offset = offsetof(st, member), __VA_ARGS__}

// Sets every field to "absent" (nested tables and lists too).
void wd_desc_clear(const struct wd_desc *desc, void *st);

// The field of that name, or NULL.
const struct wd_field *wd_desc_find(const struct wd_desc *desc, const char *name);

// The field name nearest to a misspelt one, or NULL.
const char *wd_desc_nearest(const struct wd_desc *desc, const char *name);

// Bytes of one list element of this type.
size_t wd_desc_elem_size(const struct wd_field *field);

// "an integer from 1 to 65535", "one of: any, 4, 6": what a field takes. Always ends `out` with NUL.
void wd_desc_expected(const struct wd_field *field, char *out, size_t room);
