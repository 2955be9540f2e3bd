// The program: opens the loop and the state, runs lua/waddle/main.lua as the root task, and turns
// its end into an exit code. What the arguments mean is decided there, in Lua.
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/confine.h"
#include "runtime/fork_server.h"
#include "runtime/log.h"
#include "runtime/loop.h"
#include "runtime/signals.h"
#include "runtime/task.h"
#include "runtime/watchdog.h"

enum { EXIT_SCRIPT = 1, EXIT_SIGNAL = 130 };

struct arguments {
  int argc;
  char **argv;
  struct wd_vm *vm;
};

// Queues require("waddle.main")(argv...) as the root task.
static int l_start(lua_State *L) {
  struct arguments *a = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "waddle.main");
  lua_call(L, 1, 1);
  luaL_checkstack(L, a->argc + 8, "too many arguments");
  for (int i = 0; i < a->argc; i++) lua_pushstring(L, a->argv[i]);
  struct wd_task *root = wd_task_spawn(L, a->argc, NULL);
  lua_pushvalue(L, -1);
  luaL_ref(L, LUA_REGISTRYINDEX); // its end is read after it is done
  a->vm->root = root;
  return 0;
}

// An agent probes thousands of targets at once: take all the descriptors that we may have.
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit)) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// A descriptor 0, 1 or 2 that was closed when we began would be given to the first socket, and a line meant for people would go into it.
static void fill_standard_descriptors(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

// Output that could not be written is a failure, and no silent one; but a reader that has had enough is nobody's fault.
static int finish_output(int code) {
  if (!fflush(stdout) && !ferror(stdout)) return code;
  if (errno != EPIPE) fprintf(stderr, "waddle: cannot write to standard output: %s\n", strerror(errno));
  return EXIT_SCRIPT;
}

static int exit_code_of(const struct wd_vm *vm) {
  const struct wd_task *root = vm->root;
  if (vm->interrupt) return EXIT_SIGNAL;
  if (vm->exit_code >= 0) return vm->exit_code;
  if (root->end == WD_END_ERROR) {
    fprintf(stderr, "waddle: %s\n", root->trace ? root->trace : "out of memory");
    return EXIT_SCRIPT;
  }
  if (root->end == WD_END_OK && root->nresults > 0 && lua_isinteger(root->co, -root->nresults))
    return (int)lua_tointeger(root->co, -root->nresults) & 255;
  return 0;
}

int main(int argc, char **argv) {
  struct wd_loop loop;
  struct wd_vm vm;
  int code;
  if (argc == 2 && strcmp(argv[1], WD_FORK_SERVER) == 0 && !wd_fork_server_serve(&argc, &argv, &code)) return code;
  wd_confine_arguments(argc, argv);
  fill_standard_descriptors();
  setlocale(LC_CTYPE, "");
  raise_descriptor_limit();
  int rc = wd_loop_open(&loop);
  if (rc) {
    fprintf(stderr, "waddle: cannot open the event loop: %s\n", uv_strerror(rc));
    return EXIT_SCRIPT;
  }
  struct arguments args = {argc, argv, &vm};
  if (wd_vm_open(&vm, &loop)) return EXIT_SCRIPT;
  wd_signals_open(&vm);
  if (!wd_vm_call(&vm, l_start, &args)) return EXIT_SCRIPT;
  while (vm.live_count) {
    wd_loop_pass(&loop, WD_NONE);
    wd_signals_deliver(&vm);
    wd_confine_report();
  }
  wd_signals_close();
  code = exit_code_of(&vm);
  wd_vm_close(&vm);
  wd_watchdog_close();
  wd_loop_close(&loop);
  return finish_output(code);
}
