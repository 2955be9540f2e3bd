// waddle.core.listen: listening stream sockets (TCP and Unix) and their connections, for scripts.
// lua/waddle/serve.lua makes servers of them.
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/conn.h"
#include "runtime/lua_conn.h"
#include "runtime/lua_modules.h"
#include "runtime/neterr.h"
#include "runtime/policy.h"
#include "runtime/reader.h"
#include "runtime/task.h"
#include "runtime/tls.h"

static const char *const metatable = "waddle.listener";

struct listener {
  struct wd_loop *loop;
  struct wd_watch watch;
  struct accept_op *waiting;
  struct wd_addr local;
  char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; // of a Unix socket, removed at close
  ino_t inode;                                               // of that file: one made in its place by another is left alone
  unsigned open, most; // connections now, and allowed
  struct wd_tls_server *tls; // NULL: plain
};

struct accept_op {
  struct wd_op op;
  struct listener *listener;
  int fd, failed;
};

static void update(struct listener *l) {
  // A full house leaves newcomers in the kernel's backlog.
  if (wd_watch_active(&l->watch)) wd_watch_set(&l->watch, l->waiting && l->open < l->most ? EPOLLIN : 0);
}

// Leaves the watch as it is: the next accept mostly follows at once, and on_event puts it right.
static void accept_stop(struct wd_op *op) {
  struct accept_op *a = (struct accept_op *)op;
  if (a->listener && a->listener->waiting == a) a->listener->waiting = NULL;
}

static void accept_destroy(struct wd_op *op) {
  struct accept_op *a = (struct accept_op *)op;
  if (a->fd >= 0) close(a->fd);
  a->fd = -1;
}

static const struct wd_op_class accept_class = {.name = "accept", .stop = accept_stop, .destroy = accept_destroy};

static void on_event(struct wd_watch *w, uint32_t events) {
  (void)events;
  struct listener *l = WD_CONTAINER(w, struct listener, watch);
  struct accept_op *a = l->waiting;
  if (!a || l->open >= l->most) {
    update(l);
    return;
  }
  int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)) return;
  a->fd = fd;
  a->failed = fd < 0 ? errno : 0;
  wd_op_complete(&a->op, WD_OK);
}

static void close_listener(struct listener *l) {
  struct stat st;
  if (!wd_watch_active(&l->watch)) return;
  wd_watch_close(&l->watch);
  if (l->path[0] && lstat(l->path, &st) == 0 && st.st_ino == l->inode) unlink(l->path);
  if (l->waiting) wd_op_complete(&l->waiting->op, WD_E_CANCELLED);
}

static struct listener *check_listener(lua_State *L) {
  return luaL_checkudata(L, 1, metatable);
}

static int l_close(lua_State *L) {
  close_listener(check_listener(L));
  return 0;
}

// Connections keep the listener alive, so nobody speaks TLS with its certificate any more.
static int l_gc(lua_State *L) {
  struct listener *l = check_listener(L);
  close_listener(l);
  wd_tls_server_free(l->tls);
  l->tls = NULL;
  return 0;
}

static struct listener *new_listener(lua_State *L, lua_Integer most) {
  struct listener *l = lua_newuserdatauv(L, sizeof(*l), 0);
  *l = (struct listener){.loop = wd_vm_of(L)->loop, .watch = {.fd = -1, .on_event = on_event}, .most = (unsigned)most};
  luaL_setmetatable(L, metatable);
  return l;
}

static int fail(lua_State *L, int fd, int error) {
  if (fd >= 0) close(fd);
  lua_pushnil(L);
  lua_pushstring(L, strerror(error));
  return 2;
}

// tcp(address, port, most [, certificate PEM, key PEM]) -> listener | nil, message
static int l_tcp(lua_State *L) {
  struct wd_addr addr;
  const char *text = luaL_checkstring(L, 1);
  lua_Integer port = luaL_checkinteger(L, 2), most = luaL_checkinteger(L, 3);
  luaL_argcheck(L, port >= 0 && port <= 65535, 2, "expected a port from 0 to 65535");
  luaL_argcheck(L, most >= 1 && most <= 1000000, 3, "expected 1 to 1000000 connections");
  if (!wd_addr_parse(&addr, text, (uint16_t)port)) return wd_vm_error(L, "serve: expected an IP address to listen on, got \"%s\"", text);
  const char *certificate = luaL_optstring(L, 4, NULL), *key = luaL_optstring(L, 5, NULL);
  struct listener *l = new_listener(L, most);
  if (certificate) {
    char error[200];
    l->tls = wd_tls_server_new(certificate, key, NULL, error, sizeof(error));
    if (!l->tls) {
      lua_pushnil(L);
      lua_pushstring(L, error);
      return 2;
    }
  }
  if (!wd_policy_may_listen()) return fail(L, -1, WD_POLICY_DENIED);
  int on = 1, fd = socket(wd_addr_family(&addr), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(L, fd, errno);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (wd_addr_family(&addr) == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(fd, &addr.sa, wd_addr_len(&addr)) || listen(fd, SOMAXCONN)) return fail(L, fd, errno);
  struct sockaddr_storage sa;
  socklen_t len = sizeof(sa);
  if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0) wd_addr_from_sockaddr(&l->local, (struct sockaddr *)&sa, len);
  int rc = wd_watch_start(l->loop, &l->watch, fd, 0);
  return rc ? fail(L, fd, -rc) : 1;
}

