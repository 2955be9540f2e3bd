// See resolve_socket.h. An ICMP error that a datagram caused is reported by the next call on its socket, also when that is the
// sending of another one. c-ares would then give up the question that was just sent, and wait seconds for the answer to the one
// that was really refused: so a send that meets an old error is done again, and what became of both is told by the read.
// To c-ares a call that this machine refuses is a server that nobody can reach; the channel looks into the notes before it believes that.
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/policy.h"
#include "runtime/resolve_socket.h"

// Gives rc, with errno as it was.
static ssize_t noted(struct wd_resolve_notes *notes, ssize_t rc) {
  if (rc >= 0) return rc;
  int err = errno;
  if (err == ENOBUFS || err == ENOMEM || err == EMFILE || err == ENFILE || err == EPERM || err == EACCES || err == WD_POLICY_DENIED) {
    notes->fault = err;
    notes->fault_at = wd_clock_now();
  }
  errno = err;
  return rc;
}

static ares_socket_t on_open(int family, int type, int protocol, void *data) {
  return (int)noted(data, socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

static int on_close(ares_socket_t fd, void *data) {
  (void)data;
  return close(fd);
}

static int on_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *data) {
  return (int)noted(data, connect(fd, to, len));
}

// To a server that a script has named.
static int on_connect_named(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *data) {
  return (int)noted(data, wd_policy_connect(fd, to, len));
}

static ares_ssize_t on_receive(ares_socket_t fd, void *bytes, size_t room, int flags, struct sockaddr *from, ares_socklen_t *len, void *data) {
  struct wd_resolve_notes *notes = data;
  ssize_t n = recvfrom(fd, bytes, room, flags, from, len);
  notes->last_empty = n <= 0;
  return n;
}

static ares_ssize_t on_send(ares_socket_t fd, const struct iovec *parts, int count, void *data) {
  struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
  int type = 0;
  socklen_t len = sizeof(type);
  for (int i = 0; i < count; i++) wd_policy_charge(i == 0, parts[i].iov_len);
  ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
  if (n >= 0 || errno != ECONNREFUSED) return noted(data, n);
  getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
  if (type == SOCK_DGRAM) return noted(data, sendmsg(fd, &m, MSG_NOSIGNAL));
  errno = ECONNREFUSED;
  return -1;
}

void wd_resolve_sockets(ares_channel ares, bool named, struct wd_resolve_notes *notes) {
  static struct ares_socket_functions functions[2];
  functions[named] = (struct ares_socket_functions){
    .asocket = on_open,
    .aclose = on_close,
    .aconnect = named ? on_connect_named : on_connect,
    .arecvfrom = on_receive,
    .asendv = on_send,
  };
  ares_set_socket_functions(ares, &functions[named], notes);
}
