// A second look: where libcurl kept no certificates (its OpenSSL flavour of a chain that does not hold,
// its GnuTLS flavour over QUIC unverified), one handshake of our own with the same address shows them.
// Must hold: no request is sent, nothing of it is in the times, and the transfer ends without it too.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/tls.h"
#include "runtime/transfer_inner.h"

#define LOOK_BOUND (5 * WD_S)

struct wd_transfer_look {
  struct wd_transfer_inner *in;
  struct wd_transfer_try *try;
  struct wd_common_opts net;
  struct wd_tls_opts opts;
  struct wd_connect connect;
  struct wd_watch watch;
  struct wd_timer bound;
  struct wd_tls *tls;
  int fd;
};

bool wd_transfer_look_needed(const struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  const struct wd_transfer *t = in->t;
  bool spoke = try->rc == CURLE_PEER_FAILED_VERIFICATION || in->ready != WD_NONE;
  bool shown = t->tls_facts && t->tls_facts->chain.n > 0;
  return t->url.tls && spoke && !shown && !t->reused && !in->proxy.host && wd_addr_family(&t->peer);
}

void wd_transfer_look_free(struct wd_transfer_look *look) {
  if (!look) return;
  wd_connect_stop(&look->connect);
  wd_timer_stop(&look->in->loop->timers, &look->bound);
  wd_watch_stop(&look->watch);
  wd_tls_free(look->tls);
  if (look->fd >= 0) wd_watch_close_fd(look->in->loop, look->fd);
  free(look);
}

static void over(struct wd_transfer_look *look) {
  struct wd_transfer_inner *in = look->in;
  struct wd_transfer_try *try = look->try;
  in->look = NULL;
  wd_transfer_look_free(look);
  wd_transfer_looked(in, try);
}

static void describe(struct wd_transfer_look *look) {
  struct wd_transfer_inner *in = look->in;
  struct wd_transfer *t = in->t;
  enum wd_err verdict;
  const char *detail;
  struct wd_tls_facts *facts = wd_tls_describe(look->tls, t->arena, &look->opts, t->url.host, &verdict, &detail);
  if (!facts || facts->chain.n == 0) return;
  in->verdict = verdict;
  in->verdict_detail = detail;
  t->looked_twice = true;
  if (!t->tls_facts) {
    t->tls_facts = facts;
    return;
  }
  t->tls_facts->chain = facts->chain; // what was agreed on stays that of the transfer itself
  t->tls_facts->verify = facts->verify;
}

static void step(struct wd_transfer_look *look) {
  switch (wd_tls_handshake(look->tls)) {
  case WD_TLS_READ: wd_watch_set(&look->watch, EPOLLIN); return;
  case WD_TLS_WRITE: wd_watch_set(&look->watch, EPOLLOUT); return;
  default: describe(look); over(look);
  }
}

static void on_ready(struct wd_watch *w, uint32_t events) {
  (void)events;
  step(WD_CONTAINER(w, struct wd_transfer_look, watch));
}

static void on_connected(struct wd_connect *c) {
  struct wd_transfer_look *look = WD_CONTAINER(c, struct wd_transfer_look, connect);
  char error[200];
  look->fd = c->fd;
  if (!c->err && !c->reset)
    look->tls = wd_tls_client(look->in->loop, c->fd, &look->opts, look->in->t->url.host, error, sizeof(error));
  if (look->tls && wd_watch_start(look->in->loop, &look->watch, look->fd, EPOLLOUT) == 0)
    step(look);
  else
    over(look);
}

static void on_bound(struct wd_timer *t) {
  over(WD_CONTAINER(t, struct wd_transfer_look, bound));
}

bool wd_transfer_look_start(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  struct wd_transfer *t = in->t;
  char ip[WD_ADDR_TEXT];
  struct wd_transfer_look *look = calloc(1, sizeof(*look));
  if (!look) return false;
  in->look = look;
  look->in = in;
  look->try = try;
  look->fd = -1;
  look->watch = (struct wd_watch){.fd = -1, .on_event = on_ready};
  look->bound.fire = on_bound;
  look->net = in->net;
  look->net.address = wd_arena_strdup(t->arena, wd_addr_format(&t->peer, ip));
  if (t->tls)
    look->opts = *t->tls;
  else
    look->opts = (struct wd_tls_opts){.verify = 1, .min_version = -1, .max_version = -1};
  look->connect.host = t->url.host;
  look->connect.port = t->url.port;
  look->connect.opts = &look->net;
  look->connect.done = on_connected;
  wd_loop_arm(in->loop, &look->bound, LOOK_BOUND);
  wd_connect_start(in->loop, &look->connect);
  return true;
}
