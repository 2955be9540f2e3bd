// The end of a transfer: its phases, what the kernel and TLS say, and the name of its failure.
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/transfer_inner.h"

void wd_transfer_read_tcp(struct wd_transfer_try *try, int fd) {
  struct tcp_info info;
  socklen_t len = sizeof(info);
  memset(&info, 0, sizeof(info));
  if (try->quic || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) return;
  struct wd_transfer_tcp *tcp = &try->t->tcp;
  try->t->inner->tcp_state = info.tcpi_state;
  tcp->retransmits = info.tcpi_total_retrans;
  if (info.tcpi_rtt > 0) {
    tcp->rtt = (wd_ns)info.tcpi_rtt * WD_US;
    tcp->rtt_var = (wd_ns)info.tcpi_rttvar * WD_US;
  }
}

// ---- phases ----

static wd_ns known(wd_ns at, wd_ns otherwise) {
  return at == WD_NONE ? otherwise : at;
}

// How long sending the request took, by libcurl: no callback of ours sees its end. WD_NONE = it did not end.
static wd_ns sending(const struct wd_transfer_try *try) {
  if (!try) return WD_NONE;
  curl_off_t begun = 0, sent = 0;
  curl_easy_getinfo(try->easy, CURLINFO_PRETRANSFER_TIME_T, &begun);
  curl_easy_getinfo(try->easy, CURLINFO_POSTTRANSFER_TIME_T, &sent);
  return sent > 0 && sent >= begun ? (sent - begun) * WD_US : WD_NONE;
}

static void split_exchange(const struct wd_transfer_inner *in, const struct wd_transfer_try *try, wd_ns from) {
  struct wd_transfer_times *times = &in->t->times;
  wd_ns until = known(in->first_byte, in->ended), sent = sending(try);
  if (in->first_byte != WD_NONE) times->transfer = in->ended - in->first_byte;
  if (sent == WD_NONE && in->first_byte == WD_NONE && in->t->body.n > 0) {
    times->request = until - from; // ended while the request was being sent
    return;
  }
  if (sent == WD_NONE) { // not told; a request without a body is out with its first packet
    times->ttfb = until - from;
    return;
  }
  if (sent > until - from) sent = until - from; // the answer began before the request was out
  times->request = sent;
  times->ttfb = until - from - sent;
}

static void split(const struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  const struct wd_transfer *t = in->t;
  struct wd_transfer_times *times = &in->t->times;
  wd_ns at = in->began;
  times->total = in->ended - at - in->stall;
  if (t->reused) {
    split_exchange(in, try, at);
    return;
  }
  if (!in->literal) {
    times->dns = known(in->first_attempt, in->ended) - at;
    at = known(in->first_attempt, in->ended);
  }
  if (in->first_attempt == WD_NONE) {
    if (in->literal) times->total = 0;
    return;
  }
  if (in->attempt > in->first_attempt) times->fallback = in->attempt - at;
  at = known(in->attempt, at);
  if (t->version == WD_HTTP_3) {
    times->quic = known(in->ready, in->ended) - at;
    if (in->ready != WD_NONE) split_exchange(in, try, in->ready);
    return;
  }
  times->connect = known(in->connected, in->ended) - at - in->stall;
  if (in->connected == WD_NONE) return;
  at = in->connected;
  if (in->tunnel) {
    times->proxy = known(in->tunnelled, in->ended) - at;
    if (in->tunnelled == WD_NONE || !try || try->refused_tunnel) {
      times->proxy = in->ended - at;
      return;
    }
    at = in->tunnelled;
  }
  if (t->url.tls) {
    times->tls = known(in->ready, in->ended) - at;
    if (in->ready == WD_NONE) return;
    at = in->ready;
  }
  split_exchange(in, try, at);
}

// ---- TLS ----

static size_t presented(CURL *easy, struct wd_cert_blob *out, size_t room) {
  struct curl_certinfo *info = NULL;
  size_t n = 0;
  if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || !info) return 0;
  for (int i = 0; i < info->num_of_certs && n < room; i++)
    for (struct curl_slist *line = info->certinfo[i]; line && n < room; line = line->next)
      if (strncmp(line->data, "Cert:", 5) == 0) out[n++] = (struct wd_cert_blob){line->data + 5, strlen(line->data + 5)};
  return n;
}

// A pooled connection shows its certificates to its first transfer only: they are kept with the socket.
static void keep_chain(struct wd_transfer_socket *s, const struct wd_cert_blob *blobs, size_t n) {
  size_t len = 0;
  for (size_t i = 0; i < n; i++) len += blobs[i].len;
  char *all = malloc(len + 1), *at = all;
  if (!all) return;
  for (size_t i = 0; i < n; i++) at = mempcpy(at, blobs[i].data, blobs[i].len);
  *at = '\0';
  free(s->chain);
  s->chain = all;
}

