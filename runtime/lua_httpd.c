// waddle.core.httpd: HTTP listeners for scripts. lua/waddle/serve.lua makes servers of them.
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "runtime/addr.h"
#include "runtime/httpd.h"
#include "runtime/lua_modules.h"
#include "runtime/reader.h"
#include "runtime/task.h"

static const char *const daemon_type = "waddle.httpd", *const request_type = "waddle.httpd.request";

enum { HEADERS_MOST = 64 };

struct options {
  struct wd_httpd_options o;
  int64_t port, connections, per_client;
};

#define O struct options
static const struct wd_field option_fields[] = {
  WD_FIELD(O, o.address, "address", WD_T_STR, .def = "127.0.0.1", .help = "IP address to listen on"),
  WD_FIELD(O, port, "port", WD_T_INT, .def = "0", .min = 0, .max = 65535, .help = "0: any free one"),
  WD_FIELD(O, o.certificate, "certificate", WD_T_STR, .help = "PEM text of the certificate chain; HTTPS where given"),
  WD_FIELD(O, o.key, "key", WD_T_STR, .help = "PEM text of its key"),
  WD_FIELD(O, connections, "connections", WD_T_INT, .def = "1000", .min = 1, .max = 100000, .help = "most connections at once"),
  WD_FIELD(O, per_client, "per_client", WD_T_INT, .def = "0", .min = 0, .max = 100000, .help = "most connections of one address; 0: no limit of its own"),
  WD_FIELD(O, o.body_most, "body_most", WD_T_BYTES, .def = "1MiB", .min = 0, .max = 1e9, .help = "largest body of a request"),
  WD_FIELD(O, o.deadline, "deadline", WD_T_DURATION, .def = "60", .min = 0.01, .max = 86400, .help = "longest time for one request and its answer"),
  {0}};
#undef O
static const struct wd_desc option_desc = {"serve.http", option_fields, sizeof(struct options)};

static struct wd_httpd *check_daemon(lua_State *L) {
  struct wd_httpd **slot = luaL_checkudata(L, 1, daemon_type);
  return *slot;
}

static int l_close(lua_State *L) {
  struct wd_httpd **slot = luaL_checkudata(L, 1, daemon_type), *d = *slot;
  *slot = NULL;
  if (d) wd_httpd_close(d);
  return 0;
}

static int l_free_arena(lua_State *L) {
  wd_arena_free(lua_touserdata(L, 1));
  return 0;
}

// open(options) -> listener | nil, message
static int l_open(lua_State *L) {
  struct options o;
  char error[200];
  lua_settop(L, 1);
  struct wd_arena *arena = lua_newuserdatauv(L, sizeof(*arena), 0);
  *arena = (struct wd_arena){0};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_free_arena);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  wd_read(L, "serve.http", &option_desc, lua_isnil(L, 1) ? 0 : 1, 0, arena, &o);
  struct wd_addr addr;
  if (!wd_addr_parse(&addr, o.o.address, 0)) return wd_vm_error(L, "serve.http: expected an IP address to listen on, got \"%.100s\"", o.o.address);
  if (!o.o.certificate != !o.o.key) return wd_vm_error(L, "serve.http: certificate and key go together");
  o.o.port = (uint16_t)o.port;
  o.o.connections = (unsigned)o.connections;
  o.o.per_client = (unsigned)o.per_client;
  struct wd_httpd **slot = lua_newuserdatauv(L, sizeof(*slot), 0);
  *slot = NULL;
  luaL_setmetatable(L, daemon_type);
  *slot = wd_httpd_open(wd_vm_of(L)->loop, &o.o, error, sizeof(error));
  if (*slot) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error);
  return 2;
}

struct pairs {
  const char *name[HEADERS_MOST], *value[HEADERS_MOST];
  int n;
};

static void collect(void *ctx, const char *name, const char *value) {
  struct pairs *p = ctx;
  if (p->n == HEADERS_MOST) return;
  p->name[p->n] = name;
  p->value[p->n++] = value;
}

static void push_pairs(lua_State *L, struct wd_httpd_request *r, enum wd_httpd_kind kind, bool lower) {
  struct pairs p = {.n = 0};
  wd_httpd_each(r, kind, collect, &p);
  lua_createtable(L, 0, p.n);
  for (int i = 0; i < p.n; i++) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (const char *c = p.name[i]; *c; c++) luaL_addchar(&b, (char)(lower && *c >= 'A' && *c <= 'Z' ? *c + 32 : *c));
    luaL_pushresult(&b);
    lua_pushstring(L, p.value[i]);
    lua_rawset(L, -3);
  }
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

