// One accepted connection: non-blocking reads and writes with one reader and one writer at a time.
// Knows no Lua; runtime/lua_listen.c gives it to scripts. Must hold: a closed connection has no
// watch and no waiting op; its input buffer never grows past WD_CONN_BUFFER.
#pragma once

#include <sys/types.h>

#include "runtime/addr.h"
#include "runtime/op.h"
#include "runtime/watch.h"

enum { WD_CONN_BUFFER = 65536 };

// What carries the bytes: the plain socket, or TLS on it. Each gives the bytes moved, 0 at the
// peer's end (read), or -errno; -EAGAIN with *wants (EPOLLIN, EPOLLOUT) set when it must wait.
struct wd_conn;
struct wd_carrier {
  ssize_t (*read)(struct wd_conn *c, void *into, size_t room, uint32_t *wants);
  ssize_t (*write)(struct wd_conn *c, const void *from, size_t len, uint32_t *wants);
  void (*finish)(struct wd_conn *c); // says that nothing more will be sent; may be NULL
  void (*close)(struct wd_conn *c, bool orderly); // frees the carrier's own; may be NULL
};

struct wd_conn_wait {
  struct wd_op op;
  struct wd_conn *conn;
  bool linked;
  // reading: done once `want` bytes, or a whole line, or the end, or a full buffer is there
  size_t want;
  bool line;
  // writing
  const char *from; // lives on the waiting coroutine's stack
  size_t left;
  int failed; // errno
};

struct wd_conn {
  struct wd_loop *loop;
  struct wd_watch watch;
  const struct wd_carrier *carrier;
  void *carried; // the carrier's own
  struct wd_addr peer, local;
  struct wd_conn_wait *reader, *writer;
  uint32_t read_wants, write_wants;
  char *buffer; // WD_CONN_BUFFER bytes, allocated at the first read
  size_t start, fill;
  bool ended; // the peer has sent its last byte
  int failed; // errno of a broken connection
  void (*on_closed)(struct wd_conn *c); // told once, when it closes; NULL = nobody
  void *owner;
};

// Takes over a connected, non-blocking descriptor. 0 or -errno (the descriptor is then closed).
int wd_conn_open(struct wd_conn *c, struct wd_loop *loop, int fd);

// Speaks TLS on it from here on, as the server. 0 or -errno.
struct wd_tls_server;
int wd_conn_accept_tls(struct wd_conn *c, struct wd_tls_server *server);

// Closes at once; `reset` sends an RST in place of a FIN. Waiting ops complete with WD_E_CANCELLED.
void wd_conn_close(struct wd_conn *c, bool reset);

// Closes the sending half (FIN), reading goes on.
void wd_conn_shutdown(struct wd_conn *c);

static inline bool wd_conn_is_open(const struct wd_conn *c) {
  return wd_watch_active(&c->watch);
}

// Start waiting; the op completes when its condition holds (maybe at once).
void wd_conn_start_read(struct wd_conn *c, struct wd_conn_wait *w);
void wd_conn_start_write(struct wd_conn *c, struct wd_conn_wait *w);
extern const struct wd_op_class wd_conn_read_class, wd_conn_write_class;

// Length of the first line in the buffer with its newline, 0 when there is none yet.
size_t wd_conn_line(const struct wd_conn *c);
