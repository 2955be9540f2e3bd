// Opening and closing the spool's database: its lock, its folder, its schema, and what happens to a damaged one.
#include "runtime/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/spool_file_inner.h"

enum {
  APPLICATION_ID = 0x77646c31, // "wdl1" in the file's header, for file(1) and for us
  SCHEMA_VERSION = 1,
  BUSY_MS = 5000,          // for somebody who looks at the file with other tools
  MOST_CHECKED = 64 << 20, // bytes: a larger file is not read from end to end at every start
  LOOKASIDE = 64,          // small blocks that SQLite keeps at hand
};

// The page cache is small, since a queue is written and read in its order; memory maps would count as ours.
static const char *const settings = "PRAGMA journal_mode=WAL;"
                                    "PRAGMA synchronous=FULL;"
                                    "PRAGMA cache_size=-256;"
                                    "PRAGMA mmap_size=0;"
                                    "PRAGMA temp_store=MEMORY;"
                                    "PRAGMA journal_size_limit=4194304;";

// Before the first page is written; later they would write to a file that may be damaged.
static const char *const first_settings = "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL;";

enum wd_spool_fault wd_spool_fault_of(struct wd_spool_file *f, int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) return WD_SPOOL_OK;
  int os = f->db ? sqlite3_system_errno(f->db) : 0;
  bool tell_os = os && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN);
  snprintf(f->error, sizeof(f->error), "%s%s%s%s", f->db ? sqlite3_errmsg(f->db) : sqlite3_errstr(rc), tell_os ? " (" : "",
           tell_os ? strerror(os) : "", tell_os ? ")" : "");
  return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB ? WD_SPOOL_DAMAGED : WD_SPOOL_FAILED;
}

static enum wd_spool_fault failed_by(struct wd_spool_file *f, const char *what) {
  snprintf(f->error, sizeof(f->error), "%s: %s", what, strerror(errno));
  return WD_SPOOL_FAILED;
}

static enum wd_spool_fault run(struct wd_spool_file *f, const char *sql) {
  return wd_spool_fault_of(f, sqlite3_exec(f->db, sql, NULL, NULL, NULL));
}

// The first value of the first row as a number, or as text.
static enum wd_spool_fault ask(struct wd_spool_file *f, const char *sql, int64_t *number, char *text, size_t room) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(f->db, sql, -1, &s, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(s);
  enum wd_spool_fault fault = wd_spool_fault_of(f, rc);
  if (number) *number = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
  if (text)
    snprintf(text, room, "%s", rc == SQLITE_ROW && sqlite3_column_text(s, 0) ? (const char *)sqlite3_column_text(s, 0) : "");
  sqlite3_finalize(s);
  return fault;
}

static void with_suffix(char *out, size_t room, const char *path, const char *suffix) {
  snprintf(out, room, "%s%s", path, suffix);
}

const char *wd_spool_file_library(void) {
  return sqlite3_libversion();
}

// ---- the lock ----

long wd_spool_file_holder(const char *path) {
  char name[4200], text[32] = "";
  with_suffix(name, sizeof(name), path, ".lock");
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  return n > 0 ? strtol(text, NULL, 10) : 0;
}

static enum wd_spool_fault take_lock(struct wd_spool_file *f) {
  char name[4200], text[32];
  if (f->lock_fd >= 0) return WD_SPOOL_OK;
  with_suffix(name, sizeof(name), f->path, ".lock");
  int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return failed_by(f, name);
  if (flock(fd, LOCK_EX | LOCK_NB)) {
    bool busy = errno == EWOULDBLOCK;
    if (!busy) failed_by(f, name);
    close(fd);
    return busy ? WD_SPOOL_BUSY : WD_SPOOL_FAILED;
  }
  // Who holds it is told as far as the disk has room for it.
  int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len) text[0] = '\0';
  f->lock_fd = fd;
  return WD_SPOOL_OK;
}

int wd_spool_file_make_folder(const char *path) {
  char name[4096];
  snprintf(name, sizeof(name), "%s", path);
  for (char *at = strchr(name + 1, '/'); at; at = strchr(at + 1, '/')) {
    *at = '\0';
    if (mkdir(name, 0700) && errno != EEXIST) return errno;
    *at = '/';
  }
  return 0;
}

// ---- the database ----

