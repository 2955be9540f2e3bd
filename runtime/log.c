// One line a call, one write a line.
#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/text.h"
#include "runtime/words.h"

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
static enum wd_log_level threshold = WD_LOG_WARNING;
static void (*line_sink)(const char *line);

void wd_log_set_level(enum wd_log_level level) {
  threshold = level;
}

int wd_log_level_of(const char *name) {
  for (int i = 0; i < (int)WD_COUNT(level_names); i++)
    if (strcasecmp(name, level_names[i]) == 0) return i;
  return strcasecmp(name, "warn") == 0 ? WD_LOG_WARNING : -1;
}

void wd_log_set_sink(void (*sink)(const char *line)) {
  line_sink = sink;
}

enum { LINE_BYTES = 2304 };

// The bytes of the line, 0 for one that cannot be written.
__attribute__((format(printf, 3, 0))) static size_t write_line(char *line, enum wd_log_level level, const char *fmt, va_list ap) {
  char text[1800], safe[2048], when[WD_TIME_LEN];
  vsnprintf(text, sizeof(text), fmt, ap);
  wd_text_escape(safe, sizeof(safe), text, strlen(text));
  wd_words_time(wd_clock_wall_us(), when);
  int n = snprintf(line, LINE_BYTES, "%s %-7s %s\n", when, level_names[level], safe);
  return n < 0 ? 0 : n < LINE_BYTES ? (size_t)n : LINE_BYTES - 1;
}

static void put(const char *line, size_t len) {
  ssize_t n = write(STDERR_FILENO, line, len);
  (void)n; // a log that cannot be written has nowhere to complain to
}

void wd_log(enum wd_log_level level, const char *fmt, ...) {
  if (level < threshold) return;
  char line[LINE_BYTES];
  va_list ap;
  va_start(ap, fmt);
  size_t len = write_line(line, level, fmt, ap);
  va_end(ap);
  if (len && line_sink)
    line_sink(line);
  else
    put(line, len);
}

void wd_log_beside(enum wd_log_level level, const char *fmt, ...) {
  if (level < threshold) return;
  char line[LINE_BYTES];
  va_list ap;
  va_start(ap, fmt);
  put(line, write_line(line, level, fmt, ap));
  va_end(ap);
}
