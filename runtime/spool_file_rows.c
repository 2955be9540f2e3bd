// The statements of the spool's database: its rows, its totals, what it remembers of delivery.
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "runtime/spool_file_inner.h"

enum {
  MOST_ASIDE = 10000,
  MOST_ASIDE_BYTES = 64 << 20,
  MOST_LISTED_BYTES = 4 << 20, // bodies of one list
};

// `created`, `not_before` and `at` are microseconds since the epoch. Ids of the queue rise, so its key is its order.
const char *const wd_spool_schema =
    "CREATE TABLE queue(id INTEGER PRIMARY KEY, key TEXT NOT NULL, body BLOB NOT NULL, created INTEGER NOT NULL,"
    " not_before INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, doubts INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX delayed ON queue(not_before) WHERE not_before > 0;"
    "CREATE TABLE quarantine(id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL,"
    " created INTEGER NOT NULL, tries INTEGER NOT NULL, status INTEGER NOT NULL, answer TEXT NOT NULL, at INTEGER NOT NULL);"
    "CREATE TABLE meta(rows INTEGER NOT NULL, bytes INTEGER NOT NULL, aside INTEGER NOT NULL, aside_bytes INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, state INTEGER NOT NULL, faults INTEGER NOT NULL, odd INTEGER NOT NULL, retry_at INTEGER NOT NULL,"
    " manager TEXT NOT NULL, last_error TEXT NOT NULL);"
    "INSERT INTO meta VALUES(0, 0, 0, 0, 0, 0, 0, 0, 0, '', '');";

enum {
  BEGIN,
  COMMIT,
  ROLLBACK,
  GET_TOTALS,
  SET_TOTALS,
  LAST_ID,
  PUT,
  REMOVE,
  PUT_BACK,
  TAKE_UP,
  MAKE_DUE,
  COPY_ASIDE,
  OLDEST_ASIDE,
  DROP_ASIDE,
  FIND_ASIDE,
  COPY_BACK,
  GET_MEMO,
  SET_MEMO,
  NEXT,
  NEXT_DELAYED,
  OLDEST,
  LIST,
  LIST_ASIDE,
  STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [GET_TOTALS] = "SELECT rows, bytes, aside, aside_bytes, dropped FROM meta",
    [SET_TOTALS] = "UPDATE meta SET rows = ?, bytes = ?, aside = ?, aside_bytes = ?, dropped = ?",
    [LAST_ID] = "SELECT max(id) FROM queue",
    [PUT] = "INSERT INTO queue(id, key, body, created, not_before, tries, doubts) VALUES(?, ?, ?, ?, ?, ?, ?)",
    [REMOVE] = "DELETE FROM queue WHERE id = ? RETURNING length(body)",
    [PUT_BACK] = "UPDATE queue SET not_before = ?, tries = ?, doubts = ? WHERE id = ?",
    [TAKE_UP] = "UPDATE queue SET not_before = 0 WHERE id = ?",
    [MAKE_DUE] = "UPDATE queue SET not_before = 1 WHERE not_before > 1",
    [COPY_ASIDE] = ("INSERT INTO quarantine(key, body, created, tries, status, answer, at)"
                    " SELECT key, body, created, ?, ?, ?, ? FROM queue WHERE id = ? RETURNING length(body)"),
    [OLDEST_ASIDE] = "SELECT min(id) FROM quarantine",
    [DROP_ASIDE] = "DELETE FROM quarantine WHERE id = ? RETURNING length(body)",
    [FIND_ASIDE] = "SELECT id FROM quarantine WHERE id > ? AND (?2 IS NULL OR key = ?2) ORDER BY id LIMIT 1",
    [COPY_BACK] = "INSERT INTO queue(id, key, body, created) SELECT ?, key, body, created FROM quarantine WHERE id = ?",
    [GET_MEMO] = "SELECT state, faults, odd, retry_at, manager, last_error FROM meta",
    [SET_MEMO] = "UPDATE meta SET state = ?, faults = ?, odd = ?, retry_at = ?, manager = ?, last_error = ?",
    [NEXT] =
        "SELECT id, key, body, created, not_before, tries, doubts FROM queue WHERE id > ? AND not_before = 0 ORDER BY id LIMIT 1",
    [NEXT_DELAYED] =
        ("SELECT id, key, body, created, not_before, tries, doubts FROM queue INDEXED BY delayed WHERE not_before > 0"
         " ORDER BY not_before LIMIT 1"),
    [OLDEST] = "SELECT created FROM queue ORDER BY id LIMIT 1",
    [LIST] = ("SELECT id, key, body, created, not_before, tries, doubts FROM queue WHERE id > ? AND (?2 IS NULL OR key = ?2)"
              " ORDER BY id LIMIT ?3"),
    [LIST_ASIDE] = ("SELECT id, key, body, created, 0, tries, 0, status, at, answer FROM quarantine"
                    " WHERE id > ? AND (?2 IS NULL OR key = ?2) ORDER BY id LIMIT ?3"),
};

