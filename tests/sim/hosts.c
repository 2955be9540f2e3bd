// The hosts that were spoken to, each with its count of requests. What happens to a request hangs on the host, that count and the seed alone, so a
// run can be repeated.
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 65536 };

static uint64_t mixed(uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static uint64_t hashed(const struct in6_addr *a) {
  uint64_t halves[2];
  memcpy(halves, a, sizeof(halves));
  return mixed(halves[0] ^ mixed(halves[1]));
}

struct host *host_at(const struct config *c, const struct in6_addr *address) {
  static struct host *buckets[BUCKETS];
  struct host **at = &buckets[hashed(address) % BUCKETS];
  for (; *at; at = &(*at)->next)
    if (memcmp(&(*at)->address, address, sizeof(*address)) == 0) return *at;
  const struct rule *rule = rule_for(c, address);
  if (!rule) return NULL;
  *at = calloc(1, sizeof(**at));
  if (!*at) abort();
  **at = (struct host){.address = *address, .rule = rule, .tokens = rule->burst};
  return *at;
}

bool host_overrun(struct host *h, int64_t now) {
  const struct rule *r = h->rule;
  if (r->rate <= 0) return false;
  if (h->refilled) h->tokens += (double)(now - h->refilled) / 1e9 * r->rate;
  if (h->tokens > r->burst) h->tokens = r->burst;
  h->refilled = now;
  if (h->tokens < 1) return true;
  h->tokens--;
  return false;
}

double chance(const struct config *c, const struct host *h, unsigned salt) {
  uint64_t random = mixed(c->seed ^ mixed(hashed(&h->address) ^ mixed(h->requests * 16 + salt)));
  return (double)(random >> 11) / 9007199254740992.0; // 2^53
}

bool pattern_hits(const struct pattern *p, const struct config *c, const struct host *h, unsigned salt) {
  uint64_t nth = h->requests - 1; // of the present one, from 0
  switch (p->kind) {
  case PATTERN_BITS: return p->bits[nth % strlen(p->bits)] == '1';
  case PATTERN_EVERY: return nth % p->every == p->every - 1;
  case PATTERN_CHANCE: return chance(c, h, salt) < p->chance;
  default: return false;
  }
}
