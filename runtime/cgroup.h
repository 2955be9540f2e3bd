// Where the kernel keeps the CPU figures of a process's control group, and what they say of throttling. Pure: texts in, facts out.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The folder of the process's CPU control group, of version 1 where its cpu controller is in use, else of version 2. `cgroup` and `mounts`
// are the texts of /proc/self/cgroup and /proc/self/mountinfo. *top is the length of the part that is the mount point: the folders below it
// are the groups that this one is in. False where there is none, or it lies outside of what is mounted.
bool wd_cgroup_cpu_folder(const char *cgroup, const char *mounts, char *folder, size_t room, size_t *top);

// How often the group was throttled so far, of the text of its cpu.stat; -1 where that does not say.
int64_t wd_cgroup_throttled(const char *stat);
