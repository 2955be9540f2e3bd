// See resolve_channel.h.
#include "runtime/resolve_channel.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/neterr.h"
#include "runtime/resolve.h"
#include "runtime/resolve_socket.h"
#include "runtime/route.h"
#include "runtime/watch.h"

enum {
  CHANNELS = 32,        // idle ones past this number are closed
  IN_FLIGHT = 100,      // a channel: two questions each; more overrun a receive buffer of default size
  READS_A_PASS = 256,
  LAUNCHES_A_PASS = 50, // so that a burst does not hold the loop
  TRY_MS = 1000,        // wait for the first answer; doubles with each try
  TRIES = 3,
  ANSWER_BYTES = 64 << 10, // of memory that an answer may take
  EDNS_BYTES = 1232, // fits into one packet everywhere
};

// A socket of c-ares that is being watched.
struct socket {
  struct wd_watch watch;
  struct wd_channel *channel;
  struct socket *next;
};

struct wd_channel {
  struct wd_channel *next;
  struct wd_loop *loop;
  ares_channel ares; // NULL until the first launch
  char server[WD_ADDR_TEXT];
  int servers;
  struct socket *sockets;
  struct wd_timer tick, pump; // when c-ares wants the time of day; when there is something to launch or to settle
  struct wd_channel_query *queue, **queue_end;
  struct wd_channel_query *finished, **finished_end; // answered, not yet told
  unsigned in_flight, unwanted;                      // unwanted: those in flight that were dropped
  wd_ns used, heard; // heard: when a server last answered, 0: never
  struct wd_resolve_notes notes;
  bool busy;       // further up the stack
  bool stale;      // its configuration changed: takes no more questions
  bool deaf;       // a socket could not be watched: no answer would be seen
};

// What the system's channel was made from.
struct stamp {
  dev_t dev;
  ino_t inode;
  struct timespec changed;
};

static struct {
  struct wd_channel *first;
  struct wd_loop *loop; // NULL until the first question
  struct wd_closer closer;
  struct stamp files[2];
  wd_ns looked;
  struct wd_channel no_memory; // asks nobody: where another would be needed and cannot be had
} all;

static const char *const files[2] = {"/etc/resolv.conf", "/etc/hosts"};

static const wd_ns heard_lately = 10 * WD_S;

static void on_socket(struct wd_watch *w, uint32_t events);
static void on_tick(struct wd_timer *t);
static void on_pump(struct wd_timer *t);

static void finish(struct wd_channel_query *q, enum wd_err err, const char *detail) {
  struct wd_channel *c = q->channel;
  q->err = err;
  snprintf(q->detail, sizeof(q->detail), "%s", detail);
  q->next = NULL;
  *c->finished_end = q;
  c->finished_end = &q->next;
}

// c-ares tells one story for a closed port, a missing route and descriptors that ran out.
static enum wd_err why_unreached(const struct wd_channel *c, const char **detail) {
  struct wd_addr server, from;
  *detail = "no DNS server takes the question: nothing listens there, or there is no way to it";
  if (!wd_addr_parse(&server, "127.0.0.1", 53)) return WD_E_DNS_REFUSED;
  struct wd_hostport at;
  char ignored[160];
  if (*c->server && wd_hostport_split(&at, c->server, 53, ignored, sizeof(ignored)) && at.literal) server = at.addr;
  if (wd_route_source(&server, &from) == 0) return WD_E_DNS_REFUSED;
  *detail = "the DNS server cannot be asked: no route to it, or no descriptor left";
  return WD_E_LOCAL;
}

// Whether this machine refused a call for the channel since the question was launched.
static bool was_refused(const struct wd_channel_query *q) {
  const struct wd_resolve_notes *notes = &q->channel->notes;
  return notes->fault && notes->fault_at >= q->launched;
}