// A socket file that refuses is a left-over; one with a full queue, or that we may not connect to, is somebody's.
static bool left_over(const struct sockaddr_un *un) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)un, sizeof(*un)) && errno == ECONNREFUSED;
  if (fd >= 0) close(fd);
  return refused;
}

// Fills in the address; a path too long, or with a zero byte in it (which would mean another name), raises.
static void check_path(lua_State *L, struct sockaddr_un *un) {
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  *un = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (n == 0 || n >= sizeof(un->sun_path) || strlen(path) != n)
    wd_vm_error(L, "the path of a Unix socket is 1 to %d bytes long, got %d", (int)sizeof(un->sun_path) - 1, (int)n);
  memcpy(un->sun_path, path, n);
}

// unix(path, mode, most) -> listener | nil, message. A left-over socket file is replaced.
static int l_unix(lua_State *L) {
  struct sockaddr_un un;
  check_path(L, &un);
  lua_Integer mode = luaL_checkinteger(L, 2), most = luaL_checkinteger(L, 3);
  struct listener *l = new_listener(L, most);
  struct stat st;
  if (!wd_policy_may_dial_unix()) return fail(L, -1, WD_POLICY_DENIED);
  if (lstat(un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
    if (!left_over(&un)) return fail(L, -1, EADDRINUSE);
    unlink(un.sun_path);
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(L, fd, errno);
  // bind makes the file with the socket's own bits less the umask (unix(7)), so that it is never open wider
  // than asked for; what the umask took is given back afterwards.
  if (fchmod(fd, (mode_t)mode & 0777) || bind(fd, (struct sockaddr *)&un, sizeof(un))) return fail(L, fd, errno);
  int rc = chmod(un.sun_path, (mode_t)mode & 0777) || listen(fd, SOMAXCONN) || lstat(un.sun_path, &st) ? -errno : 0;
  if (rc == 0) rc = wd_watch_start(l->loop, &l->watch, fd, 0);
  if (rc) {
    unlink(un.sun_path);
    return fail(L, fd, -rc);
  }
  l->inode = st.st_ino;
  memcpy(l->path, un.sun_path, sizeof(l->path));
  return 1;
}

static void on_conn_closed(struct wd_conn *c) {
  struct listener *l = c->owner;
  l->open--;
  update(l);
}

static int k_accept(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct accept_op *a = (struct accept_op *)ctx;
  struct listener *l = check_listener(L);
  if (a->op.err != WD_OK || a->fd < 0) {
    int error = a->failed;
    wd_op_release(&a->op);
    lua_pushnil(L);
    lua_pushstring(L, error ? strerror(error) : "closed");
    return 2;
  }
  struct wd_conn *c = wd_lua_conn_push(L, 1); // keeps the listener alive
  int rc = wd_conn_open(c, l->loop, a->fd);
  a->fd = -1;
  wd_op_release(&a->op);
  if (rc) return fail(L, -1, -rc);
  c->owner = l;
  c->on_closed = on_conn_closed;
  l->open++;
  rc = l->tls ? wd_conn_accept_tls(c, l->tls) : 0;
  if (rc == 0) return 1;
  wd_conn_close(c, true);
  return fail(L, -1, -rc);
}

// accept() -> connection | nil, "closed" | nil, message
static int l_accept(lua_State *L) {
  struct listener *l = check_listener(L);
  wd_task_check(L, "accept");
  if (!wd_watch_active(&l->watch)) {
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
  }
  if (l->waiting) return wd_vm_error(L, "accept: another task waits at this listener already");
  struct accept_op *a = wd_op_new(L, &accept_class, sizeof(*a));
  a->fd = -1;
  a->listener = l;
  wd_op_wait(L, &a->op);
  l->waiting = a;
  update(l);
  return lua_yieldk(L, 0, (lua_KContext)a, k_accept);
}

// dial_unix(path) -> connection | nil, message
static int l_dial_unix(lua_State *L) {
  struct sockaddr_un un;
  check_path(L, &un);
  struct wd_conn *c = wd_lua_conn_push(L, 1);
  if (!wd_policy_may_dial_unix()) return fail(L, -1, WD_POLICY_DENIED);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un))) return fail(L, fd, errno);
  int rc = wd_conn_open(c, wd_vm_of(L)->loop, fd);
  return rc ? fail(L, -1, -rc) : 1;
}

// address() -> text, port
static int l_address(lua_State *L) {
  char text[WD_ADDR_TEXT];
  struct listener *l = check_listener(L);
  lua_pushstring(L, l->path[0] ? l->path : wd_addr_format(&l->local, text));
  lua_pushinteger(L, wd_addr_port(&l->local));
  return 2;
}

int wd_open_listen(lua_State *L) {
  static const luaL_Reg methods[] = {{"accept", l_accept}, {"address", l_address}, {"close", l_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"tcp", l_tcp}, {"unix", l_unix}, {"dial_unix", l_dial_unix}, {NULL, NULL}};
  wd_lua_conn_setup(L);
  luaL_newmetatable(L, metatable);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  luaL_newlib(L, functions);
  return 1;
}
