// See probe.h.
#include "runtime/probe.h"

#include <arpa/inet.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdarg.h>
#include <string.h>

#include "runtime/addr.h"
#include "runtime/clock.h"
#include "runtime/clock_state.h"
#include "runtime/policy.h"
#include "runtime/reader.h"
#include "runtime/task.h"
#include "runtime/throttle.h"
#include "runtime/writer.h"

enum { FIRST_ARENA = 512 }; // bytes of the arena that come with the op: what a plain probe needs

struct wd_probe_count wd_probe_count;

const char *const wd_family_names[] = {"any", "4", "6", NULL};
static const char *const cache_names[] = {"none", "ttl", NULL};

const char *wd_probe_valid_address(const char *text) {
  struct in6_addr any;
  char plain[64];
  size_t n = strcspn(text, "%"); // a scope may follow
  if (n >= sizeof(plain)) return "expected an IP address";
  memcpy(plain, text, n);
  plain[n] = '\0';
  bool ok = inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, plain, &any) == 1;
  return ok ? NULL : "expected an IP address";
}

static const char *valid_server(const char *text) {
  struct wd_hostport at;
  char why[200];
  bool ok = wd_hostport_split(&at, text, 53, why, sizeof(why)) && at.literal;
  return ok ? NULL : "expected an IP address, with :port if not 53";
}

#define R struct wd_resolver_opts
static const struct wd_field resolver_fields[] = {
  WD_FIELD(R, server, "server", WD_T_STR, .min = 1, .max = 300, .valid = valid_server, .help = "address of the DNS server, with :port if not 53"),
  WD_FIELD(R, cache, "cache", WD_T_ENUM, .def = "none", .names = cache_names, .help = "none: ask every time; ttl: keep answers for their time to live"),
  {0}};
#undef R
const struct wd_desc wd_resolver_desc = {"resolver", resolver_fields, sizeof(struct wd_resolver_opts)};

#define Q struct wd_quality
static const struct wd_field quality_fields[] = {
  WD_FIELD(Q, timestamp_source, "timestamp_source", WD_T_STR, .help = "hardware, kernel or user: whose clock readings the figure is made of, the least exact of them"),
  WD_FIELD(Q, uncertainty, "uncertainty_ms", WD_T_MS, .help = "how far off the figure may be, 99 times of 100, where that is known"),
  WD_FIELD(Q, sched_lag, "sched_lag_ms", WD_T_MS, .help = "how much later than planned the probe started"),
  WD_FIELD(Q, loop_lag, "loop_lag_ms", WD_T_MS, .help = "worst delay of waddle's own loop while the probe ran"),
  WD_FIELD(Q, cpu_throttled, "cpu_throttled", WD_T_BOOL,
           .help = "whether the kernel held waddle back meanwhile, its control group's CPU quota being used up"),
  WD_FIELD(Q, clock_synchronized, "clock_synchronized", WD_T_BOOL, .help = "whether something keeps this machine's clock right, as the kernel knows"),
  WD_FIELD(Q, clock_error, "clock_error_ms", WD_T_MS, .help = "most that clock, and started_at, may be off; absent while it is not synchronized"),
  {0}};
#undef Q
const struct wd_desc wd_quality_desc = {"quality", quality_fields, sizeof(struct wd_quality)};

static struct wd_probe_op *of(struct wd_op *op) {
  return WD_CONTAINER(op, struct wd_probe_op, op);
}

static void stop(struct wd_op *op) {
  struct wd_probe_op *p = of(op);
  wd_timer_stop(&op->loop->timers, &p->hold);
  if (p->probe && p->probe->stop && p->begun) p->probe->stop(p);
}

static void destroy(struct wd_op *op) {
  struct wd_probe_op *p = of(op);
  if (op->started) wd_probe_count.under_way--;
  if (p->probe && p->probe->destroy && p->begun) p->probe->destroy(p);
  wd_arena_free(&p->arena);
}

static void expire(struct wd_op *op) {
  struct wd_probe_op *p = of(op);
  if (p->probe->expire)
    p->probe->expire(p);
  else
    wd_probe_done(p, WD_E_TIMEOUT, "no answer within %g s", (double)wd_probe_opts(p)->timeout / 1e9);
}

