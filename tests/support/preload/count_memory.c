// Counts what a program allocates while it sends and receives packets, to be preloaded: from its first sendmmsg to its last sendmmsg or recvmmsg. At the
// program's end the file WADDLE_COUNT gets a line "MESSAGES ALLOCATIONS", messages being those that were sent; none where none was.
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

// What the C library's own names stand for: dlsym allocates, so that these cannot be looked up.
extern void *__libc_malloc(size_t);          // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void *__libc_calloc(size_t, size_t);  // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void *__libc_realloc(void *, size_t); // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)

static unsigned long allocations, at_first, at_last, messages;

void *malloc(size_t size) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_realloc(old, size);
}

int sendmmsg(int fd, struct mmsghdr *all, unsigned n, int flags) {
  static int (*real)(int, struct mmsghdr *, unsigned, int);
  if (!real) real = (int (*)(int, struct mmsghdr *, unsigned, int))dlsym(RTLD_NEXT, "sendmmsg");
  if (messages == 0) at_first = allocations;
  int sent = real(fd, all, n, flags);
  if (sent > 0) messages += (unsigned)sent;
  at_last = allocations;
  return sent;
}

int recvmmsg(int fd, struct mmsghdr *all, unsigned n, int flags, struct timespec *timeout) {
  static int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
  if (!real) real = (int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
  int came = real(fd, all, n, flags, timeout);
  if (messages) at_last = allocations;
  return came;
}

__attribute__((destructor)) static void tell(void) {
  FILE *file = messages ? fopen(getenv("WADDLE_COUNT"), "we") : NULL;
  if (!file) return;
  fprintf(file, "%lu %lu\n", messages, at_last - at_first);
  fclose(file);
}
