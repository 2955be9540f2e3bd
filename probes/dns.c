// dns.query: one question to one server, asked again when no answer comes, over TCP when the answer does not fit a datagram.
// Must hold: the latency is that of the query that was answered, never that of the waiting before it; an answer to an earlier
// query that comes late is as good as any.
#include <stdio.h>
#include <string.h>

#include "probes/dns_tables.h"
#include "probes/dns_try.h"
#include "probes/probes.h"
#include "runtime/clock.h"
#include "runtime/resolve.h"

enum { PORT = 53, LEAST_EDNS = 512 };

static const wd_ns FIRST_WAIT = WD_S; // doubles with each query; shorter where the timeout would not hold them all

struct query {
  struct wd_probe_op p;
  struct wd_dns_opts o;
  struct wd_dns_result r;
  struct wd_dns_flags flags;
  struct wd_dns_edns edns;
  struct wd_dns_timings timings;
  struct wd_quality quality;
  struct wd_dns_query query;    // of the first try; the others are as this one, with ids of their own
  struct wd_hostport server;    // as asked for
  struct wd_resolve look_up;
  struct wd_dns_try *tries[WD_DNS_TRIES_MOST + 1]; // in the arena; one more for TCP after a truncated answer
  size_t started;
  struct wd_timer again;
  wd_ns wait;
};

static struct query *of(struct wd_probe_op *p) {
  return WD_CONTAINER(p, struct query, p);
}

// ---- the answer as a result ----

static struct wd_list rows(struct query *q, const struct wd_dns_answer *a, enum wd_dns_section section) {
  struct wd_list list = {.given = true};
  struct wd_dns_row *row = wd_arena_array(&q->p.arena, a->count, sizeof(*row));
  list.items = row;
  for (size_t i = 0; row && i < a->count; i++) {
    const struct wd_dns_record *from = &a->records[i];
    if (from->section != section) continue;
    row[list.n++] = (struct wd_dns_row){
      .name = from->name,
      .type = from->type,
      .class = from->class,
      .data = from->data,
      .address = from->address,
      .target = from->target,
      .text = from->text,
      .tag = from->tag,
      .ttl = from->ttl_s,
      .priority = from->priority < 0 ? WD_NONE : from->priority,
      .weight = from->weight < 0 ? WD_NONE : from->weight,
      .port = from->port < 0 ? WD_NONE : from->port,
      .flags = from->flags < 0 ? WD_NONE : from->flags,
      .serial = from->serial < 0 ? WD_NONE : from->serial,
      .minimum = from->minimum_s < 0 ? WD_NONE : from->minimum_s,
    };
  }
  return list;
}

static void fill_answer(struct query *q, const struct wd_dns_try *t) {
  const struct wd_dns_answer *a = &t->answer;
  struct wd_dns_result *r = &q->r;
  r->rcode = a->rcode_name;
  q->flags = (struct wd_dns_flags){.aa = a->aa, .tc = a->tc, .rd = a->rd, .ra = a->ra, .ad = a->ad, .cd = a->cd};
  r->flags = &q->flags;
  if (a->edns) {
    q->edns = (struct wd_dns_edns){.size = a->edns_size, .dnssec = a->edns_do};
    r->edns = &q->edns;
  }
  r->answers = rows(q, a, WD_DNS_ANSWER);
  r->authority = rows(q, a, WD_DNS_AUTHORITY);
  r->additional = rows(q, a, WD_DNS_ADDITIONAL);
  r->dropped = (int64_t)a->dropped;
  r->size = (int64_t)a->size;
  r->common.latency = t->trip.rtt;
  q->timings.query = t->tcp ? t->received - t->connected : t->trip.rtt;
  q->quality.timestamp_source = t->trip.clock;
  q->quality.uncertainty = t->trip.uncertainty;
}

static const char *status_of(const struct wd_dns_try *t) {
  if (t->state == WD_DNS_TRY_FAILED) return "error";
  if (t->state != WD_DNS_TRY_ANSWERED) return "unanswered";
  return t->answer.tc && !t->tcp ? "truncated" : "ok";
}

static void give_up_all(struct query *q) {
  for (size_t i = 0; i < q->started; i++) wd_dns_try_give_up(q->tries[i]);
}

// What is known of every query, however the probe ends; none is waited for any more.
static void fill_tries(struct query *q) {
  struct wd_dns_result *r = &q->r;
  give_up_all(q);
  struct wd_dns_sample *samples = wd_arena_array(&q->p.arena, q->started, sizeof(*samples));
  r->samples = (struct wd_list){.items = samples, .n = samples ? q->started : 0, .given = true};
  r->ignored = 0;
  r->tries = (int64_t)q->started;
  for (size_t i = 0; i < r->samples.n; i++) {
    const struct wd_dns_try *t = q->tries[i];
    r->ignored += wd_dns_try_ignored(t);
    samples[i] = (struct wd_dns_sample){
      .status = status_of(t),
      .transport = t->tcp ? WD_DNS_TCP : WD_DNS_UDP,
      .sent = t->sent == WD_NONE ? WD_NONE : t->sent - q->tries[0]->sent,
      .rtt = t->received == WD_NONE ? WD_NONE : t->trip.rtt,
      .error = t->state == WD_DNS_TRY_FAILED ? wd_err_name(t->err) : NULL,
    };
    if (t->connected != WD_NONE) q->timings.connect = t->connected - t->sent;
  }
  if (q->started && q->tries[0]->sent != WD_NONE) q->timings.total = wd_clock_real() - q->tries[0]->sent;
}

