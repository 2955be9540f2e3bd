// The sockets that c-ares uses. They differ from its own in what they notice: see resolve_socket.c.
#pragma once

#include <stdbool.h>

#include "runtime/wd.h"

#define CARES_NO_DEPRECATED // 1.34 deprecates functions whose successors 1.18 does not have
#include <ares.h>

// What c-ares does not tell; owned by the channel.
struct wd_resolve_notes {
  bool last_empty; // the last read found nothing more, or failed
  int fault;       // errno of the last call that this machine did not do for want of memory, buffers, descriptors or permission
  wd_ns fault_at;
};

// `named`: its servers are not the system's, so a policy has to allow them.
void wd_resolve_sockets(ares_channel ares, bool named, struct wd_resolve_notes *notes);
