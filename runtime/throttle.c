// See throttle.h. The files are found at the first look and stay open for the life of the process.
#include "runtime/throttle.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cgroup.h"

enum { GROUPS_MOST = 8, TEXT = 64 * 1024 };

static struct {
  int files[GROUPS_MOST]; // cpu.stat of the group and those around it
  size_t count;
  bool open, known;
  int64_t times;       // throttled so far, all groups together
  wd_ns looked, risen; // when it was read last, and when it was last found higher
} throttle;

static bool read_text(const char *name, char text[static TEXT]) {
  FILE *file = fopen(name, "re");
  if (!file) return false;
  text[fread(text, 1, TEXT - 1, file)] = '\0';
  fclose(file);
  return true;
}

static void open_files(void) {
  static char groups[TEXT], mounts[TEXT];
  char folder[1024], name[1100];
  size_t top;
  throttle.open = true;
  if (!read_text("/proc/self/cgroup", groups) || !read_text("/proc/self/mountinfo", mounts)) return;
  if (!wd_cgroup_cpu_folder(groups, mounts, folder, sizeof(folder), &top)) return;
  while (throttle.count < GROUPS_MOST) {
    snprintf(name, sizeof(name), "%s/cpu.stat", folder);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) throttle.files[throttle.count++] = fd;
    if (strlen(folder) <= top) break;
    *strrchr(folder, '/') = '\0';
  }
}

static int64_t read_times(void) {
  char text[1024];
  int64_t sum = -1;
  for (size_t i = 0; i < throttle.count; i++) {
    ssize_t n = pread(throttle.files[i], text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    int64_t times = wd_cgroup_throttled(text);
    if (times >= 0) sum = (sum > 0 ? sum : 0) + times;
  }
  return sum;
}

void wd_throttle_look(wd_ns now) {
  bool first = !throttle.open;
  if (!first && now - throttle.looked < WD_THROTTLE_PERIOD) return;
  if (first) open_files();
  int64_t times = read_times();
  if (!first && times > throttle.times) throttle.risen = now;
  throttle.known = times >= 0;
  throttle.times = times;
  throttle.looked = now;
}

int8_t wd_throttle_since(wd_ns since) {
  return throttle.known ? throttle.risen > since : -1;
}
