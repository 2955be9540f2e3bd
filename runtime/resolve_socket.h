// The sockets that c-ares uses. They differ from its own in one thing: see resolve_socket.c.
#pragma once

#define CARES_NO_DEPRECATED // 1.34 deprecates functions whose successors 1.18 does not have
#include <ares.h>

// `last_empty` (owned by the channel) is set false by a read that gave something, true by one that found nothing more or failed.
// `named`: its servers are not the system's, so a policy has to allow them.
void wd_resolve_sockets(ares_channel ares, bool named, bool *last_empty);
