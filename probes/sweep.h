// A sweep: one packet or a few to each of many addresses, over one socket a family. What is kept of a packet is a slot of a few
// bytes; replies carry the slot's number, so that nothing is searched.
// Must hold: nothing is allocated per packet; a reply counts for a slot only with that slot's tag and from its address; what the kernel holds
// is read before anything is given up; sending never outruns the rate, also not after a stall of ours.
//
// Every packet of a sweep has the same timeout, so deadlines fall due in the order of sending: only the first is on the loop's heap.
#pragma once

#include "probes/packet_socket.h"

enum wd_sweep_state {
  WD_SWEEP_IDLE, // not sent
  WD_SWEEP_WAIT, // sent; `at` is when
  WD_SWEEP_OK,   // answered in time; `at` is the round trip
  WD_SWEEP_LOST, // not answered in time; `at` is when it was sent
  WD_SWEEP_LATE, // answered after its timeout; `at` is the round trip
  WD_SWEEP_ERROR // `at` is the enum wd_err
};

enum wd_sweep_stamps { WD_SWEEP_LEAN, WD_SWEEP_EXACT };

enum {
  WD_SWEEP_SLOTS = 1 << 24,
  WD_SWEEP_LEAN_EVERY = 8, // packets a stamp in the lean grade
};

struct wd_sweep;

// What a protocol brings; pure but for the socket's ident and family.
struct wd_sweep_class {
  enum wd_packet_kind kinds[2]; // to be tried in this order
  // Writes a packet of `size` payload bytes that carries slot and tag; its length, 0 when it does not fit.
  size_t (*build)(const struct wd_packet_socket *s, uint32_t slot, uint32_t tag, size_t size, uint8_t *out, size_t cap);
  // Reads slot and tag out of a reply; false when it is none to a packet of `size` payload bytes.
  bool (*parse)(const struct wd_packet_socket *s, const struct wd_packet_reply *reply, size_t size, uint32_t *slot, uint32_t *tag);
  // What an error's quote tells: 2 slot and tag, 1 the slot's low 16 bits alone, 0 nothing, -1 it is not ours.
  int (*parse_quote)(const struct wd_packet_socket *s, const struct wd_packet_error *error, uint32_t *slot, uint32_t *tag);
};

struct wd_sweep_opts {
  double rate; // packets a second; NaN = no limit
  unsigned count, retries;
  wd_ns interval, timeout, linger; // linger 0 = no longer than the timeout
  size_t size;
  int ttl, tos; // -1 = the system's
  enum wd_sweep_stamps stamps;
  const char *source;
};

struct wd_sweep_target {
  struct wd_addr to; // may be no address: then it is off
  uint8_t err;       // enum wd_err: the last failure that was told of it
  bool off;          // never sent to; err says why
};

struct wd_sweep {
  struct wd_loop *loop;
  struct wd_arena *arena;
  const struct wd_sweep_class *cls;
  struct wd_sweep_opts opts;
  void (*done)(struct wd_sweep *s); // called once, not from within wd_sweep_start; then the sockets are closed
  struct wd_sweep_target *targets;
  uint32_t n, probes, slots; // probes = n * count, slots = probes * (retries + 1)
  // one entry a slot
  int64_t *at;
  uint32_t *window; // how far off the time of sending may be; the highest bit: by our own clock
  wd_ns *hardware;  // the time of sending on the network card's clock; NULL where no card has told one
  uint8_t *state;
  uint32_t *order;                     // slots in the order of sending
  uint32_t sent, expired, lingered;    // in `order`: how many were sent, judged by the timeout, by the linger
  uint32_t placed;                     // in `order`: the last packet whose stamp others are placed by
  wd_ns placed_at;                     // that stamp; 0 = there is none yet
  uint32_t next;                       // the next probe that was never sent
  uint32_t rounds;                     // of them that have begun
  uint32_t *again, again_at, again_n;  // slots to be sent again, in order
  uint32_t waiting;
  // the batch that was pulled
  struct wd_sweep_pulled {
    uint32_t slot, next, again_at;
  } batch[WD_PACKET_BATCH];
  uint32_t allowed; // packets that may be pulled
  uint32_t *by_address; // for errors that quote nothing; made when one comes
  // pace
  struct wd_timer tick;
  wd_ns paced_from, round_due;
  wd_ns ahead;       // what has to be added to the loop's clock to have that of stamps
  wd_ns stuck_since; // when packets began to find no room; 0 = they find some
  uint64_t paced; // packets since then
  bool ticking;   // what comes is read at ticks, not when it comes
  bool full;      // a socket takes no more at present
  // answers
  struct wd_packet_socket sockets[2];
  int64_t received, late, duplicates, foreign, overflowed;
  wd_ns uncertainty;
  const char *clock; // whose readings the round trips are made of: the least precise of all
  bool ended;
  uint64_t secret;
  char detail[200]; // of sockets that could not be opened
  const char *why;  // the last error in words; static
};

struct wd_arena;

// Takes memory from the arena for `n` targets, which must live until stopped; false when it is out.
bool wd_sweep_init(struct wd_sweep *s, struct wd_loop *loop, struct wd_arena *arena);

// Opens the sockets and begins. WD_OK, or an error with its reason in s->detail where none could be opened.
enum wd_err wd_sweep_start(struct wd_sweep *s);

// Lets go of sockets and timer. No harm before the start and twice.
void wd_sweep_stop(struct wd_sweep *s);
