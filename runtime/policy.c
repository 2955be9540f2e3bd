// See policy.h.
#include "runtime/policy.h"

#include <stdio.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/text.h"

// A network, as the 16 bytes of its IPv6 form: IPv4 ones are within ::ffff:0:0/96.
struct network {
  uint8_t bytes[16];
  unsigned prefix; // bits
};

struct rule {
  struct network network;
  uint16_t first, last; // ports
  bool any_port;        // and what has none, as ICMP
};

// What a credit of so much a second has left; below 0 it is owed.
struct bucket {
  double rate, left, most; // rate 0: no limit
  wd_ns at;                // when `left` was right
};

#define V4(a, b, c, d) {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}

// Link-local addresses (RFC 3927, RFC 4291), which lead to metadata services in most clouds, and the addresses that some have elsewhere:
// Amazon's over IPv6, Alibaba's, Azure's and Oracle's.
static const struct network guarded[] = {
  {V4(169, 254, 0, 0), 112},
  {{0xfe, 0x80}, 10},
  {{0xfd, 0x00, 0x0e, 0xc2}, 48},
  {V4(100, 100, 100, 200), 128},
  {V4(168, 63, 129, 16), 128},
  {V4(192, 0, 0, 192), 128},
};

static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b}; // RFC 6052

enum { IN_BURSTS = 20 }; // what a twentieth of a second allows may leave at once

static struct {
  bool begun, may_listen;
  struct rule rules[WD_POLICY_RULES];
  size_t count;
  struct bucket packets, bytes;
  unsigned paid; // packets that were paid for, and have not left
} policy;

static void set_v4(uint8_t out[static 16], const void *v4) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  memcpy(out, mapped, sizeof(mapped));
  memcpy(out + sizeof(mapped), v4, 4);
}

static bool bytes_of(const struct wd_addr *addr, uint8_t out[static 16]) {
  struct wd_addr at = *addr;
  wd_addr_specify(&at);
  switch (wd_addr_family(&at)) {
  case AF_INET: set_v4(out, &at.v4.sin_addr); return true;
  case AF_INET6:
    memcpy(out, &at.v6.sin6_addr, 16);
    if (memcmp(out, nat64, sizeof(nat64)) == 0) set_v4(out, (const uint8_t *)&at.v6.sin6_addr + 12);
    return true;
  default: return false;
  }
}

static bool contains(const struct network *n, const uint8_t bytes[static 16]) {
  unsigned whole = n->prefix / 8, rest = n->prefix % 8;
  if (memcmp(n->bytes, bytes, whole) != 0) return false;
  return rest == 0 || ((n->bytes[whole] ^ bytes[whole]) & (0xff << (8 - rest) & 0xff)) == 0;
}

static const struct network *guard_of(const uint8_t bytes[static 16]) {
  for (size_t i = 0; i < WD_COUNT(guarded); i++)
    if (contains(&guarded[i], bytes)) return &guarded[i];
  return NULL;
}

// ---- the rules ----

// Reads a number up to `most` that fills the text up to `end`; -1 for all else.
static long number(const char *text, const char *end, long most) {
  long value = 0;
  if (text == end) return -1;
  for (; text < end; text++) {
    if (*text < '0' || *text > '9') return -1;
    value = value * 10 + (*text - '0');
    if (value > most) return -1;
  }
  return value;
}

// ":443" or ":8000-8099", from the colon on.
static bool read_ports(struct rule *r, const char *text) {
  const char *end = text + strlen(text), *dash = strchr(text, '-');
  long first = number(text + 1, dash ? dash : end, 65535), last = dash ? number(dash + 1, end, 65535) : first;
  if (first < 1 || last < first) return false;
  r->first = (uint16_t)first;
  r->last = (uint16_t)last;
  r->any_port = false;
  return true;
}

static bool read_network(struct network *n, const char *text) {
  struct wd_addr addr;
  char host[WD_ADDR_TEXT];
  size_t len = strcspn(text, "/");
  if (len >= sizeof(host)) return false;
  memcpy(host, text, len);
  host[len] = '\0';
  if (strchr(host, '%') || !wd_addr_parse(&addr, host, 0)) return false;
  bool v4 = wd_addr_family(&addr) == AF_INET;
  long most = v4 ? 32 : 128, prefix = text[len] ? number(text + len + 1, text + strlen(text), most) : most;
  if (prefix < 0) return false;
  n->prefix = (unsigned)(v4 ? prefix + 96 : prefix);
  if (v4)
    set_v4(n->bytes, &addr.v4.sin_addr);
  else
    memcpy(n->bytes, &addr.v6.sin6_addr, 16);
  return true;
}

// Splits "NETWORK[:PORTS]" in place; false where brackets are not closed, or something else follows them.
static bool split(char *text, char **network, char **ports) {
  char *close = strchr(text, ']');
  *network = text;
  *ports = NULL;
  if (text[0] == '[') {
    if (!close || (close[1] != '\0' && close[1] != ':')) return false;
    *network = text + 1;
    if (close[1]) *ports = close + 1;
    *close = '\0';
    return true;
  }
  char *colon = strchr(text, ':');
  if (!colon || strchr(colon + 1, ':')) return true; // none, or an IPv6 address
  *ports = colon;
  return true;
}

