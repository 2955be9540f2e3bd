// waddle.core.isolate: a script in a process of its own, held by the kernel's limits, and a pipe to it. lua/waddle/isolate.lua decides what
// goes over the pipe.
// Must hold: a process that was started is reaped, and is killed when its value is closed or collected; the limits are set in the new process
// by code of ours, before any of the script runs, so that the parent never forks. Where the parent may start no
// program, a fork server does (runtime/fork_server.h).
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/fork_server.h"
#include "runtime/lua_conn.h"
#include "runtime/lua_modules.h"
#include "runtime/task.h"
#include "runtime/watch.h"
#include "runtime/watchdog.h"

enum {
  PIPE_FD = 3, // of the new process
  MOST_ARGUMENTS = 256,
  MOST_PATHS = 64,
  RENEW_S = 1, // between two looks of the loop at its limit of processor time
};

static const char *const metatable = "waddle.isolated";

struct process {
  pid_t pid; // 0: reaped
  int pidfd;
  int status;
};

struct exit_op {
  struct wd_op op;
  struct wd_watch watch;
  struct process *process;
};

static struct process *check_process(lua_State *L) {
  return luaL_checkudata(L, 1, metatable);
}

static int fail(lua_State *L, int error) {
  lua_pushnil(L);
  lua_pushstring(L, error == ECHILD ? "the fork server has gone; a restart brings it back" : strerror(error));
  return 2;
}

// Starts this program again with the words of the list at 1; `fd` becomes its pipe.
static int start(struct process *p, char *const *argv, int fd) {
  if (wd_fork_server_is_used()) return wd_fork_server_spawn(argv, fd, &p->pid);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, fd, PIPE_FD);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  int rc = posix_spawn(&p->pid, "/proc/self/exe", &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (rc) p->pid = 0;
  return rc;
}

// The words of the list at 1, which holds them. [-0, +0, e]
static void read_words(lua_State *L, char **argv) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t n = lua_rawlen(L, 1);
  luaL_argcheck(L, n <= MOST_ARGUMENTS, 1, "too many words");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    argv[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);
    lua_pop(L, 1);
  }
}

// spawn({word, ...}) -> process, connection | nil, message: this program with these words as its arguments.
static int l_spawn(lua_State *L) {
  static char name[] = "waddle";
  char *argv[MOST_ARGUMENTS + 2] = {name};
  int pair[2];
  read_words(L, argv + 1);
  lua_settop(L, 1);
  struct process *p = lua_newuserdatauv(L, sizeof(*p), 0); // at 2
  *p = (struct process){.pidfd = -1};
  luaL_setmetatable(L, metatable);
  struct wd_conn *c = wd_lua_conn_push(L, 2);
  int rc;
  do {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)) return fail(L, errno);
    rc = start(p, argv, pair[1]);
    close(pair[1]);
    if (rc) close(pair[0]);
  } while (rc == ESTALE && wd_fork_server_is_used());
  if (rc) return fail(L, rc);
  rc = wd_conn_open(c, wd_vm_of(L)->loop, pair[0]);
  p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
  if (p->pidfd < 0) return fail(L, errno);
  return rc ? fail(L, -rc) : 2;
}

static int push_outcome(lua_State *L, int error) {
  if (error) return fail(L, error);
  lua_pushboolean(L, 1);
  return 1;
}

// serve() -> true | nil, message: starts the fork server, which starts all further processes.
static int l_serve(lua_State *L) {
  return push_outcome(L, wd_fork_server_start());
}

