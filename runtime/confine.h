// Least privilege: what the process gives up, for good, once it has what it needs. lua/waddle/confine.lua decides what and says so.
// Must hold: everything here is for the thread that calls it and what it starts later, so it comes before any other thread.
// Functions give 0 or an errno.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Gives up every capability but CAP_NET_RAW where `keep_net_raw` says so (and it is there); with `bounding` also what programs started later
// could get back, as far as the process may.
int wd_confine_capabilities(bool keep_net_raw, bool bounding);

// No program started from here on gets rights that this process has not: set-user-ID bits and file capabilities do nothing.
int wd_confine_no_new_privs(void);

// No core dump, and no other process of this user reads memory or environment of this one.
int wd_confine_no_dump(void);

// Only what lies beneath the `count` paths may be written, made, removed or renamed; reading stays free. A path that is not there is left
// out. Without `programs` no program can be started. Needs wd_confine_no_new_privs. ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
int wd_confine_landlock(const char *const *paths, size_t count, bool programs);

// From here on the system calls that a prober never needs fail with EPERM, each with one line in the log (wd_confine_report); those that
// start programs fail, too, without a line, unless `programs`. Needs wd_confine_no_new_privs.
int wd_confine_seccomp(bool programs);

// Writes the lines about calls that were denied since it was called last; to be called once per pass of the loop.
void wd_confine_report(void);

// The arguments of main, for wd_confine_hide_argument.
void wd_confine_arguments(int argc, char **argv);

// Writes `text` over argument `i`, cut to its length, so that ps(1) shows it in place of what was given. False when there is none.
bool wd_confine_hide_argument(int i, const char *text);

// Takes a variable out of the environment and wipes it where the kernel shows it (/proc/PID/environ).
void wd_confine_hide_variable(const char *name);