_Static_assert((int)STATEMENTS <= (int)WD_SPOOL_STATEMENTS, "room for the statements");

// ---- statements: bind, step, and always reset, so that no read transaction stays open ----

static sqlite3_stmt *with_numbers(struct wd_spool_file *f, int which, const int64_t *numbers, int count) {
  sqlite3_stmt *s = f->statements[which];
  sqlite3_reset(s);
  for (int i = 0; i < count; i++) sqlite3_bind_int64(s, i + 1, numbers[i]);
  return s;
}

#define WITH(f, which, ...)                                                                                                      \
  with_numbers(f, which, (const int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

static void bind_text(sqlite3_stmt *s, int at, const char *text) {
  if (text)
    sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
  else
    sqlite3_bind_null(s, at);
}

// Runs a statement to its end. *value: the first number of its row, *found: whether there was one; both may be NULL.
static enum wd_spool_fault finish(struct wd_spool_file *f, sqlite3_stmt *s, int64_t *value, bool *found) {
  int rc = sqlite3_step(s);
  if (found) *found = rc == SQLITE_ROW;
  if (value) *value = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
  while (rc == SQLITE_ROW) rc = sqlite3_step(s);
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  sqlite3_reset(s);
  return fault;
}

// ---- opening ----

enum wd_spool_fault wd_spool_rows_open(struct wd_spool_file *f) {
  for (int i = 0; i < STATEMENTS; i++) {
    int rc = sqlite3_prepare_v3(f->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &f->statements[i], NULL);
    enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
    if (fault) return (rc & 0xff) == SQLITE_ERROR ? WD_SPOOL_DAMAGED : fault; // a table or a column is not there
  }
  sqlite3_stmt *s = f->statements[GET_TOTALS];
  int rc = sqlite3_step(s);
  if (rc == SQLITE_ROW)
    f->totals = (struct wd_spool_totals){sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2),
                                         sqlite3_column_int64(s, 3), sqlite3_column_int64(s, 4)};
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  sqlite3_reset(s);
  if (rc == SQLITE_DONE) {
    snprintf(f->error, sizeof(f->error), "its totals are missing");
    return WD_SPOOL_DAMAGED;
  }
  return fault ? fault : finish(f, f->statements[LAST_ID], &f->last_id, NULL);
}

void wd_spool_rows_close(struct wd_spool_file *f) {
  for (int i = 0; i < STATEMENTS; i++) {
    sqlite3_finalize(f->statements[i]);
    f->statements[i] = NULL;
  }
}

// ---- transactions ----

enum wd_spool_fault wd_spool_file_begin(struct wd_spool_file *f, bool durable) {
  if (durable != f->durable) {
    enum wd_spool_fault fault = wd_spool_fault_of(
        f, sqlite3_exec(f->db, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL, NULL, NULL));
    if (fault) return fault;
    f->durable = durable;
  }
  enum wd_spool_fault fault = finish(f, f->statements[BEGIN], NULL, NULL);
  f->in_transaction = !fault;
  f->before = f->totals;
  return fault;
}

enum wd_spool_fault wd_spool_file_commit(struct wd_spool_file *f) {
  const struct wd_spool_totals *t = &f->totals;
  enum wd_spool_fault fault = finish(f, WITH(f, SET_TOTALS, t->rows, t->bytes, t->aside, t->aside_bytes, t->dropped), NULL, NULL);
  if (!fault) fault = finish(f, f->statements[COMMIT], NULL, NULL);
  if (!fault) f->in_transaction = false;
  return fault;
}

void wd_spool_file_rollback(struct wd_spool_file *f) {
  if (!f->in_transaction) return;
  char kept[sizeof(f->error)];
  memcpy(kept, f->error, sizeof(kept)); // SQLite may have rolled back by itself, which makes this an error of its own
  finish(f, f->statements[ROLLBACK], NULL, NULL);
  memcpy(f->error, kept, sizeof(kept));
  f->totals = f->before;
  f->in_transaction = false;
}

// ---- rows ----

enum wd_spool_fault wd_spool_file_put(struct wd_spool_file *f, struct wd_spool_row *row) {
  row->id = f->last_id + 1;
  sqlite3_stmt *s = WITH(f, PUT, row->id, 0, 0, row->created_us, row->not_before_us, row->tries, row->doubts);
  bind_text(s, 2, row->key);
  sqlite3_bind_blob64(s, 3, row->body.n ? row->body.p : "", row->body.n, SQLITE_STATIC);
  enum wd_spool_fault fault = finish(f, s, NULL, NULL);
  if (fault) return fault;
  f->last_id++;
  f->totals.rows++;
  f->totals.bytes += (int64_t)row->body.n;
  return WD_SPOOL_OK;
}

enum wd_spool_fault wd_spool_file_remove(struct wd_spool_file *f, int64_t id, bool dropped) {
  int64_t bytes = 0;
  bool found = false;
  enum wd_spool_fault fault = finish(f, WITH(f, REMOVE, id), &bytes, &found);
  if (fault || !found) return fault;
  f->totals.rows--;
  f->totals.bytes -= bytes;
  f->totals.dropped += dropped;
  return WD_SPOOL_OK;
}

enum wd_spool_fault wd_spool_file_put_back(struct wd_spool_file *f, const struct wd_spool_row *row) {
  return finish(f, WITH(f, PUT_BACK, row->not_before_us, row->tries, row->doubts, row->id), NULL, NULL);
}

static enum wd_spool_fault drop_aside(struct wd_spool_file *f, int64_t id) {
  int64_t bytes = 0;
  bool found = false;
  enum wd_spool_fault fault = finish(f, WITH(f, DROP_ASIDE, id), &bytes, &found);
  if (fault || !found) return fault;
  f->totals.aside--;
  f->totals.aside_bytes -= bytes;
  return WD_SPOOL_OK;
}

enum wd_spool_fault wd_spool_file_set_aside(struct wd_spool_file *f, const struct wd_spool_row *row) {
  int64_t bytes = 0;
  bool found = false;
  sqlite3_stmt *s = WITH(f, COPY_ASIDE, row->tries, row->status, 0, row->at_us, row->id);
  bind_text(s, 3, row->answer);
  enum wd_spool_fault fault = finish(f, s, &bytes, &found);
  if (fault || !found) return fault;
  f->totals.aside++;
  f->totals.aside_bytes += bytes;
  fault = wd_spool_file_remove(f, row->id, false);
  while (!fault && f->totals.aside > 1 && (f->totals.aside > MOST_ASIDE || f->totals.aside_bytes > MOST_ASIDE_BYTES)) {
    int64_t oldest = 0;
    fault = finish(f, f->statements[OLDEST_ASIDE], &oldest, NULL);
    if (!fault) fault = drop_aside(f, oldest);
  }
  return fault;
}

enum wd_spool_fault wd_spool_file_make_due(struct wd_spool_file *f) {
  return finish(f, f->statements[MAKE_DUE], NULL, NULL);
}

enum wd_spool_fault wd_spool_file_take_up(struct wd_spool_file *f, int64_t id) {
  return finish(f, WITH(f, TAKE_UP, id), NULL, NULL);
}

void wd_spool_file_note_dropped(struct wd_spool_file *f, int64_t rows) {
  f->totals.dropped += rows;
}

enum wd_spool_fault wd_spool_file_requeue(struct wd_spool_file *f, const char *key, int64_t *changed) {
  *changed = 0;
  for (int64_t id = 0;;) {
    bool found = false;
    sqlite3_stmt *s = WITH(f, FIND_ASIDE, id);
    bind_text(s, 2, key);
    enum wd_spool_fault fault = finish(f, s, &id, &found);
    if (fault || !found) return fault;
    int64_t bytes = f->totals.aside_bytes;
    f->last_id++;
    fault = finish(f, WITH(f, COPY_BACK, f->last_id, id), NULL, NULL);
    if (!fault) fault = drop_aside(f, id);
    if (fault) return fault;
    f->totals.rows++;
    f->totals.bytes += bytes - f->totals.aside_bytes;
    ++*changed;
  }
}

// Statements for people, prepared when they are needed.
static enum wd_spool_fault purge_step(struct wd_spool_file *f, const char *text, const char *key, const char *kept,
                                      int64_t *first, int64_t *second) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(f->db, text, -1, &s, NULL);
  if (rc == SQLITE_OK) {
    bind_text(s, 1, key);
    bind_text(s, 2, kept);
    rc = sqlite3_step(s);
  }
  if (rc == SQLITE_ROW && first) {
    *first = sqlite3_column_int64(s, 0);
    *second = sqlite3_column_int64(s, 1);
  }
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  sqlite3_finalize(s);
  return fault;
}

