// bare_connect PORT COUNT IN-FLIGHT: COUNT connections to 127.0.0.1, so many of them at a time: socket, connect, epoll, SO_ERROR, close by reset.
#include "bare.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256 };

static void begin(int loop, const struct sockaddr_in *to) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bare_must(fd >= 0, "socket");
  bare_must(connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 || errno == EINPROGRESS, "connect");
  struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
  bare_must(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static int end(int fd) {
  int err = 0;
  socklen_t len = sizeof(err);
  bare_must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0, "SO_ERROR");
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(fd);
  return err == 0;
}

int main(int argc, char **argv) {
  bare_usage(argc == 4, "bare_connect PORT COUNT IN-FLIGHT");
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)bare_number(argv[1], 1))};
  long count = bare_number(argv[2], 1), in_flight = bare_number(argv[3], 1);
  long begun = 0, ended = 0, connected = 0;
  int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[EVENTS];
  while (ended < count) {
    while (begun < count && begun - ended < in_flight) {
      begin(loop, &to);
      begun++;
    }
    int n = epoll_wait(loop, events, EVENTS, 5000);
    bare_must(n > 0, "epoll_wait");
    for (int i = 0; i < n; i++) connected += end(events[i].data.fd);
    ended += n;
  }
  printf("{\"count\": %ld}\n", connected);
  return 0;
}
