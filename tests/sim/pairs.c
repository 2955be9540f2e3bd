// Requests and their answers as the wire saw them, found by their keys. An answer belongs to the latest request that has its key and came before it.
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 17, KEPT = 4 };

// The moments of packets with one key; what is more than KEPT is only counted.
struct moments {
  unsigned count;
  int64_t wall[KEPT];
};

struct exchange {
  struct key key;
  struct moments asked, answered;
  const char *kind; // of the first answer
  int chain;        // index + 1
};

static struct exchange *exchanges;
static int count, room;
static int buckets[BUCKETS];

// Of what an error's quote always holds.
static int *bucket(const struct key *k) {
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof(k->host); i += 4) hash = (hash ^ get32(k->host.s6_addr + i)) * 0x9e3779b97f4a7c15u;
  hash = (hash ^ (uint64_t)k->client << 16 ^ k->server) * 0x9e3779b97f4a7c15u;
  return &buckets[hash >> 47];
}

static bool same(const struct key *a, const struct key *b, bool whole) {
  return a->proto == b->proto && a->client == b->client && a->server == b->server && (!whole || a->tag == b->tag) &&
      memcmp(&a->host, &b->host, sizeof(a->host)) == 0;
}

// The latest exchange with this key; where the tag is not known the first that nothing answered.
static struct exchange *find(const struct key *k, bool whole) {
  struct exchange *found = NULL;
  for (int i = *bucket(k); i; i = exchanges[i - 1].chain) {
    struct exchange *e = &exchanges[i - 1];
    if (!same(&e->key, k, whole)) continue;
    if (whole) return e;
    if (e->answered.count == 0) found = e;
  }
  return found;
}

static void note(struct moments *m, int64_t wall) {
  if (m->count < KEPT) m->wall[m->count] = wall;
  m->count++;
}

static struct exchange *begin(const struct key *k) {
  if (count == room) {
    room = room ? room * 2 : 4096;
    exchanges = realloc(exchanges, (size_t)room * sizeof(*exchanges));
    if (!exchanges) abort();
  }
  int *at = bucket(k);
  struct exchange *e = &exchanges[count++];
  *e = (struct exchange){.key = *k, .kind = "-", .chain = *at};
  *at = count;
  return e;
}

void pairs_add(const uint8_t *bytes, size_t len, bool outgoing, int64_t wall) {
  struct packet p;
  struct key k;
  bool whole;
  if (!packet_read(&p, bytes, len)) return;
  enum role role = packet_key(&k, &whole, &p, outgoing);
  if (role == ROLE_NONE || role == ROLE_SEGMENT || (role == ROLE_REQUEST) != outgoing) return;
  struct exchange *e = find(&k, whole);
  if (outgoing) {
    // Only a SYN is sent again under its own key.
    if (!e || k.proto != PROTO_TCP) e = begin(&k);
    note(&e->asked, wall);
  } else if (e) {
    if (e->answered.count == 0) e->kind = role == ROLE_ERROR ? "error" : "reply";
    note(&e->answered, wall);
  }
}

static void write_moments(FILE *out, const struct moments *m) {
  for (unsigned i = 0; i < m->count && i < KEPT; i++) fprintf(out, "%s%lld", i ? "," : "", (long long)m->wall[i]);
  if (m->count == 0) fputc('-', out);
}

void pairs_write(FILE *out) {
  char host[ADDRESS_TEXT], key[KEY_TEXT];
  for (int i = 0; i < count; i++) {
    const struct exchange *e = &exchanges[i];
    fprintf(out, "%s\t%s\t%s\t%s\t%u\t", proto_name(e->key.proto), address_text(host, &e->key.host), key_text(key, &e->key),
            e->kind, e->answered.count);
    write_moments(out, &e->asked);
    fputc('\t', out);
    write_moments(out, &e->answered);
    fputc('\n', out);
  }
  free(exchanges);
}
