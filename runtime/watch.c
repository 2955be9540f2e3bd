// One epoll set, watched by libuv as a single descriptor (measured: cheaper than a libuv handle a
// socket, nothing to close asynchronously, and an error on a socket does not stop its watcher).
#include "runtime/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 256 };

// Stands in loop->by_fd for a descriptor that was handed over and is still in the epoll set.
static struct wd_watch handed_over;

static int make_room(struct wd_loop *loop, int fd) {
  size_t need = (size_t)fd + 1, room = loop->by_fd_room ? loop->by_fd_room : 64;
  if (need <= loop->by_fd_room) return 0;
  while (room < need) room *= 2;
  struct wd_watch **grown = realloc(loop->by_fd, room * sizeof(struct wd_watch *));
  if (!grown) return -ENOMEM;
  memset(grown + loop->by_fd_room, 0, (room - loop->by_fd_room) * sizeof(struct wd_watch *));
  loop->by_fd = grown;
  loop->by_fd_room = room;
  return 0;
}

static int control(struct wd_watch *w, int what) {
  struct epoll_event ev = {.events = w->events, .data.u64 = (uint64_t)w->generation << 32 | (uint32_t)w->fd};
  return epoll_ctl(w->loop->epoll_fd, what, w->fd, &ev) ? -errno : 0;
}

int wd_watch_start(struct wd_loop *loop, struct wd_watch *w, int fd, uint32_t events) {
  int rc = make_room(loop, fd);
  if (rc) return rc;
  w->loop = loop;
  w->fd = fd;
  w->events = events;
  w->paused = false;
  w->generation = ++loop->generation;
  rc = loop->by_fd[fd] == &handed_over ? control(w, EPOLL_CTL_MOD) : -ENOENT;
  if (rc == -ENOENT) rc = control(w, EPOLL_CTL_ADD); // it may have been closed meanwhile
  if (rc) {
    w->loop = NULL;
    w->fd = -1;
    return rc;
  }
  loop->by_fd[fd] = w;
  loop->watches++;
  return 0;
}

void wd_watch_set(struct wd_watch *w, uint32_t events) {
  if (!w->loop || w->events == events) return;
  w->events = events;
  if (!w->paused) control(w, EPOLL_CTL_MOD);
}

void wd_watch_pause(struct wd_watch *w) {
  if (!w->loop || w->paused) return;
  control(w, EPOLL_CTL_DEL);
  w->paused = true;
}

void wd_watch_resume(struct wd_watch *w, uint32_t events) {
  if (!w->loop || !w->paused) return;
  w->events = events;
  w->paused = false;
  control(w, EPOLL_CTL_ADD);
}

// What is known of the watch ends; the epoll set may still have the descriptor.
static int forget(struct wd_watch *w, struct wd_watch *instead) {
  int fd = w->fd;
  if (!w->loop) return -1;
  w->loop->by_fd[fd] = instead;
  w->loop->watches--;
  w->loop = NULL;
  w->fd = -1;
  return fd;
}

void wd_watch_stop(struct wd_watch *w) {
  if (w->loop && !w->paused) control(w, EPOLL_CTL_DEL);
  forget(w, NULL);
}

void wd_watch_hand_over(struct wd_watch *w) {
  if (w->paused)
    wd_watch_stop(w);
  else
    forget(w, &handed_over);
}

// The kernel takes what is closed out of the set: our descriptors are not duplicated, and children do not inherit them.
void wd_watch_close(struct wd_watch *w) {
  int fd = forget(w, NULL);
  if (fd >= 0) close(fd);
}

void wd_watch_close_fd(struct wd_loop *loop, int fd) {
  if ((size_t)fd < loop->by_fd_room) loop->by_fd[fd] = NULL;
  close(fd);
}

void wd_watch_dispatch(struct wd_loop *loop, int rounds) {
  struct epoll_event batch[BATCH];
  int n = BATCH;
  for (int i = 0; i < rounds && n == BATCH; i++) {
    n = epoll_wait(loop->epoll_fd, batch, BATCH, 0);
    for (int k = 0; k < n; k++) {
      uint32_t fd = (uint32_t)batch[k].data.u64;
      struct wd_watch *w = fd < loop->by_fd_room ? loop->by_fd[fd] : NULL;
      if (w == &handed_over) { // nobody wanted to hear of it so far
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, (int)fd, NULL);
        loop->by_fd[fd] = NULL;
        continue;
      }
      if (!w || w->generation != (uint32_t)(batch[k].data.u64 >> 32)) continue; // closed earlier in this batch
      loop->events++;
      w->on_event(w, batch[k].events);
    }
  }
}