// Whether the other family's addresses may be missing because its question never left.
static bool may_be_half(const struct wd_channel_query *q) {
  bool has_4 = false, has_6 = false;
  for (size_t i = 0; i < q->count; i++) *(wd_addr_family(&q->found[i]) == AF_INET ? &has_4 : &has_6) = true;
  return q->family == AF_UNSPEC && has_4 != has_6 && was_refused(q);
}

static enum wd_err judge(const struct wd_channel_query *q, int status, const char **detail) {
  *detail = ares_strerror(status);
  if ((status == ARES_SUCCESS || status == ARES_ECONNREFUSED || status == ARES_ETIMEOUT) && was_refused(q)) {
    *detail = wd_neterr_detail_local(q->channel->notes.fault);
    return wd_neterr_local(q->channel->notes.fault);
  }
  switch (status) {
  case ARES_ENOTFOUND: *detail = "the name does not exist"; return WD_E_DNS_NXDOMAIN;
  case ARES_ENODATA:
    *detail = q->family == AF_INET ? "the name has no IPv4 address"
        : q->family == AF_INET6    ? "the name has no IPv6 address"
                                   : "the name has no address";
    return WD_E_DNS_NODATA;
  case ARES_ESERVFAIL: *detail = "the DNS server answered SERVFAIL"; return WD_E_DNS_SERVFAIL;
  case ARES_ENOTIMP: *detail = "the DNS server answered NOTIMP"; return WD_E_DNS_REFUSED;
  case ARES_EREFUSED: *detail = "the DNS server answered REFUSED"; return WD_E_DNS_REFUSED;
  case ARES_ETIMEOUT: *detail = "the DNS server did not answer"; return WD_E_DNS_TIMEOUT;
  case ARES_ECONNREFUSED: return why_unreached(q->channel, detail);
  case ARES_EFORMERR: *detail = "the DNS server answered FORMERR"; return WD_E_PROTOCOL;
  case ARES_EBADRESP: *detail = "the DNS server's answer cannot be read"; return WD_E_PROTOCOL;
  case ARES_ECANCELLED: *detail = "the DNS server's answer cannot be waited for: no memory or no descriptor left"; return WD_E_LOCAL;
  default: return WD_E_LOCAL;
  }
}

static void set_up(struct wd_channel *c) {
  c->loop = all.loop;
  c->queue_end = &c->queue;
  c->finished_end = &c->finished;
  c->tick.fire = on_tick;
  c->pump.fire = on_pump;
}

static struct wd_channel *make(const char *server) {
  struct wd_channel *c = calloc(1, sizeof(*c));
  if (!c) return &all.no_memory;
  set_up(c);
  snprintf(c->server, sizeof(c->server), "%s", server);
  c->next = all.first;
  all.first = c;
  return c;
}

static void queue(struct wd_channel *c, struct wd_channel_query *q) {
  q->channel = c;
  q->next = NULL;
  *c->queue_end = q;
  c->queue_end = &q->next;
  if (c->in_flight < IN_FLIGHT) wd_loop_arm(c->loop, &c->pump, 0);
}

