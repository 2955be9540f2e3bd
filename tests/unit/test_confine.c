// What a confined process may still do. Each test gives up its rights in a child, which says with its exit code how far it came.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/confine.h"
#include "runtime/log.h"
#include "runtime/wd.h"

#define MISSING 77 // exit code of a child that finds the kernel without it

static char logged[4096];

static void take_line(const char *line) {
  size_t at = strlen(logged);
  snprintf(logged + at, sizeof(logged) - at, "%s", line);
}

// In a child: the first of these that does not hold ends it, with the line of the test as a message.
#define MUST(condition)                                               \
  do {                                                                \
    if (condition) break;                                             \
    fprintf(stderr, "line %d: %s, errno %d\n", __LINE__, #condition, errno); \
    _exit(1);                                                         \
  } while (0)

// How the child ended, for judge.
static int run_child(void (*body)(void)) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    body();
    _exit(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void judge(int status) {
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == MISSING) {
    print_message("the kernel has no such thing\n");
    skip();
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void in_child(void (*body)(void)) {
  judge(run_child(body));
}

static void must_have(int err) {
  if (err == ENOSYS || err == EOPNOTSUPP || err == EINVAL) _exit(MISSING);
  errno = err;
  MUST(err == 0);
}

static unsigned lines_with(const char *word) {
  unsigned n = 0;
  for (const char *at = logged; (at = strstr(at, word)); at++) n++;
  return n;
}

static bool denied(long result) {
  return result == -1 && errno == EPERM;
}

static void *nothing(void *arg) {
  return arg;
}

static void filter_body(void) {
  pthread_t thread;
  wd_log_set_sink(take_line);
  MUST(wd_confine_no_new_privs() == 0);
  must_have(wd_confine_seccomp(false));
  MUST(prctl(PR_GET_SECCOMP) == 2);
  // Arguments that would fail in another way than by the filter, or work for root.
  MUST(denied(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL)));
  MUST(denied(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL)));
  MUST(denied(syscall(SYS_bpf, -1, NULL, 0)));
  MUST(denied(syscall(SYS_keyctl, 0, 0, 0, 0, 0)));
  MUST(denied(syscall(SYS_setuid, getuid())));
  MUST(denied(syscall(SYS_unshare, 0)));
  MUST(denied(syscall(SYS_init_module, NULL, 0, NULL)));
  MUST(denied(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)));
  MUST(denied(syscall(SYS_io_uring_setup, 1, NULL)));
  MUST(denied(socket(AF_PACKET, SOCK_RAW, 0)));
  MUST(denied(socket(40, SOCK_STREAM, 0))); // AF_VSOCK
  MUST(denied(ioctl(0, TIOCSTI, "x")));
  // The kernel does not look at the upper half of these arguments, and neither must it help to fill it.
  MUST(denied(syscall(SYS_ioctl, 0, 1ULL << 32 | TIOCSTI, "x")));
  MUST(denied(syscall(SYS_socket, 1ULL << 32 | AF_PACKET, SOCK_RAW, 0)));
  MUST(denied(syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, NULL)));
  MUST(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
  MUST(denied(execl("/bin/true", "true", (char *)NULL)));
#ifndef WADDLE_SANITIZED
  MUST(denied(syscall(SYS_ptrace, 0, 0, NULL, NULL)));
#endif
  wd_confine_report();
  MUST(denied(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL)));
  wd_confine_report();
  MUST(lines_with("the system call mount was denied") == 1);
  MUST(lines_with("the system call socket was denied") == 1);
  MUST(lines_with("the system call clone was denied") == 1);
  // What a prober does need.
  const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
  for (size_t i = 0; i < WD_COUNT(families); i++) {
    int fd = socket(families[i], families[i] == AF_NETLINK ? SOCK_RAW : SOCK_DGRAM, 0);
    MUST(fd >= 0 || errno == EAFNOSUPPORT);
    close(fd);
  }
  MUST(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
  pid_t child = fork();
  if (child == 0) _exit(0);
  MUST(child > 0 && waitpid(child, NULL, 0) == child);
}

static void test_filter(void **state) {
  (void)state;
  in_child(filter_body);
}

static void filter_with_programs_body(void) {
  wd_log_set_sink(take_line);
  MUST(wd_confine_no_new_privs() == 0);
  must_have(wd_confine_seccomp(true));
  MUST(denied(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL)));
  execl("/bin/true", "true", (char *)NULL);
  MUST(!"a program could be started");
}

