// waddle.core: what the program knows about itself: probes and their descriptions, its own Lua
// files, counters.
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
#include <uv.h>

#include "runtime/httpd.h"
#include "runtime/lua_modules.h"
#include "runtime/probe.h"
#include "runtime/resolve.h"
#include "runtime/source.h"
#include "runtime/spool_file.h"
#include "runtime/task.h"
#include "runtime/tls.h"
#include "runtime/transfer.h"
#include "runtime/writer.h"
#include "runtime/zone.h"

static const struct wd_probe *check_probe(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct wd_probe *probe = wd_probe_find(name);
  if (!probe) wd_vm_error(L, "no probe named '%s'", name);
  return probe;
}

// probes() -> list of names: {"dns.query", ...}
static int l_probes(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; wd_probes[i]; i++) {
    lua_pushstring(L, wd_probes[i]->name);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

// describe("tcp.connect") -> {name=, help=, options={field...}, result={field...}}
static int l_describe(lua_State *L) {
  const struct wd_probe *probe = check_probe(L);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, probe->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, probe->help);
  lua_setfield(L, -2, "help");
  wd_write_desc(L, probe->opts);
  lua_setfield(L, -2, "options");
  wd_write_desc(L, probe->result);
  lua_setfield(L, -2, "result");
  return 1;
}

// check("tcp.connect", ...) raises exactly as the call with these arguments would, and runs nothing.
static int l_check(lua_State *L) {
  const struct wd_probe *probe = check_probe(L);
  lua_remove(L, 1);
  wd_probe_check(L, probe);
  return 0;
}

// References in use. A freed one holds the number of the next free one (lauxlib keeps them in a list), which no reference of ours does.
static lua_Integer references(lua_State *L) {
  lua_Integer used = 0;
  lua_Integer last = (lua_Integer)lua_rawlen(L, LUA_REGISTRYINDEX);
  for (lua_Integer i = 1; i <= last; i++) {
    used += lua_rawgeti(L, LUA_REGISTRYINDEX, i) != LUA_TNUMBER;
    lua_pop(L, 1);
  }
  return used;
}

// stats() -> counters; tasks, watches, timers and registry must not grow for good.
static int l_stats(lua_State *L) {
  struct wd_vm *vm = wd_vm_of(L);
  lua_createtable(L, 0, 16);
  const struct {
    const char *name;
    lua_Integer value;
  } rows[] = {
      {"tasks", vm->live_count},
      {"waiting", vm->waiting},
      {"watches", vm->loop->watches},
      {"timers", (lua_Integer)vm->loop->timers.count},
      {"registry", references(L)},
      {"spawned", (lua_Integer)vm->spawned},
      {"resumes", (lua_Integer)vm->resumes},
      {"probes_started", (lua_Integer)wd_probe_count.started},
      {"probes_failed", (lua_Integer)wd_probe_count.failed},
      {"sweep_packets", (lua_Integer)wd_probe_count.sweep_packets},
      {"sweep_sent", (lua_Integer)wd_probe_count.sweep_sent},
      {"sweep_received", (lua_Integer)wd_probe_count.sweep_received},
      {"lua_bytes", (lua_Integer)lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB)},
  };
  for (size_t i = 0; i < WD_COUNT(rows); i++) {
    lua_pushinteger(L, rows[i].value);
    lua_setfield(L, -2, rows[i].name);
  }
  return 1;
}

// libraries() -> {{name, version}, ...}: what this program is linked with; libcurl names its own libraries.
static int l_libraries(lua_State *L) {
  const char *const rows[][2] = {{"Lua", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE},
                                 {"libuv", uv_version_string()},
                                 {"libcurl", wd_transfer_libraries()},
                                 {"HTTP/3", wd_transfer_no_http3() ? "no" : "yes"},
                                 {"OpenSSL", wd_tls_library()},
                                 {"c-ares", wd_resolve_library()},
                                 {"ldns", wd_zone_library()},
                                 {"libmicrohttpd", wd_httpd_library()},
                                 {"libedit", wd_edit_library()},
                                 {"SQLite", wd_spool_file_library()}};
  lua_createtable(L, (int)WD_COUNT(rows), 0);
  for (size_t i = 0; i < WD_COUNT(rows); i++) {
    lua_createtable(L, 2, 0);
    lua_pushstring(L, rows[i][0]);
    lua_rawseti(L, -2, 1);
    lua_pushstring(L, rows[i][1]);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

int wd_open_core(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"probes", l_probes},       {"describe", l_describe},     {"check", l_check},          {"stats", l_stats},
      {"libraries", l_libraries}, {"source", wd_source_l_read}, {"files", wd_source_l_list}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, WADDLE_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