// c-ares fails all questions to a server when one of them meets a closed port, as does a long answer's on its way to TCP. Where the server has
// answered others just now, a question that failed beside others is asked once more, in a channel of its own. False: it has failed.
static bool ask_alone(struct wd_channel_query *q, int status) {
  const struct wd_channel *c = q->channel;
  bool in_company = c->in_flight > 0 && c->heard && wd_clock_now() - c->heard < heard_lately;
  if (status != ARES_ECONNREFUSED || q->alone || !in_company) return false;
  q->alone = true;
  struct wd_channel *own = make(c->server);
  if (own == &all.no_memory) return false;
  own->stale = true; // nobody else's, and closed after its answer
  queue(own, q);
  return true;
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
  (void)timeouts;
  struct wd_channel_query *q = arg;
  struct wd_channel *c = q->channel;
  c->in_flight--;
  if (q->dropped) {
    c->unwanted--;
    free(q);
    if (info) ares_freeaddrinfo(info);
    return;
  }
  if (ask_alone(q, status)) return;
  if (status != ARES_ECONNREFUSED && status != ARES_ETIMEOUT) c->heard = wd_clock_now();
  int64_t ttl = INT64_MAX;
  for (struct ares_addrinfo_node *n = info ? info->nodes : NULL; n; n = n->ai_next) {
    if (q->count < WD_CHANNEL_ADDRESSES && wd_addr_from_sockaddr(&q->found[q->count], n->ai_addr, n->ai_addrlen)) q->count++;
    if (n->ai_ttl < ttl) ttl = n->ai_ttl;
  }
  for (struct ares_addrinfo_cname *n = info ? info->cnames : NULL; n; n = n->next)
    if (n->ttl < ttl) ttl = n->ttl;
  q->ttl_s = q->count && ttl > 0 ? ttl : 0;
  if (info) ares_freeaddrinfo(info);
  const char *detail = "";
  enum wd_err err = WD_OK;
  if (status == ARES_SUCCESS && !q->count) status = ARES_ENODATA;
  if (status != ARES_SUCCESS || may_be_half(q)) err = judge(q, status, &detail);
  finish(q, err, detail);
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable) {
  struct wd_channel *c = data;
  struct socket **at = &c->sockets, *s;
  uint32_t events = (readable ? EPOLLIN : 0U) | (writable ? EPOLLOUT : 0U);
  while (*at && (*at)->watch.fd != fd) at = &(*at)->next;
  s = *at;
  if (!events) { // c-ares closes it next
    if (!s) return;
    *at = s->next;
    wd_watch_stop(&s->watch);
    free(s);
  } else if (s) {
    wd_watch_set(&s->watch, events);
  } else if ((s = calloc(1, sizeof(*s)))) {
    s->channel = c;
    s->watch.on_event = on_socket;
    if (wd_watch_start(c->loop, &s->watch, fd, events)) {
      c->deaf = true;
      free(s);
      return;
    }
    s->next = c->sockets;
    c->sockets = s;
  } else {
    c->deaf = true;
  }
}

static int count_servers(ares_channel ares) {
  struct ares_addr_port_node *list = NULL;
  int count = 0;
  if (ares_get_servers_ports(ares, &list) != ARES_SUCCESS) return 0;
  for (struct ares_addr_port_node *n = list; n; n = n->next) count++;
  ares_free_data(list);
  return count;
}

static int open_ares(struct wd_channel *c) {
  bool pass_over = strcmp(c->server, WD_CHANNEL_PASS_OVER) == 0, named = *c->server && !pass_over;
  char hosts_then_servers[] = "fb", servers[] = "b"; // a named server is asked, whatever the hosts file says
  struct ares_options opts = {
      // Without NOCHECKRESP a refusal looks like a server that is not there.
      .flags = (pass_over ? 0 : ARES_FLAG_NOCHECKRESP) | ARES_FLAG_EDNS | (named ? ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES : 0),
      .timeout = TRY_MS,
      .tries = TRIES,
      .lookups = named ? servers : hosts_then_servers,
      .sock_state_cb = on_socket_state,
      .sock_state_cb_data = c,
      .ednspsz = EDNS_BYTES,
  };
  int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ;
#ifdef ARES_OPT_QUERY_CACHE
  opts.qcache_max_ttl = 0; // newer versions answer from a cache of their own unless told not to
  mask |= ARES_OPT_QUERY_CACHE;
#endif
  int rc = ares_init_options(&c->ares, &opts, mask);
  if (rc == ARES_SUCCESS && named && (rc = ares_set_servers_ports_csv(c->ares, c->server)) != ARES_SUCCESS) ares_destroy(c->ares);
  if (rc != ARES_SUCCESS) {
    c->ares = NULL;
    return rc;
  }
  wd_resolve_sockets(c->ares, named, &c->notes);
  c->servers = count_servers(c->ares);
  return rc;
}