static bool flag(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

// confine{no_dump=, no_new_privs=, landlock={path, ...} or nil, capabilities=, keep_net_raw=, seccomp=} -> true | nil, message: the fork server
// gives up the same as this process.
static int l_confine(lua_State *L) {
  const char *paths[MOST_PATHS];
  luaL_checktype(L, 1, LUA_TTABLE);
  struct wd_fork_rights rights = {.no_dump = flag(L, "no_dump"),
                                  .no_new_privs = flag(L, "no_new_privs"),
                                  .landlock = flag(L, "landlock"),
                                  .capabilities = flag(L, "capabilities"),
                                  .keep_net_raw = flag(L, "keep_net_raw"),
                                  .seccomp = flag(L, "seccomp"),
                                  .paths = paths};
  luaL_checkstack(L, MOST_PATHS + 4, NULL); // they stay there, so that the texts do
  if (rights.landlock) {
    lua_getfield(L, 1, "landlock");
    int list = lua_gettop(L);
    size_t n = lua_rawlen(L, list);
    luaL_argcheck(L, n <= MOST_PATHS, 1, "64 paths at most");
    for (size_t i = 0; i < n; i++) {
      lua_rawgeti(L, list, (lua_Integer)i + 1);
      paths[i] = luaL_checkstring(L, -1);
    }
    rights.path_count = n;
  }
  return push_outcome(L, wd_fork_server_confine(&rights));
}

static void reap(struct process *p, int flags) {
  if (!p->pid) return;
  pid_t got;
  do got = waitpid(p->pid, &p->status, flags);
  while (got < 0 && errno == EINTR);
  if (got == 0) return;
  p->pid = 0;
  if (p->pidfd >= 0) close(p->pidfd);
  p->pidfd = -1;
}

static void stop(struct wd_op *op) {
  struct exit_op *x = (struct exit_op *)op;
  wd_watch_stop(&x->watch);
}

static const struct wd_op_class exit_class = {.name = "process", .stop = stop};

static void on_exit_event(struct wd_watch *w, uint32_t events) {
  (void)events;
  wd_op_complete(&WD_CONTAINER(w, struct exit_op, watch)->op, WD_OK);
}

static int push_end(lua_State *L, const struct process *p) {
  if (WIFEXITED(p->status)) {
    lua_pushinteger(L, WEXITSTATUS(p->status));
    return 1;
  }
  lua_pushnil(L);
  lua_pushfstring(L, "SIG%s", sigabbrev_np(WTERMSIG(p->status)));
  return 2;
}

static int k_wait(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct exit_op *x = (struct exit_op *)ctx;
  struct process *p = x->process;
  wd_op_release(&x->op);
  reap(p, 0);
  return push_end(L, p);
}

// p:wait() -> exit code | nil, "SIGKILL": waits for its end.
static int l_wait(lua_State *L) {
  struct process *p = check_process(L);
  if (!p->pid) return push_end(L, p);
  wd_task_check(L, "wait");
  struct exit_op *x = wd_op_new(L, &exit_class, sizeof(*x));
  x->process = p;
  x->watch.fd = -1;
  x->watch.on_event = on_exit_event;
  wd_op_wait(L, &x->op);
  if (wd_watch_start(wd_vm_of(L)->loop, &x->watch, p->pidfd, EPOLLIN)) wd_op_complete(&x->op, WD_E_LOCAL);
  return lua_yieldk(L, 0, (lua_KContext)x, k_wait);
}

// p:kill("TERM"|"INT"|"KILL")
static int l_kill(lua_State *L) {
  static const char *const names[] = {"TERM", "INT", "KILL", NULL};
  static const int numbers[] = {SIGTERM, SIGINT, SIGKILL};
  const struct process *p = check_process(L);
  int number = numbers[luaL_checkoption(L, 2, NULL, names)];
  if (p->pid) kill(p->pid, number);
  return 0;
}

static int l_close(lua_State *L) {
  struct process *p = check_process(L);
  if (!p->pid) return 0;
  kill(p->pid, SIGKILL);
  reap(p, 0);
  return 0;
}

// ---- in the new process ----

static struct {
  struct wd_timer timer;
  struct wd_loop *loop;
  rlim_t stall_s;
} guard;

static rlim_t cpu_used_s(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
}

// The loop has come round: it may use so much processor time until the next time, and whoever watches from outside hears of it. The kernel
// ends a process that is over, whatever it is doing.
static void on_round(struct wd_timer *t) {
  struct rlimit limit;
  getrlimit(RLIMIT_CPU, &limit);
  limit.rlim_cur = cpu_used_s() + guard.stall_s;
  if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_CPU, &limit);
  ssize_t n = send(PIPE_FD, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)n; // nobody reads: then nobody waits either
  wd_loop_arm(guard.loop, t, RENEW_S * WD_S);
}

static void lower(int which, rlim_t most) {
  struct rlimit limit;
  if (getrlimit((__rlimit_resource_t)which, &limit)) return;
  if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > most) limit.rlim_max = most;
  limit.rlim_cur = limit.rlim_max;
  setrlimit((__rlimit_resource_t)which, &limit);
}

static void on_close(struct wd_closer *c) {
  (void)c;
  wd_timer_stop(&guard.loop->timers, &guard.timer);
}

// enter(bytes, seconds) -> connection | nil, message: this process is an isolated one from here on: as much address space, and as long between two rounds
// of its loop; it ends with its parent. The connection is the pipe to that.
static int l_enter(lua_State *L) {
  static struct wd_closer closer = {.close = on_close};
  lua_Integer bytes = luaL_checkinteger(L, 1), seconds = luaL_checkinteger(L, 2);
  struct wd_vm *vm = wd_vm_of(L);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  lower(RLIMIT_CORE, 0);
#ifndef WADDLE_SANITIZED // whose shadow memory is larger than any limit
  lower(RLIMIT_AS, (rlim_t)bytes);
#else
  (void)bytes;
#endif
  struct wd_limits stall = {.slice = WD_NONE,
                            .cpu = WD_NONE,
                            .memory = WD_NONE,
                            .block = WD_NONE,
                            .depth = WD_NONE,
                            .sockets = WD_NONE, .output = WD_NONE,
                            .stall = seconds * WD_S};
  wd_budget_set(vm, &stall);
  wd_watchdog_report_to(PIPE_FD);
  guard.loop = vm->loop;
  guard.stall_s = (rlim_t)seconds + 1; // the watchdog, which knows the place, comes first
  guard.timer.fire = on_round;
  on_round(&guard.timer);
  wd_loop_on_close(vm->loop, &closer);
  int fd = fcntl(PIPE_FD, F_DUPFD_CLOEXEC, PIPE_FD + 1); // the loop's own; the watchdog keeps the other
  fcntl(PIPE_FD, F_SETFD, FD_CLOEXEC);
  if (fd < 0) return fail(L, errno);
  lua_settop(L, 0);
  lua_pushboolean(L, 1);
  struct wd_conn *c = wd_lua_conn_push(L, 1);
  int rc = wd_conn_open(c, vm->loop, fd);
  return rc ? fail(L, -rc) : 1;
}

int wd_open_isolate(lua_State *L) {
  static const luaL_Reg methods[] = {{"wait", l_wait}, {"kill", l_kill}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"spawn", l_spawn}, {"serve", l_serve}, {"confine", l_confine}, {"enter", l_enter}, {NULL, NULL}};
  lua_getglobal(L, "require");
  lua_pushliteral(L, "waddle.core.listen"); // whose the connections are
  lua_call(L, 1, 0);
  luaL_newmetatable(L, metatable);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  luaL_newlib(L, functions);
  return 1;
}
