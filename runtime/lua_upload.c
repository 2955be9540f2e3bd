// waddle.core.upload: uploaders for Lua. lua/waddle/upload.lua turns results into rows for them.
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "runtime/lua_modules.h"
#include "runtime/lua_spool.h"
#include "runtime/reader.h"
#include "runtime/spool.h"
#include "runtime/task.h"
#include "runtime/upload_http.h"
#include "runtime/writer.h"

static const char *const handle_type = "waddle.upload";

struct options {
  const char *url, *login_url;
  struct wd_auth_opts *auth;
  struct wd_tls_opts *tls;
  const char *spool;
  int full;
  int64_t max_rows, max_bytes, concurrency;
  wd_ns max_age, timeout;
};

// What waits in memory is bounded closer than what waits on a disk.
static const struct wd_store_limits memory_limits = {.max_rows = 10000, .max_bytes = 64 << 20};
static const struct wd_store_limits spool_limits = {.max_rows = 10000000, .max_bytes = 1 << 30};

enum full { FULL_NEWEST, FULL_OLDEST };
static const char *const fulls[] = {"newest", "oldest", NULL};

#define O struct options
static const struct wd_field option_fields[] = {
    WD_FIELD(O, url, "url", WD_T_STR, .flags = WD_F_REQUIRED, .min = 1, .max = 4096, .help = "address of the manager"),
    WD_FIELD(O, login_url, "login_url", WD_T_STR, .flags = WD_F_REQUIRED | WD_F_HIDDEN, .min = 1, .max = 4096,
             .help = "its login route"),
    WD_FIELD(O, auth, "auth", WD_T_TABLE, .sub = &wd_auth_desc, .help = "how uploads prove who they are"),
    WD_FIELD(O, tls, "tls", WD_T_TABLE, .sub = &wd_tls_opts_desc, .help = "how the manager's certificate is judged"),
    WD_FIELD(O, spool, "spool", WD_T_STR, .def = "none", .min = 1, .max = 4000,
             .help = "the file that results wait in until they are delivered; none: in memory"),
    WD_FIELD(O, full, "full", WD_T_ENUM, .def = "newest", .names = fulls, .help = "which results are dropped when there is no room"),
    WD_FIELD(O, max_rows, "max_rows", WD_T_INT, .min = 1, .max = 1e9,
             .help = "most results that wait; 10,000 by default, 10,000,000 with a spool"),
    WD_FIELD(O, max_bytes, "max_bytes", WD_T_BYTES, .min = 1, .max = 1e15,
             .help = "most bytes of results that wait; 64MiB by default, 1GiB with a spool"),
    WD_FIELD(O, max_age, "max_age", WD_T_DURATION, .min = 0.001, .max = 315360000,
             .help = "older results are dropped; none are by default"),
    WD_FIELD(O, concurrency, "concurrency", WD_T_INT, .def = "4", .min = 1, .max = 64, .help = "most requests at once"),
    WD_FIELD(O, timeout, "timeout", WD_T_DURATION, .def = "30", .min = 0.001, .max = 3600, .help = "for one request"),
    {0}};
#undef O
static const struct wd_desc option_desc = {"upload.open", option_fields, sizeof(struct options)};

// An open uploader is held by the registry: rows that wait outlive the script's last mention of it.
struct handle {
  struct wd_lua_store base;
  struct wd_upload upload;
  struct wd_arena arena; // of the options
  struct options options;
  int anchor;
};

static struct handle *check_handle(lua_State *L, const char *what) {
  struct handle *h = luaL_checkudata(L, 1, handle_type);
  if (!h->base.open) wd_vm_error(L, "%s: this uploader is closed", what);
  return h;
}

static int l_close(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, handle_type);
  if (!h->base.open) return 0;
  h->base.open = false;
  wd_upload_close(&h->upload);
  luaL_unref(L, LUA_REGISTRYINDEX, h->anchor);
  return 0;
}

static int l_gc(lua_State *L) {
  l_close(L);
  struct handle *h = lua_touserdata(L, 1);
  wd_arena_free(&h->arena);
  return 0;
}

static struct wd_store *open_store(struct wd_loop *loop, const struct options *o) {
  bool in_memory = strcmp(o->spool, "none") == 0;
  struct wd_store_limits limits = in_memory ? memory_limits : spool_limits;
  if (o->max_rows != WD_NONE) limits.max_rows = o->max_rows;
  if (o->max_bytes != WD_NONE) limits.max_bytes = o->max_bytes;
  limits.max_age = o->max_age;
  limits.drop_oldest = o->full == FULL_OLDEST;
  return in_memory ? wd_store_memory(&limits) : wd_spool_new(loop, &(struct wd_spool_opts){.path = o->spool, .limits = limits});
}

// open{url=, login_url=, ...} -> uploader; raises what is wrong with the options.
static int l_open(lua_State *L) {
  static const char *const function = "upload.open";
  lua_settop(L, 1);
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 0);
  memset(h, 0, sizeof(*h));
  luaL_setmetatable(L, handle_type);
  wd_read(L, function, &option_desc, 1, 0, &h->arena, &h->options);
  const struct options *o = &h->options;
  const char *wrong = wd_auth_check(o->auth);
  if (wrong) wd_vm_error(L, "%s: field 'auth': %s", function, wrong);
  struct wd_loop *loop = wd_vm_of(L)->loop;
  struct wd_upload_http_opts http = {.results_url = o->url, .login_url = o->login_url, .timeout = o->timeout, .tls = o->tls};
  struct wd_transport *transport = wd_upload_http(loop, &http, &h->arena, &wrong);
  if (!transport) wd_vm_error(L, "%s: field 'url': %s", function, wrong);
  struct wd_store *store = open_store(loop, o);
  if (!store) transport->close(transport);
  if (!store ||
      wd_upload_open(&h->upload, loop, store, transport, o->auth, (unsigned)o->concurrency, wd_upload_http_where(transport)))
    luaL_error(L, "not enough memory");
  h->base = (struct wd_lua_store){store, true};
  lua_pushvalue(L, -1);
  h->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

