// bare_timer COUNT RATE: COUNT wake-ups at absolute times, RATE of them a second, from one timerfd, and nothing done at any: how late a process gets the
// processor back on this machine. Prints the percentiles beside the count.
#include "bare.h"

#include <stdint.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000000 };

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static int64_t wait_until(int timer, int64_t due_ns) {
  struct itimerspec at = {.it_value = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000}};
  bare_must(timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL) == 0, "timerfd_settime");
  uint64_t expired;
  bare_must(read(timer, &expired, sizeof(expired)) == sizeof(expired), "read");
  return now_ns() - due_ns;
}

int main(int argc, char **argv) {
  bare_usage(argc == 3, "bare_timer COUNT RATE");
  long count = bare_number(argv[1], 1), rate = bare_number(argv[2], 1);
  bare_usage(count <= MOST, "bare_timer COUNT RATE, with a COUNT up to 1000000");
  int64_t *late = calloc((size_t)count, sizeof(*late));
  bare_must(late != NULL, "calloc");
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  bare_must(timer >= 0, "timerfd_create");
  int64_t begun = now_ns();
  for (long i = 0; i < count; i++) late[i] = wait_until(timer, begun + (i + 1) * 1000000000 / rate);
  qsort(late, (size_t)count, sizeof(*late), by_size);
  printf("{\"count\": %ld, \"p50_ms\": %.6f, \"p99_ms\": %.6f}\n", count, (double)late[(count - 1) / 2] / 1e6, (double)late[(count - 1) * 99 / 100] / 1e6);
  free(late);
  return 0;
}