static void test_filter_with_programs(void **state) {
  (void)state;
  in_child(filter_with_programs_body);
}

static char folder[] = "/tmp/waddle-confine-XXXXXX";

static int open_for_writing(const char *below) {
  char path[256];
  snprintf(path, sizeof(path), "%s/%s", folder, below);
  return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static void landlock_body(void) {
  char in[256], out[256], gone[256];
  snprintf(in, sizeof(in), "%s/in", folder);
  snprintf(out, sizeof(out), "%s/out/old", folder);
  snprintf(gone, sizeof(gone), "%s/gone", folder);
  const char *paths[] = {in, gone, "/dev/null"};
  MUST(wd_confine_no_new_privs() == 0);
  must_have(wd_confine_landlock(paths, WD_COUNT(paths), false));
  MUST(open_for_writing("in/new") >= 0);
  MUST(open_for_writing("out/new") == -1 && errno == EACCES);
  MUST(open_for_writing("out/old") == -1 && errno == EACCES);
  MUST(truncate(out, 0) == -1 && errno == EACCES);
  MUST(unlink(out) == -1 && errno == EACCES);
  MUST(open(out, O_RDONLY | O_CLOEXEC) >= 0);
  MUST(open("/dev/null", O_WRONLY | O_CLOEXEC) >= 0);
  MUST(execl("/bin/true", "true", (char *)NULL) == -1 && errno == EACCES);
}

static void test_landlock(void **state) {
  (void)state;
  char path[256], command[256];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/in", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof(path), "%s/out", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  close(open_for_writing("out/old"));
  snprintf(command, sizeof(command), "rm -r %s", folder);
  int status = run_child(landlock_body);
  assert_int_equal(system(command), 0);
  judge(status);
}

static void capabilities_body(void) {
  // Only who has CAP_SETPCAP, as root does, can empty the bounding set.
  const char *const sets[] = {"\nCapPrm:", "\nCapEff:", "\nCapAmb:", "\nCapBnd:"};
  char text[8192];
  size_t count = WD_COUNT(sets) - (getuid() ? 1 : 0);
  MUST(wd_confine_capabilities(false, true) == 0);
  FILE *status = fopen("/proc/self/status", "re");
  MUST(status);
  text[fread(text, 1, sizeof(text) - 1, status)] = '\0';
  fclose(status);
  for (size_t i = 0; i < count; i++) {
    const char *at = strstr(text, sets[i]);
    MUST(at && strtoull(at + strlen(sets[i]), NULL, 16) == 0);
  }
}

static void test_capabilities(void **state) {
  (void)state;
  in_child(capabilities_body);
}

static void dump_body(void) {
  struct rlimit limit;
  MUST(wd_confine_no_dump() == 0);
  MUST(prctl(PR_GET_DUMPABLE) == 0);
  MUST(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
}

static void test_no_dump(void **state) {
  (void)state;
  in_child(dump_body);
}

static void test_hides_arguments_and_variables(void **state) {
  (void)state;
  char first[] = "program", second[] = "secret", *argv[] = {first, second, NULL};
  char variable[] = "WADDLE_TEST_SECRET=hunter2";
  wd_confine_arguments(2, argv);
  assert_true(wd_confine_hide_argument(1, "***"));
  assert_memory_equal(second, "***\0\0\0", sizeof(second));
  assert_true(wd_confine_hide_argument(1, ""));
  assert_true(wd_confine_hide_argument(0, "longer than it"));
  assert_string_equal(first, "longer ");
  assert_false(wd_confine_hide_argument(2, "x"));
  assert_false(wd_confine_hide_argument(-1, "x"));
  assert_int_equal(putenv(variable), 0);
  wd_confine_hide_variable("WADDLE_TEST_SECRET");
  assert_null(getenv("WADDLE_TEST_SECRET"));
  assert_memory_equal(variable, "WADDLE_TEST_SECRET=\0\0\0\0\0\0\0", sizeof(variable));
  wd_confine_hide_variable("WADDLE_TEST_SECRET");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_filter),
    cmocka_unit_test(test_filter_with_programs),
    cmocka_unit_test(test_landlock),
    cmocka_unit_test(test_capabilities),
    cmocka_unit_test(test_no_dump),
    cmocka_unit_test(test_hides_arguments_and_variables),
  };
  return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
