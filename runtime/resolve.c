// Look-ups: what needs no question is answered here, what somebody asks already is joined, the rest goes to a channel.
#include "runtime/resolve.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/resolve_cache.h"
#include "runtime/resolve_channel.h"
#include "runtime/route.h"
#include "runtime/text.h"

enum { BUCKETS = 512, GIVES_UP_S = 8 };

// A question on its way and those who wait for its answer.
struct query {
  struct wd_channel_query ask; // first: the channel frees the query when it was dropped
  char server[WD_ADDR_TEXT];
  struct wd_resolve *waiters, **waiters_end;
  struct wd_timer limit;
  struct wd_loop *loop;
  bool keep; // somebody wants the answer kept
  enum wd_err first; // what one of several servers said, while the others are asked
  char first_detail[160];
  struct query *next;
};

static struct query *in_flight[BUCKETS];
static struct wd_closer closer;
static bool begun;

static struct query **bucket_of(const char *name, int family) {
  uint32_t hash = 2166136261U ^ (uint32_t)family; // FNV-1a
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619U;
  return &in_flight[hash % BUCKETS];
}

static void leave_bucket(struct query *q) {
  struct query **at = bucket_of(q->ask.name, q->ask.family);
  while (*at && *at != q) at = &(*at)->next;
  if (*at) *at = q->next;
}

static void set_addresses(struct wd_resolve *r, const struct wd_addr *found, size_t count) {
  if (count > WD_RESOLVE_MOST) count = WD_RESOLVE_MOST;
  r->addresses = calloc(count, sizeof(*r->addresses));
  if (!r->addresses) {
    r->err = WD_E_LOCAL;
    snprintf(r->detail, sizeof(r->detail), "out of memory");
    return;
  }
  for (size_t i = 0; i < count; i++) {
    struct wd_addr a = found[i];
    wd_addr_set_port(&a, r->port);
    r->addresses[i].len = wd_addr_len(&a);
    memcpy(&r->addresses[i].sa, &a, r->addresses[i].len);
  }
  r->count = count;
}

// ---- answers that are known at once ----

static void on_soon(struct wd_timer *t) {
  struct wd_resolve *r = WD_CONTAINER(t, struct wd_resolve, soon);
  r->done(r);
}

static void __attribute__((format(printf, 3, 4))) fail(struct wd_resolve *r, enum wd_err err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  r->err = err;
  vsnprintf(r->detail, sizeof(r->detail), fmt, ap);
  va_end(ap);
  wd_loop_arm(r->loop, &r->soon, 0);
}

static void answer_literal(struct wd_resolve *r, const struct wd_addr *addr, int family) {
  char text[WD_ADDR_TEXT];
  int is = wd_addr_family(addr);
  if (family != AF_UNSPEC && family != is) {
    fail(r, WD_E_LOCAL, "%s is an IPv%d address, but the probe may only use IPv%d", wd_addr_format(addr, text),
         is == AF_INET ? 4 : 6, is == AF_INET ? 6 : 4);
    return;
  }
  set_addresses(r, addr, 1);
  wd_loop_arm(r->loop, &r->soon, 0);
}

// Names that no DNS question can carry; NULL, or what is wrong. RFC 1035 section 2.3.4, RFC 1123 section 2.1; the underscore is
// not a host name's, yet in use.
static const char *wrong_with(const char *name) {
  size_t n = strlen(name), label = 0;
  bool digits = true;
  if (n && name[n - 1] == '.') n--;
  if (n == 0) return "is empty";
  if (n > 253) return "is longer than 253 characters";
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)name[i];
    if (c == '.') {
      if (label == 0) return "has an empty part between dots";
      label = 0;
      digits = true;
      continue;
    }
    if (c >= 0x80) return "has letters beyond ASCII: write it as xn--";
    if (!isalnum(c) && c != '-' && c != '_') return "has characters that no host name may have";
    if (++label > 63) return "has a part longer than 63 characters";
    digits = digits && isdigit(c);
  }
  if (label == 0) return "has an empty part between dots";
  return digits ? "looks like an IPv4 address and is none" : NULL;
}

// ---- questions ----

static void tell(struct query *q) {
  struct wd_channel_query *a = &q->ask;
  leave_bucket(q);
  wd_timer_stop(&q->loop->timers, &q->limit);
  wd_ns now = wd_clock_now();
  if (!a->err && a->count > 1) wd_route_sort(a->found, a->count);
  if (!a->err && q->keep && a->ttl_s > 0) wd_resolve_cache_put(a->name, a->family, q->server, a->found, a->count, a->ttl_s);
  while (q->waiters) { // an owner may cancel any of the others
    struct wd_resolve *r = q->waiters;
    q->waiters = r->next;
    r->query = NULL;
    r->took = now - r->started;
    r->err = a->err;
    if (a->err)
      snprintf(r->detail, sizeof(r->detail), "%s", a->detail);
    else
      set_addresses(r, a->found, a->count);
    r->done(r);
  }
}

// One server's SERVFAIL or REFUSED is not the last word where there are others (resolv.conf(5)); it is what is told when they
// know no better.
static void answered(struct wd_channel_query *a) {
  struct query *q = WD_CONTAINER(a, struct query, ask);
  bool undecided = a->err && a->err != WD_E_DNS_NXDOMAIN && a->err != WD_E_DNS_NODATA;
  if ((a->err == WD_E_DNS_SERVFAIL || a->err == WD_E_DNS_REFUSED) && !*q->server && a->servers > 1 && !q->first) {
    q->first = a->err;
    memcpy(q->first_detail, a->detail, sizeof(q->first_detail));
    wd_channel_ask(q->loop, WD_CHANNEL_PASS_OVER, a);
    return;
  }
  if (undecided && q->first) {
    a->err = q->first;
    memcpy(a->detail, q->first_detail, sizeof(a->detail));
  }
  tell(q);
  free(q);
}

