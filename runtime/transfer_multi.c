// One curl multi handle on the loop. Every socket of libcurl is a watch of ours, kept while libcurl
// does not ask for events (it will again in a moment) and stopped when it is closed or when an event
// comes that nobody waits for (measured: cheaper than following every request of libcurl).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/log.h"
#include "runtime/policy.h"
#include "runtime/transfer_inner.h"

enum { POOL = 64 }; // idle connections kept for transfers that may reuse them

// libcurl waits 2 s for a peer to agree to the end of a connection, but sets no timer for it: with OpenSSL's QUIC, where nothing comes
// any more, the socket would stay open for the life of the process. A touch after that time closes it.
#define FAREWELL_BOUND (2100 * WD_MS)

struct wd_transfer_multi {
  struct wd_loop *loop;
  CURLM *curl;
  struct wd_timer timer;
  struct wd_closer closer;
  struct wd_transfer_inner *won; // have a connection since libcurl was last entered
  struct wd_transfer_socket **by_fd;
  size_t room;
  bool deaf; // a socket could not be watched since libcurl was last entered
};

static struct wd_transfer_multi the_multi;

struct wd_transfer_socket *wd_transfer_multi_socket(struct wd_transfer_multi *m, int fd) {
  return fd >= 0 && (size_t)fd < m->room ? m->by_fd[fd] : NULL;
}

static bool make_room(struct wd_transfer_multi *m, int fd) {
  size_t room = m->room ? m->room : 64;
  if ((size_t)fd < m->room) return true;
  while (room <= (size_t)fd) room *= 2;
  struct wd_transfer_socket **grown = realloc(m->by_fd, room * sizeof(struct wd_transfer_socket *));
  if (!grown) return false;
  memset(grown + m->room, 0, (room - m->room) * sizeof(struct wd_transfer_socket *));
  m->by_fd = grown;
  m->room = room;
  return true;
}

// Tells the transfers whose connections are ready, then those that have ended.
static void after_curl(struct wd_transfer_multi *m) {
  CURLMsg *msg;
  int left;
  while (m->won) {
    struct wd_transfer_inner *in = m->won;
    m->won = in->next_won;
    wd_transfer_settle(in);
  }
  while ((msg = curl_multi_info_read(m->curl, &left))) {
    struct wd_transfer_try *try = NULL;
    CURLcode rc = msg->data.result; // the message does not outlive the removal of its handle
    if (msg->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&try);
    wd_transfer_try_over(try, rc);
  }
}

// Ends the transfers whose sockets nobody watches, for want of memory: libcurl forgets them.
static void fail_deaf(struct wd_transfer_multi *m) {
  m->deaf = false;
  for (size_t fd = 0; fd < m->room; fd++) {
    struct wd_transfer_socket *s = m->by_fd[fd];
    struct wd_transfer_try *try = s ? s->owner : NULL;
    if (!try || !s->idle || wd_timer_armed(&try->hold) || try->t->inner->ended != WD_NONE) continue;
    wd_transfer_try_over(try, CURLE_OUT_OF_MEMORY);
  }
}

static void act(struct wd_transfer_multi *m, curl_socket_t fd, int what) {
  int running;
  if (curl_multi_socket_action(m->curl, fd, what, &running) != CURLM_OK) m->deaf = true;
  after_curl(m);
  if (m->deaf) fail_deaf(m);
}

static void on_hold(struct wd_timer *t) {
  struct wd_transfer_try *try = WD_CONTAINER(t, struct wd_transfer_try, hold);
  struct wd_transfer_multi *m = try->t->inner->multi;
  curl_easy_pause(try->easy, CURLPAUSE_CONT);
  after_curl(m);
}

bool wd_transfer_multi_hold(struct wd_transfer_try *try) {
  wd_ns hold = wd_policy_wait_bytes();
  if (hold <= 0) return false;
  try->hold.fire = on_hold;
  wd_loop_arm(try->t->inner->multi->loop, &try->hold, hold);
  return true;
}

