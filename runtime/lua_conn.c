// The methods of a connection: read, read_line, write, finish, close, reset, peer.
#include "runtime/lua_conn.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/neterr.h"
#include "runtime/reader.h"
#include "runtime/task.h"

static const char *const metatable = "waddle.conn";

struct wd_conn *wd_lua_conn_push(lua_State *L, int anchor) {
  anchor = lua_absindex(L, anchor);
  struct wd_conn *c = lua_newuserdatauv(L, sizeof(*c), 1);
  memset(c, 0, sizeof(*c));
  c->watch.fd = -1;
  luaL_setmetatable(L, metatable);
  lua_pushvalue(L, anchor);
  lua_setiuservalue(L, -2, 1);
  return c;
}

static struct wd_conn *check_conn(lua_State *L) {
  return luaL_checkudata(L, 1, metatable);
}

static int nothing(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

static int broken(lua_State *L, int error) {
  return nothing(L, error == ECONNRESET || error == EPIPE ? "connection_reset" : strerror(error));
}

// Takes n bytes out of the buffer. [-0, +1, m]
static int push_bytes(lua_State *L, struct wd_conn *c, size_t n, size_t drop) {
  lua_pushlstring(L, c->buffer + c->start, n);
  c->start += n + drop;
  c->fill -= n + drop;
  return 1;
}

static int k_read(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_conn_wait *w = (struct wd_conn_wait *)ctx;
  struct wd_conn *c = check_conn(L);
  bool line = w->line, timed_out = w->op.err == WD_E_TIMEOUT;
  wd_op_release(&w->op);
  lua_Integer most = luaL_optinteger(L, 2, WD_CONN_BUFFER);
  if (line) {
    size_t n = wd_conn_line(c), end = n > 1 && c->buffer[c->start + n - 2] == '\r' ? 2 : 1;
    if (n) return push_bytes(L, c, n - end, end);
    if (c->fill == WD_CONN_BUFFER) return nothing(L, "line too long");
  } else if (c->fill && !timed_out) {
    return push_bytes(L, c, c->fill < (size_t)most ? c->fill : (size_t)most, 0);
  }
  if (timed_out) return nothing(L, "timeout");
  if (c->failed) return broken(L, c->failed);
  return nothing(L, "closed");
}

static int start_read(lua_State *L, const char *name, size_t want, bool line, int timeout_at) {
  struct wd_conn *c = check_conn(L);
  wd_task_check(L, name);
  wd_ns bound = lua_isnoneornil(L, timeout_at) ? WD_NONE : wd_read_duration(L, timeout_at, name, "timeout");
  if (!wd_conn_is_open(c)) return nothing(L, "closed");
  if (c->reader) return wd_vm_error(L, "%s: another task reads this connection already", name);
  lua_settop(L, 3);
  struct wd_conn_wait *w = wd_op_new(L, &wd_conn_read_class, sizeof(*w));
  w->want = want;
  w->line = line;
  wd_op_wait(L, &w->op);
  wd_op_deadline(&w->op, bound);
  wd_conn_start_read(c, w);
  return lua_yieldk(L, 0, (lua_KContext)w, k_read);
}

// read([most [, timeout]]) -> bytes (1 to most) | nil, "closed" | "timeout" | "connection_reset" | message
static int l_read(lua_State *L) {
  lua_Integer most = luaL_optinteger(L, 2, WD_CONN_BUFFER);
  luaL_argcheck(L, most >= 1 && most <= WD_CONN_BUFFER, 2, "expected 1 to 65536 bytes");
  return start_read(L, "read", 1, false, 3);
}

// read_line([timeout]) -> line without its end | nil, "closed" | "timeout" | "line too long" | ...
static int l_read_line(lua_State *L) {
  lua_settop(L, 2);
  lua_pushnil(L);
  lua_insert(L, 2);
  return start_read(L, "read_line", 0, true, 3);
}

static int k_write(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_conn_wait *w = (struct wd_conn_wait *)ctx;
  int failed = w->failed;
  enum wd_err err = w->op.err;
  wd_op_release(&w->op);
  if (err == WD_E_TIMEOUT) return nothing(L, "timeout");
  if (err != WD_OK) return nothing(L, "closed");
  if (failed) return broken(L, failed);
  lua_pushboolean(L, 1);
  return 1;
}

// write(bytes [, timeout]) -> true | nil, why: waits until the kernel has taken all of it.
static int l_write(lua_State *L) {
  struct wd_conn *c = check_conn(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  wd_task_check(L, "write");
  wd_ns bound = lua_isnoneornil(L, 3) ? WD_NONE : wd_read_duration(L, 3, "write", "timeout");
  if (!wd_conn_is_open(c)) return nothing(L, "closed");
  if (c->writer) return wd_vm_error(L, "write: another task writes to this connection already");
  lua_settop(L, 3);
  struct wd_conn_wait *w = wd_op_new(L, &wd_conn_write_class, sizeof(*w));
  w->from = bytes;
  w->left = n;
  wd_op_wait(L, &w->op);
  wd_op_deadline(&w->op, bound);
  wd_conn_start_write(c, w);
  return lua_yieldk(L, 0, (lua_KContext)w, k_write);
}

static int l_close(lua_State *L) {
  wd_conn_close(check_conn(L), false);
  return 0;
}

// reset(): closes with an RST.
static int l_reset(lua_State *L) {
  wd_conn_close(check_conn(L), true);
  return 0;
}

// finish(): sends the end of our half; reading goes on.
static int l_finish(lua_State *L) {
  wd_conn_shutdown(check_conn(L));
  return 0;
}

// peer() -> address, port of the other end
static int l_peer(lua_State *L) {
  char text[WD_ADDR_TEXT];
  struct wd_conn *c = check_conn(L);
  lua_pushstring(L, wd_addr_format(&c->peer, text));
  lua_pushinteger(L, wd_addr_port(&c->peer));
  return 2;
}

void wd_lua_conn_setup(lua_State *L) {
  static const luaL_Reg methods[] = {{"read", l_read},   {"read_line", l_read_line}, {"write", l_write}, {"close", l_close},
                                     {"reset", l_reset}, {"finish", l_finish},       {"peer", l_peer},   {NULL, NULL}};
  luaL_newmetatable(L, metatable);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}
