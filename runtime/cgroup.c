// See cgroup.h; the texts are described in cgroups(7) and proc_pid_mountinfo(5).
#include "runtime/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096, PATH = 1024 };

// Copies the line at *at, cut to its room, and moves on; false at the end.
static bool next_line(const char **at, char line[static LINE]) {
  size_t n = strcspn(*at, "\n");
  if (!**at) return false;
  snprintf(line, LINE, "%.*s", (int)(n < LINE ? n : LINE - 1), *at);
  *at += n + ((*at)[n] == '\n');
  return true;
}

// Whether `word` is one of a list with commas.
static bool is_in(const char *list, const char *word) {
  size_t n = strlen(word);
  for (const char *at = list; at; at = strchr(at, ','), at += at ? 1 : 0)
    if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0')) return true;
  return false;
}

// The group's path, and which version it is of.
static bool find_group(const char *cgroup, char path[static PATH], bool *v1) {
  char line[LINE], controllers[PATH], at[PATH] = "";
  bool found = false;
  while (next_line(&cgroup, line)) {
    bool v2 = sscanf(line, "0::%1023s", at) == 1;
    *v1 = !v2 && sscanf(line, "%*u:%1023[^:]:%1023s", controllers, at) == 2 && is_in(controllers, "cpu");
    if (!v2 && !*v1) continue;
    memcpy(path, at, PATH);
    found = true;
    if (*v1) break;
  }
  return found;
}

static bool find_mount(const char *mounts, bool v1, char root[static PATH], char point[static PATH]) {
  char line[LINE], type[64], options[PATH];
  while (next_line(&mounts, line)) {
    const char *more = strstr(line, " - ");
    if (!more || sscanf(more, " - %63s %*s %1023s", type, options) != 2) continue;
    if (strcmp(type, v1 ? "cgroup" : "cgroup2") != 0 || (v1 && !is_in(options, "cpu"))) continue;
    if (sscanf(line, "%*s %*s %*s %1023s %1023s", root, point) == 2) return true;
  }
  return false;
}

bool wd_cgroup_cpu_folder(const char *cgroup, const char *mounts, char *folder, size_t room, size_t *top) {
  char path[PATH], root[PATH], point[PATH];
  bool v1;
  if (!find_group(cgroup, path, &v1) || !find_mount(mounts, v1, root, point)) return false;
  size_t outside = strcmp(root, "/") == 0 ? 0 : strlen(root); // a container may see a part of the tree only
  if (strncmp(path, root, outside) != 0 || (path[outside] != '/' && path[outside] != '\0') || strncmp(path, "/..", 3) == 0) return false;
  const char *below = strcmp(path + outside, "/") == 0 ? "" : path + outside;
  *top = strlen(point);
  return (size_t)snprintf(folder, room, "%s%s", point, below) < room;
}

int64_t wd_cgroup_throttled(const char *stat) {
  static const char name[] = "nr_throttled ";
  const char *at = strstr(stat, name);
  return at && (at == stat || at[-1] == '\n') ? strtoll(at + sizeof(name) - 1, NULL, 10) : -1;
}