static void on_alarm(struct wd_timer *t) {
  act(WD_CONTAINER(t, struct wd_transfer_multi, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *curl, long ms, void *user) {
  struct wd_transfer_multi *m = user;
  (void)curl;
  if (ms < 0)
    wd_timer_stop(&m->loop->timers, &m->timer);
  else
    wd_loop_arm(m->loop, &m->timer, ms * WD_MS);
  return 0;
}

static void on_watch(struct wd_watch *w, uint32_t events) {
  struct wd_transfer_socket *s = WD_CONTAINER(w, struct wd_transfer_socket, watch);
  int what = 0;
  if (s->idle) {
    wd_watch_stop(w);
    return;
  }
  if (s->owner) wd_transfer_give_back(s->owner->t->inner);
  if (events & EPOLLIN) {
    if (s->owner) s->owner->heard = true;
    what |= CURL_CSELECT_IN;
  }
  if (events & EPOLLOUT) what |= CURL_CSELECT_OUT;
  if (events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
  act(s->multi, s->fd, what);
}

static void on_farewell(struct wd_timer *t) {
  struct wd_transfer_socket *s = WD_CONTAINER(t, struct wd_transfer_socket, farewell);
  act(s->multi, s->fd, CURL_CSELECT_IN);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *unused) {
  struct wd_transfer_multi *m = user;
  struct wd_transfer_socket *s = wd_transfer_multi_socket(m, fd);
  (void)unused;
  if (!s) return 0;                            // closed already
  if (!s->owner && what != CURL_POLL_REMOVE) { // a connection of the pool, used again
    struct wd_transfer_try *try = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&try);
    if (try && !try->socket) {
      s->owner = try;
      try->socket = s;
    }
  }
  s->idle = what == CURL_POLL_REMOVE || what == CURL_POLL_NONE;
  if (s->idle) return 0;
  uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
  if (wd_watch_active(&s->watch)) {
    wd_watch_set(&s->watch, events);
  } else if (wd_watch_start(m->loop, &s->watch, fd, events) < 0) {
    wd_log(WD_LOG_ERROR, "http: cannot watch a socket: out of memory or epoll watches");
    s->idle = m->deaf = true; // an error to libcurl would end all transfers for good
  }
  return 0;
}

bool wd_transfer_multi_open(struct wd_transfer_multi *m, struct wd_transfer_try *try, int fd) {
  struct wd_transfer_socket *s = make_room(m, fd) ? calloc(1, sizeof(*s)) : NULL;
  if (!s) return false;
  s->watch = (struct wd_watch){.fd = -1, .on_event = on_watch};
  s->farewell.fire = on_farewell;
  s->multi = m;
  s->owner = try;
  s->fd = fd;
  s->peer = try->to;
  s->idle = true;
  m->by_fd[fd] = s;
  try->socket = s;
  return true;
}

int wd_transfer_multi_on_close(void *user, curl_socket_t fd) {
  struct wd_transfer_multi *m = user;
  struct wd_transfer_socket *s = wd_transfer_multi_socket(m, fd);
  if (s) {
    if (s->owner) {
      wd_transfer_read_tcp(s->owner, fd);
      s->owner->socket = NULL;
    }
    wd_watch_hand_over(&s->watch);
    wd_timer_stop(&m->loop->timers, &s->farewell);
    m->by_fd[fd] = NULL;
    free(s->chain);
    free(s);
  }
  wd_watch_close_fd(m->loop, fd);
  return 0;
}

static void on_loop_close(struct wd_closer *c) {
  struct wd_transfer_multi *m = WD_CONTAINER(c, struct wd_transfer_multi, closer);
  curl_multi_cleanup(m->curl);
  wd_timer_stop(&m->loop->timers, &m->timer);
  free(m->by_fd);
  *m = (struct wd_transfer_multi){0};
  curl_global_cleanup();
}

struct wd_transfer_multi *wd_transfer_multi_get(struct wd_loop *loop) {
  struct wd_transfer_multi *m = &the_multi;
  if (m->curl) return m;
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return NULL;
  *m = (struct wd_transfer_multi){.loop = loop, .timer = {.fire = on_alarm}, .closer = {.close = on_loop_close}};
  m->curl = curl_multi_init();
  if (!m->curl) return NULL;
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
  curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, (long)POOL);
  wd_loop_on_close(loop, &m->closer);
  return m;
}

bool wd_transfer_multi_add(struct wd_transfer_multi *m, struct wd_transfer_try *try) {
  try->added = curl_multi_add_handle(m->curl, try->easy) == CURLM_OK;
  return try->added;
}

void wd_transfer_multi_remove(struct wd_transfer_multi *m, struct wd_transfer_try *try) {
  wd_timer_stop(&m->loop->timers, &try->hold);
  if (!try->added) return;
  try->added = false;
  curl_multi_remove_handle(m->curl, try->easy);
  if (!try->socket) return;
  try->socket->owner = NULL; // kept in the pool, or closing in its own time
  if (!try->t->reuse) wd_loop_arm(m->loop, &try->socket->farewell, FAREWELL_BOUND);
  try->socket = NULL;
}

void wd_transfer_multi_kick(struct wd_transfer_multi *m) {
  act(m, CURL_SOCKET_TIMEOUT, 0);
}

void wd_transfer_multi_won(struct wd_transfer_multi *m, struct wd_transfer_inner *in) {
  in->next_won = m->won;
  m->won = in;
}

void wd_transfer_multi_forget(struct wd_transfer_multi *m, struct wd_transfer_inner *in) {
  if (!m) return;
  for (struct wd_transfer_inner **at = &m->won; *at; at = &(*at)->next_won) {
    if (*at != in) continue;
    *at = in->next_won;
    return;
  }
}

struct wd_transfer_pool {
  CURLSH *share;
};

struct wd_transfer_pool *wd_transfer_pool_open(struct wd_loop *loop) {
  struct wd_transfer_pool *pool = wd_transfer_multi_get(loop) ? calloc(1, sizeof(*pool)) : NULL;
  if (!pool) return NULL;
  pool->share = curl_share_init();
  if (pool->share && curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) == CURLSHE_OK) return pool;
  wd_transfer_pool_close(pool);
  return NULL;
}

void wd_transfer_pool_close(struct wd_transfer_pool *pool) {
  if (!pool) return;
  curl_share_cleanup(pool->share);
  free(pool);
}

void wd_transfer_pool_use(struct wd_transfer_pool *pool, CURL *easy) {
  curl_easy_setopt(easy, CURLOPT_SHARE, pool->share);
}

const char *wd_transfer_libraries(void) {
  return curl_version();
}

const char *wd_transfer_no_http3(void) {
  static char text[300];
  const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
  if (info->features & CURL_VERSION_HTTP3) return NULL;
  snprintf(text, sizeof(text), "HTTP/3 is not in this libcurl (%.200s); install its GnuTLS flavour", curl_version());
  return text;
}
