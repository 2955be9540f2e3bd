// waddle.core.datagram: bound UDP sockets for scripts that answer (an echo, a small DNS server).
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <unistd.h>

#include "runtime/addr.h"
#include "runtime/lua_modules.h"
#include "runtime/policy.h"
#include "runtime/reader.h"
#include "runtime/task.h"
#include "runtime/watch.h"

static const char *const metatable = "waddle.datagram";

enum { LARGEST = 65535 };

struct receive_op;

struct datagram {
  struct wd_loop *loop;
  struct wd_watch watch;
  struct receive_op *waiting;
  struct wd_addr local;
};

struct receive_op {
  struct wd_op op;
  struct datagram *socket;
};

// Leaves the watch as it is: the next receive mostly follows at once, and on_event puts it right.
static void receive_stop(struct wd_op *op) {
  struct receive_op *r = (struct receive_op *)op;
  if (r->socket && r->socket->waiting == r) r->socket->waiting = NULL;
}

static const struct wd_op_class receive_class = {.name = "receive", .stop = receive_stop};

// Readable: the waiting task reads the datagram itself when it runs.
static void on_event(struct wd_watch *w, uint32_t events) {
  (void)events;
  struct datagram *d = WD_CONTAINER(w, struct datagram, watch);
  int error;
  socklen_t len = sizeof(error);
  getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len); // an ICMP error for an earlier answer is nobody's
  if (d->waiting)
    wd_op_complete(&d->waiting->op, WD_OK);
  else
    wd_watch_set(w, 0);
}

static struct datagram *check_socket(lua_State *L) {
  return luaL_checkudata(L, 1, metatable);
}

static int l_close(lua_State *L) {
  struct datagram *d = check_socket(L);
  wd_watch_close(&d->watch);
  if (d->waiting) wd_op_complete(&d->waiting->op, WD_E_CANCELLED);
  return 0;
}

static int fail(lua_State *L, int fd, int error) {
  if (fd >= 0) close(fd);
  lua_pushnil(L);
  lua_pushstring(L, strerror(error));
  return 2;
}

// open(address, port) -> socket | nil, message
static int l_open(lua_State *L) {
  struct wd_addr addr;
  const char *text = luaL_checkstring(L, 1);
  lua_Integer port = luaL_checkinteger(L, 2);
  luaL_argcheck(L, port >= 0 && port <= 65535, 2, "expected a port from 0 to 65535");
  if (!wd_addr_parse(&addr, text, (uint16_t)port)) return wd_vm_error(L, "serve: expected an IP address to listen on, got \"%s\"", text);
  struct datagram *d = lua_newuserdatauv(L, sizeof(*d), 0);
  *d = (struct datagram){.loop = wd_vm_of(L)->loop, .watch = {.fd = -1, .on_event = on_event}};
  luaL_setmetatable(L, metatable);
  if (!wd_policy_may_listen()) return fail(L, -1, WD_POLICY_DENIED);
  int on = 1, fd = socket(wd_addr_family(&addr), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(L, fd, errno);
  if (wd_addr_family(&addr) == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(fd, &addr.sa, wd_addr_len(&addr))) return fail(L, fd, errno);
  struct sockaddr_storage sa;
  socklen_t len = sizeof(sa);
  if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0) wd_addr_from_sockaddr(&d->local, (struct sockaddr *)&sa, len);
  int rc = wd_watch_start(d->loop, &d->watch, fd, 0);
  return rc ? fail(L, fd, -rc) : 1;
}

static int k_receive(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_op *op = (struct wd_op *)ctx;
  struct datagram *d = check_socket(L);
  enum wd_err err = op->err;
  char bytes[LARGEST], text[WD_ADDR_TEXT];
  struct sockaddr_storage sa;
  struct wd_addr from;
  socklen_t len = sizeof(sa);
  wd_op_release(op);
  ssize_t n = err == WD_OK ? recvfrom(d->watch.fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sa, &len) : -1;
  if (n < 0) {
    lua_pushnil(L);
    lua_pushstring(L, err == WD_E_TIMEOUT ? "timeout" : err == WD_OK ? "nothing" : "closed");
    return 2;
  }
  wd_addr_from_sockaddr(&from, (struct sockaddr *)&sa, len);
  lua_pushlstring(L, bytes, (size_t)n);
  lua_pushstring(L, wd_addr_format(&from, text));
  lua_pushinteger(L, wd_addr_port(&from));
  return 3;
}

// receive([timeout]) -> bytes, address, port | nil, "closed" | "timeout" | "nothing" (try again)
static int l_receive(lua_State *L) {
  struct datagram *d = check_socket(L);
  wd_task_check(L, "receive");
  wd_ns bound = lua_isnoneornil(L, 2) ? WD_NONE : wd_read_duration(L, 2, "receive", "timeout");
  if (!wd_watch_active(&d->watch)) {
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
  }
  if (d->waiting) return wd_vm_error(L, "receive: another task waits at this socket already");
  struct receive_op *r = wd_op_new(L, &receive_class, sizeof(*r));
  r->socket = d;
  wd_op_wait(L, &r->op);
  d->waiting = r;
  wd_watch_set(&d->watch, EPOLLIN);
  wd_op_deadline(&r->op, bound);
  return lua_yieldk(L, 0, (lua_KContext)r, k_receive);
}

// send(bytes, address, port) -> true | nil, message; a full buffer loses the datagram, as networks do.
static int l_send(lua_State *L) {
  struct datagram *d = check_socket(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  struct wd_addr to;
  lua_Integer port = luaL_checkinteger(L, 4);
  luaL_argcheck(L, port >= 1 && port <= 65535, 4, "expected a port from 1 to 65535");
  if (!wd_addr_parse(&to, luaL_checkstring(L, 3), (uint16_t)port)) return luaL_argerror(L, 3, "expected an IP address");
  if (!wd_watch_active(&d->watch)) return fail(L, -1, EBADF);
  if (!wd_policy_allows(&to)) return fail(L, -1, WD_POLICY_DENIED);
  if (wd_policy_room(1) == 0) return fail(L, -1, ENOBUFS); // as a full buffer
  wd_policy_charge(1, n);
  if (sendto(d->watch.fd, bytes, n, MSG_NOSIGNAL, &to.sa, wd_addr_len(&to)) < 0) return fail(L, -1, errno);
  lua_pushboolean(L, 1);
  return 1;
}

// address() -> text, port
static int l_address(lua_State *L) {
  char text[WD_ADDR_TEXT];
  struct datagram *d = check_socket(L);
  lua_pushstring(L, wd_addr_format(&d->local, text));
  lua_pushinteger(L, wd_addr_port(&d->local));
  return 2;
}

int wd_open_datagram(lua_State *L) {
  static const luaL_Reg methods[] = {
    {"receive", l_receive}, {"send", l_send}, {"address", l_address}, {"close", l_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};
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
