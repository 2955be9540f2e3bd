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

void wd_log(enum wd_log_level level, const char *fmt, ...) {
  if (level < threshold) return;
  char text[1800], safe[2048], line[2304], when[WD_TIME_LEN];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  wd_text_escape(safe, sizeof(safe), text, strlen(text));
  wd_words_time(wd_clock_wall_us(), when);
  int n = snprintf(line, sizeof(line), "%s %-7s %s\n", when, level_names[level], safe);
  if (n < 0) return;
  if (line_sink) {
    line_sink(line);
    return;
  }
  size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
  ssize_t put = write(STDERR_FILENO, line, len);
  (void)put; // a log that cannot be written has nowhere to complain to
}
