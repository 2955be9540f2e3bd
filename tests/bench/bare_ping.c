// bare_ping PORT COUNT RATE [stamps]: COUNT packets to 127.0.0.1 to 127.0.127.254 in turn and their replies, by sendmmsg and recvmmsg on one socket.
// PORT 0 pings; any other sends UDP to an echo there, on 127.0.0.1 alone. RATE is packets a second, 0 for no limit. With stamps the kernel stamps
// every packet both ways, and the stamps are read, too.
#include "bare.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, HOSTS = 32766, BYTES = 64, TICK_MS = 5, PATIENCE_MS = 500, BUFFER = 8 << 20 };

static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in addresses[BATCH];
static unsigned char bytes[BATCH][BYTES];
static unsigned char control[BATCH][256];

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int open_socket(int port, int stamps) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, port ? 0 : IPPROTO_ICMP);
  bare_must(fd >= 0, "socket");
  int size = BUFFER;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
  int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_ID |
      SOF_TIMESTAMPING_OPT_TSONLY;
  if (stamps) bare_must(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)) == 0, "SO_TIMESTAMPING");
  return fd;
}

static void prepare(int sending) {
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){.iov_base = bytes[i], .iov_len = BYTES};
    messages[i].msg_hdr =
        (struct msghdr){.msg_name = &addresses[i], .msg_namelen = sizeof(addresses[i]), .msg_iov = &parts[i], .msg_iovlen = 1};
    if (sending) continue;
    messages[i].msg_hdr.msg_control = control[i];
    messages[i].msg_hdr.msg_controllen = sizeof(control[i]);
  }
}

static long send_batch(int fd, int port, long sent, long n) {
  prepare(1);
  for (long i = 0; i < n; i++) {
    struct icmphdr header = {.type = ICMP_ECHO, .un.echo.sequence = htons((uint16_t)(sent + i))};
    memcpy(bytes[i], &header, sizeof(header));
    uint32_t host = INADDR_LOOPBACK + (port ? 0 : (uint32_t)((sent + i) % HOSTS));
    addresses[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(host), .sin_port = htons((uint16_t)port)};
  }
  int done = sendmmsg(fd, messages, (unsigned)n, 0);
  bare_must(done > 0, "sendmmsg");
  return done;
}

// Reads until there is nothing more; returns how many there were.
static long drain(int fd, int flags) {
  long all = 0;
  for (;;) {
    prepare(0);
    int n = recvmmsg(fd, messages, BATCH, flags, NULL);
    if (n < 0) bare_must(errno == EAGAIN, "recvmmsg");
    if (n <= 0) return all;
    all += n;
    if (n < BATCH) return all;
  }
}

int main(int argc, char **argv) {
  bare_usage(argc == 4 || argc == 5, "bare_ping PORT COUNT RATE [stamps]");
  int port = (int)bare_number(argv[1], 0), stamps = argc == 5;
  long count = bare_number(argv[2], 1), rate = bare_number(argv[3], 0);
  int fd = open_socket(port, stamps);
  long sent = 0, received = 0;
  double begun = now_s(), last_reply = begun;
  while (received < count && now_s() - last_reply < PATIENCE_MS / 1e3) {
    long due = rate ? (long)((now_s() - begun) * (double)rate) : sent + BATCH;
    if (due > count) due = count;
    while (sent < due) {
      sent += send_batch(fd, port, sent, due - sent < BATCH ? due - sent : BATCH);
      if (stamps) drain(fd, MSG_ERRQUEUE);
    }
    long n = drain(fd, 0);
    received += n;
    if (n > 0) last_reply = now_s();
    struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    if (rate) {
      nanosleep(&tick, NULL);
    } else if (n == 0) {
      struct pollfd readable = {.fd = fd, .events = POLLIN};
      poll(&readable, 1, TICK_MS);
    }
  }
  close(fd);
  printf("{\"count\": %ld}\n", received);
  return 0;
}