static void finish_failed(struct query *q, const struct wd_dns_try *t) {
  fill_tries(q);
  wd_probe_done(&q->p, t->err, "%s%s: %s", q->r.truncated == 1 ? "truncated over udp; over tcp " : "", q->r.server, t->detail);
}

static void finish_answered(struct query *q, const struct wd_dns_try *t) {
  enum wd_err err = wd_dns_err(&t->answer);
  fill_answer(q, t);
  fill_tries(q);
  if (err == WD_OK)
    wd_probe_done(&q->p, err, NULL);
  else if (err == WD_E_DNS_NXDOMAIN)
    wd_probe_done(&q->p, err, "'%s' does not exist", q->r.name);
  else if (err == WD_E_DNS_NODATA)
    wd_probe_done(&q->p, err, "'%s' has no record of type %s", q->r.name, q->r.type);
  else
    wd_probe_done(&q->p, err, "%s answered %s", q->r.server, q->r.rcode);
}

// ---- queries ----

static void on_left(struct wd_dns_try *t);
static void on_ended(struct wd_dns_try *t);

static bool start_try(struct query *q, bool tcp) {
  struct wd_dns_try *t = q->tries[q->started] = wd_arena_alloc(&q->p.arena, sizeof(*t));
  if (!t || (q->started && !wd_dns_renew(&q->query, &q->p.arena))) {
    wd_probe_done(&q->p, WD_E_LOCAL, "out of memory");
    return true;
  }
  q->started++;
  q->r.transport = tcp ? WD_DNS_TCP : WD_DNS_UDP;
  *t = (struct wd_dns_try){
    .loop = q->p.op.loop,
    .arena = &q->p.arena,
    .query = q->query,
    .opts = &q->o.common,
    .server = q->server.addr,
    .tcp = tcp,
    .deadline = &q->p.op.deadline,
    .owner = q,
    .left = on_left,
    .ended = on_ended,
  };
  if (q->started == 1) wd_probe_give_back(&q->p);
  return wd_dns_try_start(t);
}

static bool any_waits(const struct query *q) {
  for (size_t i = 0; i < q->started; i++)
    if (q->tries[i]->state == WD_DNS_TRY_WAITING) return true;
  return false;
}

static void ask(struct query *q, bool tcp) {
  if (!start_try(q, tcp) && !any_waits(q)) {
    finish_failed(q, q->tries[q->started - 1]);
    return;
  }
  if (q->p.op.done || tcp || q->started >= (size_t)q->o.tries) return;
  wd_loop_arm(q->p.op.loop, &q->again, q->wait); // counts anew once it was sent
}

static void on_again(struct wd_timer *timer) {
  struct query *q = WD_CONTAINER(timer, struct query, again);
  q->wait *= 2;
  ask(q, false);
}

static void on_left(struct wd_dns_try *t) {
  struct query *q = t->owner;
  if (t == q->tries[0]) wd_probe_give_back(&q->p);
  if (t == q->tries[q->started - 1] && wd_timer_armed(&q->again)) wd_loop_arm(q->p.op.loop, &q->again, q->wait);
}

static void on_ended(struct wd_dns_try *t) {
  struct query *q = t->owner;
  if (t->state == WD_DNS_TRY_FAILED) {
    finish_failed(q, t);
  } else if (!t->tcp) {
    q->r.truncated = t->answer.tc;
    if (!t->answer.tc) {
      finish_answered(q, t);
      return;
    }
    wd_timer_stop(&q->p.op.loop->timers, &q->again);
    give_up_all(q);
    ask(q, true);
  } else {
    finish_answered(q, t);
  }
}

static void on_server(struct wd_resolve *look_up) {
  struct query *q = WD_CONTAINER(look_up, struct query, look_up);
  char text[WD_ADDR_TEXT];
  if (look_up->err) {
    fill_tries(q);
    wd_probe_done(&q->p, look_up->err, "server '%s': %s", q->server.host, look_up->detail);
    return;
  }
  q->timings.dns = look_up->took;
  wd_addr_from_sockaddr(&q->server.addr, (const struct sockaddr *)&look_up->addresses[0].sa, look_up->addresses[0].len);
  q->r.server = wd_arena_strdup(&q->p.arena, wd_addr_format_port(&q->server.addr, text));
  q->r.common.target_ip = wd_arena_strdup(&q->p.arena, wd_addr_format(&q->server.addr, text));
  ask(q, q->o.transport == WD_DNS_TCP);
}

// ---- the probe ----

