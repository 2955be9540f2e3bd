// What the two files of the spool's database share. See spool_file.h.
#pragma once

#include "runtime/spool_file.h"

// The fault of a SQLite result code, SQLITE_DONE and SQLITE_ROW being none; notes the words in f->error.
enum wd_spool_fault wd_spool_fault_of(struct wd_spool_file *f, int rc);

// Prepares every statement, which fails where a table or column is not there, and reads totals and last_id.
enum wd_spool_fault wd_spool_rows_open(struct wd_spool_file *f);
void wd_spool_rows_close(struct wd_spool_file *f);

extern const char *const wd_spool_schema;
