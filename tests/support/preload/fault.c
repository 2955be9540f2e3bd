// A kernel that refuses, to be preloaded: system calls that fail as they do on a machine that has run out of something.
// WADDLE_FAULT is a list with commas of CALL:ERRNO:EVERY:FROM:MOST (numbers): after the first FROM calls of that name every EVERY-th one fails with the
// errno, MOST times; then all is well again. A call that fails has done nothing.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MOST_FAULTS = 16 };

static struct fault {
  char call[32];
  int error, every, from, most;
  int calls, failed;
} faults[MOST_FAULTS];
static int count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("WADDLE_FAULT");
  while (at && *at && count < MOST_FAULTS) {
    struct fault *f = &faults[count];
    if (sscanf(at, "%31[a-z0-9_]:%d:%d:%d:%d", f->call, &f->error, &f->every, &f->from, &f->most) == 5 && f->every > 0) count++;
    at = strchr(at, ',');
    if (at) at++;
  }
}

static bool fails(const char *call) {
  int error = 0;
  for (int i = 0; i < count; i++) {
    struct fault *f = &faults[i];
    if (strcmp(f->call, call) != 0) continue;
    pthread_mutex_lock(&lock);
    int nth = ++f->calls - f->from;
    if (nth > 0 && nth % f->every == 0 && f->failed < f->most) {
      f->failed++;
      error = f->error;
    }
    pthread_mutex_unlock(&lock);
  }
  if (error) errno = error;
  return error != 0;
}

// Defines a call that may fail, under its own name: FAULT(type, name, (declared arguments), (their names)).
#define FAULT(type, name, args, names)                            \
  type name args {                                                \
    static type(*real) args;                                      \
    if (!real) real = (type(*) args)dlsym(RTLD_NEXT, #name);      \
    return fails(#name) ? (type)-1 : real names;                  \
  }

FAULT(int, socket, (int family, int type, int protocol), (family, type, protocol))
FAULT(int, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
FAULT(int, bind, (int fd, const struct sockaddr *at, socklen_t len), (fd, at, len))
FAULT(int, accept4, (int fd, struct sockaddr *from, socklen_t *len, int flags), (fd, from, len, flags))
FAULT(ssize_t, send, (int fd, const void *bytes, size_t n, int flags), (fd, bytes, n, flags))
FAULT(ssize_t, sendto, (int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to, socklen_t len), (fd, bytes, n, flags, to, len))
FAULT(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
FAULT(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags), (fd, m, n, flags))
FAULT(ssize_t, recv, (int fd, void *bytes, size_t n, int flags), (fd, bytes, n, flags))
FAULT(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t), (fd, m, n, flags, t))
FAULT(int, timerfd_create, (int clock, int flags), (clock, flags))
FAULT(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n))
FAULT(ssize_t, pwrite64, (int fd, const void *bytes, size_t n, off64_t at), (fd, bytes, n, at))
FAULT(int, fsync, (int fd), (fd))
FAULT(int, fdatasync, (int fd), (fd))
FAULT(int, ftruncate64, (int fd, off64_t length), (fd, length))

// Only what is new needs memory and counts against a limit.
int epoll_ctl(int fd, int op, int of, struct epoll_event *e) {
  static int (*real)(int, int, int, struct epoll_event *);
  if (!real) real = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
  return op == EPOLL_CTL_ADD && fails("epoll_ctl") ? -1 : real(fd, op, of, e);
}

// open takes a mode where it makes a file.
#define FAULT_OPEN(name)                                                         \
  int name(const char *path, int flags, ...) {                                   \
    static int (*real)(const char *, int, ...);                                  \
    va_list ap;                                                                  \
    va_start(ap, flags);                                                         \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;        \
    va_end(ap);                                                                  \
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);  \
    return fails("open") ? -1 : real(path, flags, mode);                         \
  }

FAULT_OPEN(open)
FAULT_OPEN(open64)
