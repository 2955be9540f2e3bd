// The journey of a packet: rate limit and loss, then routers, the path's MTU, and at last the host.
#include "sim.h"

#include <netinet/tcp.h>
#include <string.h>

enum { FIRST_TTL = 64, SALT_JITTER = 1, SALT_LOSS, SALT_TWICE, SALT_HOLD };

// A packet on its way.
struct journey {
  const struct config *config;
  const struct rule *rule;
  struct host *host;
  struct packet packet;
  struct entry entry;
  int64_t now;
  uint8_t out[PACKET_MAX];
};

static void lost(struct journey *j, const char *fate) {
  j->entry.fate = fate;
  log_unanswered(&j->entry);
}

// The router at a hop; addresses count up from `via`.
static struct in6_addr router_at(const struct rule *r, unsigned hop) {
  struct in6_addr a = r->via;
  put32(a.s6_addr + 12, get32(a.s6_addr + 12) + hop);
  return a;
}

static void complain(struct journey *j, const struct complaint *what, const struct in6_addr *from, unsigned hop, uint32_t extra) {
  const uint8_t *words = j->packet.v6 ? what->v6 : what->v4;
  size_t len =
      build_error(j->out, &j->packet, from, words[0], words[1], extra, (size_t)j->rule->quote, (uint8_t)(FIRST_TTL - (hop - 1)));
  j->entry.from = *from;
  j->entry.fate = what->name;
  answer_later(&j->entry, j->now + j->entry.asked, j->out, len);
}

// The last router says it, or where none is declared the first one's address.
static void router_complains(struct journey *j, const struct complaint *what, unsigned hop, uint32_t extra) {
  struct in6_addr from = router_at(j->rule, hop);
  j->entry.asked = j->rule->delay * (int64_t)hop / j->rule->hops;
  complain(j, what, &from, hop, extra);
}

static uint8_t ttl_here(const struct rule *r) {
  return (uint8_t)(FIRST_TTL - (r->hops - 1));
}

static void answer(struct journey *j, size_t len) {
  bool held = pattern_hits(&j->rule->hold, j->config, j->host, SALT_HOLD);
  j->entry.from = j->packet.to;
  j->entry.fate = held ? "held" : "answered";
  if (held) j->entry.asked += j->rule->hold_by;
  answer_later(&j->entry, j->now + j->entry.asked, j->out, len);
  if (!pattern_hits(&j->rule->twice, j->config, j->host, SALT_TWICE)) return;
  j->entry.fate = "doubled";
  answer_later(&j->entry, j->now + j->entry.asked, j->out, len);
}

static bool open_port(const struct ports *ports, uint16_t port) {
  for (unsigned i = 0; i < ports->count; i++)
    if (ports->list[i] == port) return true;
  return ports->all;
}

static void udp_arrived(struct journey *j) {
  const struct packet *p = &j->packet;
  const uint8_t *data = p->body + 8;
  size_t len = p->body_len - 8;
  uint8_t message[1024];
  bool dns = open_port(&j->rule->dns, j->entry.key.server);
  if (!dns && !open_port(&j->rule->udp, j->entry.key.server)) {
    if (j->rule->quiet)
      lost(j, "ignored");
    else
      complain(j, port_unreachable, &p->to, (unsigned)j->rule->hops, 0);
    return;
  }
  if (dns) {
    len = len < sizeof(message) / 2 ? dns_answer(message, data, len, &j->rule->answer) : 0;
    data = message;
  }
  if (dns && len == 0)
    lost(j, "ignored");
  else
    answer(j, build_datagram(j->out, p, data, len, ttl_here(j->rule)));
}

static void syn_arrived(struct journey *j) {
  const struct packet *p = &j->packet;
  uint32_t seq = get32(p->body + 4);
  if (open_port(&j->rule->tcp, j->entry.key.server)) {
    answer(j, build_segment(j->out, p, TH_SYN | TH_ACK, ~seq, seq + 1, ttl_here(j->rule)));
  } else if (j->rule->quiet) {
    lost(j, "ignored");
  } else {
    j->entry.from = p->to;
    j->entry.fate = "connection_refused";
    size_t len = build_segment(j->out, p, TH_RST | TH_ACK, 0, seq + 1, ttl_here(j->rule));
    answer_later(&j->entry, j->now + j->entry.asked, j->out, len);
  }
}

// No connection is remembered: what a segment says is enough to take its data and to close with it. The log has what comes of it as "segment".
static void segment_arrived(struct journey *j) {
  const struct packet *p = &j->packet;
  size_t header = p->body_len > 13 ? (size_t)(p->body[12] >> 4) * 4 : 0;
  uint8_t flags = p->body_len > 13 ? p->body[13] : TH_RST;
  lost(j, "segment");
  if (header < 20 || header > p->body_len || flags & TH_RST) return;
  uint32_t taken = (uint32_t)(p->body_len - header) + (flags & TH_FIN ? 1 : 0);
  if (taken == 0) return;
  uint8_t say = TH_ACK | (flags & TH_FIN);
  size_t len = build_segment(j->out, p, say, get32(p->body + 8), get32(p->body + 4) + taken, ttl_here(j->rule));
  answer_later(&j->entry, j->now + j->rule->delay, j->out, len);
}

static void host_reached(struct journey *j) {
  switch (j->entry.key.proto) {
  case PROTO_ICMP: answer(j, build_echo(j->out, &j->packet, ttl_here(j->rule))); break;
  case PROTO_UDP:
  case PROTO_DNS: udp_arrived(j); break;
  case PROTO_TCP: syn_arrived(j); break;
  }
}

static void travel(struct journey *j) {
  const struct rule *r = j->rule;
  const struct packet *p = &j->packet;
  unsigned last = r->hops > 1 ? (unsigned)r->hops - 1 : 1;
  j->host->requests++;
  j->entry.asked = r->delay + (int64_t)((double)r->jitter * chance(j->config, j->host, SALT_JITTER));
  if (host_overrun(j->host, j->now))
    lost(j, "limited");
  else if (pattern_hits(&r->loss, j->config, j->host, SALT_LOSS))
    lost(j, "lost");
  else if (p->ttl < r->hops)
    router_complains(j, ttl_exceeded, p->ttl, 0);
  else if (r->mtu && p->dont_fragment && p->len > (size_t)r->mtu)
    router_complains(j, message_too_big, last, (uint32_t)r->mtu);
  else if (r->blackhole && p->dont_fragment && p->len > (size_t)r->blackhole)
    lost(j, "blackholed");
  else if (r->says)
    router_complains(j, r->says, last, 0);
  else
    host_reached(j);
}

void packet_entered(const struct config *c, const uint8_t *bytes, size_t len, int64_t now, int64_t wall) {
  static struct journey j; // its room for the answer is large
  bool whole;
  if (!packet_read(&j.packet, bytes, len) || IN6_IS_ADDR_MULTICAST(&j.packet.to)) return;
  j.entry = (struct entry){.entered = wall};
  j.config = c;
  j.now = now;
  enum role role = packet_key(&j.entry.key, &whole, &j.packet, true);
  j.host = host_at(c, &j.packet.to);
  if (!j.host || (role != ROLE_REQUEST && role != ROLE_SEGMENT)) {
    lost(&j, j.host ? "ignored" : "nobody");
    return;
  }
  j.rule = j.host->rule;
  if (role == ROLE_SEGMENT)
    segment_arrived(&j);
  else
    travel(&j);
}
