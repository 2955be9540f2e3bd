// Packets that wait for their turn on a packet socket, and that are known by name until their moment of sending was told. For probes
// that send a few packets each; who sends thousands of one kind has a queue of its own (sweep.h).
// Must hold: a packet is in one queue at most; what was forgotten is told nothing any more.
#pragma once

#include "probes/packet_clock.h"

// Where a packet is in its life. The queue moves it from QUEUED to SENT; all else is its owner's doing.
enum wd_packet_state {
  WD_PACKET_IDLE,
  WD_PACKET_QUEUED,
  WD_PACKET_SENT,
  WD_PACKET_OK,
  WD_PACKET_LOST,
  WD_PACKET_LATE,
  WD_PACKET_ERROR,
};

struct wd_packet_queue;

// What all packets of a probe have in common.
struct wd_packet_flow {
  struct wd_addr to;
  int ttl, tos; // -1 = the system's default
  size_t size;  // payload bytes
};

// One packet; lives in its owner. All points in time are on CLOCK_MONOTONIC, whatever the loop's clock is.
struct wd_packet {
  const struct wd_packet_flow *flow;
  struct wd_packet_queue *queue;   // where it is queued or was sent; NULL before
  struct wd_packet *prev, *next;   // in the queue
  struct wd_packet *chain;         // in its protocol's index, if it has one
  struct wd_timer deadline;
  uint64_t nonce;
  uint32_t seq;  // on the wire
  uint32_t name; // by which the socket knows it
  wd_ns sent;
  wd_ns window;   // how far off `sent` may be; 0 = the kernel's own stamp
  wd_ns hardware; // the moment of sending on the network card's clock; WD_NONE where it has none
  wd_ns rtt;
  wd_ns loop_lag; // worst delay of our loop from sending it until its fate was known
  struct wd_addr from; // who answered, or reported the error
  int16_t ttl;         // of the answer; -1 = not known
  uint8_t state;       // enum wd_packet_state
  uint8_t err;         // enum wd_err
  uint32_t mtu;        // with WD_E_MESSAGE_TOO_BIG; 0 = not told
  const char *why;     // the error in words; static
};

// What a protocol brings. Called on the loop; may close the queue.
struct wd_packet_class {
  // Writes the packet into `out`; its length, 0 when it does not fit into `cap`.
  size_t (*build)(const struct wd_packet *p, uint8_t *out, size_t cap);
  void (*sent)(struct wd_packet *p);                          // may be NULL
  void (*unsent)(struct wd_packet *p, int err, uint32_t mtu); // the kernel refused it; it is in no queue any more
  void (*reply)(struct wd_packet_queue *q, const struct wd_packet_reply *reply);
  void (*error)(struct wd_packet_queue *q, const struct wd_packet_error *error);
};

struct wd_packet_queue {
  struct wd_packet_socket socket;
  const struct wd_packet_class *cls;
  struct wd_packet *first, *last, *pulled; // pulled: the last one asked for
};

// As wd_packet_socket_open.
enum wd_err wd_packet_queue_open(struct wd_packet_queue *q, struct wd_loop *loop, const struct wd_packet_class *cls,
                                 const struct wd_packet_socket_opts *opts, char *detail, size_t detail_size);

// Closes at once; its packets must be let go by wd_packet_forget. No harm when it is not open.
void wd_packet_queue_close(struct wd_packet_queue *q);

static inline bool wd_packet_queue_is_open(const struct wd_packet_queue *q) {
  return wd_packet_socket_is_open(&q->socket);
}

// Queues the packet; it leaves with all others of this pass.
void wd_packet_send(struct wd_packet_queue *q, struct wd_packet *p);

// Takes the packet out of whatever the queue knows it by. No harm when it is in nothing.
void wd_packet_forget(struct wd_packet *p);

// Whether the packet's reply may be among the datagrams that its socket had no room for; to be asked before it is given up.
bool wd_packet_may_be_dropped(const struct wd_packet *p);

// Whether it may still wait in a queue of the device; to be asked after the question above.
bool wd_packet_may_not_have_left(const struct wd_packet *p);

// The round trip of a reply to a packet; `read_late` as in wd_packet_clock_trip.
struct wd_packet_trip wd_packet_trip(const struct wd_packet *p, const struct wd_packet_reply *reply, wd_ns read_late);