static const char *about(const struct wd_op *op, const char **subject) {
  struct wd_probe_op *p = of((struct wd_op *)(uintptr_t)op);
  *subject = ((const struct wd_common_result *)wd_probe_result(p))->target;
  return p->probe->name;
}

static const struct wd_op_class probe_class = {.name = "probe", .stop = stop, .destroy = destroy, .expire = expire, .about = about};

// What can be said of every probe, whatever its figure is made of.
static void judge_quality(struct wd_probe_op *p, wd_ns now) {
  struct wd_common_result *r = wd_probe_result(p);
  double planned = wd_probe_opts(p)->planned;
  if (!r->quality) {
    p->quality.uncertainty = WD_NONE;
    r->quality = &p->quality;
  }
  struct wd_quality *q = r->quality;
  wd_ns late = isnan(planned) ? WD_NONE : p->op.started - (wd_ns)(planned * 1e9);
  q->sched_lag = late == WD_NONE || late > 0 ? late : 0;
  q->loop_lag = wd_loop_lag(p->op.loop, p->op.started);
  wd_throttle_look(now);
  q->cpu_throttled = wd_throttle_since(p->op.started);
  struct wd_clock_state clock = wd_clock_state_at(now);
  q->clock_synchronized = clock.synchronized;
  q->clock_error = clock.error;
}

void wd_probe_done(struct wd_probe_op *p, enum wd_err err, const char *detail, ...) {
  if (p->op.done) return;
  struct wd_common_result *r = wd_probe_result(p);
  judge_quality(p, wd_clock_now());
  r->error = err;
  if (p->arena.failed) { // nobody else's fault, whatever it looked like
    r->error = WD_E_LOCAL;
    r->error_detail = "out of memory";
  } else if (detail) {
    va_list ap;
    va_start(ap, detail);
    r->error_detail = wd_arena_vprintf(&p->arena, detail, ap);
    va_end(ap);
  }
  wd_op_complete(&p->op, err);
}

void wd_probe_give_back(struct wd_probe_op *p) {
  wd_ns spent = wd_clock_now() - p->op.started - wd_loop_lag(p->op.loop, p->op.started);
  wd_op_deadline(&p->op, wd_probe_opts(p)->timeout - spent);
}

// Whether the first argument is a list of targets: a table without names, where the probe takes a list.
static bool is_list(lua_State *L, const struct wd_probe *probe) {
  const struct wd_field *f = probe->opts->fields;
  while (f->name && !(f->flags & WD_F_POSITIONAL)) f++;
  if (!f->name || f->type != WD_T_LIST) return false;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    lua_pop(L, 2);
    return false;
  }
  return true;
}

// Finds the options among the arguments: f(string), f(string, table), f(table), and f(list), f(list, table) where the probe takes a
// list. Leaves the stack at: 1 first argument, 2 options or nil.
static int options_at(lua_State *L, const struct wd_probe *probe, int *positional) {
  lua_settop(L, 2);
  *positional = 0;
  if (lua_istable(L, 1) && lua_isnil(L, 2) && !is_list(L, probe)) {
    lua_pushvalue(L, 1);
    lua_replace(L, 2);
    return 2;
  }
  if (!lua_isnil(L, 1)) *positional = 1;
  return lua_isnil(L, 2) ? 0 : 2;
}

// Reads and checks; leaves the compiled expectation (or nil) at the top. [-0, +1, e]
static void read_arguments(lua_State *L, struct wd_probe_op *p, int opts, int positional) {
  const struct wd_probe *probe = p->probe;
  wd_read(L, probe->name, probe->opts, opts, positional, &p->arena, (char *)p + probe->opts_at);
  const char *wrong = probe->check ? probe->check(p) : NULL;
  if (wrong) wd_vm_error(L, "%s: %s", probe->name, wrong);
  if (!opts || lua_getfield(L, opts, "expect") == LUA_TNIL) {
    lua_settop(L, 3);
    lua_pushnil(L);
    return;
  }
  lua_getglobal(L, "require");
  lua_pushliteral(L, "waddle.compare");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "compile");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 2);
  if (lua_isnil(L, -2)) wd_vm_error(L, "%s: field 'expect': %s", probe->name, luaL_tolstring(L, -1, NULL));
  lua_pop(L, 1);
  lua_replace(L, 4);
  lua_settop(L, 4);
}

