// waddle-sim CONFIG LOG CAPTURE: plays the hosts of CONFIG on a TUN device in the network namespace it is started in, until SIGTERM or SIGINT; then it
// writes what it saw. LOG and CAPTURE are files; "-" is none. Once the device is up it prints "ready PID DEVICE".
// Exit codes: 0; 1 when a truth could not be kept; 2 for a wrong call or configuration; 3 where no TUN device can be had. The reason is on stderr.
#include "sim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 64 }; // packets read before answers that are due have their turn

static volatile sig_atomic_t ending;

static void on_signal(int signal) {
  (void)signal;
  ending = 1;
}

// Signals come in while the loop waits, and nowhere else; *waiting is the mask for that.
static void take_signals(sigset_t *waiting) {
  struct sigaction action = {.sa_handler = on_signal};
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, waiting);
  sigdelset(waiting, SIGTERM);
  sigdelset(waiting, SIGINT);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
}

static void read_packets(const struct config *c, int tun) {
  static uint8_t bytes[PACKET_MAX];
  for (int i = 0; i < AT_ONCE; i++) {
    ssize_t n = read(tun, bytes, sizeof(bytes));
    if (n <= 0) return;
    packet_entered(c, bytes, (size_t)n, now_ns(), wall_ns());
  }
}

static void play(const struct config *c, int tun, const sigset_t *waiting) {
  struct pollfd ready = {.fd = tun, .events = POLLIN};
  while (!ending) {
    int64_t wait = answers_wait(now_ns());
    struct timespec limit = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
    if (ppoll(&ready, 1, wait < 0 ? NULL : &limit, waiting) < 0 && errno != EINTR) {
      perror("waddle-sim: ppoll");
      exit(1);
    }
    read_packets(c, tun);
    answers_send(tun, now_ns());
  }
}

int main(int argc, char **argv) {
  struct config config;
  sigset_t waiting;
  if (argc != 4) {
    fputs("usage: waddle-sim CONFIG LOG CAPTURE\n", stderr);
    return 2;
  }
  config_read(&config, argv[1]);
  take_signals(&waiting);
  prctl(PR_SET_TIMERSLACK, 1);
  int tun = tun_open(&config);
  if (tun < 0) return 3;
  log_open(argv[2]);
  if (strcmp(argv[3], "-") != 0) capture_start(config.device, argv[3]);
  printf("ready %d %s\n", (int)getpid(), config.device);
  fflush(stdout);
  play(&config, tun, &waiting);
  capture_stop();
  log_close();
  close(tun);
  free(config.rules);
  return 0;
}