// The first name server of resolv.conf(5) that the family allows; this machine where there is none, as in libc.
static void system_server(struct wd_hostport *out, int family) {
  char line[512], host[WD_HOST_TEXT];
  FILE *file = fopen("/etc/resolv.conf", "re");
  *out = (struct wd_hostport){.port = PORT, .literal = true};
  while (file && fgets(line, sizeof(line), file)) {
    if (sscanf(line, " nameserver %255s", host) != 1 || !wd_addr_parse(&out->addr, host, PORT)) continue;
    int is = wd_addr_family(&out->addr);
    if ((family == WD_FAMILY_4 && is != AF_INET) || (family == WD_FAMILY_6 && is != AF_INET6)) continue;
    snprintf(out->host, sizeof(out->host), "%s", host);
    break;
  }
  if (file) fclose(file);
  if (!*out->host) snprintf(out->host, sizeof(out->host), "%s", family == WD_FAMILY_6 ? "::1" : "127.0.0.1");
}

static const char *check(struct wd_probe_op *p) {
  struct query *q = of(p);
  char *why = wd_arena_alloc(&p->arena, 300);
  if (!why) return "out of memory";
  if (q->o.edns > 0 && q->o.edns < LEAST_EDNS) return "field 'edns': expected 0 for none, or a size from 512 to 65535";
  if (q->o.edns == 0 && q->o.dnssec == 1) return "field 'dnssec': it needs EDNS, leave out edns = 0";
  if (q->o.server && !wd_hostport_split(&q->server, q->o.server, PORT, why, 300))
    return wd_arena_printf(&p->arena, "field 'server': %s", why);
  struct wd_dns_ask ask = {
    .name = q->o.name,
    .type = q->o.type,
    .recurse = q->o.recurse == 1,
    .dnssec = q->o.dnssec == 1,
    .edns_size = (uint16_t)q->o.edns,
  };
  return wd_dns_build(&q->query, &p->arena, &ask, why, 300) ? NULL : why;
}

static void start(struct wd_probe_op *p) {
  struct query *q = of(p);
  struct wd_dns_result *r = &q->r;
  if (!q->o.server) system_server(&q->server, q->o.common.family);
  wd_ns share = q->o.common.timeout / ((1 << q->o.tries) - 1); // so that the last query is waited for as long as its place says
  q->wait = share < FIRST_WAIT ? share : FIRST_WAIT;
  q->again.fire = on_again;
  q->timings = (struct wd_dns_timings){WD_NONE, WD_NONE, WD_NONE, WD_NONE};
  q->quality = (struct wd_quality){.timestamp_source = "user", .uncertainty = WD_NONE};
  r->timings = &q->timings;
  r->name = q->query.name;
  r->type = q->query.type_name;
  r->common.test_type = r->common.protocol_detail = "dns";
  r->common.target = q->o.name;
  r->common.target_host = r->name;
  r->common.target_port = q->server.port;
  r->common.quality = &q->quality;
  q->look_up = (struct wd_resolve){.name = q->server.host, .port = q->server.port, .opts = &q->o.common, .done = on_server};
  wd_resolve_start(p->op.loop, &q->look_up);
}

static void stop(struct wd_probe_op *p) {
  struct query *q = of(p);
  wd_resolve_clear(&q->look_up);
  wd_timer_stop(&p->op.loop->timers, &q->again);
  for (size_t i = 0; i < q->started; i++) wd_dns_try_stop(q->tries[i]);
}

static void expire(struct wd_probe_op *p) {
  struct query *q = of(p);
  double limit = (double)q->o.common.timeout / 1e9;
  fill_tries(q);
  if (!q->started) {
    q->timings.dns = wd_clock_now() - q->look_up.started;
    wd_probe_done(p, WD_E_DNS_TIMEOUT, "the look-up of the server's name '%s' did not end within %g s", q->server.host, limit);
    return;
  }
  if (q->tries[0]->sent == WD_NONE) {
    wd_probe_done(p, WD_E_LOCAL, "the query could not be sent in time: this machine's send queue is full");
    return;
  }
  for (size_t i = 0; i < q->started; i++) { // where an answer may be lost by us, nothing is known of the server
    if (q->tries[i]->state != WD_DNS_TRY_FAILED) continue;
    finish_failed(q, q->tries[i]);
    return;
  }
  wd_probe_done(p, WD_E_TIMEOUT, "no answer from %s over %s within %g s, asked %zu time%s", q->r.server,
    q->r.transport == WD_DNS_TCP ? "tcp" : "udp", limit, q->started, q->started == 1 ? "" : "s");
}

const struct wd_probe wd_probe_dns_query = {
  .name = "dns.query",
  .help = "asks a name server for records",
  .opts = &wd_dns_opts_desc,
  .result = &wd_dns_result_desc,
  .size = sizeof(struct query),
  .opts_at = offsetof(struct query, o),
  .result_at = offsetof(struct query, r),
  .check = check,
  .start = start,
  .stop = stop,
  .expire = expire,
};
