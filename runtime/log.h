// The log: lines for operators on stderr, never on the stream that carries results.
#pragma once

#include <stdbool.h>

enum wd_log_level { WD_LOG_DEBUG, WD_LOG_INFO, WD_LOG_WARNING, WD_LOG_ERROR };

// Lines below this level are dropped. WD_LOG_WARNING at start.
void wd_log_set_level(enum wd_log_level level);

// The level of a name in any case ("debug", "WARNING", "warn"), -1 for an unknown one.
int wd_log_level_of(const char *name);

// Writes one line: RFC 3339 time, level, text. Control characters in the text are escaped,
// so that what a hostile peer sent cannot forge a line or drive a terminal.
void wd_log(enum wd_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// As wd_log, for other threads: always to stderr.
void wd_log_beside(enum wd_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Where a line goes in place of stderr, or NULL for stderr (the REPL prints above its prompt).
void wd_log_set_sink(void (*sink)(const char *line));