// c-ares takes a question that it has no memory for as answered, half of it perhaps: with the other family's addresses alone.
static bool memory_left(struct wd_channel *c) {
  if (!wd_memory_left(ANSWER_BYTES)) c->deaf = true;
  return !c->deaf;
}

static struct wd_channel_query *take(struct wd_channel *c) {
  struct wd_channel_query *q = c->queue;
  c->queue = q->next;
  if (!c->queue) c->queue_end = &c->queue;
  return q;
}

static void launch(struct wd_channel *c) {
  struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT};
  for (int i = 0; c->queue && i < LAUNCHES_A_PASS && c->in_flight < IN_FLIGHT; i++) {
    struct wd_channel_query *q = take(c);
    int rc = c == &all.no_memory || !wd_memory_left(ANSWER_BYTES) ? ARES_ENOMEM : c->ares ? ARES_SUCCESS : open_ares(c);
    if (rc != ARES_SUCCESS) {
      finish(q, WD_E_LOCAL, ares_strerror(rc));
      continue;
    }
    c->in_flight++;
    q->servers = c->servers;
    q->launched = wd_clock_now();
    hints.ai_family = q->family;
    ares_getaddrinfo(c->ares, q->name, NULL, &hints, on_answer, q);
  }
}

static void close_channel(struct wd_channel *c) {
  struct wd_channel **at = &all.first;
  while (*at != c) at = &(*at)->next;
  *at = c->next;
  if (c->ares) ares_destroy(c->ares);
  wd_timer_stop(&c->loop->timers, &c->tick);
  wd_timer_stop(&c->loop->timers, &c->pump);
  free(c);
}

static bool idle(const struct wd_channel *c) {
  return !c->busy && !c->queue && !c->finished && c->in_flight == 0;
}

// After c-ares has run: tells the owners, and leaves the channel with the timers it needs.
static void settle(struct wd_channel *c) {
  if (c->deaf) ares_cancel(c->ares);
  c->deaf = false;
  while (c->finished) { // owners may ask and drop in between
    struct wd_channel_query *q = c->finished;
    c->finished = q->next;
    if (!c->finished) c->finished_end = &c->finished;
    q->channel = NULL;
    q->answered(q);
  }
  if (c->in_flight && c->in_flight == c->unwanted) ares_cancel(c->ares);
  struct timeval wait;
  wd_timer_stop(&c->loop->timers, &c->tick);
  if (c->in_flight && ares_timeout(c->ares, NULL, &wait))
    wd_loop_arm(c->loop, &c->tick, wait.tv_sec * WD_S + wait.tv_usec * WD_US);
  if (c->queue && c->in_flight < IN_FLIGHT) wd_loop_arm(c->loop, &c->pump, 0);
  c->busy = false;
  if (c->stale && idle(c)) close_channel(c);
}

static void on_socket(struct wd_watch *w, uint32_t events) {
  struct socket *s = WD_CONTAINER(w, struct socket, watch);
  struct wd_channel *c = s->channel;
  ares_socket_t reads = events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? w->fd : ARES_SOCKET_BAD;
  ares_socket_t writes = events & EPOLLOUT ? w->fd : ARES_SOCKET_BAD;
  c->busy = true;
  // With sockets that are not its own c-ares reads one message a call. A socket that it closes is not known to it any more.
  for (int i = 0; i < READS_A_PASS && memory_left(c); i++) {
    c->notes.last_empty = true;
    ares_process_fd(c->ares, reads, writes);
    if (c->notes.last_empty) break;
    writes = ARES_SOCKET_BAD;
  }
  settle(c);
}

static void on_tick(struct wd_timer *t) {
  struct wd_channel *c = WD_CONTAINER(t, struct wd_channel, tick);
  c->busy = true;
  if (memory_left(c)) ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  settle(c);
}