static void on_limit(struct wd_timer *t) {
  struct query *q = WD_CONTAINER(t, struct query, limit);
  q->ask.err = WD_E_DNS_TIMEOUT;
  snprintf(q->ask.detail, sizeof(q->ask.detail), "no DNS server answered within %d s", GIVES_UP_S);
  tell(q);
  wd_channel_drop(&q->ask);
}

static void on_loop_close(struct wd_closer *c) {
  (void)c;
  wd_resolve_cache_free();
  memset(in_flight, 0, sizeof(in_flight)); // the channels freed what was in it
  begun = false;
}

static struct query *ask(struct wd_resolve *r, const char *name, int family, const char *server) {
  struct query *q = calloc(1, sizeof(*q));
  if (!q) return NULL;
  struct query **bucket = bucket_of(name, family);
  snprintf(q->ask.name, sizeof(q->ask.name), "%s", name);
  snprintf(q->server, sizeof(q->server), "%s", server);
  q->ask.family = family;
  q->ask.answered = answered;
  q->waiters_end = &q->waiters;
  q->loop = r->loop;
  q->limit.fire = on_limit;
  q->next = *bucket;
  *bucket = q;
  wd_loop_arm(r->loop, &q->limit, GIVES_UP_S * WD_S);
  wd_channel_ask(r->loop, server, &q->ask);
  return q;
}

static struct query *find(const char *name, int family, const char *server) {
  for (struct query *q = *bucket_of(name, family); q; q = q->next)
    if (q->ask.family == family && strcmp(q->ask.name, name) == 0 && strcmp(q->server, server) == 0) return q;
  return NULL;
}

static void look_up(struct wd_resolve *r, const char *name, int family, const char *server, bool keep) {
  struct wd_addr kept[WD_RESOLVE_MOST];
  size_t n = keep ? wd_resolve_cache_get(name, family, server, kept, WD_RESOLVE_MOST) : 0;
  if (n) {
    if (n > 1) wd_route_sort(kept, n); // routes may have changed
    set_addresses(r, kept, n);
    wd_loop_arm(r->loop, &r->soon, 0);
    return;
  }
  struct query *q = find(name, family, server);
  r->shared = q != NULL;
  if (!q && !(q = ask(r, name, family, server))) {
    fail(r, WD_E_LOCAL, "out of memory");
    return;
  }
  q->keep = q->keep || keep;
  r->query = q;
  *q->waiters_end = r;
  q->waiters_end = &r->next;
}

int wd_resolve_family(const struct wd_common_opts *o) {
  struct wd_addr source;
  if (o && o->family == WD_FAMILY_4) return AF_INET;
  if (o && o->family == WD_FAMILY_6) return AF_INET6;
  return o && o->source && wd_addr_parse(&source, o->source, 0) ? wd_addr_family(&source) : AF_UNSPEC;
}

void wd_resolve_start(struct wd_loop *loop, struct wd_resolve *r) {
  const struct wd_common_opts *o = r->opts;
  const struct wd_resolver_opts *resolver = o ? o->resolver : NULL;
  int family = wd_resolve_family(o);
  char name[WD_HOST_TEXT], server[WD_ADDR_TEXT] = "", shown[80], why[160];
  struct wd_hostport at;
  struct wd_addr addr;
  r->loop = loop;
  r->err = WD_OK;
  r->detail[0] = '\0';
  r->addresses = NULL;
  r->count = 0;
  r->took = WD_NONE;
  r->shared = false;
  r->soon = (struct wd_timer){.fire = on_soon};
  r->query = NULL;
  r->next = NULL;
  r->started = wd_clock_now();
  if (!begun) {
    begun = true;
    closer.close = on_loop_close;
    wd_loop_on_close(loop, &closer);
  }

  const char *literal = o && o->address ? o->address : r->name;
  if (wd_addr_parse(&addr, literal, 0)) {
    answer_literal(r, &addr, family);
    return;
  }
  const char *wrong = wrong_with(literal);
  if (wrong || literal != r->name) {
    wd_text_escape(shown, sizeof(shown), literal, strlen(literal));
    fail(r, WD_E_LOCAL, "'%s' %s", shown, wrong ? wrong : "is not an IP address");
    return;
  }
  if (resolver && resolver->server) {
    if (!wd_hostport_split(&at, resolver->server, 53, why, sizeof(why)) || !at.literal) {
      fail(r, WD_E_LOCAL, "resolver: the server must be an IP address, with :port if not 53");
      return;
    }
    wd_addr_format_port(&at.addr, server);
  }
  size_t n = 0;
  for (; r->name[n]; n++) name[n] = (char)tolower((unsigned char)r->name[n]);
  name[n] = '\0';
  look_up(r, name, family, server, resolver && resolver->cache == WD_CACHE_TTL);
}

void wd_resolve_cancel(struct wd_resolve *r) {
  if (!r->loop) return;
  wd_timer_stop(&r->loop->timers, &r->soon);
  struct query *q = r->query;
  if (!q) return;
  r->query = NULL;
  struct wd_resolve **at = &q->waiters;
  while (*at != r) at = &(*at)->next;
  *at = r->next;
  if (!*at) q->waiters_end = at;
  if (q->waiters || !wd_timer_armed(&q->limit)) return; // others wait, or it is being told
  leave_bucket(q);
  wd_timer_stop(&q->loop->timers, &q->limit);
  wd_channel_drop(&q->ask);
}

void wd_resolve_clear(struct wd_resolve *r) {
  wd_resolve_cancel(r);
  free(r->addresses);
  r->addresses = NULL;
  r->count = 0;
}