bool wd_policy_allow(const char *text, char *error, size_t error_size) {
  struct rule r = {.any_port = true};
  char copy[2 * WD_ADDR_TEXT], *network, *ports, digits[WD_ADDR_TEXT];
  if (policy.begun || policy.count == WD_POLICY_RULES) {
    snprintf(error, error_size, policy.begun ? "the policy has begun" : "more than %d networks", WD_POLICY_RULES);
    return false;
  }
  bool fits = strlen(text) < sizeof(copy);
  snprintf(copy, sizeof(copy), "%s", text);
  bool ok = fits && split(copy, &network, &ports);
  if (ok && ports) {
    snprintf(digits, sizeof(digits), "%s", ports);
    *ports = '\0';
    ok = read_ports(&r, digits);
  }
  if (!ok || !read_network(&r.network, network)) {
    wd_text_escape(copy, sizeof(copy), text, strlen(text));
    snprintf(error, error_size, "expected a network such as 192.0.2.0/24, 192.0.2.1:443, 192.0.2.0/24:8000-8099 or [2001:db8::/32]:443, got '%s'", copy);
    return false;
  }
  policy.rules[policy.count++] = r;
  return true;
}

static struct bucket bucket_of(double rate) {
  double most = rate / IN_BURSTS;
  return (struct bucket){.rate = rate, .most = most < 1 ? 1 : most, .left = most < 1 ? 1 : most, .at = wd_clock_real()};
}

bool wd_policy_begin(double packets, double bytes, bool may_listen) {
  if (policy.begun) return false;
  policy.packets = bucket_of(packets);
  policy.bytes = bucket_of(bytes);
  policy.may_listen = may_listen;
  policy.begun = true;
  return true;
}

static bool rule_allows(const struct rule *r, const uint8_t bytes[static 16], uint16_t port, const struct network *guard) {
  if (guard && (r->network.prefix < guard->prefix || !contains(guard, r->network.bytes))) return false;
  return contains(&r->network, bytes) && (r->any_port || (port >= r->first && port <= r->last));
}

bool wd_policy_allows(const struct wd_addr *to) {
  uint8_t bytes[16];
  if (!policy.begun) return true;
  if (!bytes_of(to, bytes)) return false;
  const struct network *guard = guard_of(bytes);
  for (size_t i = 0; i < policy.count; i++)
    if (rule_allows(&policy.rules[i], bytes, wd_addr_port(to), guard)) return true;
  return policy.count == 0 && !guard;
}

bool wd_policy_may_listen(void) {
  return !policy.begun || policy.may_listen;
}

bool wd_policy_may_dial_unix(void) {
  return !policy.begun;
}

int wd_policy_connect(int fd, const struct sockaddr *to, socklen_t len) {
  struct wd_addr addr;
  if (policy.begun && (!wd_addr_from_sockaddr(&addr, to, len) || !wd_policy_allows(&addr))) {
    errno = WD_POLICY_DENIED;
    return -1;
  }
  wd_policy_charge(1, 0);
  return connect(fd, to, len);
}

// ---- how much ----

static void refill(struct bucket *b, wd_ns now) {
  b->left += (double)(now - b->at) / 1e9 * b->rate;
  if (b->left > b->most) b->left = b->most;
  b->at = now;
}

static wd_ns wait_of(struct bucket *b, double need, wd_ns now) {
  if (b->rate <= 0) return 0;
  refill(b, now);
  return b->left >= need ? 0 : (wd_ns)((need - b->left) / b->rate * 1e9) + 1;
}

void wd_policy_charge(unsigned packets, size_t bytes) {
  if (!policy.begun) return;
  unsigned paid = packets < policy.paid ? packets : policy.paid;
  policy.paid -= paid;
  policy.packets.left -= packets - paid;
  policy.bytes.left -= (double)bytes;
}

wd_ns wd_policy_admit(void) {
  if (!policy.begun) return 0;
  wd_ns now = wd_clock_real(), packets = wait_of(&policy.packets, 1, now), bytes = wait_of(&policy.bytes, 0, now);
  policy.packets.left -= 1;
  return packets > bytes ? packets : bytes;
}

void wd_policy_admitted(void) {
  if (policy.begun) policy.paid++;
}

wd_ns wd_policy_wait(void) {
  if (!policy.begun) return 0;
  wd_ns now = wd_clock_real(), packets = policy.paid > 0 ? 0 : wait_of(&policy.packets, 1, now), bytes = wait_of(&policy.bytes, 0, now);
  return packets > bytes ? packets : bytes;
}

wd_ns wd_policy_wait_bytes(void) {
  return policy.begun ? wait_of(&policy.bytes, 0, wd_clock_real()) : 0;
}

unsigned wd_policy_room(unsigned packets) {
  if (!policy.begun || packets == 0) return packets;
  if (wd_policy_wait() > 0) return 0;
  double most = policy.packets.left > 0 ? policy.paid + policy.packets.left : policy.paid;
  return policy.packets.rate <= 0 || most >= packets ? packets : (unsigned)most;
}

double wd_policy_packets(void) {
  return policy.packets.rate;
}

double wd_policy_bytes(void) {
  return policy.bytes.rate;
}

void wd_policy_pace(int fd) {
  if (policy.bytes.rate <= 0) return;
  unsigned rate = policy.bytes.rate < 1e9 ? (unsigned)policy.bytes.rate + 1 : 1000000000u;
  setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
}