// Pushes {method=, path=, version=, peer=, headers=, query=, body=, handle=}.
static int push_request(lua_State *L, struct wd_httpd *d) {
  char peer[100];
  size_t n;
  lua_createtable(L, 0, 8);
  struct wd_httpd_request **slot = lua_newuserdatauv(L, sizeof(*slot), 1);
  *slot = NULL;
  luaL_setmetatable(L, request_type);
  lua_pushvalue(L, 1); // the listener outlives its requests
  lua_setiuservalue(L, -2, 1);
  lua_setfield(L, -2, "handle");
  struct wd_httpd_request *r = *slot = wd_httpd_take(d);
  if (!r) {
    lua_pushnil(L);
    lua_pushliteral(L, "nothing"); // the client went away meanwhile: try again
    return 2;
  }
  set_string(L, "method", wd_httpd_method(r));
  set_string(L, "path", wd_httpd_path(r));
  set_string(L, "version", wd_httpd_version(r));
  wd_httpd_peer(r, peer, sizeof(peer));
  set_string(L, "peer", peer);
  const char *body = wd_httpd_body(r, &n);
  lua_pushlstring(L, body, n);
  lua_setfield(L, -2, "body");
  push_pairs(L, r, WD_HTTPD_HEADERS, true);
  lua_setfield(L, -2, "headers");
  push_pairs(L, r, WD_HTTPD_QUERY, false);
  lua_setfield(L, -2, "query");
  return 1;
}

static int k_next(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_op *op = (struct wd_op *)ctx;
  enum wd_err err = op->err;
  wd_op_release(op);
  struct wd_httpd *d = check_daemon(L);
  if (err == WD_OK && d) return push_request(L, d);
  lua_pushnil(L);
  lua_pushliteral(L, "closed");
  return 2;
}

// next() -> request | nil, "closed" | nil, "nothing" (try again)
static int l_next(lua_State *L) {
  struct wd_httpd *d = check_daemon(L);
  wd_task_check(L, "next");
  if (!d) {
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
  }
  struct wd_httpd_wait *w = wd_op_new(L, &wd_httpd_wait_class, sizeof(*w));
  wd_op_wait(L, &w->op);
  if (!wd_httpd_await(d, w)) return wd_vm_error(L, "next: another task waits at this listener already");
  return lua_yieldk(L, 0, (lua_KContext)w, k_next);
}

// port() -> integer
static int l_port(lua_State *L) {
  struct wd_httpd *d = check_daemon(L);
  if (!d) return 0;
  lua_pushinteger(L, wd_httpd_port(d));
  return 1;
}

// respond(status, headers | nil, body | nil [, bytes of filling]) -> whether the client was still there.
// Raises for what is no answer: a header that HTTP does not allow, a body that is no text.
static int l_respond(lua_State *L) {
  struct wd_httpd_request **slot = luaL_checkudata(L, 1, request_type);
  lua_Integer status = luaL_checkinteger(L, 2);
  luaL_argcheck(L, status >= 100 && status <= 999, 2, "expected a status from 100 to 999");
  const char *pairs[2 * HEADERS_MOST + 1] = {0};
  size_t n = 0, len = 0;
  const char *body = luaL_optlstring(L, 4, "", &len);
  lua_Integer filler = luaL_optinteger(L, 5, 0);
  luaL_argcheck(L, filler >= 0, 5, "expected 0 or more bytes");
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checkstack(L, 2 * HEADERS_MOST + 4, "headers");
    for (lua_pushnil(L); lua_next(L, 3);) { // keys and values stay on the stack until the answer is made
      if (n == HEADERS_MOST || lua_type(L, -2) != LUA_TSTRING) return luaL_argerror(L, 3, "expected at most 64 headers by name");
      pairs[2 * n] = lua_tostring(L, -2);
      pairs[2 * n + 1] = luaL_tolstring(L, -1, NULL);
      n++;
      lua_pushvalue(L, -3);
    }
  }
  int rc = *slot ? wd_httpd_respond(*slot, (unsigned)status, pairs, body, len, filler) : -ENOTCONN;
  if (rc == -EINVAL) return luaL_argerror(L, 3, "a name or a value that HTTP does not allow");
  lua_pushboolean(L, rc == 0);
  return 1;
}

static int l_release(lua_State *L) {
  struct wd_httpd_request **slot = luaL_checkudata(L, 1, request_type), *r = *slot;
  *slot = NULL;
  if (r) wd_httpd_release(r);
  return 0;
}

static void new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close) {
  luaL_newmetatable(L, name);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

int wd_open_httpd(lua_State *L) {
  static const luaL_Reg daemon_methods[] = {{"next", l_next}, {"port", l_port}, {"close", l_close}, {NULL, NULL}};
  static const luaL_Reg request_methods[] = {{"respond", l_respond}, {"release", l_release}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};
  new_type(L, daemon_type, daemon_methods, l_close);
  new_type(L, request_type, request_methods, l_release);
  luaL_newlib(L, functions);
  return 1;
}
