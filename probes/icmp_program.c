// See icmp_program.h.
#include "probes/icmp_program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probes/icmp_program_text.h"
#include "runtime/clock.h"

enum { TEXT = 4096, ARGS = 20, ARG = 24 };

// A process and the pipe that holds what it printed: less than a pipe's room, so it is read once, at the end. Outlives its probe until
// the process is gone.
struct wd_icmp_child {
  uv_process_t process;
  struct wd_icmp_program *program; // NULL: nobody wants to know any more
  struct wd_packet *packet;
  struct wd_icmp_child *next, *prev;
  int out;
};

static struct wd_icmp_child *children;

static void start(struct wd_icmp_program *program, struct wd_packet *p);

static void on_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void drop(struct wd_icmp_child *c) {
  *(c->prev ? &c->prev->next : &children) = c->next;
  if (c->next) c->next->prev = c->prev;
  close(c->out);
  uv_close((uv_handle_t *)&c->process, on_closed);
}

static void read_all(const struct wd_icmp_child *c, char text[static TEXT]) {
  size_t have = 0;
  ssize_t n;
  while (have < TEXT - 1 && (n = read(c->out, text + have, TEXT - 1 - have)) > 0) have += (size_t)n;
  for (size_t i = 0; i < have; i++)
    if (text[i] == '\0') text[i] = '?';
  text[have] = '\0';
}

// Hands the outcome to the train; may end the probe.
static void tell(struct wd_icmp_program *program, struct wd_packet *p, const struct wd_ping_text *said) {
  struct wd_packet_reply reply = {.from = said->from, .ttl = said->ttl, .at = p->sent + said->rtt, .hardware = WD_NONE};
  switch (said->verdict) {
  case WD_PING_SILENT: return; // the deadline is the train's
  case WD_PING_REPLY:
    p->window = said->resolution;
    if (wd_addr_same_host(&said->from, &p->flow->to))
      wd_train_reply(p, &reply);
    else
      wd_train_of(p)->foreign++;
    return;
  case WD_PING_REFUSED: p->sent = 0; /* fall through */
  case WD_PING_ERROR: wd_train_error(p, said->err, said->why, &said->from, said->mtu); return;
  case WD_PING_DENIED: program->on_useless(program, said->why); return;
  }
}

static void next(struct wd_icmp_program *program) {
  struct wd_packet *p = program->first;
  if (!p || program->child) return;
  program->first = p->next;
  if (!p->next) program->last = NULL;
  p->next = NULL;
  start(program, p);
}

static void on_exit_of_child(uv_process_t *process, int64_t status, int signal) {
  (void)status;
  (void)signal;
  struct wd_icmp_child *c = process->data;
  struct wd_icmp_program *program = c->program;
  struct wd_packet *p = c->packet;
  struct wd_ping_text said;
  char text[TEXT];
  read_all(c, text);
  drop(c);
  if (!program) return;
  program->child = NULL;
  wd_ping_read(&said, text);
  tell(program, p, &said);
  next(program);
}

static void close_children(struct wd_closer *closer) {
  (void)closer;
  for (struct wd_icmp_child *c = children, *after; c; c = after) {
    after = c->next;
    uv_process_kill(&c->process, SIGKILL);
    waitpid(c->process.pid, NULL, 0);
    drop(c);
  }
}

struct command {
  char *argv[ARGS];
  char room[ARGS][ARG];
  int n;
};

static void add(struct command *c, const char *flag, int64_t value) {
  c->argv[c->n++] = (char *)(uintptr_t)flag;
  snprintf(c->room[c->n], ARG, "%lld", (long long)value);
  c->argv[c->n] = c->room[c->n];
  c->n++;
}

static void add_text(struct command *c, const char *flag, const char *value) {
  c->argv[c->n++] = (char *)(uintptr_t)flag;
  c->argv[c->n++] = (char *)(uintptr_t)value;
}

