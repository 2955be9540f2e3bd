// waddle.core.upload: uploaders for Lua. lua/waddle/upload.lua turns results into rows for them.
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "runtime/lua_modules.h"
#include "runtime/reader.h"
#include "runtime/task.h"
#include "runtime/upload_http.h"
#include "runtime/words.h"
#include "runtime/writer.h"

static const char *const handle_type = "waddle.upload";

struct options {
  const char *url, *login_url;
  struct wd_auth_opts *auth;
  struct wd_tls_opts *tls;
  int spool;
  int64_t max_rows, max_bytes, concurrency;
  wd_ns max_age, timeout;
};

static const char *const spools[] = {"none", NULL};

#define O struct options
static const struct wd_field option_fields[] = {
    WD_FIELD(O, url, "url", WD_T_STR, .flags = WD_F_REQUIRED, .min = 1, .max = 4096, .help = "address of the manager"),
    WD_FIELD(O, login_url, "login_url", WD_T_STR, .flags = WD_F_REQUIRED | WD_F_HIDDEN, .min = 1, .max = 4096,
             .help = "its login route"),
    WD_FIELD(O, auth, "auth", WD_T_TABLE, .sub = &wd_auth_desc, .help = "how uploads prove who they are"),
    WD_FIELD(O, tls, "tls", WD_T_TABLE, .sub = &wd_tls_opts_desc, .help = "how the manager's certificate is judged"),
    WD_FIELD(O, spool, "spool", WD_T_ENUM, .def = "none", .names = spools, .help = "none: results wait in memory"),
    WD_FIELD(O, max_rows, "max_rows", WD_T_INT, .def = "10000", .min = 1, .max = 1e9,
             .help = "most results that wait; newer ones are dropped"),
    WD_FIELD(O, max_bytes, "max_bytes", WD_T_BYTES, .def = "64MiB", .min = 1, .max = 1e15,
             .help = "most bytes of results that wait"),
    WD_FIELD(O, max_age, "max_age", WD_T_DURATION, .min = 0.001, .max = 315360000,
             .help = "older results are dropped; none are by default"),
    WD_FIELD(O, concurrency, "concurrency", WD_T_INT, .def = "4", .min = 1, .max = 64, .help = "most requests at once"),
    WD_FIELD(O, timeout, "timeout", WD_T_DURATION, .def = "30", .min = 0.001, .max = 3600, .help = "for one request"),
    {0}};
#undef O
static const struct wd_desc option_desc = {"upload.open", option_fields, sizeof(struct options)};

// An open uploader is held by the registry: rows that wait outlive the script's last mention of it.
struct handle {
  struct wd_upload upload;
  struct wd_arena arena; // of the options
  struct options options;
  int anchor;
  bool open;
};

static struct handle *check_handle(lua_State *L, const char *what) {
  struct handle *h = luaL_checkudata(L, 1, handle_type);
  if (!h->open) wd_vm_error(L, "%s: this uploader is closed", what);
  return h;
}

static int l_close(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, handle_type);
  if (!h->open) return 0;
  h->open = false;
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
  struct wd_store *store = wd_store_memory(&(struct wd_store_limits){o->max_rows, o->max_bytes, o->max_age});
  if (!store) transport->close(transport);
  if (!store ||
      wd_upload_open(&h->upload, loop, store, transport, o->auth, (unsigned)o->concurrency, wd_upload_http_where(transport)))
    luaL_error(L, "not enough memory");
  h->open = true;
  lua_pushvalue(L, -1);
  h->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

// ---- put ----

struct put_op {
  struct wd_op op;
  struct wd_store_put put;
  struct handle *handle;
  bool over;
};

static void on_put(struct wd_store_put *put) {
  struct put_op *p = WD_CONTAINER(put, struct put_op, put);
  p->over = true;
  wd_op_complete(&p->op, WD_OK);
}

static void put_stop(struct wd_op *op) {
  struct put_op *p = (struct put_op *)op;
  if (!p->over && p->handle->open) wd_store_forget_put(p->handle->upload.store, &p->put);
}

static const struct wd_op_class put_class = {.name = "upload.put", .stop = put_stop};

static int k_put(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct put_op *p = (struct put_op *)ctx;
  bool taken = p->over && p->put.result == WD_STORE_TAKEN;
  wd_op_release(&p->op);
  if (taken) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, p->over && p->put.result == WD_STORE_FULL ? "full" : "not stored");
  return 2;
}

// u:put(id, body) -> true | nil, "full" | nil, "not stored". Yields until the store has the row.
static int l_put(lua_State *L) {
  struct handle *h = check_handle(L, "upload.put");
  size_t n = 0, key_len = 0;
  const char *key = luaL_checklstring(L, 2, &key_len), *body = luaL_checklstring(L, 3, &n);
  luaL_argcheck(L,
                key_len > 0 && key_len < WD_STORE_KEY_LEN &&
                    strspn(key, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:") == key_len,
                2, "expected up to 63 letters, digits and -_.:");
  wd_task_check(L, "upload.put");
  struct put_op *p = wd_op_new(L, &put_class, sizeof(*p));
  p->handle = h;
  p->put = (struct wd_store_put){.key = key, .body = {body, n}, .done = on_put};
  wd_op_wait(L, &p->op);
  wd_store_put(h->upload.store, &p->put);
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

struct list_op {
  struct wd_op op;
  struct wd_store_list list;
  struct handle *handle;
  bool over;
};

static void on_list(struct wd_store_list *list) {
  struct list_op *l = WD_CONTAINER(list, struct list_op, list);
  l->over = true;
  wd_op_complete(&l->op, WD_OK);
}

static void list_stop(struct wd_op *op) {
  struct list_op *l = (struct list_op *)op;
  if (!l->over && l->handle->open) wd_store_forget_list(l->handle->upload.store, &l->list);
}

static void list_destroy(struct wd_op *op) {
  wd_arena_free(&((struct list_op *)op)->list.arena);
}

static const struct wd_op_class list_class = {.name = "upload.rejected", .stop = list_stop, .destroy = list_destroy};

static int k_list(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct list_op *l = (struct list_op *)ctx;
  lua_createtable(L, (int)l->list.count, 0);
  for (size_t i = 0; i < l->list.count; i++) {
    const struct wd_aside_row *row = &l->list.rows[i];
    char at[WD_TIME_LEN];
    wd_words_time(row->at_us, at);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, row->key);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, row->status);
    lua_setfield(L, -2, "status");
    lua_pushstring(L, row->answer);
    lua_setfield(L, -2, "answer");
    lua_pushlstring(L, row->body.p ? row->body.p : "", row->body.n);
    lua_setfield(L, -2, "body");
    lua_pushstring(L, at);
    lua_setfield(L, -2, "at");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  wd_op_release(&l->op);
  return 1;
}

// u:rejected() -> list of {id=, status=, answer=, body=, at=}, oldest first.
static int l_rejected(lua_State *L) {
  struct handle *h = check_handle(L, "upload.rejected");
  wd_task_check(L, "upload.rejected");
  struct list_op *l = wd_op_new(L, &list_class, sizeof(*l));
  l->handle = h;
  l->list.done = on_list;
  wd_op_wait(L, &l->op);
  wd_store_list(h->upload.store, &l->list);
  return lua_yieldk(L, 0, (lua_KContext)l, k_list);
}

int wd_open_upload(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", l_open}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"put", l_put},           {"flush", l_flush}, {"status", l_status},
                                     {"rejected", l_rejected}, {"close", l_close}, {NULL, NULL}};
  luaL_newmetatable(L, handle_type);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