enum wd_spool_fault wd_spool_file_purge(struct wd_spool_file *f, bool aside, const char *key, const int64_t *kept,
                                        size_t kept_count, int64_t *changed) {
#define WHICH " WHERE (?1 IS NULL OR key = ?1) AND id NOT IN (SELECT value FROM json_each(?2))"
  static const char *const count[] = {"SELECT count(*), coalesce(sum(length(body)), 0) FROM queue" WHICH,
                                      "SELECT count(*), coalesce(sum(length(body)), 0) FROM quarantine" WHICH};
  static const char *const discard[] = {"DELETE FROM queue" WHICH, "DELETE FROM quarantine" WHICH};
#undef WHICH
  char list[2048] = "[";
  size_t at = 1;
  for (size_t i = 0; i < kept_count && at < sizeof(list) - 24; i++)
    at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%lld", i ? "," : "", (long long)kept[i]);
  snprintf(list + at, sizeof(list) - at, "]");
  int64_t rows = 0, bytes = 0;
  enum wd_spool_fault fault = purge_step(f, count[aside], key, list, &rows, &bytes);
  if (!fault) fault = purge_step(f, discard[aside], key, list, NULL, NULL);
  if (fault) return fault;
  *(aside ? &f->totals.aside : &f->totals.rows) -= rows;
  *(aside ? &f->totals.aside_bytes : &f->totals.bytes) -= bytes;
  *changed = rows;
  return WD_SPOOL_OK;
}

