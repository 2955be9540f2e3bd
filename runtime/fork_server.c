// See fork_server.h. A message to the server is its kind and texts, each with a zero at its end; an answer is an errno and a process.
#include "runtime/fork_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/confine.h"
#include "runtime/wd.h"

enum {
  SERVER_FD = 3, // in the server its socket, in a copy the pipe
  MOST_BYTES = 64 << 10,
  MOST_WORDS = 320,
  PATIENCE_S = 2, // for an answer: a copy takes a millisecond
};

enum { CONFINE = 'c', SPAWN = 's', HEIR = 'h' };

struct answer {
  int error;
  pid_t pid;
};

// ---- in the process that is served ----

struct peer {
  int fd; // -1: none
  pid_t pid;
};

static bool used;
static struct peer server = {.fd = -1}, heir = {.fd = -1}; // heir: takes over where the server has gone, which cannot be started again

static int make_pair(int pair[2]) {
  struct timeval patience = {.tv_sec = PATIENCE_S};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return errno;
  setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  return 0;
}

int wd_fork_server_start(void) {
  static char name[] = "waddle", word[] = WD_FORK_SERVER;
  char *argv[] = {name, word, NULL};
  int pair[2];
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none;
  if (used) return 0;
  int rc = make_pair(pair);
  if (rc) return rc;
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, pair[1], SERVER_FD);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  rc = posix_spawn(&server.pid, "/proc/self/exe", &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(pair[1]);
  if (rc) {
    close(pair[0]);
    return rc;
  }
  server.fd = pair[0];
  used = true;
  return 0;
}

bool wd_fork_server_is_used(void) {
  return used;
}

static bool add(char *text, size_t *length, const char *word) {
  size_t n = strlen(word) + 1;
  if (*length + n > MOST_BYTES) return false;
  memcpy(text + *length, word, n);
  *length += n;
  return true;
}

static bool send_message(char *text, size_t length, int fd) {
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
  } extra = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  struct iovec part = {.iov_base = text, .iov_len = length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    memcpy(CMSG_DATA(&extra.head), &fd, sizeof(fd));
    message.msg_control = &extra;
    message.msg_controllen = sizeof(extra.room);
  }
  ssize_t n;
  do n = sendmsg(server.fd, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)length;
}

static void let_go(struct peer *peer) {
  if (peer->fd < 0) return;
  close(peer->fd);
  peer->fd = -1;
  kill(peer->pid, SIGKILL);
  waitpid(peer->pid, NULL, 0);
}

// Sends a request and waits for its answer. A server that does not give one is done with: what it says later must not be taken for another's.
static int ask(char *text, size_t length, int fd, pid_t *pid) {
  struct answer answer;
  ssize_t n = -1;
  if (server.fd < 0) return ECHILD;
  if (send_message(text, length, fd)) {
    do n = recv(server.fd, &answer, sizeof(answer), 0);
    while (n < 0 && errno == EINTR);
  }
  if (n != (ssize_t)sizeof(answer)) {
    let_go(&server);
    return ECHILD;
  }
  if (pid && !answer.error) *pid = answer.pid;
  return answer.error;
}

// Without one (no process to be had) all goes on as long as the server lives; the next process that is asked for asks for the heir first.
static void make_heir(void) {
  char text[] = {HEIR};
  int pair[2];
  if (heir.fd >= 0 || server.fd < 0 || make_pair(pair)) return;
  if (ask(text, sizeof(text), pair[1], &heir.pid) == 0)
    heir.fd = pair[0];
  else
    close(pair[0]);
  close(pair[1]);
}

int wd_fork_server_confine(const struct wd_fork_rights *r) {
  const bool parts[] = {r->no_dump, r->no_new_privs, r->landlock, r->capabilities, r->keep_net_raw, r->seccomp};
  static char text[MOST_BYTES];
  size_t length = 0;
  text[length++] = CONFINE;
  for (size_t i = 0; i < WD_COUNT(parts); i++) text[length++] = parts[i] ? '1' : '0';
  for (size_t i = 0; i < r->path_count; i++)
    if (!add(text, &length, r->paths[i])) return E2BIG;
  int rc = ask(text, length, -1, NULL);
  if (!rc) make_heir();
  return rc;
}

int wd_fork_server_spawn(char *const *argv, int fd, pid_t *pid) {
  static char text[MOST_BYTES];
  size_t length = 0;
  text[length++] = SPAWN;
  for (; *argv; argv++)
    if (!add(text, &length, *argv)) return E2BIG;
  make_heir();
  int rc = ask(text, length, fd, pid);
  if (rc != ECHILD || heir.fd < 0) return rc;
  server = heir;
  heir.fd = -1;
  return ESTALE;
}

// ---- in the server ----

