// errno to failure name and sentence, see neterr.h. The remote table follows what the kernel makes of ICMP errors (icmp_err_convert in
// net/ipv4/icmp.c, icmpv6_err_convert in net/ipv6/icmp.c).
#include "neterr.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "policy.h"

struct word {
  int err;
  enum wd_err name;
  const char *detail;
};

// Read first for a failed call of ours, alone for none.
static const struct word local_words[] = {
    {ENETUNREACH, WD_E_LOCAL, "no route to this address is configured on this machine"},
    {EHOSTUNREACH, WD_E_LOCAL, "this machine's routes make this address unreachable"},
    {EACCES, WD_E_PERMISSION,
     "this machine does not permit it (missing capability, a prohibiting route, or a broadcast address)"},
    {EPERM, WD_E_PERMISSION, "this machine does not permit it (a firewall rule or a missing capability)"},
    {WD_POLICY_DENIED, WD_E_PERMISSION, "the sandbox does not allow this destination; --allow-net NETWORK[:PORT] allows one"},
    {EMSGSIZE, WD_E_MESSAGE_TOO_BIG, "larger than the path of this machine allows"},
};

static const struct word words[] = {
    {ECONNREFUSED, WD_E_CONNECTION_REFUSED, "connection refused"},
    {ENOPROTOOPT, WD_E_CONNECTION_REFUSED, "protocol unreachable: the host does not speak it"},
    {ECONNRESET, WD_E_CONNECTION_RESET, "connection reset by the peer"},
    {EPIPE, WD_E_CONNECTION_RESET, "the peer no longer takes data"},
    {ECONNABORTED, WD_E_CONNECTION_RESET, "connection aborted"},
    {EHOSTUNREACH, WD_E_HOST_UNREACHABLE, "host unreachable"},
    {EHOSTDOWN, WD_E_HOST_UNREACHABLE, "host unknown or down"},
    {ENONET, WD_E_HOST_UNREACHABLE, "host isolated"},
    {ENETUNREACH, WD_E_NETWORK_UNREACHABLE, "network unreachable"},
    {ENETDOWN, WD_E_LOCAL, "the interface is down"},
    {EACCES, WD_E_ADMIN_PROHIBITED, "administratively prohibited"},
    {EPERM, WD_E_PERMISSION, "operation not permitted"},
    {EMSGSIZE, WD_E_MESSAGE_TOO_BIG, "message too big for the path"},
    {ETIMEDOUT, WD_E_TIMEOUT, "connection timed out"},
    {EPROTO, WD_E_PROTOCOL, "protocol error"},
    {ECANCELED, WD_E_CANCELLED, "cancelled"},
    {EMFILE, WD_E_LOCAL, "too many open files in this process: raise `ulimit -n`"},
    {ENFILE, WD_E_LOCAL, "too many open files on this machine: raise fs.file-max"},
    {ENOBUFS, WD_E_LOCAL, "this machine is out of buffer space (a full queue of the interface)"},
    {ENOMEM, WD_E_LOCAL, "out of memory"},
    {EADDRNOTAVAIL, WD_E_LOCAL, "the source address is not one of this machine, or its ports are used up"},
    {EADDRINUSE, WD_E_LOCAL, "the source address and port are in use"},
    {EAFNOSUPPORT, WD_E_LOCAL, "this machine does not support the address family"},
    {ENODEV, WD_E_LOCAL, "no such interface"},
    {EAGAIN, WD_E_LOCAL, "no free source port is left"},
};

static const struct word *find(const struct word *list, size_t count, int err) {
  for (size_t i = 0; i < count; i++)
    if (list[i].err == err) return &list[i];
  return NULL;
}

static const struct word *look_up(int err, int local) {
  const struct word *word = local ? find(local_words, sizeof local_words / sizeof local_words[0], err) : NULL;
  return word ? word : find(words, sizeof words / sizeof words[0], err);
}

static enum wd_err name_of(int err, int local) {
  if (err == 0) return WD_OK;
  const struct word *word = look_up(err, local);
  return word ? word->name : WD_E_LOCAL;
}

static const char *detail_of(int err, int local) {
  const struct word *word = look_up(err, local);
  if (word) return word->detail;
  const char *text = strerrordesc_np(err);
  return text ? text : "unknown system error";
}

enum wd_err wd_neterr_remote(int err) {
  return name_of(err, 0);
}

enum wd_err wd_neterr_local(int err) {
  return name_of(err, 1);
}

const char *wd_neterr_detail_remote(int err) {
  return detail_of(err, 0);
}

const char *wd_neterr_detail_local(int err) {
  return detail_of(err, 1);
}
