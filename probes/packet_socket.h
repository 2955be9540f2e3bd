// A datagram socket that measures: ping, raw ICMP or UDP, never connected. It asks its owner for packets and sends them together
// (sendmmsg), reads what came together (recvmmsg), and hands out the kernel's timestamps and ICMP errors from the error queue.
// Must hold: nothing is allocated per packet; a callback may close the socket it was called for; an error that is pending on the
// socket is never taken for the error of the packet that happened to be sent next; however much is sent at once, replies are read before
// they can have filled the receive buffer.
#pragma once

#include <time.h>

#include "runtime/addr.h"
#include "runtime/watch.h"

enum wd_packet_kind { WD_PACKET_PING, WD_PACKET_RAW, WD_PACKET_UDP };

struct wd_packet_socket;

enum { WD_PACKET_BATCH = 64 }; // packets that are pulled before the first of them leaves

// One packet to be sent. What is not set is the system's default.
struct wd_packet_message {
  const struct wd_addr *to;
  size_t len;     // bytes written at the place given
  int ttl, tos;   // -1 = default
  bool stamp;     // ask for the moment of sending; of the last one of a batch that is asked in any case
  uint32_t id;    // by which that is told
};

// A datagram that came. `bytes` are valid during the call. All points in time are on CLOCK_MONOTONIC, whatever the loop's clock is.
struct wd_packet_reply {
  const uint8_t *bytes;
  size_t len;
  struct wd_addr from;
  int ttl; // -1 = not told
  wd_ns at;
  bool kernel;    // whose clock reading `at` is
  wd_ns hardware; // the network card's own clock; WD_NONE where it has none
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

// The moment of sending as the kernel tells it: one of the two is set, a card that stamps is told of in a call of its own.
struct wd_packet_stamp {
  uint32_t id;
  wd_ns at;       // WD_NONE, or the kernel's clock
  wd_ns hardware; // WD_NONE, or the card's clock: to be compared with nothing but a reply's `hardware`
};

// What an owner brings. Called on the loop; pull, left and refused from within wd_packet_flush.
struct wd_packet_proto {
  // Writes the next packet, the `nth` of a batch, at `out` and describes it; false when there is none, or it does not fit into `room`. It stays next until
  // `left` or `refused`: asked anew, the same packets come from the first on.
  bool (*pull)(struct wd_packet_socket *s, unsigned nth, struct wd_packet_message *m, uint8_t *out, size_t room);
  // The first `n` of those pulled went to the kernel between two moments.
  void (*left)(struct wd_packet_socket *s, unsigned n, wd_ns before, wd_ns after);
  void (*drained)(struct wd_packet_socket *s); // stamps were told, and for now there are no more; may be NULL
  void (*refused)(struct wd_packet_socket *s, int err, uint32_t mtu); // the kernel does not take the first one
  void (*stamped)(struct wd_packet_socket *s, const struct wd_packet_stamp *stamp);
  void (*reply)(struct wd_packet_socket *s, const struct wd_packet_reply *reply);
  void (*error)(struct wd_packet_socket *s, const struct wd_packet_error *error);
};

struct wd_packet_socket {
  struct wd_watch watch;
  const struct wd_packet_proto *proto;
  enum wd_packet_kind kind;
  int family;
  uint16_t ident; // ICMP: the id of every echo of this socket
  struct wd_timer flush;
  size_t room, unread; // bytes of the receive buffer; those that replies to what was sent since it was last read may take
  uint32_t stamps_due; // packets whose stamp was asked for and not told yet: they may lie in a queue of the device
  uint32_t counted;   // packets sent so far with a request for a stamp, as the kernel counts
  uint32_t local_mtu; // what the kernel said with its last EMSGSIZE
  uint32_t drops;     // datagrams that found no room (SO_RXQ_OVFL)
  wd_ns overflowed;   // the latest moment by which some of them had been dropped; 0 = never
};

// What is said of a packet that was sent before the socket last overflowed, and not answered.
#define WD_PACKET_OVERFLOWED "its reply may have come and found no room: this machine's receive buffer overflowed"

struct wd_packet_socket_opts {
  enum wd_packet_kind kind;
  int family;
  const char *source; // NULL = any
  bool dont_fragment;
  bool no_ttl;       // of what comes: it is not told
  int receive_bytes; // room asked for
};

// Opens, binds and watches. WD_OK, or an error with its reason in `detail`: WD_E_PERMISSION where the system does not let us have
// such a socket, WD_E_LOCAL for the rest. `s` must stay in place until wd_packet_socket_close.
enum wd_err wd_packet_socket_open(struct wd_packet_socket *s, struct wd_loop *loop, const struct wd_packet_proto *proto,
                                  const struct wd_packet_socket_opts *opts, char *detail, size_t detail_size);

// Closes at once. No harm when it is not open.
void wd_packet_socket_close(struct wd_packet_socket *s);

static inline bool wd_packet_socket_is_open(const struct wd_packet_socket *s) {
  return wd_watch_active(&s->watch);
}

// Some of what was handed to the kernel waits in a queue of a device, a shaper's or a busy line's: without a stamp of its own, a packet may not have left.
static inline bool wd_packet_socket_is_queueing(const struct wd_packet_socket *s) {
  return s->stamps_due > 0;
}
// What is said of a packet that was given up before the kernel took it.
#define WD_PACKET_NOT_SENT "it could not be sent in time: this machine's send queue is full, or what the sandbox may send is used up"

#define WD_PACKET_NOT_LEFT "it may not have left in time: packets wait in a queue of this machine's network device"

// Sends all there is to pull, in the next pass: what others of this pass add leaves in the same batch.
void wd_packet_socket_ready(struct wd_packet_socket *s);

// Sends now all there is to pull, and reads the stamps, and replies where they may fill the receive buffer; true when the socket is full: it goes on by itself once it is not.
bool wd_packet_flush(struct wd_packet_socket *s);

// Reads what is there. Before a reply is handed out, all stamps are that the kernel took until it came: it finds its packet's final time of sending.
void wd_packet_receive(struct wd_packet_socket *s, uint32_t events);

// Reads what stamps there are by now, and waits no longer for those that will not come.
void wd_packet_settle_stamps(struct wd_packet_socket *s);

// To be called before a packet is given up: counts what the socket dropped until now, and whether packets still wait to leave. Calls nobody.
void wd_packet_take_stock(struct wd_packet_socket *s);

// ---- between packet_socket.c and packet_receive.c ----

// Reads the error queue until it is empty or the socket was closed; true when something was in it.
bool wd_packet_drain_errors(struct wd_packet_socket *s);

// The owner's id of the packet that the kernel means by this one; false when that is not known any more.
bool wd_packet_stamp_id(const struct wd_packet_socket *s, uint32_t told, uint32_t *id);