static void on_pump(struct wd_timer *t) {
  struct wd_channel *c = WD_CONTAINER(t, struct wd_channel, pump);
  c->busy = true;
  launch(c);
  settle(c);
}

static void drop_queries(struct wd_channel *c) {
  while (c->queue) free(take(c));
  if (c->ares) ares_destroy(c->ares);
  c->ares = NULL;
  while (c->finished) {
    struct wd_channel_query *q = c->finished;
    c->finished = q->next;
    free(q);
  }
}

static void on_loop_close(struct wd_closer *closer) {
  (void)closer;
  while (all.first) {
    struct wd_channel *c = all.first;
    drop_queries(c);
    close_channel(c);
  }
  drop_queries(&all.no_memory);
  wd_timer_stop(&all.loop->timers, &all.no_memory.pump);
  all.loop = NULL;
  ares_library_cleanup();
}

static struct stamp look(const char *path) {
  struct stat st;
  if (stat(path, &st)) return (struct stamp){0};
  return (struct stamp){st.st_dev, st.st_ino, st.st_mtim};
}

static bool same(const struct stamp *a, const struct stamp *b) {
  return a->dev == b->dev && a->inode == b->inode && a->changed.tv_sec == b->changed.tv_sec &&
      a->changed.tv_nsec == b->changed.tv_nsec;
}

// Puts channels aside that were made from files which have changed since.
static void look_at_files(void) {
  wd_ns now = wd_clock_now();
  if (now - all.looked < WD_S) return;
  all.looked = now;
  bool changed = false;
  for (size_t i = 0; i < WD_COUNT(files); i++) {
    struct stamp fresh = look(files[i]);
    changed |= !same(&fresh, &all.files[i]);
    all.files[i] = fresh;
  }
  for (struct wd_channel *c = all.first, *next; changed && c; c = next) {
    next = c->next;
    c->stale = true;
    if (idle(c)) close_channel(c);
  }
}

static void begin(struct wd_loop *loop) {
  ares_library_init(ARES_LIB_INIT_ALL);
  all.loop = loop;
  set_up(&all.no_memory);
  all.looked = wd_clock_now();
  for (size_t i = 0; i < WD_COUNT(files); i++) all.files[i] = look(files[i]);
  all.closer.close = on_loop_close;
  wd_loop_on_close(loop, &all.closer);
}

static struct wd_channel *find(const char *server) {
  struct wd_channel *oldest = NULL;
  unsigned count = 0;
  for (struct wd_channel *c = all.first; c; c = c->next) {
    if (!c->stale && strcmp(c->server, server) == 0) return c;
    if (idle(c) && (!oldest || c->used < oldest->used)) oldest = c;
    count++;
  }
  if (count >= CHANNELS && oldest) close_channel(oldest);
  return NULL;
}

void wd_channel_ask(struct wd_loop *loop, const char *server, struct wd_channel_query *q) {
  if (!all.loop) begin(loop);
  look_at_files();
  struct wd_channel *c = find(server);
  if (!c) c = make(server);
  c->used = wd_clock_now();
  q->count = 0;
  q->alone = false;
  queue(c, q);
}

static bool unlink_from(struct wd_channel_query **at, struct wd_channel_query ***end, struct wd_channel_query *q) {
  while (*at && *at != q) at = &(*at)->next;
  if (!*at) return false;
  *at = q->next;
  if (!*at) *end = at;
  return true;
}

void wd_channel_drop(struct wd_channel_query *q) {
  struct wd_channel *c = q->channel;
  if (!c || unlink_from(&c->queue, &c->queue_end, q) || unlink_from(&c->finished, &c->finished_end, q)) {
    free(q);
    return;
  }
  q->dropped = true;
  c->unwanted++;
  if (c->in_flight == c->unwanted) wd_loop_arm(c->loop, &c->pump, 0);
}

const char *wd_resolve_library(void) {
  return ares_version(NULL);
}
