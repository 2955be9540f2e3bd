// waddle-sim: a simulated internet on a TUN device. Thousands of hosts answer as a configuration says, and two truths are kept: a log of what was done to
// each packet and when, and a capture on the interface with the kernel's stamps. README.md describes all three formats.
//
// Addresses are of one type: those of IPv4 are mapped into IPv6's (RFC 4291 section 2.5.5.2). Points in time are ns; `now_ns` is monotonic, what is
// written down is CLOCK_REALTIME, as the kernel's stamps are. Nothing checks its input the way a server must: it serves a test.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PACKET_MAX = 65536, ADDRESS_TEXT = INET6_ADDRSTRLEN, KEY_TEXT = 64 };

int64_t now_ns(void);
int64_t wall_ns(void);

// ---- wire.c: what a packet says ----

struct packet {
  const uint8_t *bytes; // from the IP header on; may be cut
  size_t len, declared; // declared: what the header says
  struct in6_addr from, to;
  bool v6, dont_fragment, fragment;
  uint8_t protocol, ttl;
  const uint8_t *body; // behind the IP header
  size_t body_len;
};

// False when it is no IP packet, or cut in its header.
bool packet_read(struct packet *p, const uint8_t *bytes, size_t len);

enum proto { PROTO_ICMP, PROTO_UDP, PROTO_DNS, PROTO_TCP };

// What a request and its answers have in common.
struct key {
  enum proto proto;
  struct in6_addr host;    // the simulated end
  uint16_t client, server; // ports; of ICMP id and sequence
  uint64_t tag;            // the payload's first bytes, the DNS id, or the SYN's sequence number
};

enum role {
  ROLE_NONE,    // none of these
  ROLE_REQUEST, // an echo request, a datagram, a SYN
  ROLE_SEGMENT, // TCP, later than the handshake's first two
  ROLE_ANSWER,  // an echo reply, a datagram, SYN-ACK, RST
  ROLE_ERROR,   // an ICMP error that quotes a request
};

// The role of a packet, and its key. Outgoing packets go to a host, incoming ones come from one or from a router. *whole: the tag is known, which the quote
// of an error may be too short for.
enum role packet_key(struct key *k, bool *whole, const struct packet *p, bool outgoing);

const char *proto_name(enum proto proto);
const char *address_text(char out[ADDRESS_TEXT], const struct in6_addr *a);
bool address_read(struct in6_addr *a, const char *text);
const char *key_text(char out[KEY_TEXT], const struct key *k);
bool is_v4(const struct in6_addr *a);
uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
void put16(uint8_t *p, unsigned value);
void put32(uint8_t *p, uint32_t value);

// ---- build.c: answers; each writes a whole packet (at most PACKET_MAX) at out and returns its length ----

size_t build_echo(uint8_t *out, const struct packet *request, uint8_t ttl);
size_t build_datagram(uint8_t *out, const struct packet *request, const uint8_t *data, size_t len, uint8_t ttl);
size_t build_segment(uint8_t *out, const struct packet *request, uint8_t flags, uint32_t seq, uint32_t ack, uint8_t ttl);
// An ICMP error about the request, quoting its IP header and `quote` bytes behind it.
size_t build_error(uint8_t *out, const struct packet *request, const struct in6_addr *from, uint8_t type, uint8_t code,
                   uint32_t extra, size_t quote, uint8_t ttl);
// The answer's payload to a DNS query: `address` for A or AAAA by its family, nothing for other types. 0 when it is no query.
size_t dns_answer(uint8_t *out, const uint8_t *query, size_t len, const struct in6_addr *address);

// ---- config.c: the hosts as they were declared ----

// Which requests of a host something happens to.
struct pattern {
  enum { PATTERN_NEVER, PATTERN_BITS, PATTERN_EVERY, PATTERN_CHANCE } kind;
  char bits[65];
  unsigned every;
  double chance;
};

struct ports {
  bool all;
  unsigned count;
  uint16_t list[8];
};

// What routers say of a packet to the host, in place of an answer.
struct complaint {
  const char *name; // as in the log
  uint8_t v4[2], v6[2];
};

struct rule {
  struct in6_addr net;
  int bits;
  int64_t delay, jitter, hold_by;
  struct pattern loss, twice, hold;
  double rate, burst; // requests a second, at once; rate 0: no limit
  int64_t hops;       // at which the host is; routers stand at those before
  struct in6_addr via;
  int64_t mtu, blackhole, quote; // bytes; 0: none; quote: behind the IP header, 0: as much as a router may
  const struct complaint *says;
  struct ports udp, dns, tcp;
  bool quiet; // closed ports say nothing
  struct in6_addr answer;
};

struct config {
  char device[16];
  int64_t mtu; // of the device
  uint64_t seed;
  unsigned own_count, rule_count;
  struct own {
    struct in6_addr address;
    int bits;
  } own[8];
  struct rule *rules;
};

extern const struct complaint complaints[]; // ends with name NULL
extern const struct complaint *const port_unreachable, *const ttl_exceeded, *const message_too_big;

// Reads the file, or ends the program with FILE:LINE and what is wrong.
void config_read(struct config *c, const char *path);
const struct rule *rule_for(const struct config *c, const struct in6_addr *address); // longest prefix; NULL: nobody is there

// ---- hosts.c: what a host remembers ----

struct host {
  struct in6_addr address;
  const struct rule *rule;
  uint64_t requests; // so far
  double tokens;
  int64_t refilled;
  struct host *next;
};

struct host *host_at(const struct config *c, const struct in6_addr *address); // NULL: nobody is there
bool host_overrun(struct host *h, int64_t now);                               // takes a token; true when there was none
bool pattern_hits(const struct pattern *p, const struct config *c, const struct host *h, unsigned salt);
double chance(const struct config *c, const struct host *h, unsigned salt); // in [0, 1), of the host's present request

// ---- world.c: what becomes of a packet ----

void packet_entered(const struct config *c, const uint8_t *bytes, size_t len, int64_t now, int64_t wall);

// ---- queue.c: answers that are on their way, and the log ----

// A line of the log: a packet that entered, and the answer that left, if one did.
struct entry {
  struct key key;
  struct in6_addr from; // who answered
  int64_t entered;      // wall clock
  int64_t asked;        // delay
  const char *fate;     // static text
};

void log_open(const char *path); // "-": none
void log_unanswered(const struct entry *e);
void answer_later(const struct entry *e, int64_t due, const uint8_t *bytes, size_t len);
int64_t answers_wait(int64_t now); // ns until the next is due; 0 when one is, -1 when there is none
void answers_send(int tun, int64_t now);
void log_close(void); // what is still on its way is logged as never having left

// ---- tun.c ----

// Opens and configures the device and sets its name; its descriptor, or -1 with a reason on stderr.
int tun_open(struct config *c);

// ---- capture.c, pairs.c: what the wire saw ----

void capture_start(const char *device, const char *path);
void capture_stop(void); // reads what is left, writes the file

void pairs_add(const uint8_t *bytes, size_t len, bool outgoing, int64_t wall);
void pairs_write(FILE *out);