// ---- what is remembered of delivery ----

enum wd_spool_fault wd_spool_file_keep_memo(struct wd_spool_file *f, const struct wd_spool_memo *memo) {
  sqlite3_stmt *s = WITH(f, SET_MEMO, memo->state, memo->faults, memo->odd, memo->retry_at_us);
  bind_text(s, 5, memo->where);
  bind_text(s, 6, memo->last_error);
  return finish(f, s, NULL, NULL);
}

static const char *text_of(sqlite3_stmt *s, int column) {
  const char *text = (const char *)sqlite3_column_text(s, column);
  return text ? text : "";
}

enum wd_spool_fault wd_spool_file_memo(struct wd_spool_file *f, struct wd_spool_memo *memo) {
  sqlite3_stmt *s = f->statements[GET_MEMO];
  *memo = (struct wd_spool_memo){0};
  int rc = sqlite3_step(s);
  if (rc == SQLITE_ROW) {
    *memo = (struct wd_spool_memo){.state = sqlite3_column_int64(s, 0),
                                   .faults = sqlite3_column_int64(s, 1),
                                   .odd = sqlite3_column_int64(s, 2),
                                   .retry_at_us = sqlite3_column_int64(s, 3)};
    snprintf(memo->where, sizeof(memo->where), "%s", text_of(s, 4));
    snprintf(memo->last_error, sizeof(memo->last_error), "%s", text_of(s, 5));
  }
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  sqlite3_reset(s);
  return fault;
}

