// http.request: one request, redirects followed hop by hop, each hop a transfer of its own with its
// own phases. The answer is counted, and kept only as far as asked.
// Must hold: credentials stay with the server they were given for; every phase that is reported was
// measured in the hop it is reported of; the latency is all hops together, as a user waits for it.
#include "probes/http.h"

#include <string.h>

#include "probes/probes.h"
#include "runtime/clock.h"

static struct http_probe *of(struct wd_probe_op *p) {
  return WD_CONTAINER(p, struct http_probe, p);
}

static const char *check(struct wd_probe_op *p) {
  return wd_http_check(of(p));
}

static void take_throughput(struct http_result *r, const struct wd_transfer *t) {
  if (t->one_read || t->body_bytes == 0 || t->times.transfer == WD_NONE || t->times.transfer <= 0) return;
  r->throughput_mbps = (double)t->body_bytes * 8.0 / ((double)t->times.transfer / 1e9) / 1e6;
}

static void take_connection(struct http_probe *h) {
  struct wd_transfer *t = &h->t;
  struct http_result *r = &h->result;
  struct wd_common_result *c = &r->common;
  char ip[WD_ADDR_TEXT];
  c->target_host = t->url.host;
  c->target_port = t->url.port;
  if (!t->through && wd_addr_family(&t->peer)) c->target_ip = wd_arena_strdup(&h->p.arena, wd_addr_format(&t->peer, ip));
  r->url_effective = t->url.full;
  r->proxy = t->through;
  r->reused = t->reused;
  r->dns_shared = t->dns_shared;
  r->tls = t->tls_facts;
  if (t->looked_twice) r->tls_second_look = 1;
  if (t->tcp.rtt != WD_NONE || t->tcp.retransmits != WD_NONE) r->tcp = &t->tcp;
  if (t->times.total != WD_NONE) r->timings = &t->times;
}

static void take_answer(struct http_probe *h) {
  struct wd_transfer *t = &h->t;
  struct http_result *r = &h->result;
  if (t->cookies) r->cookies = t->jar_after;
  if (t->status == 0) return;
  r->status = t->status;
  r->common.protocol_detail = t->protocol;
  r->version = t->protocol ? t->protocol + strlen("http/") : NULL;
  r->headers = t->answer;
  r->headers_dropped = t->headers_dropped;
  r->body_bytes = t->body_bytes;
  take_throughput(r, t);
  if (t->keep_body == 0) return;
  r->body = t->kept.p ? t->kept : (struct wd_data){"", 0};
  r->body_truncated = t->truncated;
}

// Tells the result of the last hop.
static void end(struct http_probe *h, enum wd_err err, const char *detail) {
  struct http_result *r = &h->result;
  take_connection(h);
  take_answer(h);
  r->redirects = (struct wd_list){.items = h->redirects, .n = h->redirect_count, .given = true};
  if (r->status != WD_NONE && h->t.times.total != WD_NONE) r->common.latency = h->before + h->t.times.total;
  if (detail)
    wd_probe_done(&h->p, err, "%s", detail);
  else
    wd_probe_done(&h->p, err, NULL);
}

// Ends with what the present hop, as the last one, says.
static void conclude(struct http_probe *h) {
  const struct wd_transfer *t = &h->t;
  if (t->err)
    end(h, t->err, t->detail);
  else if (t->status >= 200 && t->status < 400)
    end(h, WD_OK, NULL);
  else
    end(h, WD_E_HTTP_STATUS, wd_arena_printf(&h->p.arena, "status %d", (int)t->status));
}

static bool is_redirect(int64_t status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void on_done(struct wd_transfer *t);

static void on_heard(struct wd_transfer *t) {
  wd_probe_give_back(&WD_CONTAINER(t, struct http_probe, t)->p);
}

static void start_hop(struct http_probe *h, const struct wd_url *url) {
  wd_http_prepare(h, url);
  h->started = true;
  h->t.heard = on_heard;
  h->t.done = on_done;
  wd_transfer_start(h->p.op.loop, &h->t);
}

// Puts the hop that is over among the redirects and starts the next.
static void follow(struct http_probe *h, const struct wd_url *next) {
  struct http_redirect *hop = &h->redirects[h->redirect_count++];
  int64_t status = h->t.status;
  hop->url = h->t.url.full;
  hop->status = status;
  hop->timings = wd_arena_alloc(&h->p.arena, sizeof(*hop->timings));
  if (hop->timings) *hop->timings = h->t.times;
  h->before += h->t.times.total;
  // RFC 9110 section 15.4: 303 asks for a GET, and that is what everybody makes of a POST that met 301 or 302
  if (status == 303 || (status <= 302 && strcmp(h->opts.method, "POST") == 0)) h->body_dropped = true;
  start_hop(h, next);
}

static void on_done(struct wd_transfer *t) {
  struct http_probe *h = WD_CONTAINER(t, struct http_probe, t);
  struct wd_arena *arena = &h->p.arena;
  const char *location = !t->err && is_redirect(t->status) ? wd_transfer_header(t, "location") : NULL;
  if (location && h->opts.follow > 0) {
    struct wd_url next;
    const char *wrong = wd_url_join(&next, arena, &t->url, location);
    if (wrong)
      end(h, WD_E_REDIRECTS, wd_arena_printf(arena, "status %d leads nowhere: %s", (int)t->status, wrong));
    else if (h->redirect_count >= (size_t)h->opts.follow)
      end(h, WD_E_REDIRECTS, wd_arena_printf(arena, "more than %d redirects", (int)h->opts.follow));
    else if (h->opts.version == WD_HTTP_3 && !next.tls)
      end(h, WD_E_REDIRECTS, "it leads to http://, which HTTP/3 cannot speak");
    else
      follow(h, &next);
    return;
  }
  conclude(h);
}

static void start(struct wd_probe_op *p) {
  struct http_probe *h = of(p);
  struct wd_common_result *c = &h->result.common;
  c->test_type = "http";
  c->target = h->first.full;
  c->quality = wd_arena_alloc(&p->arena, sizeof(*c->quality));
  if (c->quality) *c->quality = (struct wd_quality){.timestamp_source = "user", .uncertainty = WD_NONE};
  h->redirects = wd_arena_array(&p->arena, (size_t)h->opts.follow + 1, sizeof(*h->redirects));
  if (!h->redirects) {
    wd_probe_done(p, WD_E_LOCAL, "out of memory");
    return;
  }
  start_hop(h, &h->first);
}

static void expire(struct wd_probe_op *p) {
  struct http_probe *h = of(p);
  wd_transfer_expire(&h->t, h->opts.common.timeout);
  conclude(h); // without an error the answer is there, and what ran out of time was a second look at the certificates
}

static void stop(struct wd_probe_op *p) {
  wd_transfer_stop(&of(p)->t);
}

static void destroy(struct wd_probe_op *p) {
  wd_transfer_clear(&of(p)->t);
}

const struct wd_probe wd_http_request = {
    .name = "http.request",
    .help = "one HTTP request and its answer, phase by phase",
    .opts = &wd_http_opts_desc,
    .result = &wd_http_result_desc,
    .size = sizeof(struct http_probe),
    .opts_at = offsetof(struct http_probe, opts),
    .result_at = offsetof(struct http_probe, result),
    .check = check,
    .start = start,
    .stop = stop,
    .expire = expire,
    .destroy = destroy,
};
