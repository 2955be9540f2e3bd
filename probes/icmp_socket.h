// Echo requests over ping and raw sockets, and the index that finds the packet an answer belongs to.
// Must hold: an answer belongs to a packet when socket, sequence, address and nonce are all that packet's.
#pragma once

#include "probes/packet_train.h"

// The socket of a family that all probes without options of their own share; opened by the first and kept for the process. NULL with
// the reason in *err and `detail`.
struct wd_packet_queue *wd_icmp_socket_shared(struct wd_loop *loop, int family, enum wd_err *err, char *detail,
                                               size_t detail_size);

// Opens a socket of a probe's own, for what no control message carries. Errors as wd_packet_queue_open; ping socket first, raw second.
enum wd_err wd_icmp_socket_open(struct wd_packet_queue *s, struct wd_loop *loop, int family, const char *source,
                                bool dont_fragment, char *detail, size_t detail_size);

// Gives the packet a sequence that no packet in flight to this address has, and sends it.
void wd_icmp_socket_send(struct wd_packet_queue *s, struct wd_packet *p);

// Takes the packet out of the index and the socket. No harm when it is in neither.
void wd_icmp_socket_forget(struct wd_packet *p);
