// What a sandboxed process may reach on the network, and how much it may send: asked wherever a socket gets a destination.
// Must hold: once begun nothing widens it, and there is no way past it: whoever calls connect, sendto or sendmmsg asks here first
// (tests/lint.sh knows the files). Without a policy everything is allowed, at the cost of one comparison.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "runtime/addr.h"
#include "runtime/wd.h"

enum { WD_POLICY_RULES = 256, WD_POLICY_MOST_RATE = 10000000 };

// The errno of what is not allowed: none that a socket gives. wd_neterr_local makes WD_E_PERMISSION of it.
#define WD_POLICY_DENIED EKEYREJECTED

// Allows a network, before the policy begins: "192.0.2.0/24", "192.0.2.1", with ":443" or ":8000-8099" behind it; IPv6 with ports in brackets,
// "[2001:db8::/32]:443". Bits of the address past the prefix are ignored. False with a message in `error` that quotes the text.
bool wd_policy_allow(const char *text, char *error, size_t error_size);

// Begins the policy, once: from here on destinations are those allowed; where none were, all but the link-local ones and those of cloud
// metadata services (wd_policy_allows). `packets` and `bytes` a second, 0 for no limit. False when one has begun already.
bool wd_policy_begin(double packets, double bytes, bool may_listen);

// Whether an address (with its port; 0 for ICMP) may be talked to. IPv4 addresses within IPv6 ones (::ffff:0:0/96, 64:ff9b::/96) are judged as such.
// Link-local addresses and those of metadata services are allowed only by a rule for themselves or a part of their own network.
bool wd_policy_allows(const struct wd_addr *to);

// Whether sockets may listen, and Unix sockets be reached.
bool wd_policy_may_listen(void);
bool wd_policy_may_dial_unix(void);

// connect(2), if allowed: a connection request counts as a packet. Else -1 and WD_POLICY_DENIED in errno.
int wd_policy_connect(int fd, const struct sockaddr *to, socklen_t len);

// ---- how much ----

// Counts packets that leave, and bytes that leave or came. What is sent may be more than there is room for: then what comes next waits.
void wd_policy_charge(unsigned packets, size_t bytes);

// A place in the queue for what is about to send something: how long it has to wait for its first packet, 0 when it may begin. That packet is paid
// for with this call, and may leave once wd_policy_admitted was called, after the wait.
wd_ns wd_policy_admit(void);
void wd_policy_admitted(void);

// How long the next packet has to wait that nobody asked a place for; 0 when it may leave.
wd_ns wd_policy_wait(void);

// How long reading has to wait, until the bytes that came are paid for.
wd_ns wd_policy_wait_bytes(void);

// How many of so many packets may leave now.
unsigned wd_policy_room(unsigned packets);

// The limits, in packets and bytes a second; 0 = none.
double wd_policy_packets(void);
double wd_policy_bytes(void);

// Keeps a stream socket's sending under the limit, by the kernel (SO_MAX_PACING_RATE).
void wd_policy_pace(int fd);