// ---- reading ----

static void read_row(sqlite3_stmt *s, struct wd_spool_row *row) {
  *row = (struct wd_spool_row){.id = sqlite3_column_int64(s, 0),
                               .key = text_of(s, 1),
                               .body = {sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2)},
                               .created_us = sqlite3_column_int64(s, 3),
                               .not_before_us = sqlite3_column_int64(s, 4),
                               .tries = sqlite3_column_int64(s, 5),
                               .doubts = sqlite3_column_int64(s, 6)};
}

// Gives the row without ending the statement, which its bytes belong to; the caller resets it.
static enum wd_spool_fault step_to_row(struct wd_spool_file *f, sqlite3_stmt *s, struct wd_spool_row *row) {
  int rc = sqlite3_step(s);
  *row = (struct wd_spool_row){0};
  if (rc == SQLITE_ROW) read_row(s, row);
  return wd_spool_fault_of(f, rc);
}

enum wd_spool_fault wd_spool_file_next(struct wd_spool_file *f, int64_t after, struct wd_spool_row *row) {
  return step_to_row(f, WITH(f, NEXT, after), row);
}

enum wd_spool_fault wd_spool_file_next_delayed(struct wd_spool_file *f, struct wd_spool_row *row) {
  sqlite3_reset(f->statements[NEXT_DELAYED]);
  return step_to_row(f, f->statements[NEXT_DELAYED], row);
}

void wd_spool_file_rest(struct wd_spool_file *f) {
  sqlite3_reset(f->statements[NEXT]);
  sqlite3_reset(f->statements[NEXT_DELAYED]);
}

enum wd_spool_fault wd_spool_file_oldest(struct wd_spool_file *f, int64_t *created_us) {
  return finish(f, f->statements[OLDEST], created_us, NULL);
}

enum wd_spool_fault wd_spool_file_list(struct wd_spool_file *f, bool aside, const char *key, int64_t after, size_t most,
                                       struct wd_arena *arena, struct wd_spool_row **rows, size_t *count) {
  sqlite3_stmt *s = WITH(f, aside ? LIST_ASIDE : LIST, after);
  bind_text(s, 2, key);
  sqlite3_bind_int64(s, 3, (int64_t)most);
  *count = 0;
  *rows = wd_arena_array(arena, most, sizeof(**rows));
  size_t bytes = 0;
  int rc = *rows ? sqlite3_step(s) : SQLITE_NOMEM;
  while (rc == SQLITE_ROW) {
    struct wd_spool_row *row = &(*rows)[*count];
    read_row(s, row);
    row->key = wd_arena_strdup(arena, row->key);
    row->body.p = wd_arena_strndup(arena, row->body.n ? row->body.p : "", row->body.n);
    if (aside) {
      row->status = sqlite3_column_int64(s, 7);
      row->at_us = sqlite3_column_int64(s, 8);
      row->answer = wd_arena_strdup(arena, text_of(s, 9));
    }
    if (!row->key || !row->body.p) {
      rc = SQLITE_NOMEM;
      break;
    }
    bytes += row->body.n;
    ++*count;
    rc = bytes < MOST_LISTED_BYTES ? sqlite3_step(s) : SQLITE_DONE;
  }
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  sqlite3_reset(s);
  return fault;
}
