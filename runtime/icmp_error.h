// ICMP errors: what their types and codes mean, and how a connection attempt over TCP hears of them.
// Must hold: names come from here alone, so that a ping, a datagram and a connection call the same message the same.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "runtime/wd.h"

// What an error's type and code mean (also sock_extended_err's ee_type and ee_code); WD_OK for what is no error or ends no probe.
enum wd_err wd_icmp_err(int family, uint8_t type, uint8_t code);

// The same as words: "port unreachable"; static, never NULL.
const char *wd_icmp_text(int family, uint8_t type, uint8_t code);

// Lets an ICMP error end a connection attempt over IPv6 at once and be read by wd_icmp_heard, as it is over IPv4 anyway; the kernel
// keeps it to itself otherwise. To be turned off once connected: of a connection that stands such an error says nothing final (RFC 5461).
void wd_icmp_hear(int fd, int family, bool on);

// The ICMP error that ended a connection attempt on a socket that hears them, and its words; WD_OK where it was something else.
// SO_ERROR alone cannot tell all of them: of IPv4's "administratively prohibited" the kernel makes EHOSTUNREACH.
enum wd_err wd_icmp_heard(int fd, int family, const char **text);