static const char *text_of(struct wd_arena *arena, const char *text) {
  return *text ? wd_arena_strdup(arena, text) : NULL;
}

static void describe_tls(struct wd_transfer_inner *in, struct wd_transfer_try *try, struct wd_transfer_socket *s) {
  struct wd_transfer *t = in->t;
  struct wd_cert_blob blobs[WD_CERT_CHAIN_MAX];
  struct wd_cert_report report;
  if (!t->url.tls) return;
  size_t n = presented(try->easy, blobs, WD_COUNT(blobs));
  if (n && t->reuse && s) keep_chain(s, blobs, n);
  if (n == 0 && t->reused && s && s->chain) {
    blobs[0] = (struct wd_cert_blob){s->chain, strlen(s->chain)};
    n = 1;
  }
  if (n == 0 && in->ready == WD_NONE) return;
  struct wd_tls_facts *facts = wd_tls_facts_new(t->arena);
  if (!facts) return;
  facts->version = text_of(t->arena, in->session.version);
  facts->cipher = text_of(t->arena, in->session.cipher);
  facts->alpn = text_of(t->arena, in->session.alpn);
  facts->bits = in->session.bits;
  if (t->version == WD_HTTP_3 && in->ready != WD_NONE) { // libcurl shows no session; RFC 9001 leaves one version
    facts->version = "TLSv1.3";
    facts->alpn = "h3";
  }
  const char *name = t->tls && t->tls->server_name ? t->tls->server_name : t->url.host;
  if (n && wd_cert_examine(&report, t->arena, blobs, n, in->store, name, wd_clock_wall_us() / 1000000)) {
    wd_tls_facts_set_chain(facts, t->arena, &report);
    in->verdict = report.verify;
    in->verdict_detail = report.detail;
  }
  t->tls_facts = facts;
}

// ---- the whole ----

static const char *protocol_of(CURL *easy) {
  long version = 0;
  curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
  switch (version) {
  case CURL_HTTP_VERSION_1_0: return "http/1.0";
  case CURL_HTTP_VERSION_1_1: return "http/1.1";
  case CURL_HTTP_VERSION_2_0: return "http/2";
  case CURL_HTTP_VERSION_3: return "http/3";
  default: return NULL;
  }
}

static void collect_jar(struct wd_transfer *t, CURL *easy) {
  struct curl_slist *list = NULL;
  size_t n = 0;
  if (!t->cookies || curl_easy_getinfo(easy, CURLINFO_COOKIELIST, &list) != CURLE_OK) return;
  for (struct curl_slist *c = list; c; c = c->next) n++;
  const char **lines = wd_arena_array(t->arena, n + 1, sizeof(*lines));
  n = 0;
  for (struct curl_slist *c = list; c && lines; c = c->next)
    if ((lines[n] = wd_arena_strdup(t->arena, c->data))) n++;
  curl_slist_free_all(list);
  t->jar_after = (struct wd_list){.items = lines, .n = lines ? n : 0, .given = true};
}

static struct wd_transfer_try *furthest(struct wd_transfer_inner *in) {
  return in->winner ? in->winner : in->tried ? in->tries[in->tried - 1] : NULL;
}

void wd_transfer_report(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  struct wd_transfer_try *try = furthest(in);
  t->dns_shared = in->connect.dns_shared || in->look_up.shared;
  if (!try) {
    split(in, NULL);
    return;
  }
  curl_socket_t fd = CURL_SOCKET_BAD;
  t->reused = try->pool && in->ready != WD_NONE;
  struct wd_transfer_socket *s = try->socket;
  // A connection of HTTP/2 may serve several transfers at once, and is then another one's.
  if (!s && curl_easy_getinfo(try->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK) s = wd_transfer_multi_socket(in->multi, fd);
  if (s) {
    wd_transfer_read_tcp(try, s->fd);
    t->peer = s->peer;
  } else if (wd_addr_family(&try->to)) {
    t->peer = try->to;
  }
  split(in, try);
  if (in->first_byte != WD_NONE) {
    long status = 0;
    curl_easy_getinfo(try->easy, CURLINFO_RESPONSE_CODE, &status);
    t->status = status;
    t->protocol = protocol_of(try->easy);
  }
  wd_transfer_answer_finish(in);
  describe_tls(in, try, s);
  collect_jar(t, try->easy);
}