// ---- put ----

// Several rows that are put at once: they are on the disk at once, too.
struct put_op {
  struct wd_op op;
  struct handle *handle;
  size_t count, left; // left: not answered yet
  struct wd_store_put puts[];
};

static void on_put(struct wd_store_put *put) {
  struct put_op *p = put->owner;
  if (--p->left == 0) wd_op_complete(&p->op, WD_OK);
}

static void put_stop(struct wd_op *op) {
  struct put_op *p = (struct put_op *)op;
  if (p->left == 0 || !p->handle->base.open) return;
  for (size_t i = 0; i < p->count; i++) wd_store_forget_put(p->handle->upload.store, &p->puts[i]);
  p->left = 0;
}

static const struct wd_op_class put_class = {.name = "upload.put", .stop = put_stop};

static int k_put(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct put_op *p = (struct put_op *)ctx;
  lua_Integer taken = 0;
  enum wd_store_result worst = WD_STORE_TAKEN;
  for (size_t i = 0; i < p->count; i++) {
    if (p->puts[i].result == WD_STORE_TAKEN) taken++;
    if (p->puts[i].result > worst) worst = p->puts[i].result;
  }
  wd_op_release(&p->op);
  lua_pushinteger(L, taken);
  if (worst == WD_STORE_TAKEN) return 1;
  lua_pushstring(L, worst == WD_STORE_FULL ? "full" : "not stored");
  return 2;
}

// u:put(id, body, ...) -> how many of them were taken, and, if not all, "full" or "not stored". Yields until the store has them.
static int l_put(lua_State *L) {
  struct handle *h = check_handle(L, "upload.put");
  size_t count = (size_t)lua_gettop(L) / 2;
  luaL_argcheck(L, count > 0 && lua_gettop(L) % 2 == 1, 2, "expected ids and bodies");
  wd_task_check(L, "upload.put");
  struct put_op *p = wd_op_new(L, &put_class, sizeof(*p) + count * sizeof(p->puts[0]));
  p->handle = h;
  p->count = p->left = count;
  for (size_t i = 0; i < count; i++) {
    int at = 2 + 2 * (int)i;
    size_t n = 0, key_len = 0;
    const char *key = luaL_checklstring(L, at, &key_len), *body = luaL_checklstring(L, at + 1, &n);
    luaL_argcheck(L,
                  key_len > 0 && key_len < WD_STORE_KEY_LEN &&
                      strspn(key, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:") == key_len,
                  at, "expected up to 63 letters, digits and -_.:");
    p->puts[i] = (struct wd_store_put){.key = key, .body = {body, n}, .done = on_put, .owner = p, .result = WD_STORE_FAILED};
  }
  wd_op_wait(L, &p->op);
  for (size_t i = 0; i < count; i++) wd_store_put(h->upload.store, &p->puts[i]);
  return lua_yieldk(L, 0, (lua_KContext)p, k_put);
}

// ---- flush ----

struct flush_op {
  struct wd_op op;
  struct wd_upload_flush flush;
  struct handle *handle;
};

static void on_flushed(struct wd_upload_flush *flush) {
  wd_op_complete(&WD_CONTAINER(flush, struct flush_op, flush)->op, WD_OK);
}

static void flush_stop(struct wd_op *op) {
  struct flush_op *f = (struct flush_op *)op;
  wd_upload_unflush(&f->handle->upload, &f->flush);
}

static const struct wd_op_class flush_class = {.name = "upload.flush", .stop = flush_stop};

static int k_flush(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct flush_op *f = (struct flush_op *)ctx;
  wd_op_release(&f->op);
  lua_pushinteger(L, wd_upload_left(&f->handle->upload));
  return 1;
}

// u:flush([duration]) -> rows left. Tries at once; waits until none is left or the queue is blocked.
static int l_flush(lua_State *L) {
  struct handle *h = check_handle(L, "upload.flush");
  wd_ns bound = lua_isnoneornil(L, 2) ? 30 * WD_S : wd_read_duration(L, 2, "upload.flush", "duration");
  wd_task_check(L, "upload.flush");
  struct flush_op *f = wd_op_new(L, &flush_class, sizeof(*f));
  f->handle = h;
  f->flush.done = on_flushed;
  wd_op_wait(L, &f->op);
  wd_op_deadline(&f->op, bound);
  wd_upload_flush(&h->upload, &f->flush);
  return lua_yieldk(L, 0, (lua_KContext)f, k_flush);
}

// ---- what became of them ----

static int l_status(lua_State *L) {
  struct wd_upload_status s;
  wd_upload_status(&check_handle(L, "upload.status")->upload, &s);
  wd_write(L, &wd_upload_status_desc, &s);
  return 1;
}

int wd_open_upload(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"put", l_put},           {"flush", l_flush}, {"status", l_status},
                                     {"ask", wd_lua_store_ask}, {"close", l_close}, {NULL, NULL}};
  luaL_newmetatable(L, handle_type);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
