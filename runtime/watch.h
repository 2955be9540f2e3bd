// Watching a descriptor: sockets of probes, of libcurl, c-ares and libmicrohttpd alike.
// A watch is embedded in its owner. Once wd_watch_stop or wd_watch_close has returned, its callback
// is not called again, not even for events already fetched; the owner may free it there and then.
#pragma once

#include <sys/epoll.h>

#include "runtime/loop.h"

struct wd_watch {
  int fd;                                                     // -1 = not watching
  uint32_t events;                                            // EPOLLIN, EPOLLOUT ... asked for
  void (*on_event)(struct wd_watch *w, uint32_t events); // level-triggered; EPOLLERR and EPOLLHUP come unasked
  struct wd_loop *loop;
  uint32_t generation;
  bool paused;
};

// 0 or a negative errno. `on_event` must be set. The descriptor stays the caller's.
int wd_watch_start(struct wd_loop *loop, struct wd_watch *w, int fd, uint32_t events);

// Changes what is waited for; 0 asks for nothing but errors.
void wd_watch_set(struct wd_watch *w, uint32_t events);

// Hears nothing of the descriptor for a while, not even errors, and costs nothing (an epoll entry costs a wake-up a packet, whatever it
// asks for); then goes on. Nothing happens if it is not watching.
void wd_watch_pause(struct wd_watch *w);
void wd_watch_resume(struct wd_watch *w, uint32_t events);

// Stops watching; the descriptor stays open. Nothing happens if it was not watching.
void wd_watch_stop(struct wd_watch *w);

// Stops watching and closes the descriptor at once.
void wd_watch_close(struct wd_watch *w);

// Stops watching a descriptor that somebody else is about to watch, or to close by wd_watch_close_fd: cheaper than wd_watch_stop.
void wd_watch_hand_over(struct wd_watch *w);

// Closes a descriptor that nobody watches.
void wd_watch_close_fd(struct wd_loop *loop, int fd);

// Fetches events and hands them out, until there are none or `rounds` batches were handed out.
void wd_watch_dispatch(struct wd_loop *loop, int rounds);

static inline bool wd_watch_active(const struct wd_watch *w) {
  return w->loop != NULL;
}