static struct wd_probe_op *new_op(lua_State *L, const struct wd_probe *probe) {
  struct wd_probe_op *p = wd_op_new(L, &probe_class, probe->size + FIRST_ARENA);
  p->probe = probe;
  wd_arena_lend(&p->arena, (char *)p + probe->size, FIRST_ARENA);
  return p;
}

// An expectation decides over success: it replaces the protocol's rule, and cannot save a probe
// that has nothing to compare. [-0, +0, e]
static void apply_expectation(lua_State *L, int checker, int result) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "waddle.compare");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "judge");
  lua_pushvalue(L, checker);
  lua_pushvalue(L, result);
  lua_call(L, 2, 0);
  lua_settop(L, result);
}

static int k_result(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct wd_probe_op *p = (struct wd_probe_op *)ctx;
  struct wd_common_result *r = wd_probe_result(p);
  r->success = r->error == WD_OK;
  r->started_at = p->started_us;
  if (!r->success) wd_probe_count.failed++;
  wd_write(L, p->probe->result, r);
  int result = lua_gettop(L);
  wd_op_release(&p->op);
  lua_pushnil(L); // the collector has nothing left to call
  lua_setmetatable(L, 3);
  if (lua_istable(L, 2) && lua_getfield(L, 2, "labels") == LUA_TTABLE) lua_setfield(L, result, "labels");
  lua_settop(L, result);
  if (!lua_isnil(L, 4)) apply_expectation(L, 4, result);
  lua_getfield(L, result, "success");
  if (!lua_toboolean(L, -1)) {
    lua_pushnil(L);
    lua_setfield(L, result, "latency_ms");
  }
  lua_settop(L, result);
  return 1;
}

static void begin(struct wd_probe_op *p) {
  wd_policy_admitted();
  p->begun = true;
  p->started_us = wd_clock_wall_us();
  p->op.started = wd_clock_now();
  if (!p->probe->own_timeout) wd_op_deadline(&p->op, wd_probe_opts(p)->timeout);
  p->probe->start(p);
  if (!p->probe->own_timeout) wd_probe_give_back(p); // what it prepared took our time
}

static void on_hold(struct wd_timer *t) {
  struct wd_probe_op *p = WD_CONTAINER(t, struct wd_probe_op, hold);
  wd_ns more = wd_policy_wait_bytes();
  if (more > 0)
    wd_loop_arm(p->op.loop, &p->hold, more);
  else
    begin(p);
}

int wd_probe_call(lua_State *L, const struct wd_probe *probe) {
  wd_task_check(L, probe->name);
  int positional, opts = options_at(L, probe, &positional);
  struct wd_probe_op *p = new_op(L, probe); // at 3
  read_arguments(L, p, opts, positional);   // expectation at 4
  wd_budget_sockets(L, (int64_t)wd_probe_count.under_way);
  wd_desc_clear(probe->result, (char *)p + probe->result_at);
  wd_op_wait(L, &p->op);
  wd_throttle_look(p->op.started);
  wd_probe_count.started++;
  wd_probe_count.under_way++;
  wd_ns hold = wd_policy_admit();
  p->hold.fire = on_hold;
  if (hold > 0)
    wd_loop_arm(p->op.loop, &p->hold, hold);
  else
    begin(p);
  return lua_yieldk(L, 0, (lua_KContext)p, k_result);
}

void wd_probe_check(lua_State *L, const struct wd_probe *probe) {
  int positional, opts = options_at(L, probe, &positional);
  struct wd_probe_op *p = new_op(L, probe);
  read_arguments(L, p, opts, positional);
  wd_op_release(&p->op);
}

const struct wd_probe *wd_probe_find(const char *name) {
  for (const struct wd_probe *const *p = wd_probes; *p; p++)
    if (strcmp((*p)->name, name) == 0) return *p;
  return NULL;
}
