// waddle.core.spool: looking into a store, and a spool that nobody sends from. lua/waddle/spool.lua is the face of it.
#include "runtime/lua_spool.h"

#include <lauxlib.h>
#include <string.h>

#include "runtime/lua_modules.h"
#include "runtime/reader.h"
#include "runtime/spool.h"
#include "runtime/spool_file.h"
#include "runtime/task.h"
#include "runtime/words.h"

static const char *const handle_type = "waddle.spool";

struct wd_lua_store *wd_lua_store_check(lua_State *L, const char *what) {
  struct wd_lua_store *h = luaL_testudata(L, 1, handle_type);
  if (!h) h = luaL_checkudata(L, 1, "waddle.upload");
  if (!h->open) wd_vm_error(L, "%s: this one is closed", what);
  return h;
}

// ---- ask ----

struct question {
  int request;
  int8_t quarantine;
  const char *id;
  int64_t after, most;
};

static const char *const requests[] = {"list", "requeue", "purge", NULL}; // in the order of enum wd_store_request

#define Q struct question
static const struct wd_field question_fields[] = {
    WD_FIELD(Q, request, "request", WD_T_ENUM, .flags = WD_F_REQUIRED, .names = requests, .help = "what to do"),
    WD_FIELD(Q, quarantine, "quarantine", WD_T_BOOL, .def = "false", .help = "with what was set aside, not with what waits"),
    WD_FIELD(Q, id, "id", WD_T_STR, .help = "only with results of this id"),
    WD_FIELD(Q, after, "after", WD_T_INT, .def = "0", .min = 0, .max = 9e15, .help = "list: those behind this number"),
    WD_FIELD(Q, most, "most", WD_T_INT, .def = "500", .min = 0, .max = 10000, .help = "list: at most so many"),
    {0}};
#undef Q
static const struct wd_desc question_desc = {"spool.ask", question_fields, sizeof(struct question)};

struct ask_op {
  struct wd_op op;
  struct wd_store_ask ask;
  struct wd_arena arena; // of the question
  struct wd_lua_store *handle;
  bool over;
};

static void on_answer(struct wd_store_ask *ask) {
  struct ask_op *a = WD_CONTAINER(ask, struct ask_op, ask);
  a->over = true;
  wd_op_complete(&a->op, WD_OK);
}

static void ask_stop(struct wd_op *op) {
  struct ask_op *a = (struct ask_op *)op;
  if (!a->over && a->handle->open) wd_store_forget_ask(a->handle->store, &a->ask);
}

static void ask_destroy(struct wd_op *op) {
  struct ask_op *a = (struct ask_op *)op;
  wd_arena_free(&a->ask.arena);
  wd_arena_free(&a->arena);
}

static const struct wd_op_class ask_class = {.name = "spool.ask", .stop = ask_stop, .destroy = ask_destroy};

static void set_time(lua_State *L, const char *name, int64_t wall_us) {
  char at[WD_TIME_LEN];
  if (wall_us == 0) return;
  wd_words_time(wall_us, at);
  lua_pushstring(L, at);
  lua_setfield(L, -2, name);
}

static void push_row(lua_State *L, const struct wd_listed_row *row) {
  lua_createtable(L, 0, 9);
  lua_pushstring(L, row->key);
  lua_setfield(L, -2, "id");
  lua_pushinteger(L, row->id);
  lua_setfield(L, -2, "number");
  lua_pushlstring(L, row->body.p ? row->body.p : "", row->body.n);
  lua_setfield(L, -2, "body");
  lua_pushinteger(L, row->tries);
  lua_setfield(L, -2, "tries");
  set_time(L, "put_at", row->created_us);
  set_time(L, "not_before", row->not_before_us);
  if (!row->answer) return;
  lua_pushinteger(L, row->status);
  lua_setfield(L, -2, "status");
  lua_pushstring(L, row->answer);
  lua_setfield(L, -2, "answer");
  set_time(L, "at", row->at_us);
}

static int k_ask(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct ask_op *a = (struct ask_op *)ctx;
  const struct wd_store_ask *ask = &a->ask;
  bool failed = !a->over || ask->fault;
  if (failed) {
    lua_pushnil(L);
    lua_pushstring(L, a->over ? ask->fault : "closed");
  } else if (ask->request == WD_ASK_LIST) {
    lua_createtable(L, (int)ask->count, 0);
    for (size_t i = 0; i < ask->count; i++) {
      push_row(L, &ask->rows[i]);
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(L, ask->more);
  } else {
    lua_pushinteger(L, ask->changed);
  }
  int n = failed || ask->request == WD_ASK_LIST ? 2 : 1;
  wd_op_release(&a->op);
  return n;
}

// h:ask{request="list"} -> rows {{id=, number=, body=, tries=, put_at=, not_before=, status=, answer=, at=}...}, whether there
// may be more behind the last number; "requeue", "purge" -> how many; or nil and a message. Yields until the store has answered,
// which it does when it is known how things stand with its file.
int wd_lua_store_ask(lua_State *L) {
  struct wd_lua_store *h = wd_lua_store_check(L, "spool.ask");
  wd_task_check(L, "spool.ask");
  lua_settop(L, 2);
  struct ask_op *a = wd_op_new(L, &ask_class, sizeof(*a));
  struct question q;
  a->handle = h;
  wd_read(L, "spool.ask", &question_desc, 2, 0, &a->arena, &q);
  a->ask = (struct wd_store_ask){.request = (enum wd_store_request)q.request,
                                 .aside = q.quarantine == 1,
                                 .key = q.id,
                                 .after = q.after,
                                 .most = (size_t)q.most,
                                 .done = on_answer};
  wd_op_wait(L, &a->op);
  wd_store_ask(h->store, &a->ask);
  return lua_yieldk(L, 0, (lua_KContext)a, k_ask);
}

// ---- a spool of its own ----

static int l_close(lua_State *L) {
  struct wd_lua_store *h = luaL_checkudata(L, 1, handle_type);
  if (!h->open) return 0;
  h->open = false;
  wd_store_close(h->store);
  return 0;
}

static int l_totals(lua_State *L) {
  struct wd_store_counts counts;
  wd_store_counts(wd_lua_store_check(L, "spool.totals")->store, 0, &counts);
  lua_pushinteger(L, counts.rows);
  lua_pushinteger(L, counts.bytes);
  lua_pushinteger(L, counts.aside);
  return 3;
}

// open(path) -> spool; a file that cannot be opened, or that another process has, is told by the first `ask`.
static int l_open(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct wd_lua_store *h = lua_newuserdatauv(L, sizeof(*h), 0);
  memset(h, 0, sizeof(*h));
  luaL_setmetatable(L, handle_type);
  struct wd_spool_opts opts = {.path = path, .limits = {INT64_MAX, INT64_MAX, WD_NONE, false}, .impatient = true};
  h->store = wd_spool_new(wd_vm_of(L)->loop, &opts);
  if (!h->store) luaL_error(L, "not enough memory");
  h->open = true;
  return 1;
}

// make_folder(path) -> whether the folder of this file is there: before writing elsewhere is given up.
static int l_make_folder(lua_State *L) {
  lua_pushboolean(L, wd_spool_file_make_folder(luaL_checkstring(L, 1)) == 0);
  return 1;
}

int wd_open_spool(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", l_open}, {"make_folder", l_make_folder}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"ask", wd_lua_store_ask}, {"totals", l_totals}, {"close", l_close}, {NULL, NULL}};
  luaL_newmetatable(L, handle_type);
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