// An argument of ours can only be a number, an address or an interface's name, each behind its flag: none is taken for a flag.
static void compose(struct command *c, const struct wd_packet_opts *o, const char *address) {
  *c = (struct command){.n = 0};
  c->argv[c->n++] = (char *)(uintptr_t) "ping";
  c->argv[c->n++] = (char *)(uintptr_t) "-n";
  add(c, "-c", 1);
  add(c, "-W", (o->common.timeout + WD_S - 1) / WD_S);
  add(c, "-s", o->size);
  if (o->ttl > 0) add(c, "-t", o->ttl);
  if (o->common.tos > 0) add(c, "-Q", o->common.tos);
  if (o->dont_fragment == 1) add_text(c, "-M", "do");
  if (o->common.source) add_text(c, "-I", o->common.source);
  c->argv[c->n++] = (char *)(uintptr_t)address;
  c->argv[c->n] = NULL;
}

static int spawn(struct wd_icmp_program *program, struct wd_icmp_child *c, const char *address, int out) {
  struct command command;
  char path[1024];
  const char *inherited = getenv("PATH");
  snprintf(path, sizeof(path), "PATH=%s", inherited ? inherited : "/usr/bin:/bin:/usr/sbin:/sbin");
  char *environment[] = {path, (char *)(uintptr_t) "LC_ALL=C", NULL};
  uv_stdio_container_t io[3] = {
      {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = out}, {.flags = UV_INHERIT_FD, .data.fd = out}};
  compose(&command, program->opts, address);
  uv_process_options_t options = {
      .file = "ping", .args = command.argv, .env = environment, .stdio = io, .stdio_count = 3, .exit_cb = on_exit_of_child};
  c->process.data = c;
  return uv_spawn(&program->loop->uv, &c->process, &options);
}

static void start(struct wd_icmp_program *program, struct wd_packet *p) {
  static struct wd_closer closer = {.close = close_children};
  static bool registered;
  char address[WD_ADDR_TEXT];
  int ends[2], rc = -ENOMEM;
  struct wd_icmp_child *c = calloc(1, sizeof(*c));
  if (!registered) wd_loop_on_close(program->loop, &closer);
  registered = true;
  if (!c || pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
    rc = c ? errno : ENOMEM;
    free(c);
    wd_train_unsent(p, rc, 0);
    return;
  }
  *c = (struct wd_icmp_child){.program = program, .packet = p, .next = children, .out = ends[0]};
  if (children) children->prev = c;
  children = c;
  p->sent = wd_clock_real();
  p->state = WD_PACKET_SENT;
  rc = spawn(program, c, wd_addr_format(&p->flow->to, address), ends[1]);
  close(ends[1]);
  if (rc) {
    drop(c); // uv_spawn leaves the handle to be closed even when it failed
    program->on_useless(program, rc == UV_ENOENT ? "there is none in PATH" : uv_strerror(rc));
    return;
  }
  program->child = c;
  wd_train_sent(p);
}

void wd_icmp_program_init(struct wd_icmp_program *program, struct wd_loop *loop, const struct wd_packet_opts *opts,
                          void (*on_useless)(struct wd_icmp_program *program, const char *why)) {
  *program = (struct wd_icmp_program){.loop = loop, .opts = opts, .on_useless = on_useless};
}

void wd_icmp_program_send(struct wd_icmp_program *program, struct wd_packet *p) {
  p->state = WD_PACKET_QUEUED;
  p->next = NULL;
  wd_timer_stop(&program->loop->timers, &p->deadline); // it waits for its turn as long as that takes
  *(program->last ? &program->last->next : &program->first) = p;
  program->last = p;
  next(program);
}

void wd_icmp_program_forget(struct wd_icmp_program *program, struct wd_packet *p) {
  for (struct wd_packet **at = &program->first, *before = NULL; *at; before = *at, at = &(*at)->next) {
    if (*at != p) continue;
    *at = p->next;
    if (program->last == p) program->last = before;
    p->state = WD_PACKET_IDLE;
    break;
  }
  if (!program->child || program->child->packet != p) return;
  program->child->program = NULL;
  uv_process_kill(&program->child->process, SIGKILL);
  program->child = NULL;
}

void wd_icmp_program_lost(struct wd_icmp_program *program, struct wd_packet *p) {
  wd_icmp_program_forget(program, p);
  next(program);
}
