// measure COMMAND [ARGUMENT...]: runs a command and adds one line to its output: {"wall_s": S, "cpu_s": S, "rss_mib": N}, what it took with all the
// processes that it waited for. CPU is user and system time, rss_mib the largest of them. Its exit code is the command's, which is ended after LIMIT_SECONDS.
#include "bare.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t) {
  return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

enum { LIMIT_SECONDS = 300 };

int main(int argc, char **argv) {
  bare_usage(argc > 1, "measure COMMAND [ARGUMENT...]");
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  pid_t child = fork();
  bare_must(child >= 0, "fork");
  if (child == 0) {
    alarm(LIMIT_SECONDS);
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    _exit(127);
  }
  int status;
  struct rusage used;
  bare_must(wait4(child, &status, 0, &used) == child, "wait4");
  clock_gettime(CLOCK_MONOTONIC, &ended);
  double wall_s = (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) * 1e-9;
  printf("{\"wall_s\": %.6f, \"cpu_s\": %.6f, \"rss_mib\": %.2f}\n", wall_s, seconds(used.ru_utime) + seconds(used.ru_stime),
         (double)used.ru_maxrss / 1024);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
