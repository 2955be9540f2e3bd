// A datagram socket that measures: ping, raw ICMP or UDP, never connected. Packets queued in one pass leave together (sendmmsg), what
// came is read together (recvmmsg); the kernel's timestamps and ICMP errors come by the error queue.
// Must hold: nothing is allocated per packet; a callback may close the socket it was called for; an error that is pending on the
// socket is never taken for the error of the packet that happened to be sent next.
#pragma once

#include "runtime/addr.h"
#include "runtime/watch.h"

enum wd_packet_kind { WD_PACKET_PING, WD_PACKET_RAW, WD_PACKET_UDP };

// Where a packet is in its life. The socket moves it from QUEUED to SENT; all else is its owner's doing.
enum wd_packet_state {
  WD_PACKET_IDLE,
  WD_PACKET_QUEUED,
  WD_PACKET_SENT,
  WD_PACKET_OK,
  WD_PACKET_LOST,
  WD_PACKET_LATE,
  WD_PACKET_ERROR,
};

struct wd_packet_socket;
struct wd_train;

// What all packets of a probe have in common.
struct wd_packet_flow {
  struct wd_addr to;
  int ttl, tos; // -1 = the system's default
  size_t size;  // payload bytes
};

// One packet of a probe; lives in its train. All points in time are on CLOCK_MONOTONIC, whatever the loop's clock is.
struct wd_packet {
  struct wd_train *train;
  const struct wd_packet_flow *flow;
  struct wd_packet_socket *socket; // where it is queued or was sent; NULL before
  struct wd_packet *prev, *next;   // in the socket's queue
  struct wd_packet *chain;         // in its protocol's index, if it has one
  struct wd_timer deadline;
  uint64_t nonce;
  uint32_t seq;      // on the wire
  uint32_t stamp_id; // by which the kernel names it when it reports the moment of sending
  wd_ns sent;
  wd_ns window; // how far off `sent` may be; 0 = the kernel's own stamp
  wd_ns rtt;
  struct wd_addr from; // who answered, or reported the error
  int16_t ttl;         // of the answer; -1 = not known
  uint8_t state;       // enum wd_packet_state
  uint8_t err;         // enum wd_err
  bool user_clock;     // at least one end of rtt is a reading of ours
  uint32_t mtu;        // with WD_E_MESSAGE_TOO_BIG; 0 = not told
  const char *why;     // the error in words; static
};

// A datagram that came. `bytes` are valid during the call.
struct wd_packet_reply {
  const uint8_t *bytes;
  size_t len;
  struct wd_addr from;
  int ttl; // -1 = not told
  wd_ns at;
  bool kernel; // whose clock reading `at` is
};

// An ICMP error, from the error queue.
struct wd_packet_error {
  const uint8_t *quote; // what the error quotes of our packet, from the ICMP header, or from behind the UDP header; may be cut
  size_t len;
  struct wd_addr to;   // where our packet went
  struct wd_addr from; // who says so; may be no address
  uint8_t type, code;
  uint32_t mtu;
};

// What a protocol brings. Called on the loop, outside of wd_packet_send.
struct wd_packet_proto {
  // Writes the packet into `out`; its length, 0 when it does not fit into `cap`.
  size_t (*build)(const struct wd_packet *p, uint8_t *out, size_t cap);
  void (*sent)(struct wd_packet *p);
  void (*unsent)(struct wd_packet *p, int err, uint32_t mtu); // the kernel refused it
  void (*reply)(struct wd_packet_socket *s, const struct wd_packet_reply *reply);
  void (*error)(struct wd_packet_socket *s, const struct wd_packet_error *error);
};

struct wd_packet_socket {
  struct wd_watch watch;
  const struct wd_packet_proto *proto;
  void *owner;
  enum wd_packet_kind kind;
  int family;
  uint16_t ident;                 // ICMP: the id of every echo of this socket
  struct wd_packet *first, *last; // queue
  struct wd_timer flush;
  uint32_t stamps;    // sent so far with a request for a stamp, as the kernel counts
  uint32_t local_mtu; // what the kernel said with its last EMSGSIZE
};

struct wd_packet_socket_opts {
  enum wd_packet_kind kind;
  int family;
  const char *source; // NULL = any
  bool dont_fragment;
  int receive_bytes; // room asked for
};

// Opens, binds and watches. WD_OK, or an error with its reason in `detail`: WD_E_PERMISSION where the system does not let us have
// such a socket, WD_E_LOCAL for the rest. `s` must stay in place until wd_packet_socket_close.
enum wd_err wd_packet_socket_open(struct wd_packet_socket *s, struct wd_loop *loop, const struct wd_packet_proto *proto,
                                  const struct wd_packet_socket_opts *opts, char *detail, size_t detail_size);

// Closes at once; packets that are queued or were sent must be let go by wd_packet_forget. No harm when it is not open.
void wd_packet_socket_close(struct wd_packet_socket *s);

static inline bool wd_packet_socket_is_open(const struct wd_packet_socket *s) {
  return wd_watch_active(&s->watch);
}

// Queues the packet; it leaves with all others of this pass.
void wd_packet_send(struct wd_packet_socket *s, struct wd_packet *p);

// Takes the packet out of whatever the socket knows it by. No harm when it is in nothing.
void wd_packet_forget(struct wd_packet *p);

// 64 random bits (getrandom(2), read ahead).
uint64_t wd_packet_random(void);

// ---- between packet_socket.c and packet_receive.c ----

// Reads what is there, errors and stamps first, so that a reply finds its packet's final time of sending.
void wd_packet_receive(struct wd_packet_socket *s, uint32_t events);

// Reads the error queue until it is empty or the socket was closed; true when something was in it.
bool wd_packet_drain_errors(struct wd_packet_socket *s);

// The packet that the kernel means by this stamp id, NULL when it is gone.
struct wd_packet *wd_packet_stamped(struct wd_packet_socket *s, uint32_t id);
