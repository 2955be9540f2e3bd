// TLS on an accepted connection: the handshake runs inside the first read or write.
#include <errno.h>
#include <stdlib.h>

#include "runtime/conn.h"
#include "runtime/tls.h"

struct carried {
  struct wd_tls *tls;
  bool ready; // the handshake is complete
};

// What a step of TLS means for the caller of read or write.
static ssize_t outcome(enum wd_tls_step step, size_t moved, uint32_t *wants) {
  switch (step) {
  case WD_TLS_DONE: return (ssize_t)moved;
  case WD_TLS_READ: *wants = EPOLLIN; return -EAGAIN;
  case WD_TLS_WRITE: *wants = EPOLLOUT; return -EAGAIN;
  case WD_TLS_END: return 0;
  default: return -EPROTO;
  }
}

// 0 once bytes may flow, else what to give back.
static ssize_t handshake(struct carried *t, uint32_t *wants) {
  if (t->ready) return 0;
  enum wd_tls_step step = wd_tls_handshake(t->tls);
  t->ready = step == WD_TLS_DONE;
  return t->ready ? 0 : step == WD_TLS_END ? -EPROTO : outcome(step, 0, wants);
}

static ssize_t tls_read(struct wd_conn *c, void *into, size_t room, uint32_t *wants) {
  struct carried *t = c->carried;
  size_t got = 0;
  ssize_t rc = handshake(t, wants);
  if (rc) return rc;
  enum wd_tls_step step = wd_tls_read(t->tls, into, room, &got);
  return outcome(step, got, wants);
}

static ssize_t tls_write(struct wd_conn *c, const void *from, size_t len, uint32_t *wants) {
  struct carried *t = c->carried;
  size_t put = 0;
  ssize_t rc = handshake(t, wants);
  if (rc) return rc;
  enum wd_tls_step step = wd_tls_write(t->tls, from, len, &put);
  return outcome(step, put, wants);
}

static void tls_finish(struct wd_conn *c) {
  struct carried *t = c->carried;
  if (t->ready) wd_tls_bye(t->tls);
}

static void tls_close(struct wd_conn *c, bool orderly) {
  struct carried *t = c->carried;
  if (orderly && t->ready) wd_tls_bye(t->tls);
  wd_tls_free(t->tls);
  free(t);
  c->carried = NULL;
}

static const struct wd_carrier carrier = {.read = tls_read, .write = tls_write, .finish = tls_finish, .close = tls_close};

int wd_conn_accept_tls(struct wd_conn *c, struct wd_tls_server *server) {
  struct carried *t = calloc(1, sizeof(*t));
  struct wd_tls *tls = t ? wd_tls_accept(server, c->watch.fd) : NULL;
  if (!tls) {
    free(t);
    return -ENOMEM;
  }
  t->tls = tls;
  c->carried = t;
  c->carrier = &carrier;
  return 0;
}