static void configure(void) {
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static void let_go(struct wd_spool_file *f) {
  wd_spool_rows_close(f);
  sqlite3_close(f->db);
  f->db = NULL;
  f->in_transaction = false;
}

// Makes the tables in an empty file; tells a damaged file of ours from one that is not ours.
static enum wd_spool_fault check_schema(struct wd_spool_file *f) {
  int64_t application = 0, version = 0, tables = 0;
  enum wd_spool_fault fault = ask(f, "PRAGMA application_id", &application, NULL, 0);
  if (!fault) fault = ask(f, "SELECT count(*) FROM sqlite_master", &tables, NULL, 0);
  if (!fault) fault = ask(f, "PRAGMA user_version", &version, NULL, 0);
  if (fault) return fault;
  if (application != APPLICATION_ID && tables > 0) {
    snprintf(f->error, sizeof(f->error), "is a database of something else");
    return WD_SPOOL_FAILED;
  }
  if (version > SCHEMA_VERSION) {
    snprintf(f->error, sizeof(f->error), "was made by a newer waddle (version %" PRId64 " of its tables, this one knows %d)",
             version, SCHEMA_VERSION);
    return WD_SPOOL_FAILED;
  }
  if (application == APPLICATION_ID) return WD_SPOOL_OK;
  char sql[256];
  snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;", APPLICATION_ID, SCHEMA_VERSION);
  fault = run(f, "BEGIN IMMEDIATE");
  if (!fault) fault = run(f, wd_spool_schema);
  if (!fault) fault = run(f, sql);
  return fault;
}

static enum wd_spool_fault check_pages(struct wd_spool_file *f) {
  struct stat st;
  char verdict[256];
  if (stat(f->path, &st) || st.st_size > MOST_CHECKED) return WD_SPOOL_OK;
  enum wd_spool_fault fault = ask(f, "PRAGMA quick_check(1)", NULL, verdict, sizeof(verdict));
  if (fault || strcmp(verdict, "ok") == 0) return fault;
  snprintf(f->error, sizeof(f->error), "%s", verdict);
  return WD_SPOOL_DAMAGED;
}

static enum wd_spool_fault open_database(struct wd_spool_file *f) {
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  // SQLite makes its files with the rights of the first one: results are nobody else's business.
  int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return failed_by(f, f->path);
  bool empty = lseek(fd, 0, SEEK_END) == 0;
  close(fd);
  enum wd_spool_fault fault = wd_spool_fault_of(f, sqlite3_open_v2(f->path, &f->db, flags, NULL));
  if (!fault) {
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 256, LOOKASIDE);
    sqlite3_extended_result_codes(f->db, 1);
    sqlite3_busy_timeout(f->db, BUSY_MS);
    if (empty) fault = run(f, first_settings);
  }
  if (!fault) fault = run(f, settings);
  if (!fault) fault = check_schema(f);
  if (!fault) fault = check_pages(f);
  if (!fault) fault = wd_spool_rows_open(f);
  f->durable = true;
  if (fault) let_go(f);
  return fault;
}

// Renames the file and what belongs to it.
static enum wd_spool_fault set_file_aside(struct wd_spool_file *f) {
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  struct timespec now; // the system's, also where the program's clock is virtual
  struct tm tm;
  char when[32], from[4200], to[4300];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  strftime(when, sizeof(when), "%Y%m%dT%H%M%S", &tm);
  snprintf(f->set_aside, sizeof(f->set_aside), "%s.corrupt-%s.%06dZ", f->path, when, (int)(now.tv_nsec / 1000));
  for (size_t i = 0; i < WD_COUNT(suffixes); i++) {
    with_suffix(from, sizeof(from), f->path, suffixes[i]);
    with_suffix(to, sizeof(to), f->set_aside, suffixes[i]);
    if (rename(from, to) && errno != ENOENT) return failed_by(f, from);
  }
  return WD_SPOOL_OK;
}

enum wd_spool_fault wd_spool_file_begin_anew(struct wd_spool_file *f) {
  let_go(f);
  int64_t last_id = f->last_id;
  enum wd_spool_fault fault = set_file_aside(f);
  if (!fault) fault = open_database(f);
  f->last_id = last_id;
  return fault == WD_SPOOL_DAMAGED ? WD_SPOOL_FAILED : fault;
}

enum wd_spool_fault wd_spool_file_open(struct wd_spool_file *f, const char *path) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, configure);
  f->error[0] = f->set_aside[0] = '\0';
  if (strlen(path) >= sizeof(f->path)) {
    snprintf(f->error, sizeof(f->error), "the path is too long");
    return WD_SPOOL_FAILED;
  }
  if (path != f->path) snprintf(f->path, sizeof(f->path), "%s", path);
  errno = wd_spool_file_make_folder(path);
  enum wd_spool_fault fault = errno ? failed_by(f, "its folder cannot be made") : take_lock(f);
  if (!fault) fault = open_database(f);
  return fault == WD_SPOOL_DAMAGED ? wd_spool_file_begin_anew(f) : fault;
}

void wd_spool_file_close(struct wd_spool_file *f) {
  let_go(f);
  if (f->lock_fd >= 0) close(f->lock_fd);
  f->lock_fd = -1;
}

bool wd_spool_file_shrink(struct wd_spool_file *f) {
  enum { WORTH_IT = 1024, AT_ONCE = 256 }; // pages
  int64_t unused = 0;
  if (ask(f, "PRAGMA freelist_count", &unused, NULL, 0) || unused < WORTH_IT) return false;
  char sql[64];
  snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", AT_ONCE);
  return run(f, sql) == WD_SPOOL_OK;
}
