// Questions about descriptions; knows no Lua.
#include "runtime/desc.h"

#include <stdio.h>
#include <string.h>

#include "runtime/words.h"

static const size_t c_sizes[] = {
  [WD_T_BOOL] = sizeof(int8_t),    [WD_T_INT] = sizeof(int64_t),     [WD_T_NUM] = sizeof(double),
  [WD_T_STR] = sizeof(char *),     [WD_T_DATA] = sizeof(struct wd_data), [WD_T_ENUM] = sizeof(int),
  [WD_T_DURATION] = sizeof(wd_ns), [WD_T_BYTES] = sizeof(int64_t),   [WD_T_MAP] = sizeof(struct wd_map),
  [WD_T_TABLE] = sizeof(void *),   [WD_T_LIST] = sizeof(struct wd_list), [WD_T_LUA] = 0,
  [WD_T_MS] = sizeof(wd_ns),       [WD_T_TIME] = sizeof(int64_t),    [WD_T_ERR] = sizeof(enum wd_err),
};

void wd_desc_clear(const struct wd_desc *desc, void *st) {
  memset(st, 0, desc->size);
  for (const struct wd_field *f = desc->fields; f->name; f++) {
    void *at = (char *)st + f->offset;
    switch (f->type) {
    case WD_T_BOOL: *(int8_t *)at = -1; break;
    case WD_T_ENUM: *(int *)at = -1; break;
    case WD_T_NUM: *(double *)at = WD_NAN; break;
    case WD_T_INT:
    case WD_T_DURATION:
    case WD_T_BYTES:
    case WD_T_MS:
    case WD_T_TIME: *(int64_t *)at = WD_NONE; break;
    default: break; // all zero is absent
    }
  }
}

const struct wd_field *wd_desc_find(const struct wd_desc *desc, const char *name) {
  for (const struct wd_field *f = desc->fields; f->name; f++)
    if (strcmp(f->name, name) == 0) return f;
  return NULL;
}

static const char *visible_name(const void *ctx, size_t i) {
  const struct wd_field *f = (const struct wd_field *)ctx + i;
  return f->flags & WD_F_HIDDEN ? NULL : f->name;
}

const char *wd_desc_nearest(const struct wd_desc *desc, const char *name) {
  size_t n = 0;
  while (desc->fields[n].name) n++;
  return wd_words_nearest(name, visible_name, desc->fields, n);
}

size_t wd_desc_elem_size(const struct wd_field *field) {
  return field->elem == WD_T_TABLE ? field->sub->size : c_sizes[field->elem];
}

static void expected_names(const struct wd_field *f, char *out, size_t room) {
  size_t at = (size_t)snprintf(out, room, "one of: ");
  for (size_t i = 0; f->names[i] && at < room; i++)
    at += (size_t)snprintf(out + at, room - at, "%s%s", i ? ", " : "", f->names[i]);
}

void wd_desc_expected(const struct wd_field *f, char *out, size_t room) {
  static const char *const words[] = {
    [WD_T_BOOL] = "true or false",
    [WD_T_INT] = "an integer",
    [WD_T_NUM] = "a number",
    [WD_T_STR] = "a string",
    [WD_T_DATA] = "a string",
    [WD_T_DURATION] = "a duration (seconds, or text like \"250ms\" or \"1h30m\")",
    [WD_T_BYTES] = "a size in bytes (an integer, or text like \"64k\" or \"16MiB\")",
    [WD_T_MAP] = "a table of strings by name",
    [WD_T_TABLE] = "a table",
    [WD_T_LUA] = "a table",
    [WD_T_MS] = "a number", // these three are of results alone
    [WD_T_TIME] = "a time (RFC 3339, UTC)",
    [WD_T_ERR] = "the name of a failure",
  };
  bool bounded = f->min < f->max || f->max < 0;
  if (f->type == WD_T_ENUM) {
    expected_names(f, out, room);
  } else if (f->type == WD_T_LIST) {
    struct wd_field elem = *f;
    char word[200];
    elem.type = f->elem;
    wd_desc_expected(&elem, word, sizeof(word));
    snprintf(out, room, "a list, each %s", word);
  } else if (bounded && f->type == WD_T_DURATION) {
    snprintf(out, room, "%s from %g to %g seconds", words[f->type], f->min, f->max);
  } else if (bounded && (f->type == WD_T_STR || f->type == WD_T_DATA)) {
    snprintf(out, room, "a string of %.0f to %.0f bytes", f->min, f->max);
  } else if (bounded) {
    snprintf(out, room, "%s from %.15g to %.15g", words[f->type], f->min, f->max);
  } else {
    snprintf(out, room, "%s", words[f->type]);
  }
}
