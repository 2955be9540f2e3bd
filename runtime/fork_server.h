// A small process that starts isolated ones for a process which has given up starting programs itself (runtime/lua_isolate.c).
// It is this program again, begun before the rights go, and it opens nothing: no loop, no state, no thread. It gives up the same rights as the
// process that it serves, execve with them, and then makes copies of itself on request, which go on as main() does, with other arguments.
// Must hold: it starts nothing before it is confined, and then only copies of itself; it ends when the process that it serves ends; nobody else,
// nor any of the copies, has the socket that it listens to. The copies are children of the process that is served, which waits for them. One copy is
// its heir, and serves when it has gone.
// Functions give 0 or an errno where nothing else is said.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// The word that makes this program a fork server.
#define WD_FORK_SERVER "--fork-server"
#define WD_FORK_COPY "--isolated" // what ps(1) shows of a copy

// What it gives up: as runtime/confine.h says. `landlock` is for `paths`.
struct wd_fork_rights {
  bool no_dump, no_new_privs, landlock, capabilities, keep_net_raw, seccomp;
  const char *const *paths;
  size_t path_count;
};

// Starts it; to be called while programs can be started.
int wd_fork_server_start(void);

// Has it give up rights. When that fails it is gone.
int wd_fork_server_confine(const struct wd_fork_rights *rights);

// Whether it was started, also when it has ended since.
bool wd_fork_server_is_used(void);

// This program again, with these words (the first is its name) and `fd` as its descriptor 3. ECHILD: the server is gone. ESTALE: so it is, and its heir
// serves from now on; it is to be asked with another `fd`, since a copy that the old server made last may have this one.
int wd_fork_server_spawn(char *const *argv, int fd, pid_t *pid);

// The life of the server. Gives true in a copy, with its arguments in place of those given; false when the server is to end, with `code`.
bool wd_fork_server_serve(int *argc, char ***argv, int *code);
