// See conn.h.
#include "runtime/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t plain_read(struct wd_conn *c, void *into, size_t room, uint32_t *wants) {
  ssize_t n = recv(c->watch.fd, into, room, 0);
  *wants = EPOLLIN;
  return n < 0 ? -errno : n;
}

static ssize_t plain_write(struct wd_conn *c, const void *from, size_t len, uint32_t *wants) {
  ssize_t n = send(c->watch.fd, from, len, MSG_NOSIGNAL);
  *wants = EPOLLOUT;
  return n < 0 ? -errno : n;
}

static const struct wd_carrier plain = {.read = plain_read, .write = plain_write};

// Where nobody waits, edge-triggered: a hang-up comes unasked and would be reported for ever, but what
// the peer had sent before it can still be read.
static void update(struct wd_conn *c) {
  uint32_t wanted = (c->reader ? c->read_wants : 0) | (c->writer ? c->write_wants : 0);
  wd_watch_set(&c->watch, wanted ? wanted : EPOLLET);
}

size_t wd_conn_line(const struct wd_conn *c) {
  const char *nl = c->fill ? memchr(c->buffer + c->start, '\n', c->fill) : NULL;
  return nl ? (size_t)(nl - (c->buffer + c->start)) + 1 : 0;
}

static bool satisfied(const struct wd_conn *c, const struct wd_conn_wait *w) {
  if (c->ended || c->failed || c->fill == WD_CONN_BUFFER) return true;
  return w->line ? wd_conn_line(c) > 0 : c->fill >= w->want;
}

static void fill_buffer(struct wd_conn *c) {
  if (satisfied(c, c->reader)) return; // many short lines in the buffer are not moved once each
  if (!c->buffer) c->buffer = malloc(WD_CONN_BUFFER);
  if (!c->buffer) {
    c->failed = ENOMEM;
    return;
  }
  if (c->start && c->fill) memmove(c->buffer, c->buffer + c->start, c->fill);
  c->start = 0;
  while (!satisfied(c, c->reader)) {
    ssize_t n = c->carrier->read(c, c->buffer + c->fill, WD_CONN_BUFFER - c->fill, &c->read_wants);
    if (n == -EINTR) continue;
    if (n == -EAGAIN) return;
    if (n < 0)
      c->failed = (int)-n;
    else if (n == 0)
      c->ended = true;
    else
      c->fill += (size_t)n;
  }
}

static void pump_reader(struct wd_conn *c) {
  fill_buffer(c);
  if (satisfied(c, c->reader)) wd_op_complete(&c->reader->op, WD_OK);
}

static void pump_writer(struct wd_conn *c) {
  struct wd_conn_wait *w = c->writer;
  while (w->left && !w->failed) {
    ssize_t n = c->carrier->write(c, w->from, w->left, &c->write_wants);
    if (n == -EINTR) continue;
    if (n == -EAGAIN) return;
    if (n < 0) {
      w->failed = (int)-n;
    } else {
      w->from += n;
      w->left -= (size_t)n;
    }
  }
  wd_op_complete(&w->op, WD_OK);
}

static void on_event(struct wd_watch *watch, uint32_t events) {
  struct wd_conn *c = WD_CONTAINER(watch, struct wd_conn, watch);
  bool broken = events & (EPOLLERR | EPOLLHUP);
  if (c->writer && (broken || events & c->write_wants)) pump_writer(c);
  if (c->reader && (broken || events & c->read_wants)) pump_reader(c);
  if (wd_conn_is_open(c)) update(c);
}

int wd_conn_open(struct wd_conn *c, struct wd_loop *loop, int fd) {
  struct sockaddr_storage sa;
  socklen_t len = sizeof(sa);
  int on = 1;
  c->loop = loop;
  c->carrier = &plain;
  c->read_wants = EPOLLIN;
  c->write_wants = EPOLLOUT;
  c->watch.on_event = on_event;
  if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0) wd_addr_from_sockaddr(&c->peer, (struct sockaddr *)&sa, len);
  len = sizeof(sa);
  if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0) wd_addr_from_sockaddr(&c->local, (struct sockaddr *)&sa, len);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); // no harm where it is a Unix socket
  int rc = wd_watch_start(loop, &c->watch, fd, EPOLLET);
  if (rc) close(fd);
  return rc;
}

void wd_conn_close(struct wd_conn *c, bool reset) {
  if (!wd_conn_is_open(c)) return;
  if (reset) {
    struct linger now = {.l_onoff = 1};
    setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  if (c->carrier->close) c->carrier->close(c, !reset);
  wd_watch_close(&c->watch);
  if (c->reader) wd_op_complete(&c->reader->op, WD_E_CANCELLED);
  if (c->writer) wd_op_complete(&c->writer->op, WD_E_CANCELLED);
  free(c->buffer);
  c->buffer = NULL;
  c->start = c->fill = 0;
  if (c->on_closed) c->on_closed(c);
  c->on_closed = NULL;
}

void wd_conn_shutdown(struct wd_conn *c) {
  if (!wd_conn_is_open(c)) return;
  if (c->carrier->finish) c->carrier->finish(c);
  shutdown(c->watch.fd, SHUT_WR);
}

static void stop_read(struct wd_op *op) {
  struct wd_conn_wait *w = (struct wd_conn_wait *)op;
  if (!w->linked) return;
  w->linked = false;
  w->conn->reader = NULL;
  update(w->conn);
}

static void stop_write(struct wd_op *op) {
  struct wd_conn_wait *w = (struct wd_conn_wait *)op;
  if (!w->linked) return;
  w->linked = false;
  w->conn->writer = NULL;
  update(w->conn);
}

const struct wd_op_class wd_conn_read_class = {.name = "read", .stop = stop_read};
const struct wd_op_class wd_conn_write_class = {.name = "write", .stop = stop_write};

void wd_conn_start_read(struct wd_conn *c, struct wd_conn_wait *w) {
  w->conn = c;
  w->linked = true;
  c->reader = w;
  pump_reader(c);
  if (wd_conn_is_open(c)) update(c);
}

void wd_conn_start_write(struct wd_conn *c, struct wd_conn_wait *w) {
  w->conn = c;
  w->linked = true;
  c->writer = w;
  pump_writer(c);
  if (wd_conn_is_open(c)) update(c);
}
