// Echo requests by the system's ping program, where we may have no ICMP socket: one process a packet, one at a time for each probe,
// never through a shell.
#pragma once

#include "probes/packet_train.h"

struct wd_icmp_child;

struct wd_icmp_program {
  struct wd_loop *loop;
  const struct wd_packet_opts *opts;
  void (*on_useless)(struct wd_icmp_program *program, const char *why); // there is none, or it may not ping either
  struct wd_icmp_child *child;                                          // the process that runs now
  struct wd_packet *first, *last;                                       // waiting for it to end
};

void wd_icmp_program_init(struct wd_icmp_program *program, struct wd_loop *loop, const struct wd_packet_opts *opts,
                          void (*on_useless)(struct wd_icmp_program *program, const char *why));

// Sends the packet as soon as the one before is done with. Ends as wd_train_class.launch says.
void wd_icmp_program_send(struct wd_icmp_program *program, struct wd_packet *p);

// Gives the packet up, and goes on with the next.
void wd_icmp_program_lost(struct wd_icmp_program *program, struct wd_packet *p);

// Lets go of the packet; its process is killed.
void wd_icmp_program_forget(struct wd_icmp_program *program, struct wd_packet *p);
