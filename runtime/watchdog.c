// See watchdog.h.
#include "runtime/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/log.h"

enum { PLACE_LEN = 128, STACK_BYTES = 128 << 10, EXIT_STALLED = 1 };

static struct {
  char place[PLACE_LEN];
  bool fatal;
  bool running, ending;
  int report_fd; // -1: none
  atomic_bool full;
  sem_t letter;
  pthread_t thread;
} box = {.report_fd = -1};

static void *watch(void *unused) {
  (void)unused;
  for (;;) {
    while (sem_wait(&box.letter) && errno == EINTR) continue;
    if (box.ending) return NULL;
    if (box.fatal) {
      static const char why[] = "budget: the script has not come back to its loop, it is ended";
      dprintf(STDERR_FILENO, "waddle: %s: %s\n", box.place, why);
      if (box.report_fd >= 0) dprintf(box.report_fd, "\n! %s: %s\n", box.place, why);
      _exit(EXIT_STALLED);
    }
    if (box.place[0])
      wd_log_beside(WD_LOG_WARNING, "loop: held for over a second by %s; no other task runs meanwhile", box.place);
    else
      wd_log_beside(WD_LOG_INFO, "loop: busy for over a second with waddle's own work");
    atomic_store(&box.full, false);
  }
}

void wd_watchdog_open(void) {
  pthread_attr_t attr;
  sigset_t all, before;
  sem_init(&box.letter, 0, 0);
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
  int rc = pthread_create(&box.thread, &attr, watch, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attr);
  box.running = rc == 0;
  if (rc) wd_log(WD_LOG_WARNING, "loop: no watchdog: %s", strerror(rc));
}

void wd_watchdog_close(void) {
  if (!box.running) return;
  box.ending = true;
  sem_post(&box.letter);
  pthread_join(box.thread, NULL);
  sem_destroy(&box.letter);
  box.running = false;
}

void wd_watchdog_report_to(int fd) {
  box.report_fd = fd;
}

void wd_watchdog_tell(const char *place, bool fatal) {
  if (!box.running || atomic_exchange(&box.full, true)) return;
  strncpy(box.place, place, sizeof(box.place) - 1);
  box.fatal = fatal;
  sem_post(&box.letter);
}
