// The filter of system calls. It names what is denied and lets all else pass: which calls a prober makes is decided by glibc, OpenSSL, libcurl and
// the kernel's age, and a list of those would break with an update of any of them; which calls it never needs does not change. Calls that a kernel
// is yet to learn are therefore let through; systemd's SystemCallFilter=@system-service and the filters of container engines, which are kept by
// others, deny those in the deployments that we ship.
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "runtime/confine.h"
#include "runtime/log.h"
#include "runtime/wd.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 // si_code of a signal that a filter sent; glibc 2.36 has no name for it
#endif

static const char *const denied[] = {
  // other processes
  "kcmp", "perf_event_open", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "userfaultfd",
#ifndef WADDLE_SANITIZED
  "ptrace", // LeakSanitizer looks at its own process by it
#endif
  // mounts and namespaces
  "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "pivot_root", "setns", "umount",
  "umount2", "unshare",
  // the kernel itself; io_uring does what this filter cannot see
  "acct", "bpf", "delete_module", "finit_module", "init_module", "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load",
  "lookup_dcookie", "modify_ldt", "quotactl", "quotactl_fd", "reboot", "swapoff", "swapon", "syslog", "vhangup",
  // the machine's clock and name
  "clock_settime", "clock_settime64", "sethostname", "setdomainname", "settimeofday", "stime",
  // keys of other programs
  "add_key", "keyctl", "request_key",
  // devices, and files past the permissions of folders
  "fanotify_init", "mknod", "mknodat", "open_by_handle_at",
  // who the process is
  "capset", "personality", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid",
};

static const char *const programs_too[] = {"execve", "execveat"};

static const uint64_t namespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};

// Socket families below the highest one in use that are not: all but Unix, IPv4, IPv6 and netlink.
static const uint32_t families[] = {0, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15};
#define HIGHEST_FAMILY AF_NETLINK

static struct {
  int number;
  const char *name;
  atomic_int state;
} known[WD_COUNT(denied) + 8];

enum { QUIET, DENIED, TOLD };

static atomic_bool news; // some call is DENIED and not yet TOLD

// The processors for which we know where a system call's result goes. On others a denied call fails without a line in the log.
#if defined(__x86_64__)
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#endif

#ifdef RESULT
// The log is not for signal handlers: it is told at the end of the loop's pass.
static void on_denied(int signal, siginfo_t *info, void *context) {
  (void)signal;
  if (info->si_code != SYS_SECCOMP) return;
  RESULT((ucontext_t *)context) = -EPERM;
  for (size_t i = 0; i < WD_COUNT(known) && known[i].name; i++) {
    int quiet = QUIET;
    if (known[i].number == info->si_syscall && atomic_compare_exchange_strong(&known[i].state, &quiet, DENIED)) atomic_store(&news, true);
  }
}

static int install_handler(void) {
  struct sigaction action = {.sa_sigaction = on_denied, .sa_flags = SA_SIGINFO};
  return sigaction(SIGSYS, &action, NULL) ? errno : 0;
}
#define DENY SCMP_ACT_TRAP
#else
static int install_handler(void) {
  return 0;
}
#define DENY SCMP_ACT_ERRNO(EPERM)
#endif

void wd_confine_report(void) {
  if (!atomic_load_explicit(&news, memory_order_relaxed)) return;
  atomic_store(&news, false);
  for (size_t i = 0; i < WD_COUNT(known) && known[i].name; i++) {
    int was = DENIED;
    if (!atomic_compare_exchange_strong(&known[i].state, &was, TOLD)) continue;
    wd_log(WD_LOG_WARNING, "seccomp: the system call %s was denied; this is said once", known[i].name);
  }
}

static size_t known_count;

// The number of a call, noted for the log; negative where this processor has none of the name.
static int note(const char *name) {
  int number = seccomp_syscall_resolve_name(name);
  if (number < 0) return number;
  known[known_count].number = number;
  known[known_count++].name = name;
  return number;
}

// A program that is started has no handler for the signal and would be killed by it, some already for trying io_uring: there a call fails without a
// line in the log.
static uint32_t denial(bool programs) {
  return programs ? SCMP_ACT_ERRNO(EPERM) : DENY;
}

static int deny_calls(scmp_filter_ctx filter, bool programs) {
  int rc = 0;
  for (size_t i = 0; i < WD_COUNT(denied) && !rc; i++) {
    int number = note(denied[i]);
    if (number >= 0) rc = seccomp_rule_add(filter, denial(programs), number, 0);
  }
  // A program is started in a child that blocks all signals until then: there the call has to fail by itself.
  for (size_t i = 0; i < WD_COUNT(programs_too) && !rc && !programs; i++)
    rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), seccomp_syscall_resolve_name(programs_too[i]), 0);
  return rc;
}

// The kernel takes 32 bits of such an argument and the filter sees 64: what stands in the others must not matter.
static struct scmp_arg_cmp low_half_is(unsigned arg, uint32_t value) {
  return (struct scmp_arg_cmp){.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value};
}

static struct scmp_arg_cmp has_bits(unsigned arg, uint64_t bits) {
  return (struct scmp_arg_cmp){.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = bits};
}

static struct scmp_arg_cmp above(unsigned arg, uint64_t value) {
  return (struct scmp_arg_cmp){.arg = arg, .op = SCMP_CMP_GT, .datum_a = value, .datum_b = 0};
}

static int deny_arguments(scmp_filter_ctx filter, bool programs) {
  uint32_t deny = denial(programs);
  int rc = 0, clone_call = note("clone"), socket_call = note("socket"), ioctl_call = note("ioctl");
  // What clone3 is asked for cannot be seen by a filter; without it glibc and libuv use clone.
  rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), seccomp_syscall_resolve_name("clone3"), 0);
  for (size_t i = 0; i < WD_COUNT(namespaces) && !rc; i++)
    rc = seccomp_rule_add(filter, deny, clone_call, 1, has_bits(0, namespaces[i]));
  for (size_t i = 0; i < WD_COUNT(families) && !rc; i++)
    rc = seccomp_rule_add(filter, deny, socket_call, 1, low_half_is(0, families[i]));
  if (!rc) rc = seccomp_rule_add(filter, deny, socket_call, 1, above(0, HIGHEST_FAMILY));
  // Typing into somebody's terminal.
  if (!rc) rc = seccomp_rule_add(filter, deny, ioctl_call, 1, low_half_is(1, TIOCSTI));
  return rc;
}

int wd_confine_seccomp(bool programs) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (!filter) return ENOMEM;
  known_count = 0;
  int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
  if (!rc) rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
  if (!rc) rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
  if (!rc) rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a tree of comparisons in place of a chain
  if (!rc) rc = deny_calls(filter, programs);
  if (!rc) rc = deny_arguments(filter, programs);
  if (!rc) rc = -install_handler();
  if (!rc) rc = seccomp_load(filter);
  seccomp_release(filter);
  return -rc;
}
