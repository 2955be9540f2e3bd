// See confine.h.
#include "runtime/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int argument_count;
static char **arguments;

// The kernel knows how many there are: one more is EINVAL.
static void drop_bounding(void) {
  for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0;) cap++;
}

int wd_confine_capabilities(bool keep_net_raw, bool bounding) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = {0}, wanted[_LINUX_CAPABILITY_U32S_3] = {0};
  if (syscall(SYS_capget, &head, now)) return errno;
  if (bounding) drop_bounding();
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (keep_net_raw) wanted[0].effective = wanted[0].permitted = now[0].permitted & (1u << CAP_NET_RAW);
  return syscall(SYS_capset, &head, wanted) ? errno : 0;
}

int wd_confine_no_new_privs(void) {
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? errno : 0;
}

int wd_confine_no_dump(void) {
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none)) return errno;
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? errno : 0;
}

void wd_confine_arguments(int argc, char **argv) {
  argument_count = argc;
  arguments = argv;
}

bool wd_confine_hide_argument(int i, const char *text) {
  if (i < 0 || i >= argument_count) return false;
  size_t room = strlen(arguments[i]), have = strnlen(text, room);
  memcpy(arguments[i], text, have);
  explicit_bzero(arguments[i] + have, room - have);
  return true;
}

void wd_confine_hide_variable(const char *name) {
  char *value = getenv(name);
  if (!value) return;
  explicit_bzero(value, strlen(value));
  unsetenv(name);
}