static char request[MOST_BYTES]; // in a copy it holds the arguments
static char *words[MOST_WORDS + 1];

// The texts behind `from`; how many, or -1 when there are too many or the last one has no end.
static int read_words(size_t from, size_t length) {
  int n = 0;
  if (length > from && request[length - 1]) return -1;
  for (size_t at = from; at < length; at += strlen(request + at) + 1) {
    if (n == MOST_WORDS) return -1;
    words[n++] = request + at;
  }
  words[n] = NULL;
  return n;
}

// The length of the next request and the descriptor that came with it, or -1; 0 when nobody will ask any more.
static size_t receive(int *fd) {
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
  } extra;
  struct iovec part = {.iov_base = request, .iov_len = sizeof(request)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &extra, .msg_controllen = sizeof(extra.room)};
  ssize_t n;
  do n = recvmsg(SERVER_FD, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  const struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  *fd = -1;
  if (head && head->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(head), sizeof(*fd));
  return n > 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? (size_t)n : 0;
}

static int confine(size_t length) {
  enum { NO_DUMP = 1, NO_NEW_PRIVS, LANDLOCK, CAPABILITIES, KEEP_NET_RAW, SECCOMP, PATHS };
  int n = length >= PATHS ? read_words(PATHS, length) : -1, rc = 0;
  if (n < 0) return EINVAL;
#define ON(part) (request[part] == '1')
  if (ON(NO_DUMP)) rc = wd_confine_no_dump();
  if (!rc && ON(NO_NEW_PRIVS)) rc = wd_confine_no_new_privs();
  if (!rc && ON(LANDLOCK)) rc = wd_confine_landlock((const char *const *)words, (size_t)n, false);
  if (!rc && ON(CAPABILITIES)) rc = wd_confine_capabilities(ON(KEEP_NET_RAW), ON(NO_NEW_PRIVS));
  if (!rc && ON(SECCOMP)) rc = wd_confine_seccomp(false);
#undef ON
  return rc;
}

// A copy whose parent is ours. fork(2) cannot do that. The state of glibc is that of one thread, which has a new number: the kernel puts it where
// glibc keeps it (on some processors that is the fourth argument, on some the fifth, and the other one goes unread).
static pid_t copy(void) {
  int *number = NULL;
  unsigned long flags = CLONE_PARENT | SIGCHLD;
  if (prctl(PR_GET_TID_ADDRESS, &number, 0, 0, 0) == 0 && number) flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
  return (pid_t)syscall(SYS_clone, flags, NULL, NULL, number, number);
}

static void take_signals(void (*how)(int)) {
  static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  for (size_t i = 0; i < WD_COUNT(all); i++) signal(all[i], how);
}

// The new process serves at `fd`, as confined as this one.
static void become_heir(int fd, struct answer *answer) {
  answer->pid = fd < 0 ? -1 : copy();
  if (answer->pid < 0) answer->error = fd < 0 ? EINVAL : errno;
  if (answer->pid) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(fd, SERVER_FD);
}

// Whether this is the new process.
static bool spawn(size_t length, int fd, int *count, struct answer *answer) {
  *count = read_words(1, length);
  if (*count < 1 || fd < 0) {
    answer->error = EINVAL;
    return false;
  }
  answer->pid = copy();
  if (answer->pid < 0) answer->error = errno;
  if (answer->pid != 0) return false;
  dup2(fd, SERVER_FD); // the server's socket ends here
  close(fd);
  take_signals(SIG_DFL);
  return true;
}

bool wd_fork_server_serve(int *argc, char ***argv, int *code) {
  bool confined = false;
  size_t length;
  int fd, count;
  ssize_t n = 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  take_signals(SIG_IGN); // a terminal's and a service manager's are for the process that is served
  *code = 0;
  while ((length = receive(&fd)) > 0) {
    struct answer answer = {0};
    if (request[0] == CONFINE && !confined) {
      answer.error = confine(length);
      confined = answer.error == 0;
    } else if (request[0] == SPAWN && confined) {
      if (spawn(length, fd, &count, &answer)) {
        memset((*argv)[1], 0, strlen((*argv)[1]));
        memcpy((*argv)[1], WD_FORK_COPY, sizeof(WD_FORK_COPY)); // for ps; it is shorter
        *argc = count;
        *argv = words;
        return true;
      }
    } else if (request[0] == HEIR && confined) {
      become_heir(fd, &answer);
    } else {
      answer.error = EPERM;
    }
    bool is_heir = !answer.error && request[0] == HEIR && answer.pid == 0; // nobody waits for its word
    if (fd >= 0) close(fd);
    if (!is_heir) n = send(SERVER_FD, &answer, sizeof(answer), MSG_NOSIGNAL);
    if (n < 0 || !confined) break;
  }
  if (!confined) *code = 2;
  return false;
}
