// Another kernel, to be preloaded: what this one does with timestamps and receive buffers is changed on its way to the program.
// WADDLE_KERNEL names what is different, words with commas between them:
//   no-names      packets cannot be named for their stamp (before Linux 6.13): SCM_TS_OPT_ID is refused, the kernel counts
//   no-stamps     SO_TIMESTAMPING is not known, neither as an option nor with a packet
//   silent        SO_TIMESTAMPING is taken, and no stamp ever comes
//   hardware      a network card stamps too, on a clock of its own: packets that come 7 ms late by it. A packet's two moments of sending come in two messages
//   small-room    a receive buffer holds some forty small packets, whatever was asked for
#include <dlfcn.h>
#include <errno.h>
#include <linux/net_tstamp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
  OPT_ID_CMSG = 81, // SCM_TS_OPT_ID
  SMALL_ROOM = 16384,
  CARD_AHEAD_S = 1000, // of the card's clock
  CARD_LATE_NS = 7000000,
};

static bool is(const char *word) {
  const char *words = getenv("WADDLE_KERNEL");
  size_t len = strlen(word);
  for (const char *at = words; at && (at = strstr(at, word)); at += len)
    if ((at == words || at[-1] == ',') && (at[len] == '\0' || at[len] == ',')) return true;
  return false;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
  int (*real)(int, int, int, const void *, socklen_t) = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
  if (level == SOL_SOCKET && name == SO_TIMESTAMPING && is("silent")) return 0;
  if (level == SOL_SOCKET && name == SO_TIMESTAMPING && is("no-stamps")) {
    errno = ENOPROTOOPT;
    return -1;
  }
  if (level == SOL_SOCKET && name == SO_RCVBUFFORCE && is("small-room")) {
    errno = EPERM;
    return -1;
  }
  int small = SMALL_ROOM;
  if (level == SOL_SOCKET && name == SO_RCVBUF && is("small-room")) value = &small;
  return real(fd, level, name, value, len);
}

// Takes control messages of a type out of a message; true when there was one.
static bool take_out(struct msghdr *h, int type) {
  bool found = false;
  char *to = h->msg_control;
  size_t left = h->msg_controllen;
  for (char *from = h->msg_control; left >= sizeof(struct cmsghdr);) {
    struct cmsghdr c;
    memcpy(&c, from, sizeof(c));
    size_t room = CMSG_ALIGN(c.cmsg_len);
    if (room < sizeof(c) || room > left) break;
    if (c.cmsg_level == SOL_SOCKET && c.cmsg_type == type) {
      found = true;
    } else {
      memmove(to, from, room);
      to += room;
    }
    from += room;
    left -= room;
  }
  if (found) h->msg_controllen = (size_t)(to - (char *)h->msg_control);
  return found;
}

// Whether the other kernel refuses the message.
static bool is_refused(struct msghdr *h) {
  if (is("silent")) {
    take_out(h, SO_TIMESTAMPING);
    take_out(h, OPT_ID_CMSG);
    return false;
  }
  return ((is("no-names") || is("no-stamps")) && take_out(h, OPT_ID_CMSG)) || (is("no-stamps") && take_out(h, SO_TIMESTAMPING));
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags) {
  int (*real)(int, struct mmsghdr *, unsigned, int) = (int (*)(int, struct mmsghdr *, unsigned, int))dlsym(RTLD_NEXT, "sendmmsg");
  for (unsigned i = 0; i < n; i++) {
    if (!is_refused(&messages[i].msg_hdr)) continue;
    if (i > 0) return real(fd, messages, i, flags);
    errno = EINVAL;
    return -1;
  }
  return real(fd, messages, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  ssize_t (*real)(int, const struct msghdr *, int) = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
  struct msghdr h = *message;
  if (is_refused(&h)) {
    errno = EINVAL;
    return -1;
  }
  return real(fd, &h, flags);
}

// Where the stamps are: the kernel's, an empty one, the card's. NULL where there are none.
static unsigned char *stamps_of(struct msghdr *h) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPING && c->cmsg_len >= CMSG_LEN(3 * sizeof(struct timespec))) return CMSG_DATA(c);
  return NULL;
}

// The card's stamp of the moment that the kernel's tells. `alone`: the kernel's is taken away.
static void add_card(struct msghdr *h, long late_ns, bool alone) {
  struct timespec stamps[3];
  unsigned char *at = stamps_of(h);
  if (!at) return;
  memcpy(stamps, at, sizeof(stamps));
  if (stamps[0].tv_sec == 0) return;
  stamps[2] = (struct timespec){.tv_sec = stamps[0].tv_sec + CARD_AHEAD_S, .tv_nsec = stamps[0].tv_nsec + late_ns};
  if (stamps[2].tv_nsec >= 1000000000) {
    stamps[2].tv_sec++;
    stamps[2].tv_nsec -= 1000000000;
  }
  if (alone) stamps[0] = (struct timespec){0};
  memcpy(at, stamps, sizeof(stamps));
}

static void copy_message(struct msghdr *to, const struct msghdr *from) {
  memcpy(to->msg_name, from->msg_name, from->msg_namelen);
  to->msg_namelen = from->msg_namelen;
  memcpy(to->msg_control, from->msg_control, from->msg_controllen);
  to->msg_controllen = from->msg_controllen;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout) {
  int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *) =
      (int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
  if (!is("hardware")) return real(fd, messages, n, flags, timeout);
  bool sent = flags & MSG_ERRQUEUE;
  int came = real(fd, messages, sent ? n / 2 : n, flags, timeout), all = came;
  for (int i = 0; i < came; i++) {
    if (!sent) {
      add_card(&messages[i].msg_hdr, CARD_LATE_NS, false);
    } else if (stamps_of(&messages[i].msg_hdr)) {
      copy_message(&messages[all].msg_hdr, &messages[i].msg_hdr);
      messages[all].msg_len = messages[i].msg_len;
      add_card(&messages[all++].msg_hdr, 0, true);
    }
  }
  return all;
}
